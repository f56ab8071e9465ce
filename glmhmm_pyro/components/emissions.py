"""Distributions of an emission given the hidden state and the covariates.

A family is one class with ``__init__`` and one method: :meth:`Emission.forward`, or
for a generalised linear model :meth:`GLMEmission.distribution`.
"""

from typing import Any

import numpy as np
import pyro.distributions as dist
from pyro.nn import pyro_method
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import pad

from glmhmm_pyro.components.base import Component, Site, insert_zeros
from glmhmm_pyro.components.softmax import SoftmaxRegression, Targets
from glmhmm_pyro.distributions import emission_log_probs
from glmhmm_pyro.priors.filling import Prior


class Emission(Component):
    """Distribution of an emission given the hidden state and the covariates.

    A family writes ``forward`` alone, broadcasting over ``state``. An enumerated state
    serves :func:`pyro.markov`, a sampled one the simulator, and all states at once give
    the table of likelihoods that EM, MAP, SVI and NUTS share.
    """

    def forward(self, state: Tensor, covariates: Tensor) -> Distribution:
        """Distribution of the emission.

        Args:
            state: hidden state, shape (*shape).
            covariates: shape (*shape, features).
        """
        raise NotImplementedError(
            f"{type(self).__name__} must define forward(state, covariates), the "
            "distribution of the emission"
        )

    @pyro_method
    def table(self, design: Tensor) -> Distribution:
        """Batch of distributions, batch shape (*batch, steps, states).

        Args:
            design: covariates, shape (steps, features).
        """
        return self(self.all_states(design.device), design.unsqueeze(-2))

    @pyro_method
    def log_probs(self, data: Any) -> Tensor:
        """log p(y_t | z_t = k), 0 where masked, shape (*batch, steps, states)."""
        table = self.table(self.design(data))
        return emission_log_probs(table, data.emissions, data.mask)


class GLMEmission(Emission):
    r"""Generalised linear model: the covariates act through linear predictors.

    A family writes :meth:`distribution` alone. One product of the design and all
    weights then gives the whole table.

    Args:
        outputs: axes of the predictor of one state, as (name, size); none for a scalar.
        prior: distribution that broadcasts to the weights (states, *outputs, features),
            or ``None`` for flat.
    """

    blocks = "state"
    batched = True
    weights: Any

    def __init__(self, *outputs: tuple[str, int], prior: Prior = None):
        super().__init__()
        self.prior = prior
        self.weights = Site("state", *outputs, "covariate", prior=prior)

    def distribution(self, predictor: Tensor) -> Distribution:
        """Distribution of the emission from linear predictors (..., *outputs)."""
        raise NotImplementedError(
            f"{type(self).__name__} must define distribution(predictor), the "
            "distribution of the emission"
        )

    def forward(self, state: Tensor, covariates: Tensor) -> Distribution:
        """The family's distribution at the state's linear predictors."""
        outputs = len(self.sites["weights"].axes) - 2
        weights = self.weights.to(covariates.dtype)
        weights = weights[(..., state) + (slice(None),) * (outputs + 1)]
        covariates = covariates[(...,) + (None,) * outputs + (slice(None),)]
        return self.distribution((weights * covariates).sum(-1))

    @pyro_method
    def table(self, design: Tensor) -> Distribution:
        """Batch of distributions, batch shape (*batch, steps, states)."""
        axes = len(self.sites["weights"].axes)
        weights = self.weights.to(design.dtype)
        rows = weights.flatten(-axes, -2)
        scores = design @ rows.transpose(-1, -2)
        shape = scores.shape[:-1] + weights.shape[-axes:-1]
        return self.distribution(scores.reshape(shape))


