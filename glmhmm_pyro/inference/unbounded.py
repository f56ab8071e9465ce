"""Weights without a finite maximum: separable data under a flat prior.

Where covariates predict an emission or a transition without error, or where one never
happens in a state, the likelihood rises as weights grow for ever (Albert & Anderson
1984). EM then ends at large, arbitrary weights, which a user has to know.
"""

import torch
from torch import Tensor

from glmhmm_pyro.components.base import Component
from glmhmm_pyro.distributions import HiddenMarkov, Output
from glmhmm_pyro.masking import emission_log_probs, steps_observed
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.sequences import Sequences

# A finite maximum makes at least about one mistake, which costs more nats than this.
_ERROR_FREE = 0.1

# Expected number of events below which an outcome counts as never seen.
_NEVER = 0.01


def unbounded_weights(
    model: GLMHMM, data: Sequences, hidden: HiddenMarkov
) -> tuple[str, ...]:
    """One sentence for every group of weights that has no finite maximum.

    Args:
        model: bound to the data.
        data: what it was fitted to.
        hidden: its distribution at the fitted parameters.
    """
    found: list[str] = []
    with torch.no_grad():
        counts = hidden.expected_counts(data.emissions)
        for name, output in hidden.outputs(data.emissions).items():
            what = f"emissions.{name}" if name else "emissions"
            if not _is_flat(model.components[what]):
                continue
            log_probs = emission_log_probs(*output)
            observed = steps_observed(output.mask)
            visited = counts.emission
            if observed is not None:
                visited = visited * observed[:, None]
            seen = _labels_seen(output, visited)
            visits, losses = _by_state(visited, log_probs, (0,))
            # A density is no number of mistakes.
            losses = losses if output.is_discrete else losses.fill_(torch.inf)
            found += _sentences(f"{what} in", visits, losses, seen)
        if _is_flat(model.transitions):
            moves = counts.transition
            visits, losses = _by_state(moves, hidden.transition_logits, (0, 2))
            found += _sentences("transitions from", visits, losses, moves.sum(0))
    return tuple(found)


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


def _sentences(
    what: str, visits: Tensor, losses: Tensor, seen: Tensor | None
) -> list[str]:
    """At most one sentence a state, the first that is true."""
    sentences = []
    for state, (visited, loss) in enumerate(zip(visits.tolist(), losses.tolist())):
        never = (
            [] if seen is None else (seen[state] < _NEVER).nonzero().flatten().tolist()
        )
        if visited < _NEVER:
            sentences.append(f"{what} state {state}: it is never visited")
        elif loss < _ERROR_FREE:
            sentences.append(f"{what} state {state} are predicted without error")
        elif never:
            sentences.append(f"{what} state {state} never are {never}")
    return sentences
