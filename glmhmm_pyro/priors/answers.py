"""What engines ask of a prior, and what each kind of distribution answers.

A question is a function with a general answer, by the density alone, and others that
are registered for classes of distributions. A prior of another kind is a class whose
file registers what it knows better::

    @answers.majoriser.register
    def _(prior: MyPrior, value):
        return Normal(...)

No engine asks for the type of a prior.
"""

import dataclasses
from collections.abc import Callable
from functools import singledispatch, update_wrapper
from typing import Any, NamedTuple, TypeVar

import torch
from pyro import distributions as dist
from pyro.distributions import TorchDistribution
from pyro.distributions.torch_distribution import (
    ExpandedDistribution,
    MaskedDistribution,
)
from torch import Tensor
from torch.distributions import (
    Dirichlet,
    Distribution,
    Laplace,
    MultivariateNormal,
    Normal,
    TransformedDistribution,
)

from glmhmm_pyro.priors.flat import Flat
from glmhmm_pyro.priors.recipe import PriorRecipe

Kind = TypeVar("Kind")

# Least size of a weight under a Laplace prior, over its scale: at 0 it may yet grow.
_SMALLEST = 1e-9


def innermost(prior: Distribution) -> Any:
    """A distribution without wrappers that only call axes its event's; same shape."""
    while hasattr(prior, "base_dist") and hasattr(prior, "reinterpreted_batch_ndims"):
        prior = prior.base_dist
    return prior


def core(prior: Distribution) -> Any:
    """The innermost distribution, not expanded; its shape may be smaller."""
    prior = innermost(prior)
    return core(prior.base_dist) if isinstance(prior, ExpandedDistribution) else prior


class Question:
    """A function of a prior, answered by what is registered for its class.

    Wrappers of axes are taken off before, so that the prior that is asked may have a
    smaller shape, which broadcasts. An answer for a class is one for classes derived
    from it, but not for those with a ``log_prob`` of their own.

    Args:
        general: the answer of all other priors.
    """

    def __init__(self, general: Callable[..., Any]):
        self._answers = singledispatch(general)
        self.register = self._answers.register
        update_wrapper(self, general)

    def __call__(self, prior: TorchDistribution, *args: Any) -> Any:
        """What a prior answers that is told the rest."""
        bare, known = core(prior), self._answers.registry
        for kind in type(bare).__mro__:
            if kind in known and kind is not object:
                return known[kind](bare, *args)
            if "log_prob" in vars(kind):
                break
        return known[object](innermost(prior), *args)


@Question
def is_flat(prior: Distribution | PriorRecipe | None) -> bool:
    """Whether a prior, or what was declared as one, is known to be constant."""
    return False


@Question
def is_proper(prior: Distribution) -> bool:
    """Whether a distribution has a finite integral, as its ``is_proper`` may say."""
    return getattr(core(prior), "is_proper", True)


@Question
def has_draws(prior: Distribution) -> bool:
    """Whether a distribution can be asked for draws, or for start values at least."""
    return True


@Question
def held(prior: Distribution) -> Tensor | None:
    """Which numbers of a parameter are known and not fitted; ``None`` if none is."""
    return None


@Question
def log_mass(prior: Distribution) -> float:
    """Logarithm of the integral of a proper density."""
    return 0.0


@Question
def normal_precision(
    prior: Distribution, slopes: Tensor | None = None
) -> Tensor | None:
    """Inverse covariance along the last axis, or ``None`` if a prior is not normal.

    Args:
        prior: a distribution, whose mean is ``prior.mean`` if it is normal.
        slopes: derivatives of its values by other numbers, (*rows, others, features),
            of which the inverse covariance is then.
    """
    return None


@Question
def curvature(prior: Distribution, value: Tensor) -> Tensor:
    """Minus the second derivatives of a log density along the last axis of ``value``.

    Shape broadcasts to (*value.shape, features). Directions in which the density is
    log-convex count as flat, so that a preconditioner stays positive.
    """
    normal = normal_precision(prior)
    return _differentiated(prior, value) if normal is None else normal


@Question
def majoriser(prior: Distribution, value: Tensor) -> Any:
    """A smooth prior whose density is at most the given one, and equal at ``value``.

    Up to a factor; if smooth, itself. What raises this bound raises the log-joint.
    """
    return prior


