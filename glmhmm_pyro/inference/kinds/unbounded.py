"""Weights without a finite maximum, or nearly so: separable data.

Where covariates predict an emission or a transition without error, or where an outcome
never happens in a state, the likelihood increases without bound in the weights (Albert
& Anderson 1984). EM then ends at large, arbitrary weights, of which users must be told;
likewise where a weight is large and the data hardly speak against a larger one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from glmhmm_pyro.chain import ExpectedCounts
from glmhmm_pyro.components.base import Component
from glmhmm_pyro.distributions import HiddenMarkov, Output
from glmhmm_pyro.distributions.shared import Shared
from glmhmm_pyro.inference.kinds.separated import (
    count_information,
    label_information,
    label_probs,
    large_weights,
)
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.masking import emission_log_probs, steps_observed
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.priors.answers import is_proper
from glmhmm_pyro.ranks import Ranks
from glmhmm_pyro.sequences import Sequences

# A finite maximum makes at least about one mistake, which costs more nats than this.
_ERROR_FREE = 0.1

# Expected number of events below which an outcome counts as never seen.
_NEVER = 0.01

# How often all states together are visited: it is never asked.
_ALWAYS = torch.tensor([torch.inf])


def unbounded_weights(
    model: GLMHMM,
    data: Sequences,
    hidden: HiddenMarkov,
    params: Params | None = None,
) -> tuple[str, ...]:
    """A sentence for every group of weights without a finite maximum, or nearly so.

    Args:
        model: bound to the data.
        data: what it was fitted to.
        hidden: its distribution at the fitted parameters.
        params: these parameters, to find weights that the data hardly determine.
    """
    with torch.no_grad():
        counts = hidden.expected_counts(data.emissions)
        present = hidden.smoothed_probs(data.emissions).sum(0)
        present = data.ranks.total(present)
        known = _Known(model, data, hidden, params, counts, present)
        groups = [*_emission_groups(known), *_transitions(known), *_first_states(known)]
        return tuple(sentence for group in groups for sentence in _sentences(group))


@dataclass(frozen=True)
class _Known:
    """What is known of a fit: its model and data, and expected counts at its end.

    Attributes:
        present: expected number of steps in every state, shape (states,).
    """

    model: GLMHMM
    data: Sequences
    hidden: HiddenMarkov
    params: Params | None
    counts: ExpectedCounts
    present: Tensor

    @property
    def ranks(self) -> Ranks:
        """The processes over which the data are spread."""
        return self.data.ranks

    def shown(self, name: str) -> Tensor | None:
        """A component's weights as users see them, if parameters are known."""
        if self.params is None:
            return None
        component = self.model.components[name]
        value = self.params[f"{name}.weights"]
        # Of moves that cannot be there are none.
        return component.display("weights", value)[0].nan_to_num()

    def guesses(self, name: str) -> Tensor | None:
        """How often a component's labels are guessed, if parameters are known."""
        if self.params is None:
            return None
        component: Any = self.model.components[name]
        prefix = f"{name}."
        own = {
            site.removeprefix(prefix): value
            for site, value in self.params.items()
            if site.startswith(prefix)
        }
        return component.guesses(own)

    def large(
        self, name: str, weights: Tensor | None, noise: Tensor, outcome: str
    ) -> dict[int, str]:
        """Sentences of :func:`large_weights`; none without parameters."""
        if weights is None or weights.dim() != 3:
            return {}
        component = self.model.components[name]
        view = component.view(self.data)
        return large_weights(component, view, weights, noise, outcome)


@dataclass(frozen=True)
class _Group:
    """What is known of the outcomes of the rows of a component.

    Attributes:
        names: of the rows (states, or all of them together), that begin sentences.
        losses: nats that their outcomes cost, shape (rows,).
        never: whether an outcome never happens, shape (rows, outcomes), if countable.
        large: sentences about weights that the data hardly bound, by row.
        present: expected number of steps in every row, shape (rows,).
        visits: expected number of outcomes, shape (rows,).
        unseen: why a row that is visited has no outcome, in words.
    """

    names: list[str]
    losses: Tensor
    never: Tensor | None = None
    large: dict[int, str] = field(default_factory=dict)
    present: Tensor = _ALWAYS
    visits: Tensor = _ALWAYS
    unseen: str = ""


