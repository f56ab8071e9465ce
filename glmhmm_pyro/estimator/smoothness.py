"""Automatic smoothness determination for filters of analog outputs.

How smooth and how large a filter is, is learnt from the data: by the evidence of the
regression of each state and output, the weights integrated out (Sahani & Linden 2003).
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor
from torch.distributions import LowRankMultivariateNormal, MultivariateNormal

from glmhmm_pyro.estimator.original_em import Ended, Problem
from glmhmm_pyro.estimator.parameters import Options
from glmhmm_pyro.estimator.trials import observed
from glmhmm_pyro.priors.lags import process_correlation

# Share of a filter's variance that is independent from bin to bin, which keeps its
# covariance invertible.
_JITTER = 1e-4

# Standard deviation of weights that belong to no filter, in those of the output.
_FREE = 1e3


def smoothed(
    problem: Problem, ended: Ended, options: Options
) -> tuple[Problem, dict[str, np.ndarray]]:
    """The fit that goes on under the smoothness learnt, and what users get of that.

    It is of the largest evidence given the states' posterior of the fit that has ended.
    """
    original, data = problem.original, problem.data
    read = original.columns("emit_w")
    # Where the last row alone is read it is an offset, or a filter of one bin.
    bins, offsets = options["num_filter_bins"], options["filter_offset"]
    filters = bins_of_filters(len(read), bins, offsets)
    start = {name: ended.history[-1][name] for name in problem.start}
    with torch.no_grad():
        hidden = ended.steps.at(ended.run.params)
        counts = hidden.expected_counts(data.emissions).emission
    known, design = observed(data)[1], data.covariates[:, read]
    scales, found = start["analog_emit_scale"], []
    for state, output in np.ndindex(*scales.shape):
        values = torch.from_numpy(known[output])
        seen = ~values.isnan()
        free = _FREE * float(values[seen].std())
        regression = Regression.of(design[seen], values[seen], counts[seen, state])
        best = regression.smoothest(filters, float(scales[state, output]), free)
        found.append((*best, covariance_of(*best, filters, len(read), free)))
    lengths, sizes, blocks = (
        torch.stack(part).unflatten(0, scales.shape) for part in zip(*found)
    )
    # A single output has no axis of its own.
    blocks = blocks if original.outputs > 1 else blocks[:, 0]
    prior = MultivariateNormal(torch.zeros(blocks.shape[:-1]).double(), blocks)
    shown = {"analog_lengths_": lengths.numpy(), "analog_sizes_": sizes.numpy()}
    return replace(problem, start=start, analog=prior), shown


def bins_of_filters(number: int, bins: int, offsets: int) -> list[int]:
    """Bins of each of the filters that come, one after another, before the offsets."""
    return [min(bins, number - offsets - i) for i in range(0, number - offsets, bins)]


def covariance_of(
    lengths: Tensor, sizes: Tensor, filters: Sequence[int], number: int, free: float
) -> Tensor:
    """Squared-exponential covariance of every filter's bins, others independent.

    Length scales (bins) and standard deviations ``sizes`` are those of the filters,
    ``free`` is that of the weights which belong to none and come last.
    """
    blocks = [
        size**2 * process_correlation(bins, length, _JITTER)
        for bins, length, size in zip(filters, lengths, sizes)
    ]
    others = free**2 * torch.eye(number - sum(filters), dtype=torch.float64)
    return torch.block_diag(*blocks, others)


class Regression(NamedTuple):
    """A weighted regression, as one on fewer rows with the same likelihood.

    Of covariates (rows, features) and values (rows,); ``number`` is the weights' sum.
    """

    design: Tensor
    values: Tensor
    number: Tensor

    @classmethod
    def of(cls, design: Tensor, values: Tensor, counts: Tensor) -> "Regression":
        """From covariates (steps, features), values and weights (steps,)."""
        rows = torch.cat([design, values[:, None]], 1) * counts.sqrt()[:, None]
        root = torch.linalg.qr(rows, mode="r").R
        return cls(root[:, :-1], root[:, -1], counts.sum())

    def log_evidence(self, covariance: Tensor, scale: Tensor) -> Tensor:
        r"""Log evidence, the weights integrated out, nats.

        .. math:: \log \int N(w; 0, C) \prod_t N(y_t; w^\top x_t, s^2)^{n_t} \, dw
        """
        spread = self.design @ torch.linalg.cholesky(covariance)
        noise = scale**2 * torch.ones_like(self.values)
        law = LowRankMultivariateNormal(torch.zeros_like(noise), spread, noise)
        missing = self.number - len(self.values)
        return law.log_prob(self.values) - missing * (math.tau * scale**2).log() / 2

    def smoothest(
        self, filters: Sequence[int], scale: float, free: float
    ) -> tuple[Tensor, Tensor]:
        """Length scales and sizes of all filters with the largest evidence.

        The noise, which begins at ``scale``, is learnt with them, so that it does not
        hold them to weights that were fitted to it.
        """
        number, features = len(filters), self.design.shape[1]
        if not number:
            return torch.zeros(0).double(), torch.zeros(0).double()
        power = self.design[:, : sum(filters)].square().sum(0).mean()
        unit = scale / float((power / self.number).sqrt())

        def objective(point: np.ndarray) -> tuple[float, np.ndarray]:
            logs = torch.from_numpy(point).requires_grad_()
            lengths, sizes = logs[:number].exp(), unit * logs[number:-1].exp()
            covariance = covariance_of(lengths, sizes, filters, features, free)
            value = self.log_evidence(covariance, scale * logs[-1].exp())
            value = -value / self.number
            (gradient,) = torch.autograd.grad(value, logs)
            return float(value.detach()), gradient.numpy()

        bounds = [(math.log(0.3), math.log(10.0 * bins)) for bins in filters]
        bounds += [(-7.0, 7.0)] * (number + 1)
        start = np.zeros(2 * number + 1)
        found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds).x
        lengths, sizes = np.exp(found[:number]), unit * np.exp(found[number:-1])
        return torch.from_numpy(lengths), torch.from_numpy(sizes)
