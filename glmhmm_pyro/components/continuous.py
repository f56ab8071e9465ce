"""Families of real and of positive numbers whose noise is not normal."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from glmhmm_pyro.arguments import suggests_names
from glmhmm_pyro.components.alike import OutputsAlike
from glmhmm_pyro.components.base import Site
from glmhmm_pyro.components.least_squares import (
    columns_of,
    location_units,
    mean_and_spread,
    observed_deviations,
    one_regression,
)
from glmhmm_pyro.components.limits import Bounds
from glmhmm_pyro.components.log_gamma import GammaByMean, PreciseStudentT
from glmhmm_pyro.components.regression_tables import regression_table
from glmhmm_pyro.components.regressions import GammaObjective, StudentTObjective
from glmhmm_pyro.components.rescaling import ColumnUnits, OutputUnits, is_as_defined
from glmhmm_pyro.components.step_laws import GammaLaw, StepLaw, StudentTLaw
from glmhmm_pyro.components.tables import LogTable
from glmhmm_pyro.designs import DesignMatrix
from glmhmm_pyro.priors.filling import Prior
from glmhmm_pyro.ranks import Ranks
from glmhmm_pyro.sequences import Sequences


@suggests_names
class StudentT(OutputsAlike):
    r"""Linear regression with heavy-tailed noise for every hidden state.

    .. math:: y_t \mid z_t = k, x_t \sim w_k^\top x_t + s_k \, t(\nu_k)

    In a fit scales are at least 0.0001 of the standard deviation of the output over all
    data; see :class:`Gaussian`.

    Args:
        prior: distribution that broadcasts to the weights (states, features), or
            (states, outputs, features), or ``None`` for flat.
        scale_prior: the same of the scales s (states,), or (states, outputs).
        df_prior: the same of the degrees of freedom. Where tails are no heavier than
            normal ones they grow for ever, and little changes.
        covariates: names of the covariates that the family reads; all by default.
        num_outputs: number of outputs, at least 2, that are independent given the
            state; ``None`` for emissions (steps,).

    Example:
        >>> import glmhmm_pyro as gh
        >>> family = gh.components.StudentT(prior=gh.priors.Ridge(1.0))
        >>> model = gh.GLMHMM(2, family)
    """

    scale: Any
    df: Any

    def __init__(
        self,
        prior: Prior = None,
        scale_prior: Prior = None,
        df_prior: Prior = None,
        covariates: Sequence[str] | None = None,
        num_outputs: int | None = None,
    ):
        super().__init__(num_outputs=num_outputs, prior=prior, covariates=covariates)
        self.scale_prior, self.df_prior = scale_prior, df_prior
        axes, positive = ("state", *self.output_axes), constraints.positive
        self.scale = Site(*axes, prior=scale_prior, support=positive)
        self.df = Site(*axes, prior=df_prior, support=positive)

    def distribution(
        self, predictor: Tensor, scale: Tensor, df: Tensor
    ) -> Distribution:
        """Student's t around the predictor."""
        return self.independent(PreciseStudentT(df, predictor, scale))

    def log_table(self, data: Sequences) -> LogTable | None:
        """Regressions, differentiated by hand."""
        return regression_table(self, data, StudentT)

    def predicted_law(self, **parameters: Tensor) -> StepLaw:
        """In numpy."""
        if not is_as_defined(self, StudentT, "distribution"):
            return super().predicted_law(**parameters)
        scale, df = parameters["scale"], parameters["df"]
        peak = PreciseStudentT(df, torch.zeros_like(df), scale)
        known = [v.numpy() for v in (scale, df, peak.log_prob(torch.zeros_like(df)))]
        return lambda location: StudentTLaw(location, *known)

    def limits(self, data: Sequences) -> dict[str, Bounds]:
        """Floors of the scales."""
        size = observed_deviations(*columns_of(data), constant=0.0)
        return {"scale": Bounds.of_scale(self.by_output(size))}

    def start_of(self, data: Sequences) -> dict[str, Tensor]:
        """A regression, five degrees of freedom."""
        weights, scale = one_regression(self.operator(data), *columns_of(data))
        return {"weights": weights, "scale": scale, "df": torch.full_like(scale, 5.0)}

    def start_noise(self, name: str, data: Sequences) -> Tensor | float:
        """That of every component, for weights in units of the emissions."""
        noise = super().start_noise(name, data)
        if name != "weights":
            return noise
        return noise * self.by_output(observed_deviations(*columns_of(data)), 1)

    def own_outputs(self, columns: ColumnUnits, data: Sequences) -> OutputUnits | None:
        """Mean 0 where a constant takes it up, spread 1."""
        if not is_as_defined(self, StudentT, "distribution"):
            return None
        return location_units(columns, data, self.num_outputs is None)

    def objective_of(self, data: Sequences, design: DesignMatrix) -> StudentTObjective:
        """All states' Student's t regressions evaluated together."""
        return StudentTObjective(data, design)