def _emission_groups(known: _Known) -> Iterator[_Group]:
    """Groups of the states of every output whose weights have flat priors."""
    for name, output in known.hidden.outputs(known.data.emissions).items():
        what = output.component
        component = known.model.components[what]
        if not _has_flat_prior(component):
            continue
        if isinstance(output.emission_dist, Shared):
            output = output._replace(emission_dist=output.emission_dist.law)
        visited = component.own_counts(known.counts.emission, known.data)
        observed = steps_observed(output.mask)
        if observed is not None:
            visited = visited * observed[:, None]
        costs = emission_log_probs(*output[:3])
        visits, losses = _visits_by_state(known.ranks, visited, costs, (0,))
        if not output.is_discrete:
            # A density is no number of mistakes.
            losses = torch.full_like(losses, torch.inf)
        said = what if output.column is None else f"{what}, {name.split('.')[-1]},"
        yield _Group(
            _of_states(f"{said} in", len(visits), *component.shown_axes(("state",))),
            losses,
            _labels_never_seen(known.ranks, output, visited),
            _large_in_emissions(known, what, output, visited),
            component.own_counts(known.present, known.data),
            visits,
            "it is visited only where the output was not observed",
        )


def _large_in_emissions(
    known: _Known, what: str, output: Output, visited: Tensor
) -> dict[int, str]:
    """Sentences about an output's large weights, where it is labels or counts."""
    weights = known.shown(what)
    if weights is not None and output.column is not None:
        weights = weights[:, output.column]
    if weights is not None and weights.dim() == 2:
        weights = weights.unsqueeze(1)
    if output.emission_dist.has_enumerate_support:
        probs = label_probs(output)
        if weights is not None and weights.shape[1] == 1 and probs.shape[-1] == 2:
            weights = pad(weights, (0, 0, 1, 0))
        guesses = known.guesses(what)
        if guesses is not None and output.column is not None:
            guesses = guesses[:, output.column]
        noise = label_information(probs, visited, guesses)
        return known.large(what, weights, noise, " of class")
    if known.model.components[what].has_log_rate:
        several = " of output" if output.emission_dist.event_shape else ""
        noise = count_information(output, visited)
        return known.large(what, weights, noise, several)
    return {}


class _SeenMoves(NamedTuple):
    """Expected and predicted transitions of one chain.

    Attributes:
        name: of the component.
        said: what sentences call it.
        level: of its states, where there are two.
        counts: expected moves (steps or 1, origins, destinations).
        log_probs: of the moves, same shape.
        weights: as users see them, if parameters are known.
        present: expected number of steps in every state.
    """

    name: str
    said: str
    level: str
    counts: Tensor
    log_probs: Tensor
    weights: Tensor | None
    present: Tensor


def _chains(known: _Known) -> Iterator[_SeenMoves]:
    """The chain of the model's states, or those of its two levels.

    None for an expanded chain, whose weights have no known meaning.
    """
    moves, model = known.counts.transition, known.model
    name, logits = "transitions", known.hidden.transition_logits
    levels = model.levels
    if levels is None and model.transitions.emits is None:
        has_weights = "weights" in model.transitions.sites
        weights = known.shown(name) if has_weights else None
        yield _SeenMoves(name, name, "state", moves, logits, weights, known.present)
    if levels is None or known.params is None:
        return
    pairs = known.present.unflatten(-1, (levels.slow, levels.fast))
    present = {"slow": pairs.mT, "fast": pairs}
    for level, other in (("slow", "fast"), ("fast", "slow")):
        name, part = f"transitions.{level}", model.transitions.parts[level]
        if "weights" not in part.sites:
            continue
        counts, weights = part.own_counts(moves, known.data), known.shown(name)
        with model.at(known.params):
            logs = part.log_probs(known.data)
        if other not in part.sites["weights"].axes:
            visited = present[level].sum(-2)
            yield _SeenMoves(name, name, level, counts, logs, weights, visited)
            continue
        where = "in" if other == "slow" else "with"
        each = counts, logs, weights, present[level].unbind(-2)
        for state, own in enumerate(zip(*each)):  # type: ignore[arg-type]
            yield _SeenMoves(name, f"{name} {where} {other} state {state}", level, *own)


