"""Behaviour drawn step by step, the covariates of its own past made anew on the way.

All tables of a ``HiddenMarkov`` are fixed before anything is drawn from it. Where
covariates are made from past emissions the components are stepped instead: each gives
one distribution at the states that were drawn. Row t of all covariates depends on the
emissions before t alone, and drives the step from t - 1 INTO t.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.distributions import Categorical

from glmhmm_pyro.distributions import typed_by_support
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.sequences import Sequences

# Covariates (simulations,) or (simulations, names) of one step from the emissions so
# far (simulations, steps so far, *event), and the rows of the data that are simulated.
Recompute = Callable[[Tensor, Tensor], Tensor]


class Replayable(Protocol):
    """What knows itself how its columns come from the past, such as a design."""

    def replay(self, data: Sequences) -> Mapping[tuple[str, ...], Recompute]:
        """Fresh functions, by the names of the columns they give."""


History = Mapping[str | tuple[str, ...], Recompute] | Replayable


class Drawn(NamedTuple):
    """Simulations of a whole data set.

    Attributes:
        emissions: shape (samples, steps, *event).
        states: shape (samples, steps).
        designs: covariates made anew, by argument, (samples, steps, features).
    """

    emissions: Tensor
    states: Tensor
    designs: dict[str, Tensor]


class Simulations:
    """Samples of some sessions, side by side, the longest sessions first.

    Args:
        data: the data set.
        num_samples: how often every session is drawn.
        sessions: numbers of the sessions.

    Attributes:
        copies: number of the sample of each simulation.
        sessions: number of its session.
        starts: first row of the session.
        lengths: steps of the session.
    """

    def __init__(self, data: Sequences, num_samples: int, sessions: Tensor):
        by_length = data.lengths[sessions].argsort(descending=True, stable=True)
        order = sessions[by_length]
        samples = torch.arange(num_samples, device=data.device)
        self.data, self.num_samples = data, num_samples
        self.sessions = order.repeat_interleave(num_samples)
        self.copies = samples.repeat(len(sessions))
        self.starts, self.lengths = (
            data.starts[self.sessions],
            data.lengths[self.sessions],
        )
        self.num_active = (
            self.lengths
            > torch.arange(int(self.lengths[0]), device=data.device)[:, None]
        ).sum(1)

    def __len__(self) -> int:
        return len(self.sessions)

    def rows(self, t: int) -> tuple[Tensor, Tensor]:
        """Sample and row of every simulation that has a step t."""
        active = int(self.num_active[t])
        return self.copies[:active], self.starts[:active] + t

    def end_to_end(self, padded: Tensor, before: Tensor | None) -> Tensor:
        """From (simulations, steps, ...) to (samples, steps of all sessions, ...).

        Args:
            padded: the simulations.
            before: what other sessions have, where these are not all.
        """
        shape = (self.num_samples, self.data.num_steps, *padded.shape[2:])
        values = padded.new_empty(shape) if before is None else before
        for t in range(padded.shape[1]):
            copies, rows = self.rows(t)
            values[copies, rows] = padded[: len(rows), t]
        return values

    @property
    def last_rows(self) -> Tensor:
        """Rows before the sessions: last steps of those that they go on from."""
        return self.starts - 1


class Writer:
    """Writes columns made anew wherever the model reads them.

    Args:
        names: names of the columns.
        function: what gives them.
        data: the data set.
        designs: where to write, (samples, steps, features) by argument.
    """

    def __init__(
        self,
        names: str | tuple[str, ...],
        function: Recompute,
        data: Sequences,
        designs: Mapping[str, Tensor],
    ):
        self.names = (names,) if isinstance(names, str) else tuple(names)
        self.function = function
        self.targets: list[tuple[Tensor, list[int], list[int]]] = []
        known: dict[str, None] = {}
        for argument, design in designs.items():
            columns = list(getattr(data, f"{argument[:-1]}_names"))
            known |= dict.fromkeys(columns)
            kept = [i for i, name in enumerate(self.names) if name in columns]
            places = [columns.index(self.names[i]) for i in kept]
            self.targets.append((design, places, kept))
        missing = [name for name in self.names if name not in known]
        if missing:
            raise ValueError(
                "history must name covariates of data, which are "
                f"{', '.join(list(known)[:20])}, got {missing[0]!r}; name some of these"
            )
        self._check_one_meaning(data)

    def _check_one_meaning(self, data: Sequences) -> None:
        """Raise a ValueError for a name of two columns that differ.

        Rows of the transitions at the start of a session are read by nobody.
        """
        if len(self.targets) < 2:
            return
        inside = torch.ones(data.num_steps, dtype=torch.bool, device=data.device)
        inside[data.starts] = False
        own, other = data.covariates[inside], data.transition_covariates[inside]
        (_, places, kept), (_, others, also) = self.targets
        for column in set(kept) & set(also):
            one = own[:, places[kept.index(column)]]
            two = other[:, others[also.index(column)]]
            if not torch.allclose(one, two):
                raise ValueError(
                    f"history must mean one column by {self.names[column]!r}, got "
                    "covariates and transition_covariates of data that differ in it; "
                    "give one of their terms another name=..."
                )

    def __call__(self, past: Tensor, copies: Tensor, rows: Tensor) -> None:
        """Write the columns of one step."""
        values = torch.as_tensor(self.function(past, rows), dtype=past.dtype)
        values = values[:, None] if values.dim() == 1 else values
        wanted = (len(rows), len(self.names))
        if values.shape != wanted or not values.isfinite().all():
            what = f"shape {tuple(values.shape)}"
            if values.shape == wanted:
                what = "NaN or infinite ones"
            raise ValueError(
                f"the function of history for {', '.join(self.names)} must give finite "
                f"numbers of shape {wanted} (simulations, names), got {what} at step "
                f"{past.shape[1]}; return a tensor of that shape"
            )
        for design, places, kept in self.targets:
            for place, column in zip(places, kept):
                design[copies, rows, place] = values[:, column]


def closed_loop(
    model: GLMHMM,
    params: Params,
    data: Sequences,
    histories: Sequence[History],
    num_samples: int,
) -> Drawn:
    """Samples of the data set at one set of parameters; see :meth:`Fit.simulate`."""
    model.bind(data)
    designs = _covariates_by_sample(data, num_samples)

    def drawn(sessions: Tensor, before: Drawn | None) -> Drawn:
        simulations = Simulations(data, num_samples, sessions)
        writers = [
            Writer(names, function, data, designs)
            for history in histories
            for names, function in _functions_by_column(history, data)
        ]
        earlier = (None, None) if before is None else before[:2]
        with model.at(params):
            found = _draw_step_by_step(model, simulations, designs, writers, earlier[1])
        pairs = zip(found, earlier)
        emissions, states = (simulations.end_to_end(*pair) for pair in pairs)
        return Drawn(emissions, states, designs)

    first, *later = _batches_in_order(model, data)
    found = drawn(first, None)
    for sessions in later:
        found = drawn(sessions, found)
    return found


def _batches_in_order(model: GLMHMM, data: Sequences) -> list[Tensor]:
    """Sessions to be drawn side by side, after those that they go on from."""
    numbers = torch.arange(data.num_sessions, device=data.device)
    goes_on = model.transitions.goes_on(data)
    if goes_on is None:
        return [numbers]
    first = torch.where(goes_on, 0, numbers).cummax(0).values
    turns = numbers - first
    return [numbers[turns == turn] for turn in range(int(turns.max()) + 1)]


def _draw_step_by_step(
    model: GLMHMM,
    simulations: Simulations,
    designs: Mapping[str, Tensor],
    writers: Sequence[Writer],
    before: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Emissions and states (simulations, longest session), one step after the other.

    Args:
        before: states (samples, steps) of the sessions from which these go on, if any.
    """
    data = simulations.data
    shape = (len(simulations), len(simulations.num_active))
    past = data.covariates.new_zeros(*shape, *data.emissions.shape[1:])
    states = torch.zeros(shape, dtype=torch.long, device=data.device)
    x, u = designs["covariates"], designs.get("transition_covariates")
    u = x if u is None else u
    x = x[..., model.emissions.places_among(data.covariate_names)]
    u = u[..., model.transitions.places_among(data.transition_covariate_names)]
    moving, emitting = model.transitions.entries(data), model.emissions.entries(data)
    expansion = model.transitions.expansion
    entered = model.transitions.enter(model.initial.log_probs(data))
    initial = expansion.enter(entered)
    initial = initial.expand(data.num_sessions, -1)[simulations.sessions]
    state = torch.zeros(0, dtype=torch.long, device=data.device)
    for t in range(shape[1]):
        copies, rows = simulations.rows(t)
        active = len(rows)
        for write in writers:
            write(past[:active, :t], copies, rows)
        inputs = torch.cat([u[copies, rows], moving[rows]], -1)
        if t > 0:
            state = model.transitions(state[:active], inputs).sample()
        elif before is None:
            state = Categorical(logits=initial).sample()
        else:
            state = before[copies, simulations.last_rows]
            logits = model.transitions.cross(state, inputs, initial)
            state = Categorical(logits=logits).sample()
        states[:active, t] = expansion.states(state)
        inputs = torch.cat([x[copies, rows], emitting[rows]], -1)
        family = model.emissions(states[:active, t], inputs)
        past[:active, t] = family.sample().to(past.dtype)
    return typed_by_support(past, family), states


def _covariates_by_sample(data: Sequences, num_samples: int) -> dict[str, Tensor]:
    """Covariates of every sample; those of the transitions where they are others."""
    names = ["covariates", "transition_covariates"]
    if data._transitions_share_covariates:
        names = names[:1]
    return {name: getattr(data, name).repeat(num_samples, 1, 1) for name in names}


def _functions_by_column(
    history: History, data: Sequences
) -> list[tuple[str | tuple[str, ...], Recompute]]:
    """Names of columns, and what gives them."""
    given: Any = history.replay(data) if hasattr(history, "replay") else history
    if not isinstance(given, Mapping) or not given:
        raise TypeError(
            "history must be a fitted design, a mapping from names of covariates to "
            f"functions of the past, or a list of these, got {given!r}"
            "; give one of these"
        )
    for names, function in given.items():
        if not callable(function):
            raise TypeError(
                f"history must map {names!r} to a function(past, rows), got "
                f"{function!r}; give such a function"
            )
    return list(given.items())
