"""Families of emissions that are counts, such as spikes in a bin."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from glmhmm_pyro.arguments import suggests_names
from glmhmm_pyro.components.alike import OutputsAlike
from glmhmm_pyro.components.base import Site
from glmhmm_pyro.components.emissions import GLMEmission
from glmhmm_pyro.components.least_squares import columns_of, one_regression
from glmhmm_pyro.components.log_gamma import NegativeBinomialByMean
from glmhmm_pyro.components.marginal_laws import Marginal
from glmhmm_pyro.components.regression_tables import regression_table
from glmhmm_pyro.components.regressions import (
    NegativeBinomialObjective,
    PoissonObjective,
)
from glmhmm_pyro.components.rescaling import is_as_defined
from glmhmm_pyro.components.step_laws import (
    NegativeBinomialLaw,
    PoissonLaw,
    StepLaw,
)
from glmhmm_pyro.components.tables import LogTable
from glmhmm_pyro.designs import DesignMatrix
from glmhmm_pyro.priors.filling import Prior
from glmhmm_pyro.priors.fixed import Fixed
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.weights import by_step


class _CountFamily(OutputsAlike):
    """Families whose predictors may have an offset."""

    offset: str | None = None

    @property
    def held_columns(self) -> tuple[str, ...]:
        """The offset, whose weight is 1 wherever others vary."""
        return () if self.offset is None else (self.offset,)


@suggests_names
class Poisson(_CountFamily):
    r"""Poisson regression of a count for every hidden state.

    .. math:: y_t \mid z_t = k, x_t \sim \mathrm{Poisson}(\exp(w_k^\top x_t))

    Spike trains with a history in the covariates (Escola et al. 2011, eq. 8). Several
    outputs, such as neurons, are independent given the state, each with weights of its
    own and a mask of its own.

    Args:
        prior: distribution that broadcasts to the weights (states, features), or
            (states, outputs, features), or ``None`` for flat.
        num_outputs: number of outputs, at least 2; ``None`` for emissions (steps,).
        offset: name of a covariate whose weight is 1 in all states, such as the
            logarithm of how long a bin lasts. Beside it ``prior`` must be a product.
        covariates: names of the covariates that the family reads, the offset's too;
            all by default.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.Sequences([0, 2, 1, 9, 11, 10, 1, 0])
        >>> fit = gh.fit(gh.GLMHMM(2, gh.Poisson()), data, progress=False)
        >>> fit.params["emissions.weights"].exp().flatten().sort().values.round()
        tensor([ 1., 10.], dtype=torch.float64)
    """

    has_log_rate = True

    def __init__(
        self,
        prior: Prior = None,
        num_outputs: int | None = None,
        offset: str | None = None,
        covariates: Sequence[str] | None = None,
    ):
        given = with_offset(prior, offset)
        super().__init__(num_outputs=num_outputs, prior=given, covariates=covariates)
        _check_reads_offset(offset, self.chosen)
        self.prior, self.offset = prior, offset

    def check(self, data: Sequences) -> None:
        """Raise a ValueError for emissions that are no counts."""
        super().check(data)
        check_counts(data, "Poisson")

    def distribution(self, predictor: Tensor) -> Distribution:
        """Poisson with the predictor as its log rate."""
        return self.independent(dist.Poisson(predictor.exp(), validate_args=False))

    def log_table(self, data: Sequences) -> LogTable | None:
        """Regressions, differentiated by hand."""
        return regression_table(self, data, Poisson)

    def predicted_law(self, **parameters: Tensor) -> StepLaw:
        """In numpy."""
        if not is_as_defined(self, Poisson, "distribution"):
            return super().predicted_law(**parameters)
        return lambda predictor: PoissonLaw(np.exp(predictor))

    def start_of(self, data: Sequences) -> dict[str, Tensor]:
        """A regression of the logarithms."""
        return {"weights": log_regression(self, data)[0]}

    def marginal_of(self, data: Sequences) -> Marginal | None:
        """The logarithm of the mean; of half a count in all where there is none.

        With an offset it is the mean by what the offset is the logarithm of.
        """
        if not is_as_defined(self, Poisson, "distribution"):
            return None
        counts, mask, ranks = columns_of(data)
        exposed = torch.ones_like(counts)
        if self.offset is not None:
            place = data.covariate_names.index(self.offset)
            exposed = data.covariates[:, [place]].to(counts).exp()
        copies = by_step(data).to(counts)[:, None]
        counts, exposed = counts * copies, exposed * copies
        if mask is not None:
            counts, exposed = counts[mask], exposed[mask]
        total, note = ranks.total(counts.sum()), ""
        if total == 0:
            total, note = total + 0.5, "half a count was added, for all were 0"
        weight = (total / ranks.total(exposed.sum())).log().reshape(1, 1)
        if self.offset is not None:
            weight = torch.cat([weight, torch.ones_like(weight)], 1)
        return {"weights": weight}, note

    def objective_of(self, data: Sequences, design: DesignMatrix) -> PoissonObjective:
        """All states' Poisson regressions evaluated together."""
        return PoissonObjective(data, design)