def _transitions(known: _Known) -> Iterator[_Group]:
    """Transitions from every state, and the weights that all of them share."""
    for chain in _chains(known):
        component, moves = known.model.components[chain.name], chain.counts
        site = component.sites.get("weights")
        if site is None:
            continue
        probs, leaves = chain.log_probs.exp(), moves.sum(2)
        noise = label_information(probs, leaves)
        weights, is_shared = chain.weights, len({*site.axes} - {"slow", "fast"}) == 2
        if is_shared:
            weights = None if weights is None else weights.unsqueeze(0)
            noise = noise.sum(1, keepdim=True)
        own = "baseline" if "baseline" in component.sites else "weights"
        visits, losses = _visits_by_state(known.ranks, moves, chain.log_probs, (0, 2))
        large = {}
        if _has_flat_prior(component):
            large = known.large(chain.name, weights, noise, " to state")
        if _has_flat_prior(component, own):
            yield _Group(
                _of_states(f"{chain.said} from", len(visits), chain.level),
                losses,
                _never_observed(known.ranks, moves.sum(0), probs, leaves),
                {} if is_shared else large,
                chain.present,
                visits,
                "it is visited only at the last step of a session",
            )
        if is_shared and _has_flat_prior(component):
            yield _Group([chain.said], losses.sum(0, keepdim=True), large=large)


def _first_states(known: _Known) -> Iterator[_Group]:
    """First states that covariates of the sessions predict."""
    if not _has_flat_prior(known.model.initial):
        return
    fold = known.hidden.expansion.fold_first
    log_probs = fold(known.hidden.initial_logits.exp()).log()
    counts = fold(known.counts.initial)
    losses = _visits_by_state(known.ranks, counts, log_probs, (0, 1))[1]
    probs, sessions = log_probs.exp().unsqueeze(1), counts.sum(1, keepdim=True)
    noise = label_information(probs, sessions)
    weights = known.shown("initial")
    weights = None if weights is None else weights.unsqueeze(0)
    yield _Group(
        ["first states"],
        losses.reshape(1),
        _never_observed(known.ranks, counts.sum(0, keepdim=True), probs, sessions),
        known.large("initial", weights, noise, " of state"),
    )


def _of_states(what: str, states: int, level: str = "state") -> list[str]:
    """Names of the rows that are states, of one level where there are two."""
    called = "state" if level == "state" else f"{level} state"
    return [f"{what} {called} {state}" for state in range(states)]


def _has_flat_prior(component: Component, name: str = "weights") -> bool:
    """Whether the component has parameters of a GLM that no penalty keeps finite."""
    site = component.sites.get(name)
    if site is None or name == "weights" and site.axes[-1] != "covariate":
        return False
    return not is_proper(site.prior)


def _visits_by_state(
    ranks: Ranks, counts: Tensor, log_probs: Tensor, axes: tuple[int, ...]
) -> tuple[Tensor, ...]:
    """Expected visits of every state, and the nats its outcomes cost."""
    costs = torch.where(counts > 0, -counts * log_probs, 0.0)
    return ranks.totals(counts.sum(axes), costs.sum(axes))


def _labels_never_seen(ranks: Ranks, output: Output, counts: Tensor) -> Tensor | None:
    """Which labels never happen in which state, if the emissions are labels."""
    if not output.emission_dist.has_enumerate_support:
        return None
    labels = output.emission_dist.enumerate_support(expand=False).flatten()
    seen = counts.T @ (output.value[:, None] == labels).to(counts.dtype)
    return _never_observed(ranks, seen, label_probs(output), counts)


def _sentences(group: _Group) -> list[str]:
    """At most one sentence per row, the first that applies."""
    sentences = []
    for row, name in enumerate(group.names):
        never = [] if group.never is None else group.never[row].nonzero()[:, 0].tolist()
        if group.present[row] < _NEVER:
            sentences.append(f"{name}: it is never visited")
        elif group.visits[row] < _NEVER:
            sentences.append(f"{name}: {group.unseen}")
        elif group.losses[row] < _ERROR_FREE:
            sentences.append(f"{name} are predicted without error")
        elif never:
            sentences.append(f"{name} never are {never}")
        elif row in group.large:
            sentences.append(f"{name}: {group.large[row]}")
    return sentences


def _never_observed(
    ranks: Ranks, seen: Tensor, probs: Tensor, counts: Tensor
) -> Tensor:
    """Outcomes that never happen and have no probability, shape (rows, outcomes).

    Without a constant column an outcome that never happens may have a positive
    probability at a finite maximum.

    Args:
        ranks: over which the steps are spread.
        seen: expected number of every outcome, shape (rows, outcomes).
        probs: of the outcomes, shape (steps or 1, rows, outcomes).
        counts: expected numbers of outcomes, shape (steps, rows).
    """
    expected = (counts.unsqueeze(-1) * probs).sum(0)
    seen, expected = ranks.totals(seen, expected)
    return (seen < _NEVER) & (expected < _ERROR_FREE)
