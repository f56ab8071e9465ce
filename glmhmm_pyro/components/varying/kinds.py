"""Emissions, transitions and first states whose weights vary over units."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from pyro.distributions import Categorical
from pyro.nn import pyro_method
from torch import Tensor
from torch.distributions import Distribution

from glmhmm_pyro.arguments import suggests_names
from glmhmm_pyro.components.base import Component, Site
from glmhmm_pyro.components.emissions import GLMEmission
from glmhmm_pyro.components.forbidden import refuse_forbidden
from glmhmm_pyro.components.initial import Initial, InitialGLM, InitialState
from glmhmm_pyro.components.limits import Bounds
from glmhmm_pyro.components.marginal_laws import Marginal
from glmhmm_pyro.components.pairs import free_pairs, insert_staying
from glmhmm_pyro.components.rescaling import ColumnUnits, OutputUnits
from glmhmm_pyro.components.tables import LogTable
from glmhmm_pyro.components.transitions import (
    InputDriven,
    Stationary,
    Transitions,
)
from glmhmm_pyro.components.varying.unit_laws import (
    CONSTANT,
    MEAN,
    WEIGHTS,
    LawRecipe,
)
from glmhmm_pyro.components.varying.unit_tables import labels_of_units, moves_of_units
from glmhmm_pyro.components.varying.units import OVER, SLOW, Units
from glmhmm_pyro.components.varying.varies import Varies, at_state
from glmhmm_pyro.designs import DesignMatrix, as_design
from glmhmm_pyro.masking import emission_log_probs
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.zeros import zeros_allowed


@suggests_names
class VaryingEmission(Varies, GLMEmission):
    """Emissions of a GLM family whose weights vary; see :func:`Varying`.

    Example:
        >>> import glmhmm_pyro as gh
        >>> family = gh.components.Varying(gh.Bernoulli(), over="session")
        >>> type(family).__name__
        'VaryingEmission'
    """

    blocks = None
    batched = False
    own_scales: ClassVar[tuple[str, ...]] = ("state", "covariate")

    def __init__(
        self,
        family: GLMEmission,
        over: str = "session",
        law: LawRecipe = "walk",
        constant: Sequence[str] = (),
    ):
        Component.__init__(self)
        if not isinstance(family, GLMEmission) or not family.is_linear:
            raise _no_family(family)
        if isinstance(family, Varies) or family.varies_over:
            raise _no_family(family)
        for name, site in family.sites.items():
            if name != "weights":
                setattr(self, name, site)
        self._vary(family, over, law, constant, family.sites["weights"])

    def bind_states(self, num_states: int) -> None:
        """Record the number of hidden states, one where weights vary over steps."""
        if self.over == "step" and num_states > 1:
            raise ValueError(
                "num_states must be 1 for weights that vary over steps, got "
                f"{num_states}, of which they could take the place; let them vary over "
                "sessions: over='session'"
            )
        super().bind_states(num_states)

    def distribution(self, *predictor: Any, **parameters: Any) -> Distribution:
        """The family's distribution at linear predictors."""
        found: Distribution = self.inner.distribution(*predictor, **parameters)
        return found

    def forward(self, state: Tensor, covariates: Tensor) -> Distribution:
        """The family's distribution at the state's linear predictors."""
        design, units = self.split(covariates)
        predictor = at_state(self.scores(design, units), state, units.dim())
        others = {}
        for name, value, own, _, by_state in self._other_parameters(design):
            others[name] = value[state] if by_state else value
        return self.distribution(predictor, **others)

    @pyro_method
    def table(self, design: DesignMatrix | Tensor) -> Distribution:
        """Batch of distributions, batch shape (steps, states)."""
        rows, units = self.split(design)
        return self._table_at(self.scores(rows, units))

    def _table_at(self, scores: Tensor) -> Distribution:
        others = {n: v for n, v, *_ in self._other_parameters(scores)}
        return self.distribution(scores, **others)

    def log_table(self, data: Sequences) -> LogTable | None:
        """That of a family of labels, by the weights of every unit."""
        return labels_of_units(self, data)

    def log_probs_at(self, scores: Tensor, data: Sequences) -> Tensor:
        """log p(y_t | z_t = k), 0 where masked, at predictors (steps, states, ...)."""
        with zeros_allowed(self):
            table = self._table_at(scores)
        return emission_log_probs(table, data.emissions, data.mask)

    def _other_parameters(
        self, design: DesignMatrix | Tensor
    ) -> Iterator[tuple[str, Tensor, int, str, bool]]:
        """The family's parameters other than its weights."""
        for name, site in self.family.sites.items():
            if name != "weights":
                by_state = site.axes[:1] == ("state",)
                value = getattr(self, name).to(design.dtype)
                yield name, value, len(site.axes) - by_state, "", by_state

    # What the family says.

    def start_noise(self, name: str, data: Sequences) -> Tensor | float:
        """Sizes of weights as the family has them; 1 for all else."""
        if name not in (WEIGHTS, MEAN, CONSTANT):
            return 1.0
        size = torch.as_tensor(self.inner.start_noise(WEIGHTS, data)).double()
        return size[..., self.places[name == CONSTANT]]

    def own_outputs(self, columns: ColumnUnits, data: Sequences) -> OutputUnits | None:
        """Those of the family, where no law is in the user's units."""
        is_free = self.has_own_units and self.link is None
        units = self.inner.own_outputs(columns, data) if is_free else None
        if units is None:
            return None
        others = {n: m for n, m in units.maps.items() if n != WEIGHTS}
        return units._replace(maps=others | self._by_site(units.maps[WEIGHTS], columns))

    def limits(self, data: Sequences) -> dict[str, Bounds]:
        """Floors of the family's scales."""
        found: dict[str, Bounds] = self.inner.limits(data)
        return found

    def check_varies(self, data: Sequences) -> None:
        """Check that the emissions vary, as the family does."""
        self.inner.check_varies(data)

    def collapsed(
        self, values: Mapping[str, Tensor], start: Mapping[str, Tensor]
    ) -> tuple[str, ...]:
        """Hook: no state of this component is reported as collapsed."""
        return ()

    def start(self, data: Sequences) -> dict[str, Tensor]:
        """The family's starting values, without those of the weights."""
        return {n: v for n, v in self.inner.start(data).items() if n != "weights"}

    def covariate_free(self) -> Any:
        """The family without covariates."""
        return self.inner.covariate_free()

    def marginal(self, data: Sequences) -> Marginal | None:
        """The marginal law of the family, a baseline without covariates."""
        return None


