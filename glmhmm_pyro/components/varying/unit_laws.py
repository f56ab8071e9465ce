"""Laws that link the weights of units: pooled, a walk, or none."""

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from glmhmm_pyro.components.site import Site
from glmhmm_pyro.components.varying.units import SLOW, Units
from glmhmm_pyro.priors.answers import held
from glmhmm_pyro.priors.elementwise import Ridge
from glmhmm_pyro.priors.filling import fill
from glmhmm_pyro.priors.hierarchical import Hierarchical
from glmhmm_pyro.priors.lags import RandomWalk
from glmhmm_pyro.priors.learnt import LEARNT
from glmhmm_pyro.priors.markov import GaussianMarkov
from glmhmm_pyro.priors.recipe import Place, PriorRecipe

# A law by its name, or a recipe with its scales; None for units by themselves.
LawRecipe = str | PriorRecipe | None

# Sites of the weights, of their mean, and of those that are the same in all units.
WEIGHTS, MEAN, CONSTANT = "weights", "weights_mean", "constant_weights"

# Ends of the names of sites that hold learnt scales.
SCALES = ("scale", "step_scale", "border_scale")

# Axes that weights have on two levels alone, whose sizes come later.
LEVELS = ("slow", "fast")

Values = dict[str, Tensor]


@dataclass(frozen=True)
class Scale:
    """A standard deviation of a law: known, or learnt by axes of its own.

    Attributes:
        given: numbers, a prior, or ``"learnt"``.
        per: axes of the weights along which it has entries.
    """

    given: Any
    per: tuple[str, ...]

    @property
    def is_learnt(self) -> bool:
        """Whether the scale is estimated, as a site of the model."""
        return isinstance(self.given, str | Distribution)

    def site(self, axes: tuple[str, ...], sizes: dict[str, int]) -> Site:
        """The site of a scale that is learnt.

        Args:
            axes: names of the axes of one unit's weights.
            sizes: of those that declare one.
        """
        self.check_axes(axes, later=LEVELS)
        own = [a for a in axes if a in self.per]
        prior = None if self.given == LEARNT else self.given
        declared = [(a, sizes[a]) if a in sizes else a for a in own]
        return Site(*declared, prior=prior, support=constraints.positive)

    def in_units(self, size: Tensor) -> "Scale":
        """The scale of weights that are ``size`` times as large, (covariates,).

        One that is learnt is a site, whose values are mapped as the weights are.
        """
        if self.is_learnt:
            return self
        return Scale(torch.as_tensor(self.given, dtype=torch.float64) * size, self.per)

    def check_axes(self, axes: tuple[str, ...], later: tuple[str, ...] = ()) -> None:
        """Raise a ValueError if it has entries along axes that weights have not.

        Args:
            axes: those of the weights.
            later: those that these may get.
        """
        unknown = [axis for axis in self.per if axis not in (*axes, *later)]
        if self.is_learnt and unknown:
            raise ValueError(
                "per of the law must name axes of the weights, which are "
                f"{', '.join(axes)}, got {unknown[0]!r}; name some of these"
            )

    def at(self, value: Tensor | None, axes: tuple[str, ...]) -> Tensor:
        """The scale, as it broadcasts to the weights of a unit."""
        if value is None:
            return torch.as_tensor(self.given, dtype=torch.float64)
        sizes = iter(value.shape)
        return value.reshape([next(sizes) if a in self.per else 1 for a in axes])


class Law(ABC):
    """What links the weights of units.

    Attributes:
        scales: its standard deviations, by the ends of the names of their sites.
        has_mean: whether units vary around a mean that is learnt.
    """

    scales: dict[str, Scale]
    has_mean = False

    @abstractmethod
    def scale_of(self, scales: Values, units: Units, unit: int) -> Tensor:
        """Standard deviation of every unit, that broadcasts to (units, *unit).

        Args:
            scales: by the ends of names, as they broadcast to a unit.
            units: of the data.
            unit: number of axes of a unit's weights.
        """

    @abstractmethod
    def follows(self, units: Units) -> Tensor:
        """Whether units go on from those before, shape (units,)."""

    def in_units(self, size: Tensor) -> "Law":
        """The law of weights that are ``size`` times as large, (covariates,)."""
        found = copy.copy(self)
        found.scales = {n: scale.in_units(size) for n, scale in self.scales.items()}
        return found

    def distribution(
        self, values: Values, units: Units, axes: tuple[str, ...], shape: torch.Size
    ) -> GaussianMarkov:
        """The law of all units.

        Args:
            values: of the law's sites, by the ends of their names.
            units: of the data.
            axes: names of the axes of a unit's weights, of that shape.
            shape: of these.
        """
        scales = {n: s.at(values.get(n), axes) for n, s in self.scales.items()}
        centre = values.get("mean", torch.zeros((), dtype=torch.float64))
        scale = self.scale_of(scales, units, len(shape))
        follows = self.follows(units)
        return GaussianMarkov(centre, scale.to(centre.device), follows, shape)


