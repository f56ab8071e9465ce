"""Large weights that the data hardly determine: nearly separated states.

Where covariates predict the outcomes of a state almost without error, the likelihood is
flat in growing weights long before its maximum, if there is one. Such a weight is large
relative to its covariate's spread, and the data carry hardly any information on it.
"""

import torch
from torch import Tensor

from glmhmm_pyro.components.base import Component
from glmhmm_pyro.designs import DesignMatrix
from glmhmm_pyro.distributions import Output
from glmhmm_pyro.sequences import Sequences

# Change of a predictor by one standard deviation of a covariate from which a weight is
# large: it takes one label from 1 to 99 percent within less than two of them.
_LARGE = 5.0

# A weight is hardly bound if it is less than so many of its standard errors.
_ERRORS = 2.0

# Information that is none, times the weight squared.
_NOTHING = 1e-2


def label_probs(output: Output) -> Tensor:
    """Probabilities of every label, shape (steps, states, labels)."""
    labels = output.emission_dist.enumerate_support(expand=False)
    return output.emission_dist.log_prob(labels).exp().movedim(0, -1)


def label_information(
    probs: Tensor, counts: Tensor, guesses: Tensor | None = None
) -> Tensor:
    r"""Information about the predictor of every outcome of a softmax, each on its own.

    Where outcomes are guessed now and then, with :math:`p = r q + g`, it is

    .. math:: \sum_j (\partial p_j / \partial \eta_c)^2 / p_j =
        r^2 q_c^2 \Big( (1 - 2 q_c) / p_c + \sum_j q_j^2 / p_j \Big)

    Args:
        probs: p, of the outcomes, shape (steps or 1, states, outcomes).
        counts: expected numbers of outcomes, shape (steps, states).
        guesses: r and g, shape (states, 1 + outcomes).
    """
    if guesses is None:
        return counts.unsqueeze(-1) * probs * (1 - probs)
    rate, guessed = guesses[:, :1], guesses[:, 1:]
    tiny = torch.finfo(rate.dtype).tiny
    own = ((probs - guessed) / rate.clamp(min=tiny)).clamp(min=0)
    squares = (own**2 / probs).nan_to_num()
    among = own**2 * squares.sum(-1, keepdim=True) + squares * (1 - 2 * own)
    return counts.unsqueeze(-1) * rate**2 * among.clamp(min=0)


def count_information(output: Output, counts: Tensor) -> Tensor:
    """Information about logarithms of means, shape (steps, states, outputs)."""
    family = output.emission_dist
    # Where the mean is 0, so is what is known of its logarithm.
    known = (family.mean**2 / family.variance).nan_to_num(0.0)
    known = known.reshape(*counts.shape, -1)
    if output.mask is not None and output.mask.dim() > 1:
        known = known * output.mask[:, None]
    return counts.unsqueeze(-1) * known


def large_weights(
    component: Component,
    view: Sequences,
    weights: Tensor,
    noise: Tensor,
    outcome: str,
) -> dict[int, str]:
    """A sentence about the largest weakly determined weight, by row.

    Args:
        component: whose predictors are products of covariates and weights.
        view: what it reads of the data.
        weights: of every outcome, shape (rows, outcomes, features); a row is a state,
            or all of them together.
        noise: information about the predictors, shape (steps or 1, rows, outcomes).
        outcome: what comes before the number of an outcome in a sentence; nothing
            where there is but one.
    """
    design = component.operator(view)
    if weights.shape[:-1] != noise.shape[1:] or len(noise) not in (1, len(design)):
        return {}
    design, size = _standardised(design.to(noise))
    if "baseline" in component.sites:
        # It takes up whatever the covariates are centred about.
        design = design.with_constant()
    relative = weights * size
    hardly = torch.zeros_like(relative, dtype=torch.bool)
    for row, column in (relative.abs() > _LARGE).any(-1).nonzero().tolist():
        large = relative[row, column].abs()
        ridge = _NOTHING / large.max() ** 2
        errors = _conditional_errors(design, noise[:, row, column], ridge)[: len(size)]
        hardly[row, column] = (large > _LARGE) & (large < _ERRORS * errors)
    columns = component.covariate_names or range(len(size))
    found = {}
    for row in hardly.flatten(1).any(1).nonzero().flatten().tolist():
        sizes = torch.where(hardly[row], relative[row].abs(), 0.0)
        number, place = divmod(int(sizes.argmax()), sizes.shape[-1])
        found[row] = (
            f"the weight of {columns[place]!r}{outcome and f'{outcome} {number}'} is "
            f"{relative[row, number, place]:.3g} in units of the covariate's spread, "
            "which the data hardly bound"
        )
    return found


def _standardised(design: DesignMatrix) -> tuple[DesignMatrix, Tensor]:
    """Columns scaled to standard deviation 1, and the scales; 1 for constant columns.

    They are centred if there is a constant column.
    """
    mean, (low, high) = design.means(), design.extent()
    spread = design.moved(mean, 1.0).means(power=2).sqrt()
    is_constant = spread <= 1e-9 * torch.maximum(low.abs(), high.abs())
    centre = torch.where(is_constant | ~is_constant.any(), 0.0, mean)
    size = torch.where(is_constant, design.means(power=2).sqrt(), spread)
    size = torch.where(size > 0, size, 1.0)
    return design.moved(centre, size), size


def _conditional_errors(design: DesignMatrix, noise: Tensor, ridge: Tensor) -> Tensor:
    """Standard errors of the weights of one outcome, given those of all others.

    Args:
        design: shape (steps, features).
        noise: information about the predictor, shape (steps or 1,).
        ridge: information that is none.
    """
    information = design.ranks.total(design.gram(noise.expand(len(design))))
    information = information + ridge * torch.eye(len(information)).to(information)
    return torch.linalg.inv(information).diagonal().clamp(min=0).sqrt()