@suggests_names
class Gamma(OutputsAlike):
    r"""Gamma regression of a positive number, such as a time, for every hidden state.

    .. math:: \mathrm{E}(y_t) = m_t = \exp(w_k^\top x_t), \quad
        \mathrm{Var}(y_t) = m_t^2 / \alpha_k

    In a fit concentrations are at most such that the output varies, relative to its
    mean, by 0.0001 of the standard deviation of its logarithm over all data; see
    :class:`Gaussian`.

    Args:
        prior: distribution that broadcasts to the weights (states, features), or
            (states, outputs, features), or ``None`` for flat.
        concentration_prior: the same of the concentrations (states,), or (states,
            outputs), which others call shapes.
        covariates: names of the covariates that the family reads; all by default.
        num_outputs: as for :class:`StudentT`.

    Example:
        >>> import glmhmm_pyro as gh
        >>> times = gh.Sequences([0.2, 0.4, 0.3, 0.9, 1.1, 0.8])
        >>> model = gh.GLMHMM(1, gh.components.Gamma())
        >>> fit = gh.fit(model, times, num_restarts=1, progress=False)
        >>> round(float(fit.params["emissions.weights"].exp()), 3)  # The mean.
        0.617
    """

    concentration: Any

    def __init__(
        self,
        prior: Prior = None,
        concentration_prior: Prior = None,
        covariates: Sequence[str] | None = None,
        num_outputs: int | None = None,
    ):
        super().__init__(num_outputs=num_outputs, prior=prior, covariates=covariates)
        self.concentration_prior = concentration_prior
        axes, positive = ("state", *self.output_axes), constraints.positive
        self.concentration = Site(*axes, prior=concentration_prior, support=positive)

    def check(self, data: Sequences) -> None:
        """Raise a ValueError for emissions that are not positive."""
        super().check(data)
        values, mask, _ = columns_of(data)
        wrong = values <= 0 if mask is None else (values <= 0) & mask
        if wrong.any():
            raise ValueError(
                f"emissions must be positive for Gamma(), got {values[wrong][0].item()}"
                "; mask steps without a value, or take gh.Gaussian"
            )

    def distribution(self, predictor: Tensor, concentration: Tensor) -> Distribution:
        """Gamma with the predictor as its log mean."""
        return self.independent(GammaByMean(predictor, concentration))

    def log_table(self, data: Sequences) -> LogTable | None:
        """Regressions, differentiated by hand."""
        return regression_table(self, data, Gamma)

    def predicted_law(self, **parameters: Tensor) -> StepLaw:
        """In numpy."""
        if not is_as_defined(self, Gamma, "distribution"):
            return super().predicted_law(**parameters)
        form = parameters["concentration"]
        peak = GammaByMean(torch.zeros_like(form), form)
        known = [v.numpy() for v in (form, peak.log_prob(torch.ones_like(form)))]
        return lambda log_mean: GammaLaw(log_mean, *known)

    def limits(self, data: Sequences) -> dict[str, Bounds]:
        """Largest concentrations, which leave hardly any variance."""
        size = observed_deviations(*_logarithms(data), constant=0.0)
        return {"concentration": Bounds.of_concentration(self.by_output(size))}

    def start_of(self, data: Sequences) -> dict[str, Tensor]:
        """A regression of the logarithms."""
        weights, left = one_regression(self.operator(data), *_logarithms(data))
        return {"weights": weights, "concentration": left**-2}

    def own_outputs(self, columns: ColumnUnits, data: Sequences) -> OutputUnits | None:
        """Geometric mean 1, where a constant takes up what that is to log means."""
        if columns.constant is None or not is_as_defined(self, Gamma, "distribution"):
            return None
        logs, _ = mean_and_spread(*_logarithms(data))
        shift = logs if self.num_outputs is None else logs.unsqueeze(-1)
        maps = {"weights": columns.affine(shift=shift)}
        return OutputUnits(logs.exp(), torch.zeros_like(logs), maps)

    def objective_of(self, data: Sequences, design: DesignMatrix) -> GammaObjective:
        """All states' gamma regressions evaluated together."""
        return GammaObjective(data, design)


def _logarithms(data: Sequences) -> tuple[Tensor, Tensor | None, Ranks]:
    """Those of the emissions, 0 where masked, with their mask; see ``columns_of``."""
    values, mask, ranks = columns_of(data)
    values = values if mask is None else torch.where(mask, values, 1.0)
    return values.log(), mask, ranks