class Pooled(Law):
    """Weights of units are independent normal draws around a shared mean."""

    has_mean = True

    def __init__(self, scale: Scale):
        self.scales = {"scale": scale}

    def scale_of(self, scales: Values, units: Units, unit: int) -> Tensor:
        """One standard deviation, the same for all units."""
        return scales["scale"].unsqueeze(0)

    def follows(self, units: Units) -> Tensor:
        """False for every unit: pooled units have no order."""
        return torch.zeros_like(units.follows)


class Walk(Law):
    """A random walk: a unit's weights are those of the unit before plus noise."""

    def __init__(self, start: float | Tensor, step: Scale, border: Scale | None):
        self.start = start
        self.scales = {"step_scale": step}
        if border is not None:
            self.scales["border_scale"] = border

    def scale_of(self, scales: Values, units: Units, unit: int) -> Tensor:
        """The start's scale where a walk begins, else that of a step or of a border."""
        beside = (-1, *(1 for _ in range(unit)))
        step = scales["step_scale"].unsqueeze(0)
        if "border_scale" in scales:
            border = scales["border_scale"].unsqueeze(0)
            step = torch.where(units.borders.reshape(beside), border, step)
        return torch.where(units.follows.reshape(beside), step, self.start)

    def in_units(self, size: Tensor) -> Law:
        """As for every law; where a walk begins, too."""
        found: Any = super().in_units(size)
        found.start = self.start * size
        return found

    def follows(self, units: Units) -> Tensor:
        """True for all units but the first of every group."""
        return units.follows


def law_of(law: LawRecipe, over: str, per: tuple[str, ...]) -> Law | None:
    """The law that a recipe stands for; ``None`` for units without one.

    Args:
        law: as the user gave it.
        over: what weights vary over.
        per: axes of the scales of a law that is given by its name.

    Raises:
        ValueError: a walk over groups, steps without a walk, or what is no law.
    """
    if law is None:
        _check_free(over)
        return None
    if isinstance(law, str) and law in ("pooled", "walk"):
        kind: Any = RandomWalk if law == "walk" else Hierarchical
        law = kind(LEARNT, per=per)
    if isinstance(law, RandomWalk):
        _check_order(over)
        if law.border_scale is not None and over != "step":
            raise ValueError(
                "border_scale must be None for a walk over sessions, whose every step "
                f"crosses a border, got {law.border_scale!r:.80}; leave it out"
            )
        border = law.border_scale
        return Walk(
            law.start_scale,
            Scale(law.step_scale, law.per),
            None if border is None else Scale(border, law.per),
        )
    if over == "step":
        raise ValueError(
            f"law must be a walk for weights that vary over steps, got {law!r:.80}; "
            "give law='walk', or gh.priors.RandomWalk(step_scale=...)"
        )
    if isinstance(law, Hierarchical) and law.base == Ridge(1.0):
        return Pooled(Scale(law.scale_prior, law.per))
    if isinstance(law, Ridge):
        return Pooled(Scale(law.scale, ()))
    raise ValueError(
        "law must be 'pooled', 'walk' or None, or a recipe with a scale: "
        "gh.priors.Ridge(scale), gh.priors.Hierarchical(scale_prior) without a base or "
        f"gh.priors.RandomWalk(step_scale), got {law!r:.80}; give one of these"
    )


def _check_free(over: str) -> None:
    """Refuse units that cannot be without a law."""
    if over == SLOW:
        raise ValueError(
            "law must be pooled for weights that vary over slow states, got None, by "
            "which those of every pair are free; give law='pooled', or take "
            'ByLevel(family, over="both")'
        )
    if over == "step":
        raise ValueError(
            "law must be a walk for weights that vary over steps, got None, under "
            "which a weight has one step to be learnt from; give law='walk'"
        )


def _check_order(over: str) -> None:
    """Refuse a walk of units that have no order."""
    if over == SLOW:
        raise ValueError(
            "law must be pooled for weights that vary over slow states, got a walk, "
            "for which these have no order; give law='pooled'"
        )
    if over == "group":
        raise ValueError(
            "law must be pooled, or None, for weights that vary over groups, got a "
            "walk, for which groups have no order; give law='pooled'"
        )


def refuse_held(
    weights: Site,
    shape: torch.Size,
    columns: tuple[str, ...] | None,
    among: tuple[str, ...] | None,
) -> None:
    """Raise a ValueError for a prior that holds weights which go on from unit to unit.

    Args:
        weights: axes and prior of those of one unit.
        shape: of these.
        columns: names of their covariates.
        among: names of all covariates.
    """
    if weights.prior is None:
        return
    place = Place("weights", weights.axes, columns, among)
    known = held(fill(weights.prior, shape, weights.support, place))
    if known is not None and known.any():
        raise ValueError(
            "prior must hold no weight that walks from unit to unit, got "
            f"{weights.prior!r:.200}; name in constant the covariates whose weights "
            "are known"
        )
