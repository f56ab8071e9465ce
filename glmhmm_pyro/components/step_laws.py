"""Laws of one step's emission by state, in numpy: for experiments that can't wait.

A table of torch takes a tenth of a millisecond for a single step, whose arithmetic
takes a hundredth. Arrays have the shape (sets of parameters, 1, states, ...), as tables
of a single step do.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from scipy.special import gammaln, xlogy
from torch import Tensor
from torch.distributions import Distribution

from glmhmm_pyro.components.log_gamma import HALF_LOG_2_PI, stirling_rest_in_numpy
from glmhmm_pyro.concurrency import usual_modes
from glmhmm_pyro.distributions import expected_emission, inner_name
from glmhmm_pyro.masking import emission_log_probs


class EmissionLaw(Protocol):
    """The law of one step's emission, by set of parameters and state."""

    def accepts(self, value: np.ndarray, seen: np.ndarray) -> bool:
        """Whether it can emit what was seen of these numbers."""

    def log_probs(self, value: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """Log density (sets, 1, states) of what was seen of an emission (*event)."""

    def expected(self) -> dict[str, np.ndarray]:
        """Probabilities of labels, else means, (sets, 1, states, ...), by output."""


# From the covariates of a step (features,) to the law of its emission.
StepLaw = Callable[[np.ndarray], EmissionLaw]


class HasStepLaw:
    """What a generalised linear model does to give the law of one step quickly."""

    is_linear: Any
    varies_over: Any
    weights: Any
    sites: Any
    distribution: Callable[..., Distribution]
    _other_parameters: Callable[..., Any]

    def step_law(self) -> StepLaw | None:
        """Predictors by a product in numpy; see :meth:`predicted_law`."""
        if not self.is_linear or self.varies_over:
            return None
        others = {
            name: _beside_steps(value, own, by_state)
            for name, value, own, _, by_state in self._other_parameters(self.weights)
        }
        axes = len(self.sites["weights"].axes)
        own = self.weights.shape[self.weights.dim() - axes :]
        rows = self.weights.detach().double().reshape(-1, own[-1]).numpy()
        law, shape = self.predicted_law(**others), (-1, 1, *own[:-1])
        return lambda covariates: law((rows @ covariates).reshape(shape))

    def predicted_law(self, **parameters: Tensor) -> StepLaw:
        """The same from linear predictors; a law of this file's is quicker.

        Args:
            parameters: as for ``distribution``, (sets, 1, states or 1, ...).
        """
        return lambda predictor: TorchLaw(
            self.distribution(torch.from_numpy(predictor), **parameters)
        )


def _beside_steps(value: Tensor, own: int, by_state: bool) -> Tensor:
    """A parameter (sets, 1, states or 1, ...), beside predictors of one step.

    Args:
        value: shape (*sets, states, ...), or (*sets, ...).
        own: number of axes of its own.
        by_state: whether it has one of states.
    """
    shape = value.shape[value.dim() - own - by_state :]
    shape = shape if by_state else torch.Size([1]) + shape
    return value.detach().double().reshape((-1, 1) + shape)


class TorchLaw:
    """That of any family, by its distribution.

    Args:
        emission_dist: batch shape (*sets, 1, states).
    """

    def __init__(self, emission_dist: Distribution):
        self.emission_dist = emission_dist

    @usual_modes()
    def accepts(self, value: np.ndarray, seen: np.ndarray) -> bool:
        """Whether all are in the support."""
        support: Any = self.emission_dist.support
        given = torch.as_tensor(np.where(seen, value, value[seen][:1]))
        return bool(support.check(given).all())

    @usual_modes()
    def log_probs(self, value: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """As a table of one step has them."""
        mask = None if seen.all() else torch.as_tensor(seen)[None]
        given = torch.as_tensor(value, dtype=torch.float64)[None]
        with torch.no_grad():
            found = emission_log_probs(self.emission_dist, given, mask)
        return found.reshape((-1,) + found.shape[-2:]).numpy()

    @usual_modes()
    def expected(self) -> dict[str, np.ndarray]:
        """As a prediction of one step has them."""
        split = getattr(self.emission_dist, "outputs", None)
        parts = {"": self.emission_dist}
        if split is not None:
            event = torch.zeros((1,) + self.emission_dist.event_shape)
            outputs = split(event, None)
            parts = {name: output.emission_dist for name, output in outputs.items()}
        return {name: _expected_by_state(part) for name, part in parts.items()}


def _expected_by_state(emission_dist: Distribution) -> np.ndarray:
    """What is expected in each state, (sets, 1, states, ...)."""
    batch = emission_dist.batch_shape
    states, number = batch[-1], len(batch)
    certain = torch.eye(states, dtype=torch.float64)
    certain = certain.reshape((states,) + (1,) * (number - 1) + (states,))
    with torch.no_grad():
        found = expected_emission(emission_dist, certain.expand((states,) + batch))
    found = found.movedim(0, number - 1)
    return found.reshape((-1,) + found.shape[number - 2 :]).numpy()


class LabelLaw:
    """Labels.

    Args:
        log_probs_of: log-probabilities, shape (sets, 1, states, classes).
    """

    def __init__(self, log_probs_of: np.ndarray):
        self.log_probs_of = log_probs_of

    def accepts(self, value: np.ndarray, seen: np.ndarray) -> bool:
        """Whether it is a whole number of a class."""
        number = float(value)
        return 0 <= number < self.log_probs_of.shape[-1] and number.is_integer()

    def log_probs(self, value: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """That of the label."""
        return self.log_probs_of[..., int(value)]

    def expected(self) -> dict[str, np.ndarray]:
        """Probabilities of all labels."""
        return {"": np.exp(self.log_probs_of)}


class LabelsLaw(LabelLaw):
    """Labels of several outputs, independent given the state.

    Args:
        log_probs_of: log-probabilities, shape (sets, 1, states, outputs, classes).
        names: of the outputs.
    """

    def __init__(self, log_probs_of: np.ndarray, names: Sequence[str]):
        super().__init__(log_probs_of)
        self.names = names

    def accepts(self, value: np.ndarray, seen: np.ndarray) -> bool:
        """Whether all are whole numbers of classes."""
        is_class = (value >= 0) & (value < self.log_probs_of.shape[-1])
        return bool((is_class & (value == np.floor(value)) | ~seen).all())

    def log_probs(self, value: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """Sum of those of the labels that were seen."""
        labels = np.where(seen, value, 0).astype(int)
        each = self.log_probs_of[..., np.arange(len(labels)), labels]
        return np.where(seen, each, 0.0).sum(-1)

    def expected(self) -> dict[str, np.ndarray]:
        """Probabilities of all labels, by output."""
        probs = np.exp(self.log_probs_of)
        return {name: probs[..., i, :] for i, name in enumerate(self.names)}


def log_probs_of_odds(log_odds: np.ndarray) -> np.ndarray:
    """Log-probabilities (..., 2) of two labels."""
    return -np.logaddexp(0.0, np.stack([log_odds, -log_odds], -1))


def log_probs_of_free(free: np.ndarray) -> np.ndarray:
    """Log-probabilities (..., classes), from logits of all but the first, that is 0."""
    logits = np.concatenate([np.zeros_like(free[..., :1]), free], -1)
    top = logits.max(-1, keepdims=True)
    total = np.exp(logits - top).sum(-1, keepdims=True)
    return logits - top - np.log(total)


class _Numbers:
    """Numbers that are independent given the state, one or several.

    Args:
        mean: shape (sets, 1, states) or (sets, 1, states, outputs).
    """

    def __init__(self, mean: np.ndarray):
        self.mean = mean

    def log_probs(self, value: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """Of the only number, or the sum over those that were seen."""
        each = self.each(value)
        return each if not value.ndim else np.where(seen, each, 0.0).sum(-1)

    def each(self, value: np.ndarray) -> np.ndarray:
        """Log density of every number."""
        raise NotImplementedError

    def expected(self) -> dict[str, np.ndarray]:
        """The means."""
        return {"": self.mean}


class PoissonLaw(_Numbers):
    """Counts, by their means."""

    def accepts(self, value: np.ndarray, seen: np.ndarray) -> bool:
        """Whether all are counts."""
        counts = (value >= 0) & (value == np.floor(value))
        return bool((counts | ~seen).all())

    def each(self, value: np.ndarray) -> np.ndarray:
        """Log-probability of every count."""
        log_prob: np.ndarray = xlogy(value, self.mean) - self.mean - gammaln(value + 1)
        return log_prob


class NormalLaw(_Numbers):
    """Normal numbers, by their means and standard deviations."""

    def __init__(self, mean: np.ndarray, scale: np.ndarray):
        super().__init__(mean)
        self.scale = scale

    def accepts(self, value: np.ndarray, seen: np.ndarray) -> bool:
        """Whether all are finite."""
        return bool((np.isfinite(value) | ~seen).all())

    def each(self, value: np.ndarray) -> np.ndarray:
        """Log density of every number."""
        shift = (value - self.mean) / self.scale
        found: np.ndarray = -0.5 * shift**2 - np.log(self.scale) - HALF_LOG_2_PI
        return found


class StudentTLaw(_Numbers):
    """Numbers with heavy tails; see :class:`PreciseStudentT`.

    Args:
        location: where their density is highest, their mean where they have one.
        scale: of the deviations from it.
        df: degrees of freedom.
        log_peak: log density at the location.
    """

    def __init__(
        self,
        location: np.ndarray,
        scale: np.ndarray,
        df: np.ndarray,
        log_peak: np.ndarray,
    ):
        super().__init__(np.where(df > 1, location, np.nan))
        self.location, self.scale, self.df = location, scale, df
        self.log_peak = log_peak

    def accepts(self, value: np.ndarray, seen: np.ndarray) -> bool:
        """Whether all are finite."""
        return bool((np.isfinite(value) | ~seen).all())

    def each(self, value: np.ndarray) -> np.ndarray:
        """Log density of every number."""
        square = ((value - self.location) / self.scale) ** 2
        found: np.ndarray = self.log_peak - (self.df + 1) / 2 * np.log1p(
            square / self.df
        )
        return found


class GammaLaw(_Numbers):
    """Positive numbers; see :class:`GammaByMean`.

    Args:
        log_mean: logarithms of their means.
        concentration: 1 is exponential.
        log_peak: log density of the logarithm of a number at that of the mean, and the
            concentration.
    """

    def __init__(
        self, log_mean: np.ndarray, concentration: np.ndarray, log_peak: np.ndarray
    ):
        super().__init__(np.exp(log_mean))
        self.log_mean, self.concentration = log_mean, concentration
        self.log_peak = log_peak

    def accepts(self, value: np.ndarray, seen: np.ndarray) -> bool:
        """Whether all are positive."""
        return bool(((value > 0) | ~seen).all())

    def each(self, value: np.ndarray) -> np.ndarray:
        """Log density of every number."""
        log_value = np.log(value)
        ratio = log_value - self.log_mean
        misfit: np.ndarray = self.concentration * (ratio - np.expm1(ratio))
        return misfit + self.log_peak - log_value


class NegativeBinomialLaw(PoissonLaw):
    """Counts that vary more than Poisson ones; see :class:`NegativeBinomialByMean`.

    Args:
        log_mean: logarithms of their means.
        dispersion: what variances have beyond the means, by these squared.
    """

    def __init__(self, log_mean: np.ndarray, dispersion: np.ndarray):
        super().__init__(np.exp(log_mean))
        self.log_mean, self.dispersion = log_mean, dispersion

    def each(self, value: np.ndarray) -> np.ndarray:
        """Log-probability of every count."""
        shape = 1 / self.dispersion
        rest = stirling_rest_in_numpy(np.stack([shape + value, shape]))
        ways = (shape + value - 0.5) * np.log1p(self.dispersion * value) - value
        missed = (shape + value) * np.log1p(self.dispersion * self.mean)
        kept = value * self.log_mean - gammaln(value + 1)
        found: np.ndarray = ways + rest[0] - rest[1] + kept - missed
        return found


class ProductLaw:
    """Several outputs side by side.

    Args:
        laws: that of every output, by name.
        places: where each stands in a value: a number, or a list of them.
    """

    def __init__(self, laws: dict[str, EmissionLaw], places: dict[str, Any]):
        self.laws, self.places = laws, places

    def accepts(self, value: np.ndarray, seen: np.ndarray) -> bool:
        """Whether every output can be what it is, or was not seen."""
        return all(law.accepts(*part) for law, part in self._seen(value, seen))

    def log_probs(self, value: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """The sum over those of which something was seen."""
        terms = [law.log_probs(*part) for law, part in self._seen(value, seen)]
        return sum(terms[1:], terms[0])

    def _seen(
        self, value: np.ndarray, seen: np.ndarray
    ) -> Iterator[tuple[EmissionLaw, tuple[np.ndarray, np.ndarray]]]:
        """Laws of outputs of which something was seen, and what."""
        value, seen = np.atleast_1d(value), np.atleast_1d(seen)
        for name, law in self.laws.items():
            place = self.places[name]
            if np.any(seen[place]):
                yield law, (value[place], seen[place])

    def expected(self) -> dict[str, np.ndarray]:
        """Those of all outputs."""
        return {
            inner_name(name, own): found
            for name, law in self.laws.items()
            for own, found in law.expected().items()
        }
