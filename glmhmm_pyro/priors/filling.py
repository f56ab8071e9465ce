"""How any prior fills the shape of its parameter, and what may be asked of it."""

import copy
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import Any, TypeAlias

import torch
from pyro.distributions import Delta, Independent, TorchDistribution
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import Message
from torch.distributions import Dirichlet, Distribution, biject_to, constraints

from glmhmm_pyro.arguments import read_annotated
from glmhmm_pyro.broadcasting import broadcast_shape, unconstrained_shape
from glmhmm_pyro.callers import why_not_called
from glmhmm_pyro.priors.answers import innermost
from glmhmm_pyro.priors.flat import Flat
from glmhmm_pyro.priors.partly import Partly
from glmhmm_pyro.priors.recipe import Place, PriorRecipe, as_number

Prior: TypeAlias = (
    Distribution | PriorRecipe | Callable[[torch.Size], Distribution] | None
)


def fill(
    prior: Prior,
    shape: torch.Size,
    support: constraints.Constraint,
    place: Place = Place(),
) -> Any:
    """``prior`` over a value of ``shape``, all its axes event axes.

    Args:
        prior: ``None`` for flat; a distribution whose shape broadcasts to ``shape``; a
            recipe; or a function from the shape to a distribution of exactly that
            shape. Hyperparameters may be sampled in a recipe or a function; a
            function's are named after the component, as all its parameters are.
        place: where the parameter stands.
    """
    shape = torch.Size(shape)
    filled: Any = recipe_of(prior)(shape, replace(place, support=support))
    _check_filled(filled, shape, place, leading=True)
    _check_support(filled, support, place)
    # Pyro's wrapper, because a distribution of torch alone is no Pyro site.
    return Independent(filled, len(shape) - len(filled.event_shape))


@singledispatch
def recipe_of(prior: Prior) -> PriorRecipe:
    """Whatever may be declared as a prior, as a recipe.

    Raises:
        TypeError: it cannot be a prior.
    """
    function: Any = check_prior("prior", prior)
    return _Own(function)


def check_prior(name: str, prior: Prior) -> Prior:
    """What was given for a prior, if it can be one.

    Args:
        name: of the argument that it was given for.
        prior: what came.
    """
    is_known = recipe_of.dispatch(type(prior)) is not recipe_of.dispatch(object)
    if isinstance(prior, type) or not (is_known or callable(prior)):
        hint = "gh.priors.Ridge(2.0) is one"
        if isinstance(prior, type):
            hint = f"make one of the class: {prior.__name__}(...)"
        elif as_number(prior) > 0:
            hint = f"Normal(0, {prior}) is a penalty of that width"
        raise TypeError(
            f"{name} must be a distribution, a recipe of gh.priors, a function from a "
            f"shape to a distribution, or None for flat, got {prior!r:.80}; {hint}"
        )
    if isinstance(prior, Distribution):
        check_density(name, prior)
    return prior


def _given_prior(name: str, prior: Prior) -> Prior:
    """A prior as a user gives it: one that is a function can be called with a shape."""
    given: Any = check_prior(name, prior)
    is_own = isinstance(recipe_of(given), _Own)
    reason = why_not_called(given, torch.Size()) if is_own else ""
    if reason:
        raise TypeError(
            f"{name} must be a function of a shape, got {reason}; write such as "
            "lambda shape: Normal(0, 2).expand(shape)"
        )
    return prior


read_annotated(Prior, _given_prior)


def check_density(name: str, prior: TorchDistribution) -> None:
    """Raise a ValueError for a distribution without a density (Delta, discrete)."""
    inner = prior
    while hasattr(inner, "base_dist"):
        inner = inner.base_dist
    if isinstance(inner, Delta):
        raise ValueError(
            f"{name} must have a density, got Delta, which fixes a value; give a "
            "narrow one around the value, such as Normal(value, 0.001) for a weight, "
            "LogNormal(log(value), 0.001) for a scale, Dirichlet(1e6 * value) for "
            "probabilities"
        )
    if prior.support.is_discrete:
        raise ValueError(
            f"{name} must have a density over real numbers, got {type(inner).__name__},"
            " whose draws are discrete; give such as Normal(0, 2) or HalfNormal(1)"
        )


@recipe_of.register
def _itself(prior: PriorRecipe) -> PriorRecipe:
    return prior


@dataclass(frozen=True)
class _Given(PriorRecipe):
    """A distribution that broadcasts to the shape of its parameter; flat if none."""

    prior: Distribution | None

    @property
    def event_dim(self) -> int:
        """Number of event axes of the distribution."""
        return 0 if self.prior is None else len(self.prior.event_shape)

    def __call__(self, shape: torch.Size, place: Place = Place()) -> Distribution:
        """The distribution in this shape."""
        if self.prior is None:
            return Flat(shape, place.support)
        return _expand(_double(self.prior), shape, place)


recipe_of.register(Distribution, _Given)
recipe_of.register(type(None), _Given)


@dataclass(frozen=True)
class _Own(PriorRecipe):
    """A function as the user wrote one, which may sample whatever it likes.

    It knows nothing of sets, and says nothing of being a product.
    """

    function: Callable[[torch.Size], Distribution]
    event_dim = sys.maxsize
    takes_sets = False

    def __call__(self, shape: torch.Size, place: Place = Place()) -> Distribution:
        """What it returns, if it is over exactly this shape."""
        with _Prefix(place.name.rpartition(".")[0]):
            filled = self.function(shape)
        _check_filled(filled, shape, place)
        return _double(filled)


def elementwise_support(prior: TorchDistribution) -> Any:
    """Where every single number of a distribution lies, if all lie in one place."""
    support = prior.support
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support


