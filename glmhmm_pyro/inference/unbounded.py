"""Weights without a finite maximum, or with hardly one: data that are separable.

Where covariates predict an emission or a transition without error, or where one never
happens in a state, the likelihood rises as weights grow for ever (Albert & Anderson
1984). EM then ends at large, arbitrary weights, which a user has to know. So it does
where a weight is large and all that speaks against a larger one is next to nothing.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from glmhmm_pyro.components.base import Component
from glmhmm_pyro.distributions import HiddenMarkov, Output
from glmhmm_pyro.inference.coordinates import Params
from glmhmm_pyro.inference.separated import label_probs, large_weights
from glmhmm_pyro.masking import emission_log_probs, steps_observed
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.sequences import Sequences

# A finite maximum makes at least about one mistake, which costs more nats than this.
_ERROR_FREE = 0.1

# Expected number of events below which an outcome counts as never seen.
_NEVER = 0.01


def unbounded_weights(
    model: GLMHMM,
    data: Sequences,
    hidden: HiddenMarkov,
    params: Params | None = None,
) -> tuple[str, ...]:
    """One sentence for every group of weights that has no finite maximum, or hardly.

    Args:
        model: bound to the data.
        data: what it was fitted to.
        hidden: its distribution at the fitted parameters.
        params: these, by which weights are found that the data hardly bound.
    """
    found: list[str] = []
    with torch.no_grad():
        counts = hidden.expected_counts(data.emissions)
        present = hidden.smoothed_probs(data.emissions).sum(0)
        for name, output in hidden.outputs(data.emissions).items():
            what = f"emissions.{name}" if name else "emissions"
            if not _is_flat(model.components[what]):
                continue
            log_probs = emission_log_probs(*output)
            observed = steps_observed(output.mask)
            visited = counts.emission
            if observed is not None:
                visited = visited * observed[:, None]
            group = _Group(
                f"{what} in",
                "it is visited only where the output was not observed",
                *_by_state(visited, log_probs, (0,)),
                _labels_seen(output, visited),
            )
            # A density is no number of mistakes.
            if not output.is_discrete:
                group.losses.fill_(torch.inf)
            elif params is not None and group.seen is not None:
                probs = label_probs(output)
                group.large.update(
                    large_weights(model, data, params, what, probs, visited)
                )
            found += _sentences(group, present)
        if _is_flat(model.transitions):
            moves = counts.transition
            group = _Group(
                "transitions from",
                "it is visited only at the last step of a session",
                *_by_state(moves, hidden.transition_logits, (0, 2)),
                moves.sum(0),
            )
            if params is not None:
                what, probs = "transitions", hidden.transition_logits.exp()
                group.large.update(
                    large_weights(model, data, params, what, probs, moves.sum(2))
                )
            found += _sentences(group, present)
    return tuple(found)


@dataclass(frozen=True)
class _Group:
    """What is known of the outcomes of every state.

    Attributes:
        what: begins its sentences.
        unseen: why a state that is visited has no outcome, in words.
        visits: expected number of outcomes, shape (states,).
        losses: nats that they cost, shape (states,).
        seen: expected number of every outcome, shape (states, outcomes), if countable.
        large: sentences about weights that the data hardly bound, by state.
    """

    what: str
    unseen: str
    visits: Tensor
    losses: Tensor
    seen: Tensor | None
    large: dict[int, str] = field(default_factory=dict)


def _is_flat(component: Component) -> bool:
    """Whether the component has GLM weights that no penalty keeps finite."""
    site = component.sites.get("weights")
    if site is None or site.axes[-1] != "covariate":
        return False
    return site.prior is None or not getattr(site.prior, "is_proper", True)


def _by_state(
    counts: Tensor, log_probs: Tensor, axes: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """Expected visits of every state, and the nats its outcomes cost."""
    costs = torch.where(counts > 0, -counts * log_probs, 0.0)
    return counts.sum(axes), costs.sum(axes)


def _labels_seen(output: Output, counts: Tensor) -> Tensor | None:
    """Expected number of every label in every state, if the emissions are labels."""
    if not output.emission_dist.has_enumerate_support:
        return None
    labels = output.emission_dist.enumerate_support(expand=False).flatten()
    return counts.T @ (output.value[:, None] == labels).to(counts.dtype)


def _sentences(group: _Group, present: Tensor) -> list[str]:
    """At most one sentence a state, the first that is true.

    Args:
        group: outcomes of the states.
        present: expected number of steps in every state, shape (states,).
    """
    sentences, what = [], group.what
    for state, visits in enumerate(group.visits.tolist()):
        never = [] if group.seen is None else _never(group.seen[state])
        if present[state] < _NEVER:
            sentences.append(f"{what} state {state}: it is never visited")
        elif visits < _NEVER:
            sentences.append(f"{what} state {state}: {group.unseen}")
        elif group.losses[state] < _ERROR_FREE:
            sentences.append(f"{what} state {state} are predicted without error")
        elif never:
            sentences.append(f"{what} state {state} never are {never}")
        elif state in group.large:
            sentences.append(f"{what} state {state}: {group.large[state]}")
    return sentences


def _never(seen: Tensor) -> list[int]:
    """Numbers of the outcomes that never happen."""
    return (seen < _NEVER).nonzero().flatten().tolist()
