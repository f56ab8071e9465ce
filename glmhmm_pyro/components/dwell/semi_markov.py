"""Semi-Markov transitions: a dwell time of any law, then a jump to another state."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from pyro.distributions import Categorical
from torch import Tensor
from torch.distributions import constraints

from glmhmm_pyro.arguments import suggests_names
from glmhmm_pyro.broadcasting import broadcast_shape
from glmhmm_pyro.components.base import Site
from glmhmm_pyro.components.dwell.laws import DwellLaw, NegativeBinomial
from glmhmm_pyro.components.pairs import (
    free_pairs,
    insert_staying,
    insert_staying_rows,
    permuted_pairs,
)
from glmhmm_pyro.components.rescaling import ColumnUnits, logits_as_defined
from glmhmm_pyro.components.softmax import insert_zeros
from glmhmm_pyro.components.transitions import Transitions
from glmhmm_pyro.priors.affine import Affine
from glmhmm_pyro.priors.answers import mode_given
from glmhmm_pyro.priors.filling import Prior
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.zeros import log_or_zero_slope

# From weights, and the number of their axes before covariates, to what they predict.
Predicted = Callable[[Tensor, int], Tensor]

_FIRSTS = ("fresh", "stationary")

# What a step from one chain state to another is.
_NOTHING, _REST, _EVENT, _JUMP = range(4)


@suggests_names
class SemiMarkov(Transitions):
    r"""States whose dwell times follow a law, after which they jump to another one.

    .. math:: p(z) = \pi(s_1) \, S_{s_1}(d_1) \prod_{n > 1} \ldots \quad
        \text{segments } s_n \text{ of } d_n \text{ steps:} \quad
        d_n \sim P_{s_n}, \; s_{n+1} \sim J_{s_n}

    The hidden semi-Markov model (Yu 2010, Artif. Intell. 174:215), exactly, as a hidden
    Markov chain of states times phases (:mod:`glmhmm_pyro.components.dwell.laws`): all
    methods, decoding and simulation work as for any other transitions. The dwell that a
    session's end cuts off counts as one that lasts so long at least.

    Args:
        dwell: law of the dwell times; two phases by default, ``NegativeBinomial(2)``.
        jumps: ``"constant"``, the same probabilities of the next state at all steps, or
            ``"driven"`` by the transition covariates, a softmax regression on those of
            the step into it. With two states there is one way to go.
        jump_prior: of the probabilities (origins, destinations - 1), such as a
            Dirichlet, or of the weights (origins, destinations - 2, features), the
            first of the other states being the reference.
        first: whether a session begins with a ``"fresh"`` dwell, or finds the state as
            one does that looks in at any time, ``"stationary"``: it then lasts as long
            as is left of it. What drives dwell times may not be asked for that.
        covariates: names of the transition covariates that it reads; all by default.

    Raises:
        ValueError: ``jumps`` or ``first`` is none of these, or a stationary first dwell
            is asked of a law that covariates drive.

    Example:
        >>> import glmhmm_pyro as gh
        >>> dwell = gh.dwell.NegativeBinomial(phases=3)
        >>> model = gh.GLMHMM(2, gh.Bernoulli(), gh.SemiMarkov(dwell))
        >>> model.bind(gh.Sequences([0, 1, 1]))
        >>> [name for name, *_ in model.site_names()]
        ['initial.probs', 'transitions.leave', 'emissions.weights']
    """

    batched = True
    jump_probs: Any
    jump_weights: Any

    def __init__(
        self,
        dwell: DwellLaw | None = None,
        jumps: str = "constant",
        jump_prior: Prior = None,
        first: str = "fresh",
        covariates: Sequence[str] | None = None,
    ):
        super().__init__()
        self.dwell = NegativeBinomial() if dwell is None else dwell
        self._check(jumps, first)
        self.choose(covariates)
        self.jumps, self.jump_prior, self.first = jumps, jump_prior, first
        self.law, site = self.dwell.site
        setattr(self, self.law, site)

    def _check(self, jumps: str, first: str) -> None:
        """Raise a ValueError, or a TypeError, for what is no law and no choice."""
        if not isinstance(self.dwell, DwellLaw):
            raise TypeError(
                f"dwell must be a law of dwell times, got {self.dwell!r:.80}; give one "
                "such as gh.dwell.NegativeBinomial(phases=3)"
            )
        choices = (("jumps", jumps, ("constant", "driven")), ("first", first, _FIRSTS))
        for name, value, allowed in choices:
            if not isinstance(value, str) or value not in allowed:
                raise ValueError(
                    f"{name} must be {allowed[0]!r} or {allowed[1]!r}, got "
                    f"{value!r:.80}; give one of these"
                )
        if first == "stationary" and self.dwell.is_driven:
            raise ValueError(
                'first must be "fresh" where covariates drive the dwell times, for '
                'these have no stationary law, got "stationary"; leave it out, or take '
                "a law that is not driven"
            )

    def bind_states(self, num_states: int) -> None:
        """Record the number of states, and that jumps between three have parameters."""
        super().bind_states(num_states)
        if num_states < 3:
            return
        if self.jumps == "constant":
            axes, support = ("origin", "destination"), constraints.simplex
            self.jump_probs = Site(*axes, prior=self.jump_prior, support=support)
        else:
            sizes = ("destination", num_states - 2)
            self.jump_weights = Site(
                "origin", sizes, "covariate", prior=self.jump_prior
            )

    def sizes(self) -> dict[str, int | None]:
        """As for every component, and the other states, where a jump may lead."""
        others = None if self.num_states is None else self.num_states - 1
        return {**super().sizes(), "destination": others}

    @property
    def reads_covariates(self) -> bool:
        """Whether they drive dwell times or jumps."""
        return self.is_driven

    @property
    def reference(self) -> str:
        """The first of the other states, where jumps to several are driven."""
        return "the first other state" if "jump_weights" in self.sites else ""

    def equations(self) -> list[str]:
        """How long a state lasts, where it then leads, and how sessions begin."""
        by = f", driven by {self.symbols()[2]}"
        lines = [f"z lasts for d steps, d ~ {self.dwell!r}{by * self.dwell.is_driven}"]
        if (self.num_states or 0) > 2:
            odds = by if self.jumps == "driven" else ", at the same odds at all steps"
            lines.append(f"then another state follows{odds}")
        else:
            lines.append("then the other state follows")
        if self.first == "stationary":
            lines.append("a session may begin amid a stay")
        return lines

    @property
    def is_driven(self) -> bool:
        """Whether covariates drive dwell times, or jumps between three states or more.

        Those of two states have nowhere else to go.
        """
        return self.dwell.is_driven or "jump_weights" in self.sites

    def bind(self, data: Sequences) -> None:
        """Record or check the number of covariates, where any are read."""
        if self.is_driven:
            super().bind(data)

    @property
    def emits(self) -> Tensor:
        """The phases of state 0, then those of state 1, and so on."""
        states = torch.arange(self.num_states or 1)
        return states.repeat_interleave(self.dwell.num_phases)

    @property
    def decides_first(self) -> bool:
        """Whether the phases of first states follow from the law's parameters."""
        return self.first == "stationary" and self.dwell.is_aged

    def separate(self) -> None:
        """Hook: from now on sessions begin with a fresh dwell."""
        self.first = "fresh"

    def enter(self, log_probs: Tensor) -> Tensor:
        """First chain states of sessions, from first states (..., states).

        Fresh ones are left to the chain, which begins with the first phase.
        """
        if self.first == "fresh":
            return log_probs
        within = self.dwell.log_stay(getattr(self, self.law))
        first = log_probs.log_softmax(-1).unsqueeze(-1) + within.unsqueeze(-3)
        return first.flatten(-2)

    @property
    def is_linear(self) -> bool:
        """Whether predictors are those made here."""
        return logits_as_defined(self, SemiMarkov)

    def own_maps(self, columns: ColumnUnits) -> dict[str, Affine]:
        """Weights at covariates in a fit's own units to those at the user's."""
        if columns.are_as_given:
            return {}
        driven = [n for n in ("dwell_weights", "jump_weights") if n in self.sites]
        return {name: columns.affine() for name in driven}

    def start_noise(self, name: str, data: Sequences) -> Tensor | float:
        """As for every component; what reads no covariates has none of their units."""
        return super().start_noise(name, data) if self.is_driven else 1.0

    def forward(self, state: Tensor, covariates: Tensor) -> Categorical:
        """The same phase, the next one, or the first phase of another state."""

        def predicted(weights: Tensor, axes: int) -> Tensor:
            rows = covariates.reshape(covariates.shape[:-1] + (1,) * axes + (-1,))
            return (weights.to(rows.dtype) * rows).sum(-1)

        table = self._table(predicted)
        if not self.is_driven:
            return Categorical(logits=table[..., state, :], validate_args=False)
        shape = broadcast_shape(state.shape, covariates.shape[:-1])
        index = state.expand(shape)[..., None, None]
        table = table.expand(shape + table.shape[-2:])
        rows = table.gather(-2, index.expand(shape + (1, table.shape[-1])))
        return Categorical(logits=rows.squeeze(-2), validate_args=False)

    def logits(self, data: Sequences) -> Tensor:
        """Log-probabilities (*batch, steps or 1, chain states, chain states)."""
        if not self.is_driven:
            return self._table(None).unsqueeze(-3)
        design = self.operator(data)

        def predicted(weights: Tensor, axes: int) -> Tensor:
            flat = weights.to(design.dtype).flatten(-1 - axes, -2)
            scores = design @ flat.transpose(-1, -2)
            return scores.unflatten(-1, weights.shape[-1 - axes : -1])

        return self._table(predicted, by_step=True)

    def closed_form(
        self, counts: Tensor, data: Sequences, params: Mapping[str, Tensor]
    ) -> dict[str, Tensor] | None:
        """The law by expected events, jumps by their shares, of what has a formula."""
        if self.decides_first or (self.is_driven and data.ranks.size > 1):
            return None
        found = {self.law: self._law_given(counts, data, params)}
        if "jump_probs" in self.sites:
            moves = counts.sum(-3) * (self._kinds() == _JUMP).to(counts.device)
            free = free_pairs(self.expansion.fold_pairs(moves))
            shape = self.shape("jump_probs")
            found["jump_probs"] = mode_given(self.jump_prior, free, shape)
        return {name: value for name, value in found.items() if value is not None}

    def _law_given(
        self, counts: Tensor, data: Sequences, params: Mapping[str, Tensor]
    ) -> Tensor | None:
        """Parameters of the dwell law, from expected counts of moves."""
        kinds, driven = self._kinds().to(counts.device), self.dwell.is_driven
        counts = counts if driven else counts.sum(-3, keepdim=True)
        shape = counts.shape[:-2] + (-1, self.dwell.num_phases)
        happened = (kinds == _EVENT) | (kinds == _JUMP)
        events = (counts * happened).sum(-1).reshape(shape)
        rests = (counts * (kinds == _REST)).sum(-1).reshape(shape)
        if not driven:
            exact = self.dwell.closed_form(events.squeeze(-3), rests.squeeze(-3))
            if exact is not None:
                return exact
        design = self.design(data).to(counts.dtype) if driven else None
        return self.dwell.climbed(params[self.law], events, rests, design)

    def display(self, name: str, value: Tensor) -> tuple[Tensor, tuple[str, ...]]:
        """Jumps from every state to every state, its own included."""
        if name == "jump_probs":
            return insert_staying(value), self.sites[name].axes
        if name == "jump_weights":
            return _all_destinations(value), self.sites[name].axes
        return super().display(name, value)

    def permuted(self, name: str, value: Tensor, order: Tensor) -> Tensor:
        """Jumps of every pair; weights relative to the first of the new others."""
        if name == "jump_probs":
            return permuted_pairs(value, order)
        if name == "jump_weights":
            pairs = _all_destinations(value).movedim(-1, 0)
            rows = free_pairs(pairs[..., order[:, None], order]).movedim(0, -1)
            return (rows - rows[..., :1, :])[..., 1:, :]
        return super().permuted(name, value, order)

    def _table(self, predicted: Predicted | None, by_step: bool = False) -> Tensor:
        """Log-probabilities of all steps between chain states, (..., chain, chain).

        Args:
            predicted: from weights to what they predict; ``None`` if nothing is driven.
            by_step: whether that has an axis of steps, which what is not driven lacks.
        """
        value = getattr(self, self.law)
        if predicted is not None and self.dwell.is_driven:
            value = predicted(value, 1)
        law = self.dwell.events(value)
        event, rest = (log.flatten(-2).unsqueeze(-1) for log in law)
        if by_step and not self.dwell.is_driven:
            event, rest = event.unsqueeze(-3), rest.unsqueeze(-3)
        kinds, jumps = self._kinds().to(event.device), self._log_jumps(predicted)
        if by_step and "jump_probs" in self.sites:
            jumps = jumps.unsqueeze(-3)
        jump = event + jumps
        never = torch.full_like(rest, -torch.inf)
        table = torch.where(kinds == _EVENT, event, never)
        table = torch.where(kinds == _REST, rest, table)
        return torch.where(kinds == _JUMP, jump, table)

    def _log_jumps(self, predicted: Predicted | None) -> Tensor:
        """Log-probabilities of where jumps lead, for all pairs of chain states."""
        if "jump_probs" in self.sites:
            free = log_or_zero_slope(self.jump_probs)
        elif predicted is not None and "jump_weights" in self.sites:
            scores = predicted(self.jump_weights, 2)
            free = torch.nn.functional.pad(scores, (1, 0)).log_softmax(-1)
        else:
            return torch.zeros(())
        by_pair = self.expansion.expand(insert_staying(free))
        return self.expansion.expand(by_pair.mT).mT

    def _kinds(self) -> Tensor:
        """Kind of every move: event, rest or jump, (chain states, chain states)."""
        phases, is_aged = self.dwell.num_phases, self.dwell.is_aged
        before, after = torch.arange(phases - 1), torch.arange(1, phases)
        own = torch.full((phases, phases), _NOTHING)
        own[before, after] = _REST if is_aged else _EVENT
        stays = -1 if is_aged else slice(None)
        own.diagonal()[stays] = _REST
        other = torch.full((phases, phases), _NOTHING)
        other[slice(None) if is_aged else -1, 0] = _JUMP
        states = torch.eye(self.num_states or 1, dtype=torch.long)
        return torch.kron(states, own) + torch.kron(1 - states, other)


def _all_destinations(free: Tensor) -> Tensor:
    """Weights (..., origins, destinations, features) of free ones, 0 the rest."""
    return insert_staying_rows(insert_zeros(free))
