"""Parameters that are known: held at a value, whole or in part."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pyro import distributions as dist
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Dirichlet, Distribution, biject_to, constraints

from glmhmm_pyro.arguments import suggests_names
from glmhmm_pyro.priors import answers
from glmhmm_pyro.priors.affine import flat_columns
from glmhmm_pyro.priors.filling import Prior, check_prior, innermost, recipe_of
from glmhmm_pyro.priors.partly import Partly
from glmhmm_pyro.priors.recipe import Place, PriorRecipe, as_number


@answers.storable
@suggests_names
@dataclass(frozen=True)
class Fixed(PriorRecipe):
    """No prior but a value: what is known is neither fitted nor counted.

    Of probabilities the free ones of a row share what the known ones leave, so that a
    matrix with zeros forbids these transitions.

    Args:
        value: numbers that broadcast to the parameter, as ``fit.params`` has it; NaN or
            None where it is free. Or a mapping from names of covariates to the weights
            that they have in all rows, others being free.
        rest: prior of the free numbers, by default flat: one that is a product over
            them, or a Dirichlet of probabilities.

    Example:
        >>> import glmhmm_pyro as gh
        >>> free = float("nan")
        >>> left_to_right = [[free, free, 0], [0, free, free], [0, 0, 1]]
        >>> transitions = gh.Stationary(prior=gh.priors.Fixed(left_to_right))
        >>> family = gh.Gaussian(scale_prior=gh.priors.Fixed(1.0))
    """

    value: Any
    rest: Prior = None

    def __post_init__(self) -> None:
        given = self.value
        if isinstance(given, Mapping):
            by_name = {str(name): as_number(number) for name, number in given.items()}
            if not by_name or not all(map(math.isfinite, by_name.values())):
                raise ValueError(
                    "value must be a finite number for every covariate that it names, "
                    f"got {given!r:.80}; leave free ones out"
                )
            object.__setattr__(self, "value", by_name)
            return
        try:
            array = given.detach().cpu().numpy() if isinstance(given, Tensor) else given
            numbers = np.array(array, dtype=float)
        except (TypeError, ValueError, NotImplementedError) as error:
            raise TypeError(
                f"value must be numbers, NaN where they are free, got {given!r:.80}; "
                "give a number, or a nested list of them"
            ) from error
        if np.isinf(numbers).any():
            raise ValueError(
                f"value must be finite, or NaN where it is free, got {given!r:.80}; "
                "give a probability of 0 to forbid"
            )
        if self.rest is not None:
            check_prior("rest", self.rest)
        # As files can hold it, and as equal numbers are equal.
        object.__setattr__(self, "value", _nested_tuples(numbers.tolist()))

    @property
    def event_dim(self) -> int:
        """What is free of one row may not be of another."""
        return 1_000

    def __call__(self, shape: torch.Size, place: Place = Place()) -> Distribution:
        """Distribution over a parameter of this shape."""
        shape = torch.Size(shape)
        numbers = self._numbers(place)
        try:
            value = numbers.expand(shape)
        except RuntimeError as error:
            raise ValueError(
                f"{place.title} must be fixed at numbers that broadcast to "
                f"{tuple(shape)}, the shape of the parameter, got "
                f"{tuple(numbers.shape)}; give that shape, NaN where it is free"
            ) from error
        support = Partly(value, place.support)
        support.refuse_impossible(place.title)
        rest = None
        if self.rest is not None:
            rest = innermost(recipe_of(self.rest)(shape, place))
            _check_rest(rest, support, place)
        return PartlyFixed(support, rest)

    def _numbers(self, place: Place) -> Tensor:
        """What is held, NaN where it is free; of named covariates one number each."""
        known = place.whole or ()
        if not isinstance(self.value, dict):
            numbers = torch.from_numpy(np.array(self.value, dtype=float))
            if place.among is None or numbers.shape[-1:] != (len(known),):
                return numbers
            return numbers[..., [known.index(name) for name in place.columns or ()]]
        unknown = self.value.keys() - set(known)
        if unknown:
            raise ValueError(
                f"{place.title} must hold weights of covariates, which are "
                f"{', '.join(known) or 'not known by name here'}, got "
                f"{min(unknown)!r}; name some of these"
            )
        values = [self.value.get(name, math.nan) for name in place.columns or ()]
        return torch.tensor(values, dtype=torch.float64)


def _nested_tuples(numbers: list | float) -> Any:
    """Nested tuples of numbers, ``None`` where they are NaN."""
    if isinstance(numbers, list):
        return tuple(map(_nested_tuples, numbers))
    return None if math.isnan(numbers) else numbers


class PartlyFixed(dist.TorchDistribution):
    """Distribution of a parameter of which some numbers are known.

    Args:
        support: what is known.
        rest: prior of the whole parameter, of which the free numbers count; or
            ``None`` for flat.
    """

    arg_constraints: dict = {}

    def __init__(self, support: Partly, rest: TorchDistribution | None = None):
        self._support, self.rest = support, rest
        super().__init__(torch.Size(), support.value.shape, validate_args=False)

    @property
    def support(self) -> Any:
        """The values that keep what is known."""
        return self._support

    @property
    def is_proper(self) -> bool:
        """Whether what is free has a finite integral."""
        if not self._support.free.any() or self._support.is_shares:
            return True
        return self.rest is not None and bool(answers.is_proper(self.rest))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of the free numbers; -inf where a known one is another."""
        kept = self._support.is_kept(value)
        zero = value.new_zeros(kept.shape)
        return torch.where(kept, zero + self._of_free(value), -math.inf)

    def _of_free(self, value: Tensor) -> Tensor | float:
        if self.rest is None:
            return 0.0
        free, left = self._support.free, self._support.left
        if not self._support.is_shares:
            terms = self.rest.log_prob(value)
            return torch.where(free, terms, 0.0).flatten(-free.dim()).sum(-1)
        alpha = self.rest.concentration.expand(free.shape).to(value)
        alpha = torch.where(free, alpha, 0.0)
        shares = torch.where(free, value / left.unsqueeze(-1).to(value), 1.0)
        density = torch.special.xlogy(alpha - free.to(value), shares).sum(-1)
        density = density - torch.where(free, alpha.lgamma(), 0.0).sum(-1)
        some = free.any(-1)
        total = torch.where(some, alpha.sum(-1), 1.0)
        # Per unit of the probabilities themselves.
        unit = (free.sum(-1) - 1) * torch.where(some, left.to(value), 1.0).log()
        found = torch.where(some, density + total.lgamma() - unit, 0.0)
        return found.flatten(-(free.dim() - 1)).sum(-1) if free.dim() > 1 else found

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        """The known numbers, and start values of the free ones."""
        shape = torch.Size(sample_shape)
        transform = biject_to(self._support)
        free = 0.1 * torch.randn(shape + (transform.size,), dtype=torch.float64)
        return transform(free)

    def expand(
        self, batch_shape: torch.Size, _instance: TorchDistribution | None = None
    ) -> "PartlyFixed":
        """Itself: it has no batch shape."""
        if torch.Size(batch_shape) != self.batch_shape:
            raise ValueError(
                "a Fixed prior must stand on the shape of its parameter, got the "
                f"batch shape {tuple(batch_shape)}; give it as prior=, not in a plate"
            )
        return self