class Categorical(GLMEmission):
    r"""Multinomial-logit emission: a softmax regression for every hidden state.

    .. math:: p(y_t = c \mid z_t = k, x_t) \propto \exp(w_{kc}^\top x_t),
        \quad w_{k0} = 0

    Class 0 is the reference class: it has no weights, which identifies the others
    (Calhoun, Pillow & Murthy 2019, Methods).

    Args:
        num_classes: number of emission classes, the reference included.
        prior: distribution that broadcasts to the free weights (states, classes - 1,
            features), or ``None`` for flat. Its negative log density is the penalty of
            a MAP fit: Normal(0, s) is a ridge.
    """

    def __init__(self, num_classes: int, prior: Prior = None):
        if num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, got {num_classes}")
        super().__init__(("class", num_classes - 1), prior=prior)
        self.num_classes = num_classes

    def bind(self, data: Any) -> None:
        """Record or check the covariates; check that all labels are classes."""
        super().bind(data)
        check_labels(data, self.num_classes, f"Categorical({self.num_classes})")

    def distribution(self, predictor: Tensor) -> dist.Categorical:
        """Softmax of the predictors and the 0 of the reference."""
        return dist.Categorical(logits=pad(predictor, (1, 0)), validate_args=False)

    def block_objective(self, data: Any) -> "LabelObjective":
        """All states' softmax regressions evaluated together."""
        return LabelObjective(data, self.design(data).numpy(), self.num_classes)

    def display(self, name: str, value: Tensor) -> tuple[Tensor, tuple[str, ...]]:
        """The weights of all classes, those of class 0 being 0."""
        return insert_zeros(value), self.sites[name].axes


class Bernoulli(GLMEmission):
    r"""Logistic regression of a binary emission for every hidden state.

    .. math:: p(y_t = 1 \mid z_t = k, x_t) = 1 / (1 + \exp(-w_k^\top x_t))

    Args:
        prior: distribution that broadcasts to the weights (states, features), or
            ``None`` for flat.
    """

    def __init__(self, prior: Prior = None):
        super().__init__(prior=prior)

    def bind(self, data: Any) -> None:
        """Record or check the covariates; check that all labels are 0 or 1."""
        super().bind(data)
        check_labels(data, 2, "Bernoulli()")

    def distribution(self, predictor: Tensor) -> dist.Bernoulli:
        """Bernoulli with the predictor as its log-odds."""
        return dist.Bernoulli(logits=predictor, validate_args=False)

    def block_objective(self, data: Any) -> "LabelObjective":
        """All states' logistic regressions evaluated together."""
        return LabelObjective(data, self.design(data).numpy(), 2)


class LabelObjective:
    """Block objective of labelled emissions: one softmax regression a state.

    Args:
        data: where the labels stand; masked steps count as never seen.
        design: covariates, shape (steps, features).
        num_classes: number of classes, the reference included.
    """

    def __init__(self, data: Any, design: np.ndarray, num_classes: int):
        self.regression = SoftmaxRegression(design, num_classes)
        free_classes = np.arange(1, num_classes)[:, None]
        labels = data.emissions.numpy()
        self.labels = (labels == free_classes).astype(np.float64)

    def prepare(self, counts: Tensor) -> np.ndarray:
        """Counts (sets, steps, states) with problems first and time last."""
        steps = counts.shape[-2]
        return np.ascontiguousarray(counts.transpose(-1, -2).reshape(-1, steps).numpy())

    def __call__(
        self, points: np.ndarray, which: np.ndarray, counts: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Value and gradient of the running problems, numbered sets times states."""
        return self.regression(points, which, self._targets(counts))

    def curvature(self, points: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Rough curvature of every row of weights."""
        return self.regression.curvature(points, self._targets(counts))

    def _targets(self, counts: np.ndarray) -> Targets:
        """Expected counts of problems and a stretch of time: the labels, weighted."""

        def targets(rows: np.ndarray, time: slice) -> tuple[np.ndarray, np.ndarray]:
            total = counts[rows, time]
            return total[:, None] * self.labels[:, time], total

        return targets


def check_labels(data: Any, num_classes: int, family: str) -> None:
    """A sentence for labels that are no classes of the family."""
    labels = data.emissions if data.mask is None else data.emissions[data.mask]
    if labels.dim() != 1:
        raise ValueError(
            f"emissions must have shape (steps,) for {family}, got "
            f"{tuple(data.emissions.shape)}"
        )
    smallest, largest = labels.aminmax() if len(labels) else (0, 0)
    whole = not labels.is_floating_point() or bool((labels == labels.round()).all())
    if smallest < 0 or largest >= num_classes or not whole:
        wrong = (labels < 0) | (labels >= num_classes) | (labels != labels.round())
        raise ValueError(
            f"emissions must be labels 0 to {num_classes - 1} for {family}, got "
            f"{labels[wrong][0].item()}; mask steps without an emission, or set "
            "num_classes"
        )