@Question
def mode_given(
    prior: Distribution | PriorRecipe | None, counts: Tensor, shape: torch.Size
) -> Tensor | None:
    """Most probable probabilities given counts of categories, or ``None``.

    Args:
        prior: as declared: a distribution or recipe of probabilities, or ``None``.
        counts: shape (*sets, *shape).
        shape: of the parameter.
    """
    return None


# A prior that is none.


@is_flat.register
def _always(prior: Flat | None) -> bool:
    return True


@log_mass.register
def _log_volume(prior: Flat) -> float:
    return prior.log_volume


@curvature.register
def _no_curvature(prior: Flat, value: Tensor) -> Tensor:
    return value.new_zeros(value.shape[-1:] * 2)


@is_proper.register
@has_draws.register
def _never(prior: dist.ImproperUniform | None) -> bool:
    return False


# Normal and Laplace distributions.


@normal_precision.register
def _of_normal(prior: Normal, slopes: Tensor | None = None) -> Tensor:
    if slopes is None:
        return (prior.scale**-2).diag_embed()
    return (slopes / prior.scale.unsqueeze(-2) ** 2) @ slopes.mT


@normal_precision.register
def _of_normals(prior: MultivariateNormal, slopes: Tensor | None = None) -> Tensor:
    if slopes is None:
        return prior.precision_matrix
    # By the root: where a prior is narrow in some direction, squares lose it.
    root = torch.linalg.solve_triangular(prior.scale_tril, slopes.mT, upper=False)
    return root.mT @ root


@majoriser.register
def _normal_below(prior: Laplace, value: Tensor) -> Normal:
    """A mixture of normals over their variance, which given w is as if it were b |w|.

    Sources: Figueiredo 2003; Hunter & Li 2005.
    """
    away = (value - prior.loc).abs().maximum(_SMALLEST * prior.scale)
    return dist.Normal(prior.loc, (prior.scale * away).sqrt())


# Probabilities.


@mode_given.register
def _mode_by_recipe(prior: PriorRecipe, counts: Tensor, shape: torch.Size) -> Any:
    return mode_given(prior(shape), counts, shape)


@mode_given.register
def _dirichlet_mode(prior: Dirichlet, counts: Tensor, shape: torch.Size) -> Tensor:
    """A concentration below 1 counts as an absence."""
    return _shares((counts + prior.concentration.to(counts) - 1).clamp(min=0))


@mode_given.register
def _shares_of(prior: Flat | None, counts: Tensor, shape: torch.Size) -> Tensor:
    return _shares(counts)


def _shares(counts: Tensor) -> Tensor:
    """A row without counts is uniform."""
    total = counts.sum(-1, keepdim=True)
    uniform = counts.new_full((), 1 / counts.shape[-1])
    shares = counts / total.clamp(min=torch.finfo(counts.dtype).tiny)
    return shares.where(total > 0, uniform)


# Distributions made of others.


@is_proper.register
def _proper_base(prior: TransformedDistribution) -> bool:
    return is_proper(prior.base_dist)


@is_proper.register
def _proper_everywhere(prior: MaskedDistribution) -> bool:
    return bool(torch.as_tensor(prior._mask).all()) and is_proper(prior.base_dist)


@is_flat.register
def _flat_everywhere(prior: MaskedDistribution) -> bool:
    return not torch.as_tensor(prior._mask).any() or is_flat(prior.base_dist)


@log_mass.register
def _mass_of_base(prior: MaskedDistribution) -> float:
    return float(log_mass(prior.base_dist))


@majoriser.register
def _masked(prior: MaskedDistribution, value: Tensor) -> Any:
    return MaskedDistribution(majoriser(prior.base_dist, value), prior._mask)


