"""A prior in words, for explanations of a model."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from glmhmm_pyro.priors.answers import core, stored
from glmhmm_pyro.priors.recipe import PriorRecipe

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

# Most numbers of an argument that are written out.
_FEW = 12


def in_words(
    prior: Tensor | Distribution | PriorRecipe | Callable[..., Any],
) -> str:
    """Name of a prior with the numbers it was made of, where these are few."""
    if isinstance(prior, Tensor):
        return _written(prior)
    if isinstance(prior, PriorRecipe):
        says_itself = type(prior).__str__ is not object.__str__
        if says_itself or not dataclasses.is_dataclass(prior):
            return str(prior)
        return f"{type(prior).__name__}({', '.join(_arguments(prior))})"
    if not isinstance(prior, Distribution):
        return str(getattr(prior, "__name__", prior))
    known = stored(core(prior))
    if known is None:
        return str(prior)
    made_of = (f"{name}={_written(value)}" for name, value in known.fields.items())
    return f"{known.name}({', '.join(made_of)})"


def _arguments(recipe: "DataclassInstance") -> Iterator[str]:
    """The fields of a recipe, without those that are empty."""
    for field in dataclasses.fields(recipe):
        value = getattr(recipe, field.name)
        if value is None or isinstance(value, tuple) and not value:
            continue
        is_prior = isinstance(value, Tensor | Distribution | PriorRecipe)
        yield f"{field.name}={in_words(value) if is_prior else repr(value)}"


def _written(values: Tensor) -> str:
    if values.numel() > _FEW:
        return f"{' x '.join(map(str, values.shape))} values"
    rounded = [float(f"{value:.4g}") for value in values.flatten().tolist()]
    return str(
        torch.tensor(rounded, dtype=torch.float64).reshape(values.shape).tolist()
    )
