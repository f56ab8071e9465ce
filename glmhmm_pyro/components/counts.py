"""Families of emissions that are counts, such as spikes in a bin."""

from typing import Any

import pyro.distributions as dist
from torch import Tensor
from torch.distributions import constraints

from glmhmm_pyro.arguments import suggests_names
from glmhmm_pyro.components.base import Site
from glmhmm_pyro.components.emissions import GLMEmission, refuse_labels
from glmhmm_pyro.components.least_squares import columns_of, one_regression
from glmhmm_pyro.components.log_gamma import NegativeBinomialByMean
from glmhmm_pyro.components.marginals import Marginal
from glmhmm_pyro.components.regressions import (
    NegativeBinomialObjective,
    PoissonObjective,
)
from glmhmm_pyro.components.rescaling import is_as_defined
from glmhmm_pyro.priors.filling import Prior
from glmhmm_pyro.sequences import Sequences


@suggests_names
class Poisson(GLMEmission):
    r"""Poisson regression of a count for every hidden state.

    .. math:: y_t \mid z_t = k, x_t \sim \mathrm{Poisson}(\exp(w_k^\top x_t))

    Spike trains with a history in the covariates (Escola et al. 2011, eq. 8).

    Args:
        prior: distribution that broadcasts to the weights (states, features), or
            ``None`` for flat.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.Sequences([0, 2, 1, 9, 11, 10, 1, 0])
        >>> fit = gh.fit(gh.GLMHMM(2, gh.Poisson()), data, progress=False)
        >>> fit.params["emissions.weights"].exp().flatten().sort().values.round()
        tensor([ 1., 10.], dtype=torch.float64)
    """

    has_log_rate = True

    def __init__(self, prior: Prior = None):
        super().__init__(prior=prior)

    def bind(self, data: Sequences) -> None:
        """Record or check the covariates; check that all emissions are counts."""
        super().bind(data)
        check_counts(data, "Poisson()")

    def distribution(self, predictor: Tensor) -> dist.Poisson:
        """Poisson with the predictor as its log rate."""
        return dist.Poisson(predictor.exp(), validate_args=False)

    def start(self, data: Sequences) -> dict[str, Tensor]:
        """A regression of the logarithms, alike in all states."""
        weights, _ = log_regression(self, data)
        return {"weights": weights.expand(self.shape("weights"))}

    def marginal(self, data: Sequences) -> Marginal | None:
        """The logarithm of the mean; of half a count in all where there is none."""
        if not is_as_defined(self, Poisson, "distribution"):
            return None
        counts, mask = columns_of(data)
        counts = counts if mask is None else counts[mask]
        total, note = counts.sum(), ""
        if total == 0:
            total, note = total + 0.5, "half a count was added, for all counts were 0"
        return {"weights": (total / counts.numel()).log().reshape(1, 1)}, note

    def block_objective(self, data: Sequences) -> PoissonObjective:
        """All states' Poisson regressions evaluated together."""
        return PoissonObjective(data, self.operator(data))


@suggests_names
class NegativeBinomial(GLMEmission):
    r"""Regression of a count that varies more than a Poisson one, for every state.

    .. math:: \mathrm{E}(y_t) = m_t = \exp(w_k^\top x_t), \quad
        \mathrm{Var}(y_t) = m_t + a_k m_t^2

    Args:
        prior: distribution that broadcasts to the weights (states, features), or
            ``None`` for flat.
        dispersion_prior: the same of the dispersions a (states,). Where counts vary no
            more than Poisson ones the best dispersion is 0, which a fit approaches.
    """

    has_log_rate = True

    dispersion: Any

    def __init__(self, prior: Prior = None, dispersion_prior: Prior = None):
        super().__init__(prior=prior)
        self.dispersion_prior = dispersion_prior
        self.dispersion = Site(
            "state", prior=dispersion_prior, support=constraints.positive
        )

    def bind(self, data: Sequences) -> None:
        """Record or check the covariates; check that all emissions are counts."""
        super().bind(data)
        check_counts(data, "NegativeBinomial()")

    def distribution(
        self, predictor: Tensor, dispersion: Tensor
    ) -> NegativeBinomialByMean:
        """Negative binomial with the predictor as its log mean."""
        return NegativeBinomialByMean(predictor, dispersion)

    def start(self, data: Sequences) -> dict[str, Tensor]:
        """A regression of the logarithms, alike in all states, and dispersion 1."""
        weights, _ = log_regression(self, data)
        return {"weights": weights.expand(self.shape("weights"))}

    def block_objective(self, data: Sequences) -> NegativeBinomialObjective:
        """All states' negative binomial regressions evaluated together."""
        return NegativeBinomialObjective(data, self.operator(data))


def log_regression(family: GLMEmission, data: Sequences) -> tuple[Tensor, Tensor]:
    """Weights (1, features) for logarithms of counts, and the spread of what is left.

    Half a count is added, so that none has a logarithm.
    """
    values, mask = columns_of(data)
    return one_regression(family.operator(data), (values + 0.5).log(), mask)


def check_counts(data: Sequences, family: str) -> None:
    """A sentence for emissions that are no counts."""
    refuse_labels(data, family)
    values = data.emissions if data.mask is None else data.emissions[data.mask]
    if data.emissions.dim() != 1:
        raise ValueError(
            f"emissions must have shape (steps,) for {family}, got "
            f"{tuple(data.emissions.shape)}; gh.Outputs takes several outputs"
        )
    wrong = values < 0
    if values.is_floating_point():
        wrong |= values != values.round()
    if wrong.any():
        raise ValueError(
            f"emissions must be counts 0, 1, 2, ... for {family}, got "
            f"{values[wrong][0].item()}; mask steps without a count, and take "
            "gh.Gaussian for measurements"
        )
