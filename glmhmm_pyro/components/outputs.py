"""Several outputs at once: a family for each, given the state independent."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from pyro.distributions import TorchDistribution
from pyro.nn import pyro_method
from torch import Tensor
from torch.distributions import Distribution, constraints

from glmhmm_pyro.arguments import suggests_names
from glmhmm_pyro.broadcasting import broadcast_shape
from glmhmm_pyro.components.base import Component
from glmhmm_pyro.components.emissions import Emission
from glmhmm_pyro.components.rescaling import is_as_defined
from glmhmm_pyro.components.step_laws import ProductLaw, StepLaw
from glmhmm_pyro.designs import DesignMatrix
from glmhmm_pyro.distributions import Output, inner_name, outputs_of
from glmhmm_pyro.masking import log_prob_of, observed_log_prob
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.changes import Selection
from glmhmm_pyro.zeros import zeros_allowed

Columns = TypeVar("Columns", np.ndarray, Tensor, DesignMatrix, DesignMatrix | Tensor)


@suggests_names
class Outputs(Emission):
    r"""Several outputs of one animal, such as a choice and a reaction time.

    .. math:: p(y_t \mid z_t, x_t) = \prod_o p_o(y_{to} \mid z_t, x_t)

    Each output has a family of its own, with its own parameters, priors, covariates and
    mask. An output that was not observed leaves the others. Parameters are named after
    the output: ``emissions.choice.weights``.

    Args:
        columns: names of the emissions that an output consists of, where it is not the
            one of its own name: a family of several outputs reads several.
        covariates: names of the covariates that an output reads; all by default.
        families: family of every output, by its name.

    Example:
        >>> import glmhmm_pyro as gh
        >>> family = gh.Outputs(choice=gh.Bernoulli(), rt=gh.Gaussian())
        >>> data = gh.Sequences(
        ...     [[1.0, 0.31], [0.0, float("nan")], [1.0, 0.28]],
        ...     emission_names=["choice", "rt"],
        ... )
        >>> model = gh.GLMHMM(1, family)
        >>> model.bind(data)
        >>> [name for name, *_ in model.site_names()][:2]
        ['emissions.choice.weights', 'emissions.rt.weights']
    """

    def __init__(
        self,
        *,
        columns: Mapping[str, Sequence[str]] | None = None,
        covariates: Mapping[str, Sequence[str]] | None = None,
        **families: Emission,
    ):
        super().__init__()
        self.columns = _as_name_tuples("columns", columns, families)
        self.covariates = _as_name_tuples("covariates", covariates, families)
        if not families:
            raise ValueError(
                "families must name at least one output, got none; write "
                "Outputs(choice=Bernoulli(), rt=Gaussian())"
            )
        self.names = tuple(families)
        self.selections: dict[str, Selection] = {}
        for name, family in families.items():
            self._check_family(name, family)
            if family.chosen is not None:
                self.covariates[name] = family.chosen
            read = self.columns.get(name, (name,))
            self.selections[name] = Selection(read, self.covariates.get(name))
            # A copy: a family given twice, or fitted alone, is not changed.
            own = copy.deepcopy(family)
            if own.chosen is not None:
                own.choose(None)
            own.selection = self.selections[name]
            setattr(self, name, own)

    @property
    def families(self) -> dict[str, Emission]:
        """The family of every output, by its name."""
        return {name: getattr(self, name) for name in self.names}

    @property
    def parts(self) -> dict[str, Component]:
        """The family of every output, by its name."""
        return dict(self.families)

    def equations(self) -> list[str]:
        """Those of every output."""
        return [
            line for family in self.families.values() for line in family.equations()
        ]

    @property
    def is_linear(self) -> bool:
        """Whether all families are, side by side as here."""
        families = self.families.values()
        as_here = is_as_defined(self, Outputs, "forward", "table", "design")
        return as_here and all(family.is_linear for family in families)

    def covariate_free(self) -> "Outputs":
        """The families without covariates, side by side."""
        families = {name: f.covariate_free() for name, f in self.families.items()}
        return Outputs(columns=self.columns, **families)

    def takes_sets(self) -> bool:
        """Whether parameters may carry a leading axis of parameter sets."""
        return all(family.takes_sets() for family in self.families.values())

    def bind_states(self, num_states: int) -> None:
        """Record the number of hidden states, for every output."""
        super().bind_states(num_states)
        for family in self.families.values():
            family.bind_states(num_states)

    def bind(self, data: Sequences) -> None:
        """Record or check the covariates, and where each output stands."""
        super().bind(data)
        wanted = [
            c for selection in self.selections.values() for c in selection.outputs
        ]
        if sorted(wanted) != sorted(data.emission_names):
            raise ValueError(
                f"emissions must have the outputs {', '.join(wanted)}, each once, got "
                f"{', '.join(data.emission_names)}; name them by emission_names, give "
                "every one a family, or say by columns which a family reads"
            )
        for name, family in self.families.items():
            try:
                family.bind(family.view(data))
            except ValueError as error:
                raise ValueError(f"output {name!r}: {error}") from error
        self.places = {
            name: _name_positions(data.emission_names, selection.outputs)
            for name, selection in self.selections.items()
        }

    def forward(self, state: Tensor, covariates: Tensor) -> "OutputsProduct":
        """The families' distributions side by side."""
        return self._product(
            {
                name: family(state, self._columns(name, covariates))
                for name, family in self.families.items()
            }
        )

    @pyro_method
    def table(self, design: DesignMatrix | Tensor) -> "OutputsProduct":
        """Batch of distributions, batch shape (*batch, steps, states)."""
        tables = {}
        for name, family in self.families.items():
            with zeros_allowed(family):
                tables[name] = family.table(self._columns(name, design))
        return self._product(tables)

    def step_law(self) -> StepLaw | None:
        """Those of all families, where all have one."""
        laws = {name: family.step_law() for name, family in self.families.items()}
        if not is_as_defined(self, Outputs, "forward", "table", "design"):
            return None

        def law(covariates: np.ndarray) -> ProductLaw:
            parts = {n: one(self._columns(n, covariates)) for n, one in known.items()}
            return ProductLaw(parts, self.places)

        known = {name: one for name, one in laws.items() if one is not None}
        return law if len(known) == len(laws) else None

    def _columns(self, name: str, design: Columns) -> Columns:
        """The covariates that an output reads, out of all."""
        own = self.selections[name].covariates
        if own is None or self.covariate_names is None:
            return design
        places = [self.covariate_names.index(column) for column in own]
        if isinstance(design, DesignMatrix):
            return design.columns(places)
        return design[..., places]

    def _product(self, families: dict[str, Distribution]) -> "OutputsProduct":
        return OutputsProduct(families, self.places)

    def _check_family(self, name: str, family: Emission) -> None:
        if getattr(family, "varies_over", ()):
            raise ValueError(
                "families must have the same parameters in all sessions, got "
                f"{type(family).__name__} for {name!r}, whose {family.varying} have an "
                f"axis {family.varies_over[0]!r}; give it to a GLMHMM alone"
            )
        if getattr(family, "random_effects", ()):
            raise ValueError(
                "families must have no weights by a law beside other outputs, got "
                f"{type(family).__name__} for {name!r}; give it to a GLMHMM alone"
            )
        if not isinstance(family, Emission) or isinstance(family, Outputs):
            raise TypeError(
                f"families must be emission families, got {type(family).__name__} for "
                f"{name!r}; give Bernoulli(), Gaussian() or another"
            )
        if hasattr(self, name) or not name.isidentifier():
            raise ValueError(
                f"families must have names that are free and identifiers, got {name!r};"
                f" choose another and give columns={{other: [{name!r}]}}"
            )
        if family.chosen is not None and name in self.covariates:
            raise ValueError(
                f"covariates must be named once, got them for output {name!r} and in "
                f"its {type(family).__name__}; leave one of the two out"
            )
        width = getattr(family, "num_outputs", None) or 1
        if len(self.columns.get(name, (name,))) != width:
            raise ValueError(
                f"columns must name the {width} emissions of {name!r}, got "
                f"{', '.join(self.columns.get(name, (name,)))}; name that many"
            )