def is_real(prior: TorchDistribution) -> bool:
    """Whether every single number of a distribution may be any real one."""
    # By type: a copied model has copies of its constraints.
    return isinstance(elementwise_support(prior), type(constraints.real))


def is_unbounded(prior: TorchDistribution) -> bool:
    """Whether every number of a distribution that is not held may be any real one."""
    support = elementwise_support(prior)
    if not isinstance(support, Partly):
        return is_real(prior)
    base: Any = support.base
    while isinstance(base, constraints.independent):
        base = base.base_constraint
    return isinstance(base, type(constraints.real))


def is_positive(prior: TorchDistribution) -> bool:
    """Whether every single number of a distribution may be any positive one."""
    support = elementwise_support(prior)
    kinds = type(constraints.positive), type(constraints.nonnegative)
    return isinstance(support, kinds) and bool(support.lower_bound == 0)


def elementwise_log_prob(
    prior: TorchDistribution, value: torch.Tensor, event_dim: int
) -> torch.Tensor:
    """Log density with the last ``event_dim`` axes of ``value`` summed, no others.

    ``prior`` is what :func:`fill` returned; its outer event axes are peeled off, so
    that a prior that is a product over states gives one number for each.
    """
    log_prob = innermost(prior).log_prob(value)
    keep = value.dim() - event_dim
    return log_prob.reshape(log_prob.shape[:keep] + (-1,)).sum(-1)


class _Prefix(Messenger):
    """Puts the component's name before those of sites sampled inside.

    Two priors may both call a hyperparameter "scale".
    """

    def __init__(self, prefix: str):
        super().__init__()
        self.prefix = f"{prefix}." if prefix else ""

    def _pyro_sample(self, msg: Message) -> None:
        msg["name"] = self.prefix + msg["name"]


def _check_filled(
    filled: TorchDistribution, shape: torch.Size, place: Place, leading: bool = False
) -> None:
    """Raise an error if a function or recipe returned another shape than asked for."""
    if not isinstance(filled, Distribution):
        raise TypeError(
            f"{place.title} must return a distribution, got "
            f"{type(filled).__name__}; return one, such as Normal(0, 2).expand(shape)"
        )
    check_density(place.title, filled)
    found = filled.batch_shape + filled.event_shape
    own = found[len(found) - len(shape) :] if leading else found
    if own != shape:
        raise ValueError(
            f"{place.title} must return a distribution of shape {tuple(shape)}, "
            f"got {tuple(found)}; expand it to the shape it is given"
        )


def _check_support(
    filled: TorchDistribution, support: constraints.Constraint, place: Place
) -> None:
    """Raise a ValueError if a prior may draw values that the parameter cannot have."""
    if filled.support is support:
        return
    if isinstance(support, type(constraints.real)):
        of_weights = (place.axes or ("",))[-1] == "covariate"
        if of_weights and isinstance(innermost(filled), Dirichlet):
            raise ValueError(
                f"{place.title} must be one of real weights, got Dirichlet, whose "
                "numbers sum to 1; give such as Normal(0, 2), or None for flat"
            )
        return
    to_value = biject_to(filled.support)
    free = unconstrained_shape(to_value, filled.batch_shape + filled.event_shape)
    for point in (-1.0, 1.0):
        value = to_value(torch.full(free, point, dtype=torch.float64))
        if not support.check(value).all():
            hints = {"simplex": "a Dirichlet or gh.priors.Sticky"}
            fitting = hints.get(_name(support), "a LogNormal or HalfNormal")
            raise ValueError(
                f"{place.title} must be of values in {_name(support)}, got "
                f"{type(innermost(filled)).__name__}, of values in "
                f"{_name(filled.support)}; give {fitting}, or None for flat"
            )


def _name(support: constraints.Constraint) -> str:
    """A constraint in words."""
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return type(support).__name__.strip("_").lower().replace("greaterthan", "positive")


def _expand(
    prior: TorchDistribution, shape: torch.Size, place: Place
) -> TorchDistribution:
    """``prior`` broadcast to ``shape``; its event axes must be the last ones of it."""
    own = prior.batch_shape + prior.event_shape
    split = len(shape) - len(prior.event_shape)
    try:
        fits = broadcast_shape(own, shape) == shape
    except ValueError:
        fits = False
    if not fits or shape[split:] != prior.event_shape:
        raise ValueError(
            f"{place.title} must have the shape of the parameter, or of its last axes, "
            f"{_with_axes(shape, place)}, got {type(prior).__name__} of shape "
            f"{tuple(own)}; {_fitting(prior, shape)}"
        )
    return prior.expand(shape[:split])


def _with_axes(shape: torch.Size, place: Place) -> str:
    """A shape with what its axes are, if that is known."""
    if place.axes is None or len(place.axes) != len(shape):
        return str(tuple(shape))
    sizes = ", ".join(f"{axis}: {size}" for axis, size in zip(place.axes, shape))
    return f"{tuple(shape)} ({sizes})"


def _fitting(prior: TorchDistribution, shape: torch.Size) -> str:
    """What to give in the place of a prior of another shape."""
    name = type(prior).__name__
    if isinstance(prior, Dirichlet):
        several = f", or of shape {tuple(shape)}" if len(shape) > 1 else ""
        return f"give {shape[-1]} concentrations{several}"
    if prior.event_shape:
        return f"give one over the last {shape[-1]} numbers"
    return f"give {name} of single numbers, or of arrays of shape {tuple(shape)}"


def _double(distribution: Distribution) -> Any:
    """A copy in float64, whatever the precision its parameters were written in."""
    double = copy.copy(distribution)
    for name, value in vars(distribution).items():
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            double.__dict__[name] = value.double()
        elif isinstance(value, Distribution):
            double.__dict__[name] = _double(value)
    return double
