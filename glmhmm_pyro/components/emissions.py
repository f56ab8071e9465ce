"""Distributions of an emission given the hidden state and the covariates.

A family is one class with ``__init__`` and one method: :meth:`Emission.forward`, or
for a generalised linear model :meth:`GLMEmission.distribution`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from pyro.nn import pyro_method
from torch import Tensor
from torch.distributions import Distribution, constraints

from glmhmm_pyro.arguments import suggests_names
from glmhmm_pyro.components.base import Site
from glmhmm_pyro.components.limits import Bounds
from glmhmm_pyro.components.marginal_laws import HasMarginal
from glmhmm_pyro.components.rescaling import is_as_defined
from glmhmm_pyro.components.scales import check_varies, scale_bounds
from glmhmm_pyro.components.step_laws import HasStepLaw, StepLaw
from glmhmm_pyro.designs import DesignMatrix
from glmhmm_pyro.masking import emission_log_probs, steps_observed
from glmhmm_pyro.priors.filling import Prior
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.zeros import zeros_allowed

# A scale below this part of what an optimiser sets out from has run to 0.
VANISHED = 1e-6


class Emission(HasMarginal):
    """Distribution of an emission given the hidden state and the covariates.

    A family writes ``forward`` alone, broadcasting over ``state``. An enumerated state
    serves :func:`pyro.markov`, a sampled one the simulator, and all states at once give
    the table of likelihoods that EM, MAP, SVI and NUTS share.

    Example:
        >>> import glmhmm_pyro as gh
        >>> issubclass(gh.GLMEmission, gh.Emission)
        True
    """

    counts_of = "emission"

    @property
    def drawn(self) -> str:
        """The outputs that it is the distribution of."""
        if self.selection is None:
            return "y[t]"
        names = ", ".join(self.selection.outputs)
        return f"{names}[t]" if len(self.selection.outputs) == 1 else f"({names})[t]"

    # Whether emissions are counts whose log rate is linear in the weights: these are
    # then named where they are so large that nothing else can come.
    has_log_rate: ClassVar[bool] = False

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

    def counted(self, counts: Tensor, data: Sequences) -> Tensor:
        """Expected counts (sets, steps, states), 0 at steps without an emission."""
        seen = steps_observed(data.mask)
        return counts if seen is None else counts * seen[:, None]

    def limits(self, data: Sequences) -> dict[str, Bounds]:
        """Bounds that keep a density finite while it is fitted, by attribute.

        By default floors of the positive parameters that turn out to be scales.
        """
        return scale_bounds(self, data)

    def check_varies(self, data: Sequences) -> None:
        """Refuse an output whose scale runs to 0 wherever a fit begins.

        It is one that takes a single value in all data; or that was observed once, and
        whose scale has a flat prior.
        """
        if self.bounds:
            check_varies(self, data)

    def collapsed(
        self, values: Mapping[str, Tensor], start: Mapping[str, Tensor]
    ) -> tuple[str, ...]:
        """Sentences about parameters that have run to where the density is infinite.

        Asked of continuous emissions only. By default, in a family whose parameters
        have no bounds, a positive one is taken for a scale, whose density is infinite
        at 0.

        Args:
            values: of all parameters, by attribute.
            start: the same from which an optimiser sets out.
        """
        if self.bounds:
            return ()
        return tuple(
            f"{name} runs to 0{entry_of(site, values[name] / start[name])}"
            for name, site in self.sites.items()
            if is_positive(site.support)
            and (values[name] < VANISHED * start[name]).any()
        )

    def guesses(self, params: Mapping[str, Tensor]) -> Tensor | None:
        """How often labels come of the predictors, and how often each of a guess.

        Args:
            params: values of all parameters, by attribute.

        Returns:
            Shape (states, ..., 1 + labels), or ``None`` where none is guessed.
        """
        return None

    def step_law(self) -> StepLaw | None:
        """What gives the law of one step quickly, at the present parameters.

        ``None`` leaves it to :meth:`table`.
        """
        return None

    @pyro_method
    def log_probs(self, data: Sequences) -> Tensor:
        """log p(y_t | z_t = k), 0 where masked, shape (*batch, steps, states)."""
        with zeros_allowed(self):
            table = self.table(self.factors(data))
        return emission_log_probs(table, data.emissions, data.mask)


@suggests_names
class GLMEmission(HasStepLaw, Emission):
    r"""Generalised linear model: the covariates act through linear predictors.

    A family writes :meth:`distribution` alone. One product of the design and all
    weights then gives the whole table. Further parameters, such as a scale, are
    declared as a :class:`Site` each, with ``"state"`` for first axis or, where all
    states share them, without; ``distribution`` is given them by name. An axis
    ``"session"`` or ``"group"`` stands before that of the states.

    Args:
        outputs: axes of the predictor of one state, as (name, size); none for a scalar.
        prior: distribution that broadcasts to the weights (states, *outputs, features),
            or ``None`` for flat.
        covariates: names of the covariates that the family reads; all by default. An
            output of :class:`Outputs` may be told so there too.

    Example:
        >>> import torch, glmhmm_pyro as gh
        >>> class Exponential(gh.GLMEmission):
        ...     def distribution(self, predictor):
        ...         return torch.distributions.Exponential(predictor.exp())
        >>> model = gh.GLMHMM(2, Exponential(prior=gh.priors.Ridge(1.0)))
    """

    blocks: str | tuple[str, ...] | None = "state"
    batched = True
    weights: Any

    def __init__(
        self,
        *outputs: tuple[str, int],
        prior: Prior = None,
        covariates: Sequence[str] | None = None,
    ):
        super().__init__()
        self.choose(covariates)
        self.prior = prior
        self.weights = Site("state", *outputs, "covariate", prior=prior)

    @property
    def is_linear(self) -> bool:
        """Whether predictors are made here, not by a family of the user's own."""
        made_here = ("forward", "table", "log_probs", "design")
        return is_as_defined(self, GLMEmission, *made_here)

    def distribution(self, *predictor: Any, **parameters: Any) -> Distribution:
        """Distribution of the emission; a family names its own parameters.

        Args:
            predictor: one tensor of linear predictors, shape (..., *outputs).
            parameters: the state's values of all sites but the weights, by name; the
                axes before their own broadcast with those of the predictors.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must define distribution(predictor), the "
            "distribution of the emission"
        )

    def forward(self, state: Tensor, covariates: Tensor) -> Distribution:
        """The family's distribution at the state's linear predictors."""
        covariates, entries = self.apart(covariates)
        outputs = len(self.sites["weights"].axes) - 2
        weights = self.weights.to(covariates.dtype)
        weights = weights[(..., state) + (slice(None),) * (outputs + 1)]
        covariates = covariates[(...,) + (None,) * outputs + (slice(None),)]
        predictor = (weights * covariates).sum(-1)
        others = {}
        for name, value, own, axis, by_state in self._other_parameters(covariates):
            index = [entries[axis]] if axis else []
            index += [state] if by_state else []
            whole: tuple[Any, ...] = (..., *index, *[slice(None)] * own)
            others[name] = value[whole] if index else value
        return self.distribution(predictor, **others)

    @pyro_method
    def table(self, design: DesignMatrix | Tensor) -> Distribution:
        """Batch of distributions, batch shape (*batch, steps, states)."""
        design, entries = self.apart(design)
        axes = len(self.sites["weights"].axes)
        weights = self.weights.to(design.dtype)
        rows = weights.flatten(-axes, -2)
        scores = design @ rows.transpose(-1, -2)
        shape = scores.shape[:-1] + weights.shape[-axes:-1]
        others = {}
        for name, value, own, axis, by_state in self._other_parameters(design):
            # An axis of steps, and one of states where all of them share it.
            place = value.dim() - own - by_state
            if axis:
                value = value.index_select(place - 1, entries[axis])
            else:
                value = value.unsqueeze(place)
                place += 1
            others[name] = value if by_state else value.unsqueeze(place)
        return self.distribution(scores.reshape(shape), **others)

    def _other_parameters(
        self, design: DesignMatrix | Tensor
    ) -> Iterator[tuple[str, Tensor, int, str, bool]]:
        """Name, value, number of own axes and those before them, of all but weights.

        Those are an axis of sessions or groups, or '', and whether one is of states.
        """
        for name, site in self.sites.items():
            if name != "weights":
                axis = site.axes[0] if {*site.axes[:1]} & {*self.varies_over} else ""
                by_state = site.axes[bool(axis) :][:1] == ("state",)
                value = getattr(self, name).to(design.dtype)
                own = len(site.axes) - bool(axis) - by_state
                yield name, value, own, axis, by_state


def is_positive(support: constraints.Constraint) -> bool:
    """Whether a support is that of positive numbers; a copied model has copies."""
    found = isinstance(support, type(constraints.positive))
    return found and bool(getattr(support, "lower_bound") == 0)


def entry_of(site: Site, values: Tensor) -> str:
    """Words for where the smallest number of a parameter stands."""
    index = np.unravel_index(int(values.argmin()), values.shape)
    words = [f"{axis} {number}" for axis, number in zip(site.axes, index)]
    return f" in {', '.join(words)}" if words else ""