class OutputsProduct(TorchDistribution):
    """Independent outputs side by side, along the last axis of a value.

    A single output of one column has no such axis, as in a data set.

    Args:
        families: distribution of every output, by name.
        places: where each stands along the last axis of a value: a number, or a list of
            them where it consists of several.
    """

    arg_constraints: dict = {}

    def __init__(
        self,
        families: Mapping[str, Distribution],
        places: Mapping[str, int | list[int]],
    ):
        self.families, self.places = dict(families), places
        self.width = sum(1 if isinstance(p, int) else len(p) for p in places.values())
        shapes = [family.batch_shape for family in self.families.values()]
        batch_shape = broadcast_shape(*shapes)
        event_shape = torch.Size([self.width] if self.width > 1 else [])
        super().__init__(batch_shape, event_shape, validate_args=False)

    @property
    def support(self) -> Any:
        """Discrete only where all outputs are."""
        parts: list[Any] = [family.support for family in self.families.values()]
        is_discrete = all(part.is_discrete for part in parts)
        single: Any = (
            constraints.nonnegative_integer if is_discrete else constraints.real
        )
        return constraints.independent(single, len(self.event_shape))

    @property
    def mean(self) -> Tensor:
        """Means, shape (*batch, outputs)."""
        return self._side_by_side({n: f.mean for n, f in self.families.items()})

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        """Values of all outputs."""
        drawn = {n: f.sample(sample_shape) for n, f in self.families.items()}
        return self._side_by_side(drawn)

    def log_prob(self, value: Tensor) -> Tensor:
        """Sum of the outputs' log densities."""
        value = self._columns(value)
        terms = [
            log_prob_of(family, value[..., self.places[name]])
            for name, family in self.families.items()
        ]
        return sum(terms[1:], terms[0])

    def log_prob_observed(self, value: Tensor, mask: Tensor) -> Tensor:
        """The same of those outputs alone that a mask leaves."""
        terms = [
            observed_log_prob(
                family, value[..., self.places[name]], mask[..., self.places[name]]
            )
            for name, family in self.families.items()
        ]
        return sum(terms[1:], terms[0])

    def outputs(self, value: Tensor, mask: Tensor | None) -> dict[str, Output]:
        """Every output with its values and its mask."""
        by_output = mask is not None and mask.dim() > 1
        value, found = self._columns(value), {}
        for name, family in self.families.items():
            place = self.places[name]
            seen = mask[..., place] if mask is not None and by_output else mask
            for own, output in outputs_of(family, value[..., place], seen).items():
                found[inner_name(name, own)] = output._replace(family=name)
        return found

    def _side_by_side(self, values: Mapping[str, Tensor]) -> Tensor:
        columns: list[Any] = [None] * self.width
        for name, value in values.items():
            place = self.places[name]
            split = [value] if isinstance(place, int) else value.unbind(-1)
            for column, part in zip(
                [place] if isinstance(place, int) else place, split
            ):
                columns[column] = part.double()
        if self.width == 1:
            return columns[0]
        return torch.stack(torch.broadcast_tensors(*columns), -1)

    def _columns(self, value: Tensor) -> Tensor:
        return value if self.width > 1 else value.unsqueeze(-1)


def _as_name_tuples(
    argument: str, given: Mapping[str, Sequence[str]] | None, families: Mapping
) -> dict[str, tuple[str, ...]]:
    """Lists of names by output, as tuples."""
    found = {}
    for name, names in (given or {}).items():
        if name not in families:
            raise ValueError(
                f"{argument} must be given for outputs, {', '.join(families)}, got "
                f"{name!r}; name one of these"
            )
        if isinstance(names, str):
            raise TypeError(
                f"{argument}[{name!r}] must be a list of names, got {names!r}; write "
                f"[{names!r}]"
            )
        found[name] = tuple(names)
        if not found[name]:
            raise ValueError(
                f"{argument}[{name!r}] must name a column at least, got none; leave it "
                "out for the default"
            )
    return found


def _name_positions(names: Sequence[str], wanted: Sequence[str]) -> int | list[int]:
    """Positions of names: a number of a single one, else a list."""
    found = [names.index(name) for name in wanted]
    return found[0] if len(found) == 1 else found