@suggests_names
class NegativeBinomial(_CountFamily):
    r"""Regression of a count that varies more than a Poisson one, for every state.

    .. math:: \mathrm{E}(y_t) = m_t = \exp(w_k^\top x_t), \quad
        \mathrm{Var}(y_t) = m_t + a_k m_t^2

    Args:
        prior: distribution that broadcasts to the weights (states, features), or
            (states, outputs, features), or ``None`` for flat.
        dispersion_prior: the same of the dispersions a (states,), or (states, outputs).
            Where counts vary no more than Poisson ones the best dispersion is 0, which
            a fit approaches.
        offset: as for :class:`Poisson`.
        covariates: as for :class:`Poisson`.
        num_outputs: as for :class:`Poisson`.

    Example:
        >>> import glmhmm_pyro as gh
        >>> counts = gh.Sequences([0, 5, 1, 0, 9, 2])
        >>> model = gh.GLMHMM(1, gh.components.NegativeBinomial(gh.priors.Ridge(2.0)))
        >>> sorted(gh.fit(model, counts, "map", num_restarts=1, progress=False).params)
        ['emissions.dispersion', 'emissions.weights']
    """

    has_log_rate = True

    dispersion: Any

    def __init__(
        self,
        prior: Prior = None,
        dispersion_prior: Prior = None,
        offset: str | None = None,
        covariates: Sequence[str] | None = None,
        num_outputs: int | None = None,
    ):
        given = with_offset(prior, offset)
        super().__init__(num_outputs=num_outputs, prior=given, covariates=covariates)
        _check_reads_offset(offset, self.chosen)
        self.prior, self.offset = prior, offset
        self.dispersion_prior = dispersion_prior
        axes, positive = ("state", *self.output_axes), constraints.positive
        self.dispersion = Site(*axes, prior=dispersion_prior, support=positive)

    def check(self, data: Sequences) -> None:
        """Raise a ValueError for emissions that are no counts."""
        super().check(data)
        check_counts(data, "NegativeBinomial")

    def distribution(self, predictor: Tensor, dispersion: Tensor) -> Distribution:
        """Negative binomial with the predictor as its log mean."""
        return self.independent(NegativeBinomialByMean(predictor, dispersion))

    def log_table(self, data: Sequences) -> LogTable | None:
        """Regressions, differentiated by hand."""
        return regression_table(self, data, NegativeBinomial)

    def predicted_law(self, **parameters: Tensor) -> StepLaw:
        """In numpy."""
        if not is_as_defined(self, NegativeBinomial, "distribution"):
            return super().predicted_law(**parameters)
        dispersion = parameters["dispersion"].numpy()
        return lambda log_mean: NegativeBinomialLaw(log_mean, dispersion)

    def start_of(self, data: Sequences) -> dict[str, Tensor]:
        """A regression of the logarithms, and dispersion 1."""
        return {"weights": log_regression(self, data)[0]}

    def objective_of(
        self, data: Sequences, design: DesignMatrix
    ) -> NegativeBinomialObjective:
        """All states' negative binomial regressions evaluated together."""
        return NegativeBinomialObjective(data, design)


def log_regression(family: GLMEmission, data: Sequences) -> tuple[Tensor, Tensor]:
    """Weights (1, features) for logarithms of counts, and the spread of what is left.

    Half a count is added, so that none has a logarithm.
    """
    values, mask, ranks = columns_of(data)
    return one_regression(family.operator(data), (values + 0.5).log(), mask, ranks)


def with_offset(prior: Prior, offset: str | None) -> Prior:
    """The prior of weights of which that of one covariate is held at 1."""
    return prior if offset is None else Fixed({offset: 1.0}, rest=prior)


def _check_reads_offset(offset: str | None, covariates: Sequence[str] | None) -> None:
    """Raise a ValueError for an offset that the family was not told to read."""
    if offset is not None and covariates is not None and offset not in covariates:
        raise ValueError(
            f"covariates must name the offset, too, got {', '.join(covariates)} beside "
            f"offset={offset!r}; add {offset!r} to them, whose weight stays 1"
        )


def check_counts(data: Sequences, family: str) -> None:
    """A sentence for emissions that are no counts."""
    values = data.emissions if data.mask is None else data.emissions[data.mask]
    wrong = values < 0
    if values.is_floating_point():
        wrong |= values != values.round()
    if wrong.any():
        raise ValueError(
            f"emissions must be counts 0, 1, 2, ... for {family}(), got "
            f"{values[wrong][0].item()}; mask steps without a count, and take "
            "gh.Gaussian for measurements"
        )
