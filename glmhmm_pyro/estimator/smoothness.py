"""Automatic smoothness determination for filters of analog outputs.

How smooth and how large a filter is, is learnt from the data: by the evidence of the
regression of each state and output, the weights integrated out (Sahani & Linden 2003).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor
from torch.distributions import MultivariateNormal

from glmhmm_pyro.designs import DesignMatrix
from glmhmm_pyro.estimator.original_em import Ended, Problem
from glmhmm_pyro.estimator.trials import analog_names, observed
from glmhmm_pyro.priors.lags import process_correlation

# Share of a filter's variance that is independent from bin to bin, which keeps its
# covariance invertible.
_JITTER = 1e-4

# Standard deviation of weights that belong to no filter, in those of the output.
_FREE = 1e3


def filters_of(
    columns: Sequence[int], num_features: int, bins: int, offsets: int
) -> list[list[int]]:
    """Places of the filters among columns that are read."""
    place = {column: i for i, column in enumerate(columns)}
    whole = num_features - offsets
    filters = [range(i, min(i + bins, whole)) for i in range(0, whole, bins)]
    found = [[place[i] for i in one if i in place] for one in filters]
    return [one for one in found if one]


def smoothed(
    problem: Problem, ended: Ended, options: Mapping[str, Any]
) -> tuple[Problem, dict[str, np.ndarray]]:
    """The fit that goes on under the smoothness learnt, and what users get of that.

    That is the normal prior of the analog outputs' weights with the largest evidence,
    given the states' posterior.

    Args:
        problem: what was fitted.
        ended: the fit whose posterior and noise the search begins with.
        options: the estimator's parameters, which say what a filter is.
    """
    original, data = problem.original, problem.data
    states, outputs = original.rows["analog_emit_w"]
    read, bins = original.columns("emit_w"), int(options["num_filter_bins"])
    offsets = int(options["filter_offset"])
    filters = filters_of(read, original.num_features, bins, offsets)
    start = {name: ended.history[-1][name] for name in problem.start}
    with torch.no_grad():
        hidden = ended.steps.at(ended.run.params)
        counts = hidden.expected_counts(data.emissions).emission
    known, design = observed(data), data.operator("covariates").columns(read)
    rows = [torch.from_numpy(known[name]) for name in analog_names(outputs)]
    found: list[tuple[Tensor, ...]] = []
    for state, output in np.ndindex(states, outputs):
        seen = ~rows[output].isnan()
        values = rows[output][seen]
        moments = Moments.of(design.at(seen), values, counts[seen, state])
        free = _FREE * float(values.std())
        scale = float(start["analog_emit_scale"][state, output])
        best = _largest_evidence(moments, filters, scale, free)
        found.append((*best, covariance_of(*best, filters, moments, free)))
    lengths, sizes, blocks = (
        torch.stack(part).unflatten(0, (states, outputs)) for part in zip(*found)
    )
    # A single output has no axis of its own.
    blocks = blocks if outputs > 1 else blocks[:, 0]
    prior = MultivariateNormal(torch.zeros(blocks.shape[:-1]).double(), blocks)
    shown = {"analog_lengths_": lengths.numpy(), "analog_sizes_": sizes.numpy()}
    return replace(problem, start=start, analog=prior), shown


@dataclass(frozen=True)
class Moments:
    """What a weighted regression needs of its data.

    Attributes:
        square: sum of weight times x x', shape (features, features).
        cross: sum of weight times x y, shape (features,).
        power: sum of weight times y squared.
        number: sum of the weights.
    """

    square: Tensor
    cross: Tensor
    power: Tensor
    number: Tensor

    @classmethod
    def of(cls, design: DesignMatrix, values: Tensor, counts: Tensor) -> "Moments":
        """Weighted moments of covariates (steps, features) and values (steps,)."""
        return cls(
            design.gram(counts),
            (counts * values) @ design,
            (counts * values.square()).sum(),
            counts.sum(),
        )


def covariance_of(
    lengths: Tensor,
    sizes: Tensor,
    filters: Sequence[Sequence[int]],
    moments: Moments,
    free: float,
) -> Tensor:
    """Squared-exponential covariance of every filter's bins, others independent."""
    features = len(moments.cross)
    inside = [column for one in filters for column in one]
    diagonal = torch.full((features,), free**2, dtype=torch.float64)
    diagonal[inside] = 0.0
    whole = torch.diag(diagonal)
    for columns, length, size in zip(filters, lengths, sizes):
        block = size**2 * process_correlation(len(columns), length, _JITTER)
        where = torch.tensor(columns)
        whole = whole.index_put((where[:, None], where), block)
    return whole


def regression_log_evidence(
    moments: Moments, covariance: Tensor, scale: Tensor
) -> Tensor:
    r"""Log evidence of a weighted regression, its weights integrated out, nats.

    .. math:: \log \int N(w; 0, C) \prod_t N(y_t; w^\top x_t, s^2)^{n_t} \, dw
    """
    noise = scale**2
    root = torch.linalg.cholesky(covariance)
    inner = root.T @ moments.square @ root / noise
    factor = torch.linalg.cholesky(inner + torch.eye(len(inner)).double())
    half = torch.linalg.solve_triangular(
        factor, (root.T @ moments.cross / noise)[:, None], upper=False
    )
    fit = half.square().sum() - moments.power / noise
    constant = moments.number * torch.log(2 * torch.pi * noise)
    return (fit - constant) / 2 - factor.diagonal().log().sum()


def _largest_evidence(
    moments: Moments, filters: Sequence[Sequence[int]], scale: float, free: float
) -> tuple[Tensor, Tensor]:
    """Length scales and sizes of all filters with the largest evidence.

    The noise is learnt with them, so that it does not hold them to weights that were
    fitted to it.
    """
    number = len(filters)
    if not number:
        return torch.zeros(0).double(), torch.zeros(0).double()
    mean = moments.square.diagonal()[[i for one in filters for i in one]].mean()
    unit = scale / float((mean / moments.number).sqrt())

    def objective(point: np.ndarray) -> tuple[float, np.ndarray]:
        logs = torch.from_numpy(point).requires_grad_()
        lengths, sizes = logs[:number].exp(), unit * logs[number:-1].exp()
        covariance = covariance_of(lengths, sizes, filters, moments, free)
        value = -regression_log_evidence(moments, covariance, scale * logs[-1].exp())
        value = value / moments.number
        (gradient,) = torch.autograd.grad(value, logs)
        return float(value.detach()), gradient.numpy()

    longest = [np.log(10.0 * len(one)) for one in filters]
    bounds = [(np.log(0.3), far) for far in longest] + [(-7.0, 7.0)] * (number + 1)
    start = np.zeros(2 * number + 1)
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    sizes = unit * np.exp(found[number:-1])
    return torch.from_numpy(np.exp(found[:number])), torch.from_numpy(sizes)
