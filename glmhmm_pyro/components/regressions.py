"""Weighted regressions of counts and of measurements: values and gradients in numpy.

Each objective is the expected log-probability of one family: the gradient follows from
a step's derivatives, by its predictor and by the logarithms of its other numbers.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor

from glmhmm_pyro.components.log_gamma import stirling_rest_and_slope
from glmhmm_pyro.components.objectives import Beginning, counts_by_problem
from glmhmm_pyro.components.softmax import mean_moments, predictors, row_by_row
from glmhmm_pyro.designs import DesignLike
from glmhmm_pyro.sequences import Sequences

# Share of the unweighted second moments that keeps a rough curvature invertible.
_FLOOR = 1e-3

# Curvature that a step has at least in another number. Where one has hardly any, as
# many degrees of freedom have, a step of Newton's would never come back.
_LEAST = 0.01

# Weight of a step beyond which products of many would overflow.
_LARGEST = 1e100


class Terms(NamedTuple):
    """Log-probability of every step, and its derivatives.

    Attributes:
        log_probs: shape (problems, steps).
        slope: by the predictor, same shape.
        others: by the logarithm of each of the family's other numbers, same shapes.
        information: roughly minus the second derivative by the predictor, positive.
    """

    log_probs: np.ndarray
    slope: np.ndarray
    others: tuple[np.ndarray, ...]
    information: np.ndarray


class RegressionObjective:
    """Block objective of regressions of one number, one regression a state.

    A block's numbers are its weights, then the logarithms of its positive parameters.

    Args:
        data: where the values stand; masked steps count as never seen.
        design: covariates, shape (steps, features); an array or a ``DesignMatrix``.
    """

    def __init__(self, data: Sequences, design: DesignLike):
        values = data.emissions.to(torch.float64)
        # Any legal value serves where none was observed, and no count stands there.
        values = values if data.mask is None else torch.where(data.mask, values, 1.0)
        self.pool = row_by_row(design).pooled(values)
        self.design = self.pool.design
        self.values = values[self.pool.member].numpy()
        self.mean_moments = mean_moments(self.design)

    def terms(self, scores: np.ndarray, *others: np.ndarray) -> Terms:
        """What every step adds.

        Args:
            scores: predictors, shape (problems, steps).
            others: logarithms of the other numbers, shape (problems, 1) each.
        """
        raise NotImplementedError(f"{type(self).__name__} must define terms")

    def prepare(self, counts: Tensor) -> np.ndarray:
        """Counts (sets, steps, states) with problems first and groups of steps last."""
        return counts_by_problem(self.pool.sums(counts))

    def __call__(
        self, points: np.ndarray, which: np.ndarray, counts: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Value and gradient of the running problems, numbered sets times states."""
        own = counts[which]
        return self._summed(self._terms(points, own), own)

    def begin(self, points: np.ndarray, counts: np.ndarray) -> Beginning:
        """All problems, with minus the second derivatives, roughly."""
        terms = self._terms(points, counts)
        curvature = self._curvature(terms, counts, points.shape[1])
        return Beginning(*self._summed(terms, counts), curvature)

    def _summed(
        self, terms: Terms, counts: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Expected value and gradient under these counts (problems, steps)."""
        with np.errstate(invalid="ignore", over="ignore"):
            residuals = torch.from_numpy(counts * terms.slope)
            by_weights = residuals.new_empty(len(counts), self.design.shape[1])
            self.design.collect(residuals, by_weights)
            gradient = [by_weights.numpy()]
            gradient += [(counts * other).sum(1)[:, None] for other in terms.others]
            return (counts * terms.log_probs).sum(1), np.concatenate(gradient, 1)

    def _curvature(self, terms: Terms, counts: np.ndarray, numbers: int) -> np.ndarray:
        """Minus the second derivatives, (problems, 1, numbers, numbers), roughly.

        That of the other numbers is the sum of squared slopes, which is positive
        anywhere. None is between them and the weights.
        """
        features = self.design.shape[1]
        # Far off rates overflow, and what is left of them must still be invertible.
        weights = _finite_sums(counts * terms.information)
        found = np.zeros((len(counts), 1, numbers, numbers))
        moments = self.design.gram(torch.from_numpy(weights)).numpy()
        floor = _FLOOR * weights.sum(1)[:, None, None]
        found[:, 0, :features, :features] = moments + floor * self.mean_moments
        for i, one in enumerate(terms.others):
            for j, other in enumerate(terms.others):
                with np.errstate(invalid="ignore", over="ignore"):
                    products = _finite_sums(counts * one * other).sum(1)
                found[:, 0, features + i, features + j] = products
            found[:, 0, features + i, features + i] += _LEAST * counts.sum(1)
        return found

    def _terms(self, points: np.ndarray, counts: np.ndarray) -> Terms:
        """Those at predictors that are 0 for steps that do not count."""
        features = self.design.shape[1]
        scores = predictors(self.design, points[:, :features])
        scores = np.where(counts > 0, scores, 0.0)
        others = points[:, features:].T[:, :, None]
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            return self.terms(scores, *others)


class NormalObjective(RegressionObjective):
    """Regressions with normal noise; the other number is the scale."""

    def terms(self, scores: np.ndarray, *others: np.ndarray) -> Terms:
        """What every step adds."""
        (log_scale,) = others
        scale = np.exp(log_scale)
        deviation = (self.values - scores) / scale
        square = deviation**2
        normaliser = log_scale + math.log(2 * math.pi) / 2
        return Terms(
            -square / 2 - normaliser,
            deviation / scale,
            (square - 1,),
            scale**-2 + 0 * scores,
        )


class PoissonObjective(RegressionObjective):
    r"""Poisson regressions.

    .. math:: \sum_t n_t (y_t w^\top x_t - \exp(w^\top x_t) - \log y_t!)
    """

    def __init__(self, data: Sequences, design: DesignLike):
        super().__init__(data, design)
        self.constants = _log_factorials(self.values)

    def terms(self, scores: np.ndarray, *others: np.ndarray) -> Terms:
        """What every step adds."""
        rates = np.exp(scores)
        log_probs = self.values * scores - rates - self.constants
        return Terms(log_probs, self.values - rates, (), rates)


class NegativeBinomialObjective(RegressionObjective):
    """Negative binomial regressions; the other number is the dispersion."""

    def __init__(self, data: Sequences, design: DesignLike):
        super().__init__(data, design)
        self.constants = _log_factorials(self.values)
        self.distinct, self.place = np.unique(self.values, return_inverse=True)

    def terms(self, scores: np.ndarray, *others: np.ndarray) -> Terms:
        """What every step adds; of all that depends on counts alone, each count once.

        With r = 1 / a and p = a m / (1 + a m), as in ``NegativeBinomialByMean``.
        """
        (log_dispersion,) = others
        y, dispersion, size = (
            self.values,
            np.exp(log_dispersion),
            np.exp(-log_dispersion),
        )
        log_odds = scores + log_dispersion
        odds, missed = expit(log_odds), np.logaddexp(0.0, log_odds)
        rest, slope = stirling_rest_and_slope(size + self.distinct)
        rest_0, slope_0 = stirling_rest_and_slope(size)
        scaled = dispersion * self.distinct
        ways = (size + self.distinct - 0.5) * np.log1p(scaled) + rest - rest_0
        change = size * (np.log1p(scaled) + slope - slope_0)
        change += 0.5 * scaled / (1 + scaled)
        log_probs = ways[:, self.place] - y + y * scores - (size + y) * missed
        other = size * missed + y - (size + y) * odds - change[:, self.place]
        return Terms(
            log_probs - self.constants,
            y * (1 - odds) - size * odds,
            (other,),
            size * odds,
        )


class GammaObjective(RegressionObjective):
    """Gamma regressions; the other number is the concentration."""

    def terms(self, scores: np.ndarray, *others: np.ndarray) -> Terms:
        """What every step adds, as in ``GammaByMean``."""
        (log_form,) = others
        form, log_values = np.exp(log_form), np.log(self.values)
        log_ratio = log_values - scores
        excess = np.expm1(log_ratio)
        misfit = form * (log_ratio - excess)
        rest, slope = stirling_rest_and_slope(form)
        width = (log_form - math.log(2 * math.pi)) / 2 - rest
        log_probs = misfit + width - log_values
        others = (misfit + 0.5 - form * slope,)
        return Terms(log_probs, form * excess, others, form + 0 * scores)


class StudentTObjective(RegressionObjective):
    """Regressions with Student's t; the other numbers are scale and freedom."""

    def terms(self, scores: np.ndarray, *others: np.ndarray) -> Terms:
        """What every step adds, as in ``PreciseStudentT``.

        The curvature is that of least squares with these weights, a bound of the true
        one that is positive however far off a step is.
        """
        log_scale, log_df = others
        scale, df = np.exp(log_scale), np.exp(log_df)
        half, deviation = df / 2, (self.values - scores) / scale
        square = deviation**2
        weight, tails = (df + 1) / (df + square), np.log1p(square / df)
        more, slope_more = stirling_rest_and_slope(half + 0.5)
        rest, slope_rest = stirling_rest_and_slope(half)
        level = half * np.log1p(0.5 / half)
        normaliser = level - 0.5 + more - rest - math.log(2 * math.pi) / 2 - log_scale
        by_df = level - 0.5 * half / (half + 0.5) + half * (slope_more - slope_rest)
        by_df = by_df - half * tails + 0.5 * weight * square
        return Terms(
            normaliser - (half + 0.5) * tails,
            weight * deviation / scale,
            (weight * square - 1, by_df),
            weight / scale**2,
        )


def _log_factorials(values: np.ndarray) -> np.ndarray:
    return torch.from_numpy(values + 1).lgamma().numpy()


def _finite_sums(values: np.ndarray) -> np.ndarray:
    """Numbers of which sums are finite."""
    return np.nan_to_num(values, nan=0.0).clip(-_LARGEST, _LARGEST)


class SideBySide:
    """Block objective of several outputs, independent given the state.

    A block's numbers are the weights of one output after the other, then the first of
    the other numbers of every output, and so on.

    Args:
        parts: objective of every output, and the steps at which it was observed.
        others: how many other numbers an output has.
    """

    def __init__(self, parts: Sequence[tuple[Any, Tensor | None]], others: int = 0):
        self.parts, self.others = list(parts), others

    def prepare(self, counts: Tensor) -> list[Any]:
        """Counts (sets, steps, states) of every output, 0 where it was not observed."""
        return [
            part.prepare(counts if seen is None else counts * seen[:, None])
            for part, seen in self.parts
        ]

    def __call__(
        self, points: np.ndarray, which: np.ndarray, counts: list[Any]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Value and gradient of the running problems."""
        values, gradient = np.zeros(len(points)), np.empty_like(points)
        for (part, _), count, own in zip(self.parts, counts, self._own(points)):
            value, gradient[:, own] = part(points[:, own], which, count)
            values += value
        return values, gradient

    def begin(self, points: np.ndarray, counts: list[Any]) -> Beginning:
        """All problems; curvature is (problems, outputs, features, features).

        With other numbers a block is one row (problems, 1, numbers, numbers).
        """
        places, gradient = self._own(points), np.empty_like(points)
        found = [
            part.begin(points[:, own], count)
            for (part, _), count, own in zip(self.parts, counts, places)
        ]
        for own, one in zip(places, found):
            gradient[:, own] = one.gradient
        values = np.sum([one.values for one in found], axis=0)
        if not self.others:
            curvature = np.concatenate([one.curvature for one in found], 1)
            return Beginning(values, gradient, curvature)
        curvature = np.zeros((len(points), 1) + points.shape[1:] * 2)
        for own, one in zip(places, found):
            curvature[:, 0, own[:, None], own] = one.curvature[:, 0]
        return Beginning(values, gradient, curvature)

    def _own(self, points: np.ndarray) -> list[np.ndarray]:
        """Which of a block's numbers are those of every output."""
        number, places = len(self.parts), np.arange(points.shape[1])
        weights = places[: len(places) - number * self.others].reshape(number, -1)
        others = places[weights.size :].reshape(self.others, number)
        return [np.r_[own, others[:, i]] for i, own in enumerate(weights)]
