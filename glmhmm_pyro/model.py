"""GLMHMM: one Pyro model, its states hidden, its GLMs driven by covariates.

.. math::

    z_0 &\\sim \\text{initial} \\\\
    z_t \\mid z_{t-1} &\\sim \\text{transitions}(z_{t-1}, u_t) \\\\
    y_t \\mid z_t &\\sim \\text{emissions}(z_t, x_t)

Row t of the transition covariates u drives the step from t-1 INTO t (Calhoun, Pillow &
Murthy 2019; Escola et al. 2011). Both bodies below are the readable reference.
"""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import pyro
import torch
from pyro import poutine
from pyro.distributions import Categorical
from pyro.nn import PyroModule, pyro_method
from torch import Tensor

from glmhmm_pyro.arguments import suggests_names, whole_number
from glmhmm_pyro.callers import warn_caller
from glmhmm_pyro.components.base import Component
from glmhmm_pyro.components.emissions import Emission
from glmhmm_pyro.components.initial import Initial, InitialState, OnlyInitial
from glmhmm_pyro.components.levels import Levels
from glmhmm_pyro.components.levels.by_level import on_levels
from glmhmm_pyro.components.only_state import OnlyState
from glmhmm_pyro.components.transitions import Stationary, Transitions
from glmhmm_pyro.concurrency import exclusively
from glmhmm_pyro.displays import as_written, display
from glmhmm_pyro.distributions import HiddenMarkov
from glmhmm_pyro.masking import ObservedPart
from glmhmm_pyro.priors.wording import in_words
from glmhmm_pyro.sequences import MatchingWarning, Sequences
from glmhmm_pyro.sequences.continuing import check_order
from glmhmm_pyro.sequences.layout import Layout
from glmhmm_pyro.sequences.sessions import sessions_of
from glmhmm_pyro.zeros import zeros_allowed

Own = TypeVar("Own", bound=Component)

_SUCH_AS = {
    "initial": "Initial()",
    "transitions": "Stationary()",
    "emissions": "Bernoulli()",
}


