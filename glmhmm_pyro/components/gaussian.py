"""Linear regressions with normal noise, of one output or of several."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from glmhmm_pyro.arguments import suggests_names
from glmhmm_pyro.components.alike import OutputsAlike
from glmhmm_pyro.components.base import Site
from glmhmm_pyro.components.correlations import (
    CorrelatedLaw,
    PartlyObservedNormal,
    correlations_of,
    factor_of,
)
from glmhmm_pyro.components.emissions import VANISHED
from glmhmm_pyro.components.least_squares import (
    LEAST_SCALE,
    NormalPrior,
    columns_of,
    location_units,
    observed_deviations,
    weighted_regressions,
)
from glmhmm_pyro.components.limits import Bounds
from glmhmm_pyro.components.marginal_laws import Marginal
from glmhmm_pyro.components.regression_tables import regression_table
from glmhmm_pyro.components.regressions import NormalObjective
from glmhmm_pyro.components.rescaling import ColumnUnits, OutputUnits, is_as_defined
from glmhmm_pyro.components.step_laws import NormalLaw, StepLaw
from glmhmm_pyro.components.tables import LogTable
from glmhmm_pyro.designs import DesignMatrix
from glmhmm_pyro.priors.filling import Prior, recipe_of
from glmhmm_pyro.sequences import Sequences


@suggests_names
class Gaussian(OutputsAlike):
    r"""Linear regression with normal noise for every hidden state.

    .. math:: y_t \mid z_t = k, x_t \sim \mathrm{Normal}(w_k^\top x_t, \Sigma_k)

    ``scale`` holds standard deviations. With a full covariance, ``correlation`` holds
    for every pair of outputs, in the order (1, 0), (2, 0), (2, 1), ..., the correlation
    that is left given the outputs before both: with two outputs their correlation (Joe
    2006). An output that is masked alone leaves those beside it their marginal density.

    In a fit scales are at least 0.0001 of the standard deviation of their output over
    all data, and no correlation leaves less of a scale than this part: where a state
    closes in on a constant its density would grow without end. There the status is
    ``COLLAPSED``, and any start that ends elsewhere is preferred.

    Args:
        num_outputs: number of outputs, at least 2; ``None`` for emissions (steps,).
        covariance: ``"diagonal"``, or ``"full"`` for outputs that are correlated within
            a state.
        shared_scale: whether all states have the same covariance.
        prior: distribution that broadcasts to the weights (states, features), or
            (states, outputs, features), or ``None`` for flat.
        scale_prior: the same of the scales (states,) or (states, outputs), without the
            axis of states where they are shared.
        correlation_prior: the same of the correlations (states, pairs), between -1 and
            1; flat is uniform.
        covariates: names of the covariates that the family reads; all by default.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.Sequences([0.1, 0.2, 5.1, 4.9, 5.3, 0.3])
        >>> fit = gh.fit(gh.GLMHMM(2, gh.Gaussian()), data, progress=False)
        >>> fit.params["emissions.weights"].flatten().sort().values
        tensor([0.2000, 5.1000], dtype=torch.float64)
    """

    scale: Any
    correlation: Any

    def __init__(
        self,
        num_outputs: int | None = None,
        covariance: str = "diagonal",
        shared_scale: bool = False,
        prior: Prior = None,
        scale_prior: Prior = None,
        correlation_prior: Prior = None,
        covariates: Sequence[str] | None = None,
    ):
        super().__init__(num_outputs=num_outputs, prior=prior, covariates=covariates)
        num_outputs, outputs = self.num_outputs, self.output_axes
        _check_options(num_outputs, covariance, correlation_prior)
        self.covariance, self.shared_scale = covariance, shared_scale
        self.scale_prior, self.correlation_prior = scale_prior, correlation_prior
        axes = () if shared_scale else ("state",)
        positive, inside = constraints.positive, constraints.interval(-1.0, 1.0)
        self.scale = Site(*axes, *outputs, prior=scale_prior, support=positive)
        if num_outputs is not None and covariance == "full":
            pairs = ("pair", num_outputs * (num_outputs - 1) // 2)
            self.correlation = Site(
                *axes, pairs, prior=correlation_prior, support=inside
            )

    def distribution(
        self, predictor: Tensor, scale: Tensor, correlation: Tensor | None = None
    ) -> Distribution:
        """Normal around the predictors."""
        if correlation is not None:
            factor = _covariance_factor(scale, correlation)
            return PartlyObservedNormal(
                predictor, scale_tril=factor, validate_args=False
            )
        return self.independent(dist.Normal(predictor, scale, validate_args=False))

    def log_table(self, data: Sequences) -> LogTable | None:
        """Regressions, differentiated by hand, where outputs are not correlated."""
        return regression_table(self, data, Gaussian)

    def objective_of(
        self, data: Sequences, design: DesignMatrix
    ) -> NormalObjective | None:
        """All states' regressions evaluated together, where there is no formula."""
        return None if "correlation" in self.sites else NormalObjective(data, design)

    def predicted_law(self, **parameters: Tensor) -> StepLaw:
        """In numpy."""
        if not is_as_defined(self, Gaussian, "distribution"):
            return super().predicted_law(**parameters)
        if "correlation" in parameters:
            factor = _covariance_factor(**parameters).numpy()
            return lambda mean: CorrelatedLaw(mean, factor)
        scale = parameters["scale"].numpy()
        return lambda mean: NormalLaw(mean, scale)

    def limits(self, data: Sequences) -> dict[str, Bounds]:
        """Floors of the scales, and of what correlations leave of them."""
        size = observed_deviations(*columns_of(data), constant=0.0)
        found = {"scale": Bounds.of_scale(self.by_output(size))}
        if "correlation" in self.sites:
            found["correlation"] = Bounds.of_correlation()
        return found

    def start(self, data: Sequences) -> dict[str, Tensor]:
        """One regression for all states."""
        counts = torch.ones(1, data.num_steps, 1, dtype=torch.float64)
        one = self._maximum(counts.to(data.device), data, {})
        # Where one regression leaves nothing, the collapse must still be seen.
        size = self.by_output(observed_deviations(*columns_of(data)))
        vanished = one["scale"] < VANISHED * size
        one["scale"] = torch.where(vanished, size, one["scale"])
        shapes = {name: self.shape(name) for name in self.sites}
        return {name: one[name][0].expand(shape) for name, shape in shapes.items()}

    def marginal(self, data: Sequences) -> Marginal | None:
        """Means, scales and correlations, where all steps count alike and are whole."""
        missing = data.mask is not None and data.mask.dim() > 1
        as_here = is_as_defined(self, Gaussian, "distribution")
        if not as_here or (missing and "correlation" in self.sites):
            return None
        if data.session_weights is not None:
            return None
        return self.start(data), ""

    def start_noise(self, name: str, data: Sequences) -> Tensor | float:
        """That of every component, for weights in units of the emissions."""
        noise = super().start_noise(name, data)
        if name != "weights":
            return noise
        return noise * self.by_output(observed_deviations(*columns_of(data)), 1)

    def own_outputs(self, columns: ColumnUnits, data: Sequences) -> OutputUnits | None:
        """Mean 0 where a constant takes it up, spread 1."""
        if not is_as_defined(self, Gaussian, "distribution"):
            return None
        return location_units(columns, data, self.num_outputs is None)

    def closed_form(
        self, counts: Tensor, data: Sequences, params: Mapping[str, Tensor]
    ) -> dict[str, Tensor] | None:
        """Weighted least squares and weighted variances.

        Under a normal prior the weights are the best at the present scale. Where
        correlated outputs are observed in part, the rest is completed by what is
        expected of it.
        """
        others = [site.prior for name, site in self.sites.items() if name != "weights"]
        if any(prior is not None for prior in others):
            return None
        prior = self.sites["weights"].prior
        if prior is None:
            return self._maximum(counts, data, params)
        is_fixed = recipe_of(prior).takes_sets and not self.hyperparameters
        if "correlation" in self.sites or not is_fixed:
            return None
        normal = NormalPrior.of(self.filled("weights"), self.shape("weights"))
        return normal and self._maximum(counts, data, params, normal)

    def _maximum(
        self,
        counts: Tensor,
        data: Sequences,
        params: Mapping[str, Tensor],
        prior: NormalPrior | None = None,
    ) -> dict[str, Tensor]:
        """Best parameters, from counts (sets, steps, states)."""
        values, mask, ranks = columns_of(data)
        rows = counts.to(values).transpose(-1, -2)
        design = self.operator(data).to(values)
        seen = torch.ones_like(values) if mask is None else mask.to(values)
        whole, rest = values.expand(*rows.shape, -1), torch.zeros_like(values[0])
        if data.mask is not None and data.mask.dim() > 1 and "correlation" in params:
            whole, rest = self._completed(rows, values, seen, design, params)
            seen = torch.ones_like(values)
        problems = rows.unsqueeze(-2) * seen.T
        weights = self._regressions(design, whole, problems, prior, params)
        residuals = whole - design @ weights.mT
        moments = (problems * residuals.mT) @ residuals + rest
        moments, total = ranks.totals(moments, problems.sum(-1))
        found = self._spreads(moments, total, observed_deviations(values, mask, ranks))
        if self.num_outputs is None:
            return {"weights": weights.squeeze(-2), "scale": found["scale"].squeeze(-1)}
        return {"weights": weights, **found}

    def _regressions(
        self,
        design: DesignMatrix,
        values: Tensor,
        counts: Tensor,
        prior: NormalPrior | None,
        params: Mapping[str, Tensor],
    ) -> Tensor:
        """Weights (sets, states, outputs, features).

        Args:
            values: shape (sets, states, steps, outputs).
            counts: shape (sets, states, outputs, steps).
        """
        shape = counts.shape[:-1] + design.shape[1:]
        if prior is not None:
            own = (-1, 1 if self.shared_scale else shape[1], shape[2], 1)
            variance = params["scale"].square().reshape(own)
            mean = prior.mean.reshape(shape[1:]).expand(shape)
            precision = prior.precision.reshape(shape[1:] + shape[-1:])
            precision = precision * variance.unsqueeze(-1)
            prior = NormalPrior(mean.flatten(0, 2), precision.flatten(0, 2))
        steps = len(design)
        values = values.mT.reshape(-1, steps)
        found = weighted_regressions(design, values, counts.reshape(-1, steps), prior)
        return found.reshape(shape)

    def _completed(
        self,
        counts: Tensor,
        values: Tensor,
        seen: Tensor,
        design: DesignMatrix,
        params: Mapping[str, Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Values with what is expected of those missing, and their summed covariance.

        Args:
            counts: shape (sets, states, steps).
            values: shape (steps, outputs).
            seen: 1 where observed, shape (steps, outputs).
            design: shape (steps, features).
            params: present values.
        """
        scale = params["scale"]
        factor = factor_of(params["correlation"], scale.shape[-1])
        factor = scale.unsqueeze(-1) * factor
        if self.shared_scale:
            factor = factor.unsqueeze(1)
        covariance = (factor @ factor.mT).unsqueeze(2)
        both = seen.unsqueeze(-1) * seen.unsqueeze(-2)
        known = both * covariance + (1 - seen).diag_embed()
        across = (1 - seen).unsqueeze(-1) * covariance * seen.unsqueeze(-2)
        gain = torch.linalg.solve(known, across.mT).mT
        mean = design @ params["weights"].mT
        residual = seen * (values - mean)
        filler = mean + (gain @ residual.unsqueeze(-1)).squeeze(-1)
        unknown = (1 - seen).unsqueeze(-1) * (1 - seen).unsqueeze(-2)
        left = unknown * covariance - gain @ across.mT
        rest = (counts[..., None, None] * left).sum(2)
        return torch.where(seen > 0, values, filler), rest

    def _spreads(
        self, moments: Tensor, total: Tensor, size: Tensor
    ) -> dict[str, Tensor]:
        """Scales and correlations.

        Args:
            moments: of the residuals, shape (sets, states, outputs, outputs).
            total: counts, shape (sets, states, outputs).
            size: spread of every output, for a state that is never visited.
        """
        if self.shared_scale:
            moments, total = moments.sum(1), total.sum(1)
        variances = moments.diagonal(dim1=-2, dim2=-1) / total
        scale = torch.where(total > 0, variances.sqrt(), size)
        scale = scale.maximum(LEAST_SCALE * size)
        if "scale" in self.bounds:
            scale = self.bounds["scale"].clamp(scale)
        if "correlation" not in self.sites:
            return {"scale": scale}
        both = scale.unsqueeze(-1) * scale.unsqueeze(-2)
        correlation = correlations_of(moments / total.unsqueeze(-1) / both)
        if "correlation" in self.bounds:
            correlation = self.bounds["correlation"].clamp(correlation)
        return {"scale": scale, "correlation": correlation}


def _check_options(
    num_outputs: int | None, covariance: str, correlation_prior: Prior
) -> None:
    if covariance not in ("diagonal", "full"):
        raise ValueError(
            f"covariance must be 'diagonal' or 'full', got {covariance!r}"
            "; give one of the two"
        )
    if covariance == "full" and num_outputs is None:
        raise ValueError(
            "covariance must be 'diagonal' for a single output, got 'full'; give "
            "num_outputs"
        )
    if correlation_prior is not None and covariance != "full":
        raise ValueError(
            "correlation_prior must be None where covariance is 'diagonal', got "
            f"{correlation_prior!r}; write covariance='full'"
        )


def _covariance_factor(scale: Tensor, correlation: Tensor) -> Tensor:
    """Cholesky factors of covariances, (..., outputs, outputs)."""
    return scale.unsqueeze(-1) * factor_of(correlation, scale.shape[-1])