@suggests_names
class VaryingTransitions(Varies, Transitions):
    """Transitions whose weights, or log-odds, vary; see :func:`Varying`.

    Example:
        >>> import glmhmm_pyro as gh
        >>> type(gh.components.Varying(gh.InputDriven(), over="session")).__name__
        'VaryingTransitions'
    """

    own_scales = ("origin", "covariate")
    known_units = (*OVER, SLOW)

    def __init__(
        self,
        family: Transitions,
        over: str = "session",
        law: LawRecipe = "walk",
        constant: Sequence[str] = (),
    ):
        super().__init__()
        weights = _logits_of(family, Stationary, InputDriven)
        axes = ("origin", "destination", "covariate")
        self._vary(family, over, law, constant, Site(*axes, prior=weights))
        self._refuse_steps()

    def _refuse_steps(self) -> None:
        if self.over not in ("group", "session"):
            raise ValueError(
                "over must be 'group' or 'session' for transitions and first states, "
                f"got {self.over!r}; what varies over steps is the emissions of one "
                "state, and over slow states those of two levels"
            )

    def _family_sizes(self) -> dict[str, int | None]:
        return _num_free("destination", self.num_states)

    def design(self, data: Sequences) -> Tensor:
        """The covariates of transitions; a constant where they have none."""
        if isinstance(self.family, InputDriven):
            return super().design(data)
        return torch.ones(data.num_steps, 1, dtype=data.dtype, device=data.device)

    def operator(self, data: Sequences) -> DesignMatrix:
        """The same."""
        if isinstance(self.family, InputDriven):
            return self.inner.operator(data)
        return as_design(self.design(data), ("constant",))

    def logits(self, data: Sequences) -> Tensor:
        """Log-odds against staying, (*outer, steps, origins, destinations)."""
        return self._log_odds(*self.split(self.inputs(data)))

    def log_table(self, data: Sequences) -> LogTable | None:
        """Softmax regressions by the weights of every unit, differentiated by hand."""
        return moves_of_units(self, data)

    def _log_odds(self, design: Tensor, units: Tensor) -> Tensor:
        scores = self.scores(design, units)
        return self.outer_first(insert_staying(scores), units.dim())

    def forward(self, state: Tensor, covariates: Tensor) -> Categorical:
        """Softmax of the linear predictors of the state's row."""
        design, units = self.split(covariates)
        if not isinstance(self.family, InputDriven):
            design = design.new_ones(*design.shape[:-1], 1)
        leading = len(self.outer) + units.dim()
        rows = self._log_odds(design, units)
        return Categorical(logits=at_state(rows, state, leading))

    def _shown(self, weights: Tensor) -> Tensor:
        return InputDriven().display("weights", weights)[0]

    def permuted(self, name: str, value: Tensor, order: Tensor) -> Tensor:
        """Weights of every pair of states; scales by where states come from."""
        if name in self.learnt_scales:
            return Component.permuted(self, name, value, order)
        return InputDriven().permuted("weights", value, order)

    def _weights_of(self, params: Mapping[str, Tensor]) -> Tensor:
        if "weights" in params:
            return params["weights"]
        logs = params["probs"].clamp(min=_LEAST).log()
        staying = logs.diagonal(dim1=-2, dim2=-1).unsqueeze(-1)
        return free_pairs(logs - staying).unsqueeze(-1)


