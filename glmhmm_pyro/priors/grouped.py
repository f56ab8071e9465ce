"""A prior for every group of covariates."""

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, SupportsIndex

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Distribution, constraints

from glmhmm_pyro.arguments import has_items, suggests_names
from glmhmm_pyro.broadcasting import broadcast_shape
from glmhmm_pyro.priors.affine import flat_columns
from glmhmm_pyro.priors.answers import (
    curvature,
    innermost,
    is_proper,
    log_mass,
    majoriser,
    storable,
)
from glmhmm_pyro.priors.filling import Prior, check_prior, fill, is_real, recipe_of
from glmhmm_pyro.priors.recipe import Place, PriorRecipe

Columns = tuple[int | str, ...] | slice


@storable
@suggests_names
@dataclass(frozen=True)
class Grouped(PriorRecipe):
    r"""Priors of groups of covariates, such as the lags of several cues.

    .. math:: \log p(w) = \sum_g \log p_g(w_g)

    Hyperparameters of group number g, as a :class:`Hierarchical` has them, have ``_g``
    in their names, those of the rest ``_rest``.

    Args:
        groups: a mapping from columns to their prior, or pairs of both. Columns are a
            number, a range, a covariate's name, a pattern of names such as
            ``"cue0_*"`` (``*`` any letters, ``?`` one), or a tuple of numbers and
            names; in pairs also a list or a slice. Their order is that of lags for a
            :class:`RandomWalk`.
        rest: prior of all other columns, ``None`` for flat.

    Example:
        >>> import glmhmm_pyro as gh
        >>> walk = gh.priors.RandomWalk(0.1)
        >>> prior = gh.priors.Grouped(
        ...     {range(0, 5): walk, range(5, 10): walk}, rest=gh.priors.Ridge(2.0)
        ... )
        >>> prior((2, 11)).batch_shape
        torch.Size([2])
        >>> named = gh.priors.Grouped({"cue0_*": walk, "intercept": None})
    """

    groups: Any
    rest: Prior = None

    def __post_init__(self) -> None:
        given = self.groups
        pairs = given.items() if isinstance(given, Mapping) else given
        pairs = list(pairs) if has_items(pairs) else []
        if not pairs or any(not _is_pair(pair) for pair in pairs):
            raise ValueError(
                "groups of Grouped must be a mapping from columns to priors, or pairs "
                f"of both, at least one, got {given!r:.80}"
                "; write Grouped({'name': Ridge()})"
            )
        groups = tuple((_as_columns(columns), prior) for columns, prior in pairs)
        for columns, prior in groups:
            check_prior(f"groups[{columns!r:.40}]", prior)
        object.__setattr__(self, "groups", groups)

    @property
    def event_dim(self) -> int:
        """The columns are taken apart, rows of weights are not."""
        return 1

    @property
    def takes_sets(self) -> bool:
        """Unless a user's function in a group does not."""
        return all(recipe_of(prior).takes_sets for _, prior in self._labelled())

    def hyperparameters(self, axes: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
        """Axes of the hyperparameters of all groups."""
        return {
            f"{label}_{name}": found
            for label, prior in self._labelled()
            for name, found in recipe_of(prior).hyperparameters(axes).items()
        }

    def __call__(self, shape: torch.Size, place: Place = Place()) -> Distribution:
        """One distribution over all columns."""
        shape = torch.Size(shape)
        parts = []
        columns = self._columns(shape[-1], place)
        for (label, prior), numbers in zip(self._labelled(), columns):
            if not numbers:
                continue
            names = place.columns and tuple(place.columns[i] for i in numbers)
            inner = place.inside(label, names or None)
            own = shape[:-1] + (len(numbers),)
            part = fill(prior, own, constraints.real, inner)
            parts.append((numbers, _checked_part(part, inner)))
        return ByColumns(parts, shape)

    def _labelled(self) -> list[tuple[str, Prior]]:
        """The priors of all groups and of the rest, with the names of their parts."""
        labelled = [
            (str(number), prior) for number, (_, prior) in enumerate(self.groups)
        ]
        return [*labelled, ("rest", self.rest)]

    def _columns(self, size: int, place: Place) -> list[list[int]]:
        """Numbers of the columns of every group, and of those in none."""
        owner: dict[int, int] = {}
        found = []
        number = size if place.among is None else len(place.among)
        for group, (columns, _) in enumerate(self.groups):
            numbers = _column_numbers(columns, number, place)
            twice = [i for i in numbers if owner.setdefault(i, group) != group]
            if twice or len(set(numbers)) < len(numbers):
                raise ValueError(
                    f"groups of Grouped must not share a column, got {columns!r} with "
                    f"columns of {place.name} that are in another group or twice in it"
                    "; name each column once"
                )
            found.append(numbers)
        rest = [i for i in range(number) if i not in owner]
        return [place.here(numbers) for numbers in (*found, rest)]


class ByColumns(TorchDistribution):
    """Distribution of rows whose columns are independent groups.

    Args:
        parts: columns and their distribution, the rows' axes first, over the reals.
        shape: shape of the parameter.
    """

    arg_constraints: dict = {}
    has_rsample = False
    support = constraints.real_vector

    def __init__(
        self, parts: list[tuple[list[int], Distribution]], shape: torch.Size
    ) -> None:
        rows = [
            (part.batch_shape + part.event_shape)[:-1] for _, part in parts
        ]  # with leading axes of sets where hyperparameters have them
        outer = broadcast_shape(shape[:-1], *rows)
        self.parts: list[tuple[Tensor, Any]] = [
            (torch.tensor(columns), _over(part, outer, len(columns)))
            for columns, part in parts
        ]
        super().__init__(outer, shape[-1:], validate_args=False)

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> "ByColumns":
        """This prior over a batch of rows."""
        parts = [(columns.tolist(), part) for columns, part in self.parts]
        return ByColumns(parts, torch.Size(batch_shape) + self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Sum over groups."""
        total: Any = 0.0
        for columns, part in self.parts:
            log_prob = part.log_prob(value[..., columns])
            total = total + (log_prob if part.event_shape else log_prob.sum(-1))
        return total

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        """Draws of every group, in their columns."""
        draws = torch.empty(self.shape(sample_shape), dtype=torch.float64)
        for columns, part in self.parts:
            draws[..., columns] = part.sample(sample_shape).to(draws.dtype)
        return draws


@flat_columns.register
def _(prior: ByColumns) -> Tensor:
    found = torch.zeros(prior.event_shape, dtype=torch.bool)
    for columns, part in prior.parts:
        found[columns] = flat_columns(part)
    return found


@is_proper.register
def _(prior: ByColumns) -> bool:
    return all(is_proper(part) for _, part in prior.parts)


@log_mass.register
def _(prior: ByColumns) -> float:
    return sum(log_mass(part) for _, part in prior.parts)


@curvature.register
def _(prior: ByColumns, value: Tensor) -> Tensor:
    whole = value.new_zeros(value.shape + value.shape[-1:])
    for columns, part in prior.parts:
        block = curvature(part, value[..., columns])
        whole[..., columns[:, None], columns] = block
    return whole


@majoriser.register
def _(prior: ByColumns, value: Tensor) -> ByColumns:
    parts = [
        (columns.tolist(), majoriser(part, value[..., columns]))
        for columns, part in prior.parts
    ]
    return ByColumns(parts, value.shape)


def _over(part: TorchDistribution, outer: torch.Size, columns: int) -> Distribution:
    """A group's distribution with the rows of the whole parameter."""
    return part.expand(outer if part.event_shape else outer + (columns,))


def _is_pair(pair: int | str | tuple | list) -> bool:
    return isinstance(pair, tuple | list) and len(pair) == 2


def _as_columns(columns: int | str | slice | Sequence[int | str]) -> Columns:
    """Columns in a form that can be compared and saved."""
    if isinstance(columns, slice):
        return columns
    several: tuple[Any, ...] = (columns,)
    if has_items(columns) and not isinstance(columns, str):
        several = tuple(columns)
    plain = tuple(c if isinstance(c, str) else _as_index(c) for c in several)
    if not plain or None in plain:
        raise ValueError(
            "columns of a group must be numbers, a range, a slice, names or patterns "
            f"of names, got {columns!r}; give one of these"
        )
    return plain  # type: ignore[return-value]


def _as_index(column: SupportsIndex) -> int | None:
    whole = hasattr(column, "__index__") and not isinstance(column, bool)
    return column.__index__() if whole else None


def _column_numbers(columns: Columns, size: int, place: Place) -> list[int]:
    """The numbers of columns given by number or name."""
    if isinstance(columns, slice):
        return list(range(size))[columns]
    numbers: list[int] = []
    for column in columns:
        if isinstance(column, str):
            numbers += _matching_columns(column, place)
        elif -size <= column < size:
            numbers.append(column % size)
        else:
            raise ValueError(
                f"columns of Grouped must be below {size}, the number of covariates of "
                f"{place.name}, got {column}; count the columns from 0"
            )
    return numbers


def _matching_columns(name: str, place: Place) -> list[int]:
    """The column of that name, else those that match it as a pattern."""
    names = place.whole
    if names is None:
        raise ValueError(
            f"columns of Grouped must be numbers where covariates have no names, got "
            f"{name!r} for {place.name}; bind the model to data first"
        )
    if name in names:
        return [names.index(name)]
    found = [i for i, known in enumerate(names) if fnmatch.fnmatchcase(known, name)]
    if not found:
        raise ValueError(
            f"columns of Grouped must name covariates of {place.name}, which are "
            f"{', '.join(names[:20])}, got {name!r}; name some of these"
        )
    return found


def _checked_part(filled: Distribution, place: Place) -> Distribution:
    """A group's distribution without wrappers, if it is over rows of reals."""
    part = innermost(filled)
    if len(part.event_shape) > 1 or not is_real(part):
        raise ValueError(
            "a group's prior must be one of real weights, row by row, got "
            f"{type(part).__name__} in {part.support} for {place.name}"
            "; take Ridge(), Lasso() or another of real weights"
        )
    return part
