"""What components whose weights vary over units have in common."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from glmhmm_pyro.arguments import has_items, one_of
from glmhmm_pyro.broadcasting import broadcast_shape
from glmhmm_pyro.components.base import Component, Site
from glmhmm_pyro.components.rescaling import is_as_defined
from glmhmm_pyro.components.varying.by_unit import UnlinkedUnits
from glmhmm_pyro.components.varying.carried import CarriesWeights
from glmhmm_pyro.components.varying.unit_laws import (
    CONSTANT,
    MEAN,
    SCALES,
    WEIGHTS,
    LawRecipe,
    law_of,
    refuse_held,
)
from glmhmm_pyro.components.varying.units import OVER, SLOW, Units
from glmhmm_pyro.components.varying.varying_words import SaysHowItVaries
from glmhmm_pyro.designs import DesignMatrix
from glmhmm_pyro.sequences import Sequences


class Varies(UnlinkedUnits, CarriesWeights, SaysHowItVaries):
    """A component whose weights have an entry for every unit, linked by a law.

    Units are groups, sessions or steps. The sites are ``weights``, which are latent
    where there is a law, with the units for outermost axis; ``constant_weights`` of the
    covariates named in ``constant``; and those of the law, ``weights_mean`` and learnt
    scales. Further parameters of the family are as they were.

    Args:
        family: whose weights vary; its prior is that of the mean, of constant weights,
            and of all where there is no law.
        over: ``"group"``, ``"session"`` or ``"step"``.
        law: what links the units, see :func:`Varying`.
        constant: names of covariates whose weights are the same in all units; those of
            columns that the family holds, such as an offset, are always.

    Attributes:
        units: those of the data at hand, bound by them.
        unit_axes: of the weights of one unit.
        outer: the first of these, which the family's weights do not have.
        fitted_lengths: numbers of steps of the first data set's sessions.
    """

    family: Any
    of_unit: Site
    weights: Any
    constant_weights: Any

    # Axes of a unit's weights whose entries have scales of their own by default.
    own_scales: ClassVar[tuple[str, ...]]
    known_units: ClassVar[tuple[str, ...]] = OVER

    def _vary(
        self,
        family: Component,
        over: str,
        law: LawRecipe,
        constant: Sequence[str],
        weights: Site,
    ) -> None:
        """Declare the sites, after those of the family but its weights.

        Args:
            weights: axes and prior of the weights of one unit.
        """
        self.__dict__["family"] = copy.deepcopy(family)
        self.chosen = family.chosen
        self.over = one_of("over", over, self.known_units)
        names = (constant,) if isinstance(constant, str) else constant
        if not has_items(names) or not all(isinstance(n, str) for n in names):
            raise TypeError(
                f"constant must be names of covariates, got {constant!r:.80}; give "
                "such as ['bias']"
            )
        held = [name for name in family.held_columns if name not in names]
        self.law, self.constant = law, (*names, *held)
        self.prior = weights.prior
        self.units: Any = None
        self.fitted_lengths: tuple[int, ...] | None = None
        self._declare(weights)

    def _declare(self, weights: Site, outer: tuple[str, ...] = ()) -> None:
        """Sites for a unit's weights; those of the law before what it links.

        Args:
            weights: axes and prior of the weights of one unit.
            outer: those of its axes that the family's weights do not have.
        """
        # Not as a site of its own.
        self.__dict__["of_unit"] = weights
        declared, prior = weights.declared, weights.prior
        self.outer, self.unit_axes = outer, weights.axes
        self.link: Any = law_of(self.law, self.over, (*outer, *self.own_scales))
        if self.constant:
            self.constant_weights = Site(*declared[:-1], "constant", prior=prior)
        if self.link is None:
            self.weights = Site(self.over, *declared, prior=prior)
            return
        if self.link.has_mean:
            self.weights_mean = Site(*declared, prior=prior)
        for end, scale in self.link.scales.items():
            if scale.is_learnt:
                site = scale.site(self.unit_axes, weights.sizes)
                setattr(self, f"{WEIGHTS}_{end}", site)
        follows_data = self.over != SLOW
        self.weights = Site(self.over, *declared, latent=follows_data)

    def widen(self, axis: str, size: int) -> None:
        """Give the weights of every unit an axis more, before their own."""
        if axis not in self.outer:
            self._declare(self.of_unit.widened(axis, size), (axis, *self.outer))

    @property
    def inner(self) -> Any:
        """The family, bound as this component is."""
        family = self.family
        family.num_states, family.bounds = self.num_states, self.bounds
        family.chosen = self.chosen
        if WEIGHTS in family.sites:
            family.num_features = self.num_features
            family.covariate_names = self.covariate_names
        return family

    @property
    def walks(self) -> bool:
        """Whether weights go on from each session, or step, to the next."""
        return "step_scale" in getattr(self.link, "scales", ())

    @property
    def learnt_scales(self) -> tuple[str, ...]:
        """Names of the sites of scales that are learnt."""
        ends = [f"{WEIGHTS}_{end}" for end in SCALES]
        return tuple(name for name in ends if name in self.sites)

    @property
    def places(self) -> tuple[list[int], list[int]]:
        """Numbers of the covariates that vary, and of those that do not."""
        names: Any = self.covariate_names or range(self.num_features or 0)
        fixed = [i for i, name in enumerate(names) if name in self.constant]
        return [i for i in range(len(names)) if i not in fixed], fixed

    def sizes(self) -> dict[str, int | None]:
        """As for every component, and the units of the data at hand."""
        sizes = {**super().sizes(), **self._family_sizes()}
        if self.num_features is not None:
            sizes["covariate"], sizes["constant"] = map(len, self.places)
        if self.link is not None:
            sizes[self.over] = None if self.units is None else len(self.units)
        return sizes

    def _family_sizes(self) -> dict[str, int | None]:
        """Sizes of axes without the reference."""
        return {}

    def columns_of(self, site: Site) -> tuple[Any, Any]:
        """Those of weights that vary, or of those that do not, and of all of them."""
        names = self.names_along(site.axes[-1]) if site.axes else None
        return names, self.covariate_names if names else None

    def names_along(self, axis: str) -> tuple[str, ...] | None:
        """Names of the covariates along an axis; varying weights have some of them."""
        if self.covariate_names is None or axis not in ("covariate", "constant"):
            return None
        return tuple(self.covariate_names[i] for i in self.places[axis == "constant"])

    def bind(self, data: Sequences) -> None:
        """Record or check the covariates, and the units of these data."""
        Component.bind(self, data)
        missing = [n for n in self.constant if n not in (self.covariate_names or ())]
        if missing or not self.places[0]:
            names = ", ".join(self.covariate_names or ())
            raise ValueError(
                f"constant must name some of the covariates, {names}, but not all, got "
                f"{', '.join(self.constant)}; name those whose weights do not vary"
            )
        if self.link is not None:
            for scale in self.link.scales.values():
                scale.check_axes(self.unit_axes)
        self.inner.bind(data)
        self._bind_units(data)
        if self.fitted_lengths is None:
            self.bind_blocks(data)
            self._check_walk(data)
            if self.walks:
                columns = self.columns_of(self.of_unit)
                refuse_held(self.of_unit, self.shape(WEIGHTS)[1:], *columns)
            self.fitted_lengths = tuple(data.lengths.tolist())

    def _bind_units(self, data: Sequences) -> None:
        self.units = Units.of(data, self.over)
        if self.walks:
            self._check_order(data)

    def forget_sessions(self) -> None:
        """Bind to the next data set as if it were the first."""
        self.fitted_lengths = None

    def _check_order(self, data: Sequences) -> None:
        """Refuse groups whose sessions do not come one after another."""
        groups = data.groups or ()
        changes = [g for i, g in enumerate(groups) if not i or g != groups[i - 1]]
        twice = [g for g in changes if changes.count(g) > 1]
        if twice:
            raise ValueError(
                "sessions of a group must come one after another for weights that walk "
                f"from each to the next, got others between those of {twice[0]!r}; "
                "sort the data by group, then by time"
            )

    def _check_walk(self, data: Sequences) -> None:
        """Refuse a walk over sessions without a step."""
        if self.over != "session" or not self.walks:
            return
        if not self.units.follows.any():
            what = "groups of one session each" if data.groups else "one session"
            raise ValueError(
                "data must have groups of several sessions for weights that walk from "
                f"session to session, got {what}, in which there is no step; give "
                "law='pooled', or over='group'"
            )

    def filled(self, name: str) -> Any:
        """The prior of a site; that of the weights is their law."""
        if name != WEIGHTS or self.link is None:
            return super().filled(name)
        values = {
            end: getattr(self, f"{WEIGHTS}_{end}")
            for end in ("mean", *self.link.scales)
            if f"{WEIGHTS}_{end}" in self.sites
        }
        return self._law_at(values)

    def _law_at(self, values: Mapping[str, Tensor]) -> Any:
        shape = self.shape(WEIGHTS)[1:]
        return self.link.distribution(dict(values), self.units, self.unit_axes, shape)

    @property
    def has_fixed_priors(self) -> bool:  # type: ignore[override]
        """Whether no law has parameters of its own."""
        return self.link is None

    # What steps read.

    @property
    def has_own_rows(self) -> bool:
        """Whether a step reads the weights of its unit alone, as here."""
        return is_as_defined(self, Varies, "scores", "inputs")

    def has_tables(self, data: Sequences) -> bool:
        """Whether predictors are those made here, of units of several steps."""
        is_whole = data.ranks.size == 1
        return self.has_own_rows and self.over != "step" and is_whole

    @property
    def is_linear(self) -> bool:
        """False: predictors are no single product of a design and weights."""
        return False

    @property
    def num_entries(self) -> int:
        """One column of entries: the unit."""
        return 1

    def entries(self, data: Sequences) -> Tensor:
        """The unit of every step, (steps, 1)."""
        if self.link is None and self.over != "step":
            return super().entries(data)
        return Units.of(data, self.over).of_steps()[:, None]

    def inputs(self, data: Sequences) -> Tensor:
        """What ``forward`` reads of a step: its covariates, then its unit's number."""
        design = self.operator(data).dense()
        return torch.cat([design, self.entries(data).to(design)], -1)

    def factors(self, data: Sequences) -> DesignMatrix | Tensor:
        """What a table of all steps reads: as :meth:`inputs`."""
        return self.inputs(data)

    def split(self, inputs: Any) -> tuple[Tensor, Tensor]:
        """The design, and the units."""
        return inputs[..., :-1], inputs[..., -1].long()

    def scores(self, design: Tensor, units: Tensor) -> Tensor:
        """Linear predictors of all rows, shape (*rows, *unit but covariates).

        Args:
            design: shape (*rows, features).
            units: shape (*rows).
        """
        rows = self.weights.to(design.dtype)
        if len(rows) != len(units) or self.over != "step" or units.dim() > 1:
            rows = rows.index_select(0, units.flatten()).unflatten(0, units.shape)
        found = _row_products(rows, design[..., self.places[0]])
        return found + self.constant_scores(design) if self.constant else found

    def outer_first(self, scores: Tensor, leading: int) -> Tensor:
        """Scores (*rows, *outer, ...) with outer axes before so many of rows."""
        number = range(len(self.outer))
        return scores.movedim([leading + axis for axis in number], [*number])

    def constant_scores(self, design: Tensor) -> Tensor:
        """The part of predictors that is the same in all units."""
        weights = self.constant_weights.to(design.dtype)
        return torch.tensordot(design[..., self.places[1]], weights, ([-1], [-1]))

    def start_noise(self, name: str, data: Sequences) -> Tensor | float:
        """One over the root mean square of the covariates of weights; else 1."""
        if name not in (WEIGHTS, MEAN, CONSTANT):
            return 1.0
        size = self.operator(data).means(power=2).sqrt()
        chosen = size[self.places[name == CONSTANT]]
        return 1 / torch.where(chosen > 0, chosen, 1.0)

    # What users see, and states renumbered.

    def display(self, name: str, value: Tensor) -> tuple[Tensor, tuple[str, ...]]:
        """Weights shown as the family shows its own; scales unchanged."""
        axes = self.sites[name].axes
        if name in (WEIGHTS, MEAN, CONSTANT):
            return self._shown(value), axes
        if name in self.learnt_scales:
            return value, tuple(f"free_{a}" if a == "destination" else a for a in axes)
        shown: tuple[Tensor, tuple[str, ...]] = self.inner.display(name, value)
        return shown

    def _shown(self, weights: Tensor) -> Tensor:
        """Weights with reference rows in place."""
        return self.inner.display(WEIGHTS, weights)[0]

    def permuted(self, name: str, value: Tensor, order: Tensor) -> Tensor:
        """The parameter with states renumbered, as in the family."""
        if name in (WEIGHTS, MEAN, CONSTANT):
            return self.inner.permuted(WEIGHTS, value, order)
        if name in self.learnt_scales:
            return super().permuted(name, value, order)
        return self.inner.permuted(name, value, order)

    # What the family alone says.

    def nested(self) -> Component:
        """The family: the special case in which all units share their weights."""
        found = copy.deepcopy(self.family)
        found.num_states = found.num_features = found.covariate_names = None
        found.bounds = {}
        return found

    def spread_out(self, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Values at which every unit has the weights of a fit of the family.

        Args:
            params: of the family, by attribute. Scales are left out.
        """
        weights = self._weights_of(params)
        varying, fixed = (weights[..., p] for p in self.places)
        found = {n: v for n, v in params.items() if n in self.sites}
        number = self.shape(WEIGHTS)[0]
        found[WEIGHTS] = varying.expand(number, *varying.shape).clone()
        if self.constant:
            found[CONSTANT] = fixed
        if MEAN in self.sites:
            found[MEAN] = varying
        return found

    def _weights_of(self, params: Mapping[str, Tensor]) -> Tensor:
        """The weights of a fit of the family."""
        return params[WEIGHTS]


def _row_products(rows: Tensor, design: Tensor) -> Tensor:
    """Sums over the last axis of rows (*rows, *unit), that of a design (*rows, d)."""
    extra = rows.dim() - design.dim()
    shape = (*design.shape[:-1], *(1 for _ in range(extra)), design.shape[-1])
    return (rows * design.reshape(shape)).sum(-1)


def at_state(scores: Tensor, state: Tensor, leading: int) -> Tensor:
    """Scores (*rows, states, ...) of one state a row, which broadcasts to the rows.

    Args:
        scores: of all states.
        state: numbers of states.
        leading: number of axes of rows.
    """
    shape = broadcast_shape(scores.shape[:leading], state.shape)
    whole = scores.expand(*shape, *scores.shape[leading:])
    rest = scores.shape[leading + 1 :]
    index = state.expand(shape).reshape(*shape, 1, *(1 for _ in rest))
    return whole.gather(len(shape), index.expand(*shape, 1, *rest)).squeeze(len(shape))