def _check_rest(rest: TorchDistribution, support: Partly, place: Place) -> None:
    """Raise a ValueError for priors that do not factorise over the free numbers."""
    fits = isinstance(rest, Dirichlet) if support.is_shares else not rest.event_shape
    if not fits:
        fitting = "a Dirichlet" if support.is_shares else "such as gh.priors.Ridge(1.0)"
        raise ValueError(
            f"rest of Fixed, {place.title}, must be a product over the free numbers, "
            f"got {type(rest).__name__}; give {fitting}"
        )


@answers.is_flat.register
def _is_flat(prior: PartlyFixed) -> bool:
    return prior.rest is None


@flat_columns.register
def _flat_columns(prior: PartlyFixed) -> Tensor:
    free = prior.support.free
    return free.reshape(-1, free.shape[-1]).all(0) & answers.is_flat(prior)


@answers.held.register
def _held(prior: PartlyFixed) -> Tensor:
    return ~prior.support.free


@answers.has_draws.register
def _has_draws(prior: PartlyFixed) -> bool:
    return True


@answers.log_mass.register
def _log_mass(prior: PartlyFixed) -> float:
    """0 of what is known, and of normalised priors of the rest."""
    support = prior.support
    if not support.free.any() or prior.rest is not None:
        return 0.0
    if not support.is_shares:
        return math.inf
    rows = biject_to(support).rows
    return sum(
        (len(places) - 1) * math.log(share) - math.lgamma(len(places))
        for places, share in rows
    )


@answers.mode_given.register
def _mode_by_recipe(prior: Fixed, counts: Tensor, shape: torch.Size) -> Any:
    return _mode_given(prior(shape, Place(support=constraints.simplex)), counts, shape)


@answers.mode_given.register
def _mode_given(prior: PartlyFixed, counts: Tensor, shape: torch.Size) -> Any:
    """The free probabilities of a row share what is left by their counts."""
    support = prior.support
    if not support.is_shares:
        return None
    free, left = support.free, support.left.unsqueeze(-1)
    if prior.rest is not None:
        counts = (counts + prior.rest.concentration.to(counts) - 1).clamp(min=0)
    counts = torch.where(free, counts, 0.0)
    total = counts.sum(-1, keepdim=True)
    even = free / free.sum(-1, keepdim=True).clamp(min=1)
    shares = torch.where(total > 0, counts / total.clamp(min=1e-300), even.to(counts))
    known = support.value.nan_to_num().to(counts)
    return torch.where(free, left.to(counts) * shares, known)