@suggests_names
class VaryingInitial(Varies, InitialState):
    """First states whose weights, or log-odds, vary; see :func:`Varying`.

    Example:
        >>> import glmhmm_pyro as gh
        >>> first = gh.components.Varying(gh.Initial(), over="group", law="pooled")
        >>> type(first).__name__
        'VaryingInitial'
    """

    own_scales = ("covariate",)
    known_units = (*OVER, SLOW)

    def __init__(
        self,
        family: InitialState,
        over: str = "session",
        law: LawRecipe = "walk",
        constant: Sequence[str] = (),
    ):
        super().__init__()
        weights = _logits_of(family, Initial, InitialGLM)
        site = Site("state", "covariate", prior=weights)
        self._vary(family, over, law, constant, site)
        VaryingTransitions._refuse_steps(self)

    def _family_sizes(self) -> dict[str, int | None]:
        return _num_free("state", self.num_states)

    def design(self, data: Sequences) -> Tensor:
        """The initial covariates; a constant where there are none."""
        if isinstance(self.family, InitialGLM):
            return super().design(data)
        return torch.ones(data.num_sessions, 1, dtype=data.dtype, device=data.device)

    def operator(self, data: Sequences) -> DesignMatrix:
        """The same."""
        if isinstance(self.family, InitialGLM):
            return self.inner.operator(data)
        return as_design(self.design(data), ("constant",))

    def entries(self, data: Sequences) -> Tensor:
        """The unit of every session, (sessions, 1)."""
        if self.link is None:
            return torch.tensor(self.rows(self.over, data))[:, None]
        return Units.of(data, self.over).of_session[:, None]

    def logits(self, data: Sequences) -> Tensor:
        """Log-odds against state 0, shape (*outer, sessions, states)."""
        scores = self.scores(*self.split(self.inputs(data)))
        return self.outer_first(torch.nn.functional.pad(scores, (1, 0)), 1)

    def _shown(self, weights: Tensor) -> Tensor:
        return InitialGLM().display("weights", weights)[0]

    def permuted(self, name: str, value: Tensor, order: Tensor) -> Tensor:
        """Weights relative to the new state 0's; scales stay."""
        if name in self.learnt_scales:
            return value
        return InitialGLM().permuted("weights", value, order)

    def _weights_of(self, params: Mapping[str, Tensor]) -> Tensor:
        if "weights" in params:
            return params["weights"]
        logs = params["probs"].clamp(min=_LEAST).log()
        return (logs[..., 1:] - logs[..., :1]).unsqueeze(-1)


# Probability that one of 0 counts for where weights begin at log-odds.
_LEAST = 1e-3


def _no_family(family: Component | type[Component]) -> TypeError:
    what = type(family).__name__
    if isinstance(family, type):
        what = f"the class {family.__name__}"
    return TypeError(
        "family must be a GLM family, InputDriven or Stationary transitions, or an "
        f"Initial or InitialGLM first state, for its weights to vary, got {what}; "
        "write Varying(gh.Bernoulli())"
    )


def _logits_of(family: Component, by_probs: type, by_weights: type) -> Any:
    """The prior of the weights, or log-odds, of transitions or a first state."""
    if type(family) not in (by_probs, by_weights) or getattr(
        family, "per_session", False
    ):
        raise _no_family(family)
    refuse_forbidden("family", family)
    if isinstance(family, by_probs) and family.prior is not None:
        raise ValueError(
            f"prior of {by_probs.__name__} must be None for log-odds that vary, got "
            f"{family.prior!r:.80}, of probabilities; take {by_weights.__name__}(), "
            "which reads a constant covariate, with a prior of its weights"
        )
    return family.prior


def _num_free(axis: str, num_states: int | None) -> dict[str, int | None]:
    """Size of an axis of states without the reference."""
    return {axis: None if num_states is None else num_states - 1}