def _differentiated(prior: Distribution, value: Tensor) -> Tensor:
    """Curvature by automatic differentiation; diagonal if the density is a product."""
    leaf = value.detach().clone().requires_grad_()
    log_prob = prior.log_prob(leaf).sum()
    (slope,) = torch.autograd.grad(log_prob, leaf, create_graph=True)
    if not slope.requires_grad:
        return value.new_zeros(value.shape[-1:] * 2)
    if not prior.event_shape:
        return -slope_of_sum(slope, leaf).clamp(max=0.0).diag_embed()
    rows = [slope_of_sum(slope[..., i], leaf) for i in range(value.shape[-1])]
    roots, directions = torch.linalg.eigh(torch.stack(rows, -2))
    return (directions * -roots.clamp(max=0.0).unsqueeze(-2)) @ directions.mT


def slope_of_sum(slopes: Tensor, leaf: Tensor) -> Tensor:
    """Derivatives of a sum by a leaf, 0 where it does not depend on it."""
    (found,) = torch.autograd.grad(
        slopes.sum(), leaf, retain_graph=True, materialize_grads=True
    )
    return found


# What files hold of a prior.


class Stored(NamedTuple):
    """What a file holds of a prior.

    Attributes:
        is_recipe: whether it is a recipe, not a distribution.
        name: of its class.
        fields: the arguments that define it.
    """

    is_recipe: bool
    name: str
    fields: dict[str, Any]

    @property
    def kind(self) -> type | None:
        """Its class, if that is known."""
        return _CLASSES.get((self.is_recipe, self.name))

    @property
    def is_own(self) -> bool:
        """Whether the class is known and of the user's own."""
        known = ("glmhmm_pyro", "torch", "pyro")
        return bool(self.kind) and self.kind.__module__.split(".")[0] not in known


# Classes of recipes and others that files can hold, and the arguments of each.
_CLASSES: dict[tuple[bool, str], type] = {}
_FIELDS: dict[type, tuple[str, ...]] = {}


def storable(kind: type[Kind], *fields: str) -> type[Kind]:
    """Let files hold the priors of a class: its name, and these attributes.

    It may decorate a recipe that is a dataclass, with all its fields. A file is read
    where the class has been made storable before, else with the model given.

    Args:
        kind: class of distributions or of recipes.
        fields: arguments that define an object, and attributes of the same names.

    Returns:
        The class.
    """
    place = issubclass(kind, PriorRecipe), kind.__name__
    known = _CLASSES.setdefault(place, kind)
    # A cell of a notebook that is run again makes its class again.
    if (known.__module__, known.__qualname__) != (kind.__module__, kind.__qualname__):
        raise ValueError(
            f"a storable class must have a name of its own, got {kind.__qualname__}, "
            f"and {known.__module__} has one of that name; rename it"
        )
    _CLASSES[place] = kind
    record: Any = kind
    _FIELDS[kind] = fields or tuple(f.name for f in dataclasses.fields(record))
    return kind


def stored(prior: Distribution | PriorRecipe) -> Stored | None:
    """What a file is to hold of a prior, or ``None`` if it cannot."""
    # A class derived from a known one is another.
    names = _FIELDS.get(type(prior))
    if names is None:
        return None
    fields = {name: getattr(prior, name) for name in names}
    return Stored(isinstance(prior, PriorRecipe), type(prior).__name__, fields)


def restored(found: Stored) -> Any:
    """The prior that a file holds.

    Raises:
        ValueError: it is of no storable class.
    """
    if found.kind is None:
        raise ValueError(f"it asks for {found.name!r}")
    for name in found.fields.keys() - set(_FIELDS[found.kind]):
        raise ValueError(f"it asks for {name!r}")
    return found.kind(**found.fields)


def _store_known(**fields: str) -> None:
    """Make distributions of torch storable, and what Pyro made of them."""
    for name, arguments in fields.items():
        _CLASSES[False, name] = getattr(dist, name)
        for home in (torch.distributions, dist):
            if hasattr(home, name):
                _FIELDS[getattr(home, name)] = tuple(arguments.split())


_store_known(
    Beta="concentration1 concentration0",
    Cauchy="loc scale",
    Dirichlet="concentration",
    Exponential="rate",
    Gamma="concentration rate",
    HalfCauchy="scale",
    HalfNormal="scale",
    InverseGamma="concentration rate",
    Laplace="loc scale",
    LogNormal="loc scale",
    MultivariateNormal="loc covariance_matrix",
    Normal="loc scale",
    StudentT="df loc scale",
    Uniform="low high",
)