@suggests_names
class GLMHMM(PyroModule):
    """A hidden Markov model whose emissions and transitions are driven by covariates.

    The components given are recipes: the model keeps copies of its own, bound to the
    number of states. The numbers of covariates are bound by the first data set.

    Args:
        num_states: number of hidden states, at least 1; or ``Levels(slow, fast)`` of
            ``gh.components`` for states on two timescales, in pairs.
        emissions: family of the emissions, e.g. ``Categorical(num_classes=4)``.
        transitions: ``Stationary()`` by default, or ``InputDriven()``.
        initial: ``Initial()`` by default, one free distribution for all sessions;
            ``StationaryInitial()`` for the one in which the chain would stay.

    Example:
        >>> import pyro
        >>> import glmhmm_pyro as gh
        >>> model = gh.GLMHMM(2, gh.Bernoulli(), gh.InputDriven())
        >>> data = gh.Sequences([0, 1, 1], [[0.5, 1.0], [1.5, 1.0], [-1.0, 1.0]])
        >>> sites = pyro.poutine.trace(model).get_trace(data).stochastic_nodes
        >>> sites
        ['initial.probs', 'transitions.weights', 'emissions.weights']
    """

    def __init__(
        self,
        num_states: int | Levels,
        emissions: Emission,
        transitions: Transitions | None = None,
        initial: InitialState | None = None,
    ):
        super().__init__()
        self.levels = num_states if isinstance(num_states, Levels) else None
        if self.levels is not None:
            num_states = self.levels.size
            parts = on_levels(self.levels, emissions, transitions, initial)
            emissions, transitions, initial = parts
        self.num_states = num_states = whole_number("num_states", num_states, 1)
        self.layout: Layout | None = None
        initial = Initial() if initial is None else initial
        self.initial = self._own("initial", initial, InitialState)
        transitions = Stationary() if transitions is None else transitions
        self.transitions = self._own("transitions", transitions, Transitions)
        self.emissions = self._own("emissions", emissions, Emission)
        self.initial.follow(self.transitions)

    def forward(self, data: Sequences) -> Tensor:
        """Weights from their priors, then the emissions with the states summed out."""
        data = self.laid_out(data)
        return pyro.sample("y", self._hidden_markov(data), obs=data.emissions)

    @pyro_method
    def enumerated(self, data: Sequences) -> None:
        """The same model with every state written out: the oracle, and for teaching."""
        data = self.laid_out(data)
        self.draw()
        values, starts = data.emissions.to(data.dtype), self.transitions.first_steps(
            data
        )
        last = starts.diff(append=starts.new_tensor([data.num_steps])) - 1
        expansion = self.transitions.expansion
        entered = self.transitions.enter(self.initial.logits(data))
        initial = expansion.enter(entered)
        goes_on = self.transitions.goes_on(data)
        x, u = self.emissions.inputs(data), self.transitions.inputs(data)
        observed = torch.ones(len(values), dtype=torch.bool, device=data.device)
        observed = observed if data.mask is None else data.mask
        with pyro.plate("sessions", len(starts), dim=-1):
            state: Any = None
            for t in pyro.markov(range(int(last.max()) + 1)):
                # A session that has ended repeats its last row, masked.
                rows = starts + last.clamp(max=t)
                step = self.transitions(state, u[rows]) if t else None
                if step is not None and goes_on is not None:
                    number = torch.bucketize(rows, data.starts, right=True) - 1
                    begins = goes_on[number] & (rows == data.starts[number])
                    crossed = self.transitions.cross(state, u[rows], initial[number])
                    logits = torch.where(begins.unsqueeze(-1), crossed, step.logits)
                    step = Categorical(logits=logits, validate_args=False)
                with poutine.mask(mask=last >= t):
                    state = pyro.sample(
                        f"z_{t}",
                        step or Categorical(logits=self._begun(initial, goes_on)),
                        infer={"enumerate": "parallel"},
                    )
                    family = self.emissions(expansion.states(state), x[rows])
                    emission = ObservedPart(family, observed[rows])
                    pyro.sample(f"y_{t}", emission, obs=values[rows])

    @staticmethod
    def _begun(initial: Tensor, goes_on: Tensor | None) -> Tensor:
        """First states where chains begin, from those of all sessions."""
        return initial if goes_on is None else initial[~goes_on]

    @pyro_method
    def hidden_markov(self, data: Sequences) -> HiddenMarkov:
        """Distribution of the emissions given the weights of this model call."""
        return self._hidden_markov(self.laid_out(data))

    def _hidden_markov(self, data: Sequences) -> HiddenMarkov:
        with zeros_allowed(self.initial):
            initial = self.initial.logits(data)
        with zeros_allowed(self.transitions):
            initial = self.transitions.enter(initial)
            transition = self.transitions.moves(data)
        with zeros_allowed(self.emissions):
            table = self.emissions.table(self.emissions.factors(data))
        emits, weights = self.transitions.emits, data.session_weights
        given = (initial, transition, table, data.lengths, data.mask, emits, weights)
        return HiddenMarkov(*given, self.transitions.goes_on(data))

    def hidden_markov_at(
        self, params: Mapping[str, Tensor], data: Sequences
    ) -> HiddenMarkov:
        """:meth:`hidden_markov` at given values of the sites.

        No site is sampled, so that Pyro's handlers cost nothing and none sees them.

        Args:
            params: value of every declared parameter, by the name of its site.
            data: the data set.
        """
        with self.at(params):
            return self.hidden_markov(data)

    @contextmanager
    def at(self, params: Mapping[str, Tensor]) -> Iterator[None]:
        """Inside, the sites have these values and none is sampled.

        Args:
            params: value of every declared parameter, by the name of its site.
        """
        with exclusively(), self._pyro_context:
            for name, value in params.items():
                self._pyro_context.set(name, value)
            yield

    @property
    def components(self) -> dict[str, Component]:
        """All components, by the names that their sites begin with.

        Emissions of several outputs are a component each.
        """
        return {
            f"{name}.{part}" if part else name: component
            for name in ("initial", "transitions", "emissions")
            for part, component in getattr(self, name).parts.items()
        }

    @property
    def separates(self) -> bool:
        """Whether no component reads the parameters of another, as M-steps want it."""
        return bool(self.initial.parts) and not self.transitions.decides_first

    def component_of(self, site: str) -> tuple[str, Component]:
        """The component that a site belongs to, and its name."""
        for name, component in self.components.items():
            if site.startswith(f"{name}."):
                return name, component
        raise KeyError(site)

    def bind(self, data: Sequences) -> None:
        """Bind the names and numbers of covariates to ``data``, or check it by them.

        Raises:
            ValueError: the data do not fit the components, or an earlier data set.
        """
        self.laid_out(data)

    def laid_out(self, data: Sequences) -> Sequences:
        """The data as the components read them; the first data set binds the model.

        Whatever has a name is put by its name where the first data set had it: columns
        of the covariates, outputs, classes. Columns that are not read are left out.

        Raises:
            ValueError: a name that is read is lacking, or the data do not fit the
                components, or an earlier data set.

        Warns:
            MatchingWarning: what has a name in one of the data sets alone is taken by
                its place.
        """
        if not isinstance(data, Sequences):
            raise TypeError(
                f"data must be a Sequences, got {type(data).__name__}; make one by "
                "Sequences(...), Sequences.from_lists or Sequences.from_dataframe"
            )
        layout = self.layout or Layout.of(data)
        if not layout.sessions:
            layout = replace(layout, sessions=sessions_of(data))
        laid_out, notes = layout.lay_out(data, self._designs_read)
        for note in notes:
            warn_caller(note, MatchingWarning)
        for component in (self.initial, self.transitions, self.emissions):
            component.bind(laid_out)
        for component in self.components.values():
            component.bind_members(laid_out)
        goes_on = self.transitions.goes_on(laid_out)
        if goes_on is not None:
            check_order(laid_out, goes_on, layout.sessions)
        self.layout = layout
        return laid_out

    def forget_sessions(self) -> None:
        """Hook of a new fit: the sessions fitted will be those of the next data set.

        Not where parameters belong to sessions or groups, which then stay these.
        """
        parts = self.components.values()
        if self.layout is None or any(part.varies_over for part in parts):
            return
        self.layout = replace(self.layout, sessions=())
        for part in parts:
            part.forget_sessions()

    @property
    def _designs_read(self) -> dict[str, set[str] | None]:
        """Columns read, by design of which a component has bound some; None for all."""
        found: dict[str, set[str] | None] = {}
        for whole in (self.initial, self.transitions, self.emissions):
            if whole.num_features is not None:
                # Of several parts each finds its columns among those of all.
                is_one, names = whole in whole.parts.values(), whole.columns_read
                known = {*names} if is_one and names is not None else None
                found[whole.covariates_of] = known
        return found

    @property
    def kept_columns(self) -> tuple[str, ...]:
        """Transition covariates that are read as they are, whatever their units."""
        return self.transitions.kept_columns

    def limit(self, data: Sequences) -> None:
        """Keep scales above floors, which follow from the spread of ``data``.

        A fit does so to a copy of its own; see :mod:`glmhmm_pyro.components.limits`.
        """
        for component in self.components.values():
            component.limit(component.view(data))

    def check_varies(self, data: Sequences) -> None:
        """Raise a ValueError for outputs whose scale would run to 0 in any fit.

        Or for states that the data let no fit leave, or a column beside a baseline that
        is constant.
        """
        self.transitions.check_moves(data)
        for component in self.components.values():
            component.check_varies(component.view(data))

    def site_names(self) -> Iterator[tuple[str, Component, str]]:
        """Name, component and attribute of every declared parameter."""
        for prefix, component in self.components.items():
            for attribute in component.sites:
                yield f"{prefix}.{attribute}", component, attribute

    @pyro_method
    def draw(self) -> dict[str, Tensor]:
        """Visit every parameter, their priors alone, without any data; their values."""
        return {
            name: getattr(component, attribute)
            for name, component, attribute in self.site_names()
        }

    def _own(self, name: str, component: Own, kind: type[Own]) -> Own:
        if not isinstance(component, kind):
            what, fix = type(component).__name__, f"give one such as {_SUCH_AS[name]}"
            if isinstance(component, type):
                what = f"the class {component.__name__}"
                fix = f"make one, {component.__name__}(...)"
            raise TypeError(
                f"{name} must be of type {kind.__name__}, got {what}; {fix}"
            )
        if self.num_states == 1:
            trivial: dict[str, Any] = {
                "initial": OnlyInitial(),
                "transitions": OnlyState(),
            }
            component = trivial.get(name, component)
        own = copy.deepcopy(component)
        # The copy has run nowhere, though what it was copied from may have.
        own._pyro_context.used = False
        own.bind_states(self.num_states)
        return own

    def explain(self) -> str:
        """The generative equations, the conventions and the priors, in words."""
        lines = [f"GLM-HMM with {self._states_in_words()}, numbered from 0."]
        for when, component in (
            ("first step of a session", self.initial),
            ("every other step", self.transitions),
            ("emission", self.emissions),
        ):
            for number, equation in enumerate(component.equations()):
                lines.append(f"  {when * (number == 0):<26}{equation}")
        if self.transitions.reads_covariates:
            first = "a group" if self.transitions.across_sessions else "a session"
            lines.append(INTO.format(first))
        lines += [*self._references(), self._conventions()]
        for name, component, attribute in self.site_names():
            prior = component.sites[attribute].prior
            if prior is not None:
                lines.append(f"Prior of {name}: {in_words(prior)}.")
        return "\n".join(lines)

    def _states_in_words(self) -> str:
        if self.levels is None:
            return f"{self.num_states} hidden state{'s' * (self.num_states > 1)} z"
        pairs = f"{self.levels} hidden states z = (s, f), a slow and a fast one"
        return f"{pairs}, z = {self.levels.fast} s + f"

    def _conventions(self) -> str:
        across = self.transitions.across_sessions
        return f"{ACROSS if across else APART}{CONVENTIONS}"

    def _references(self) -> Iterator[str]:
        """A sentence about what has weights of 0, if anything has."""
        places = {"initial": "first states", "transitions": "transitions"}
        found: dict[str, list[str]] = {}
        for name, component in self.components.items():
            place = places.get(name.partition(".")[0], "emissions")
            if component.reference and component.reference not in found.get(place, []):
                found.setdefault(place, []).append(component.reference)
        parts = [f"in {place} {' and '.join(known)}" for place, known in found.items()]
        if parts:
            yield f"References have weights of 0: {', '.join(parts)}."

    def _repr_html_(self) -> str:
        title = f"GLM-HMM of {self.num_states} state{'s' * (self.num_states > 1)}"
        return display(title, "", {"Model": as_written(self.explain())})


INTO = """\
Row t of the transition covariates u drives the step from t-1 INTO t; row 0 of {}
is unused."""
APART = "Sessions are independent. "
ACROSS = """\
Slow states go on from a session to the next of its group; groups are independent.
"""
CONVENTIONS = """\
Masked emissions are summed out.
Log-likelihoods are those of the emissions, states summed out, in nats."""
