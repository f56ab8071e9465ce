"""How far draws of an approximation are from the posterior: the tail of their weights.

Every draw has an importance weight, its density under the posterior over that under the
approximation. Where a few weights outweigh all others, the approximation misses parts
of the posterior (Vehtari, Simpson, Gelman, Yao & Gabry 2024).
"""

import math

import torch
from torch import Tensor

# Shape of the tail above which draws cannot stand for the posterior (Vehtari et al.).
POOR = 0.7

# Smallest number of weights that a tail is fitted to, and the least that their
# logarithms must differ by to have a tail at all.
_FEWEST, _EQUAL = 20, 1e-9


def pareto_k(log_weights: Tensor) -> float:
    """Shape k of the generalised Pareto distribution of the largest weights.

    Below 0.5 the weights have a finite variance; up to 0.7 the draws, reweighted, can
    stand for their target.

    Args:
        log_weights: logarithms of the importance weights, up to a constant, shape
            (draws,). Draws that are impossible under the target have -inf.

    Returns:
        k; -inf for weights that are all equal; NaN from fewer than 96 draws.

    Example:
        >>> pareto_k(torch.zeros(100))
        -inf
    """
    draws = len(log_weights)
    size = math.ceil(min(draws / 5, 3 * draws**0.5))
    if size < _FEWEST:
        return math.nan
    ordered = log_weights.to(torch.float64).sort().values
    if not ordered[-1] - ordered[-size - 1] > _EQUAL:
        return -math.inf
    weights = (ordered - ordered[-1]).exp()
    excess = weights[-size:] - weights[-size - 1]
    return _shape(excess[excess > 0])


def poor_draws_warning(log_weights: Tensor) -> tuple[str, ...]:
    """A sentence about draws that cannot stand for the posterior, if they are poor."""
    k = pareto_k(log_weights.nan_to_num(nan=-math.inf))
    if not k > POOR:
        return ()
    return (f"the Pareto shape of their importance weights is {k:.2f}, above {POOR}",)


def _shape(excess: Tensor) -> float:
    """Shape of a tail, ascending, by Zhang & Stephens (2009), drawn a little to 0.5."""
    size = len(excess)
    points = 30 + int(size**0.5)
    number = torch.arange(1, points + 1, dtype=torch.float64)
    quartile = excess[int(size / 4 + 0.5) - 1]
    rates = 1 / excess[-1] + (1 - (points / (number - 0.5)).sqrt()) / (3 * quartile)
    shapes = torch.log1p(-rates[:, None] * excess).mean(1)
    likelihoods = size * ((-rates / shapes).log() - shapes - 1)
    rate = (likelihoods.softmax(0) * rates).sum()
    shape = float(torch.log1p(-rate * excess).mean())
    return (size * shape + 5) / (size + 10)
