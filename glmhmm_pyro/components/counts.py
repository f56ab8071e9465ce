"""Families of emissions that are counts, such as spikes in a bin."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from glmhmm_pyro.arguments import suggests_names, whole_number
from glmhmm_pyro.components.base import Site
from glmhmm_pyro.components.emission_checks import refuse_labels
from glmhmm_pyro.components.emissions import GLMEmission
from glmhmm_pyro.components.laws import PoissonLaw, StepLaw
from glmhmm_pyro.components.least_squares import columns_of, one_regression
from glmhmm_pyro.components.log_gamma import NegativeBinomialByMean
from glmhmm_pyro.components.marginals import Marginal
from glmhmm_pyro.components.objectives import BlockObjective
from glmhmm_pyro.components.regressions import (
    NegativeBinomialObjective,
    PoissonObjective,
    SideBySide,
)
from glmhmm_pyro.components.rescaling import is_as_defined
from glmhmm_pyro.priors.filling import Prior
from glmhmm_pyro.priors.fixed import Fixed
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.changes import Selection


@suggests_names
class Poisson(GLMEmission):
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

    def __init__(
        self,
        prior: Prior = None,
        num_outputs: int | None = None,
        offset: str | None = None,
        covariates: Sequence[str] | None = None,
    ):
        if num_outputs is not None:
            num_outputs = whole_number("num_outputs", num_outputs, 2)
        outputs = () if num_outputs is None else (("output", num_outputs),)
        given = with_offset(prior, offset)
        super().__init__(*outputs, prior=given, covariates=covariates)
        self.prior, self.num_outputs, self.offset = prior, num_outputs, offset

    @property
    def has_log_rate(self) -> bool:  # type: ignore[override]
        """Whether there is one output, whose large weights are named."""
        return self.num_outputs is None

    def bind(self, data: Sequences) -> None:
        """Record or check the covariates; check that all emissions are counts."""
        super().bind(data)
        check_counts(data, "Poisson", self.num_outputs)

    def distribution(self, predictor: Tensor) -> Distribution:
        """Poisson with the predictor as its log rate."""
        single = dist.Poisson(predictor.exp(), validate_args=False)
        return single if self.num_outputs is None else single.to_event(1)

    def predicted_law(self, **parameters: Tensor) -> StepLaw:
        """In numpy."""
        if not is_as_defined(self, Poisson, "distribution"):
            return super().predicted_law(**parameters)
        return lambda predictor: PoissonLaw(np.exp(predictor))

    def start(self, data: Sequences) -> dict[str, Tensor]:
        """Regressions of the logarithms, alike in all states."""
        fitted = [log_regression(self, one)[0] for one in single_outputs(data)]
        weights = torch.cat(fitted) if self.num_outputs else fitted[0]
        return {"weights": weights.expand(self.shape("weights"))}

    def marginal(self, data: Sequences) -> Marginal | None:
        """The logarithm of the mean; of half a count in all where there is none."""
        if not is_as_defined(self, Poisson, "distribution"):
            return None
        found, note = [], ""
        for one in single_outputs(data):
            counts, mask, ranks = columns_of(one)
            counts = counts if mask is None else counts[mask]
            total = ranks.total(counts.sum())
            if total == 0:
                total, note = total + 0.5, "half a count was added, for all were 0"
            found.append((total / ranks.total(counts.numel())).log().reshape(1, 1))
        return {
            "weights": torch.stack(found, 1) if self.num_outputs else found[0]
        }, note

    def block_objective(self, data: Sequences) -> BlockObjective:
        """All states' Poisson regressions evaluated together."""
        design = self.operator(data)
        parts = [(PoissonObjective(d, design), d.mask) for d in single_outputs(data)]
        return SideBySide(parts) if self.num_outputs else parts[0][0]


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
        offset: as for :class:`Poisson`.
        covariates: as for :class:`Poisson`.

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
    ):
        super().__init__(prior=with_offset(prior, offset), covariates=covariates)
        self.prior, self.offset = prior, offset
        self.dispersion_prior = dispersion_prior
        self.dispersion = Site(
            "state", prior=dispersion_prior, support=constraints.positive
        )

    def bind(self, data: Sequences) -> None:
        """Record or check the covariates; check that all emissions are counts."""
        super().bind(data)
        check_counts(data, "NegativeBinomial")

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
    values, mask, ranks = columns_of(data)
    return one_regression(family.operator(data), (values + 0.5).log(), mask, ranks)


def with_offset(prior: Prior, offset: str | None) -> Prior:
    """The prior of weights of which that of one covariate is held at 1."""
    return prior if offset is None else Fixed({offset: 1.0}, rest=prior)


def single_outputs(data: Sequences) -> list[Sequences]:
    """The data with one output at a time."""
    names = data.emission_names
    return (
        [data] if len(names) == 1 else [Selection((n,), None).of(data) for n in names]
    )


def check_counts(data: Sequences, family: str, num_outputs: int | None = None) -> None:
    """A sentence for emissions that are no counts."""
    refuse_labels(data, f"{family}()")
    values = data.emissions if data.mask is None else data.emissions[data.mask]
    found = tuple(data.emissions.shape[1:])
    if found != (() if num_outputs is None else (num_outputs,)):
        wanted = "(steps,)" if num_outputs is None else f"(steps, {num_outputs})"
        given = "" if num_outputs is None else f"num_outputs={num_outputs}"
        fix = "gh.Outputs takes outputs of several families"
        if family == "Poisson":
            number = found[0] if found else None
            fix = f"give Poisson(num_outputs={number}), or gh.Outputs for families"
        raise ValueError(
            f"emissions must have shape {wanted} for {family}({given}), got "
            f"{tuple(data.emissions.shape)}; {fix}"
        )
    wrong = values < 0
    if values.is_floating_point():
        wrong |= values != values.round()
    if wrong.any():
        raise ValueError(
            f"emissions must be counts 0, 1, 2, ... for {family}(), got "
            f"{values[wrong][0].item()}; mask steps without a count, and take "
            "gh.Gaussian for measurements"
        )
