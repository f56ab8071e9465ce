"""What every importer gives: a model, and values of its parameters."""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from glmhmm_pyro.components import Categorical, Initial, Transitions
from glmhmm_pyro.inference.fits.fit import Fit
from glmhmm_pyro.inference.fits.given import fit_at
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.sequences import Sequences


@dataclass(frozen=True)
class Imported:
    """A model fitted elsewhere, in the conventions of this package.

    Class 0 is the reference of the emissions; priors are flat.

    Attributes:
        model: not yet bound to any data.
        params: values of its sites by name, as :func:`glmhmm_pyro.fit` takes them for
            ``init``.
        source: name of the program that fitted it.

    Example:
        >>> import numpy as np
        >>> import glmhmm_pyro as gh
        >>> output = [{"emit_w": np.ones((2, 1, 3)), "trans_w": np.zeros((2, 2, 3))}]
        >>> imported = gh.importers.from_pyglmhmm(output)
        >>> data = gh.Sequences([0, 1, 1, 1], np.ones((4, 3)))
        >>> imported.on(data).decode(data).smoothed_probs.dims
        ('step', 'state')
    """

    model: GLMHMM
    params: dict[str, Tensor]
    source: str

    def on(self, data: Sequences) -> Fit:
        """The model at its parameters, with the likelihood of these data.

        Nothing is fitted: ``status`` is ``Status.GIVEN``. Other data can be decoded,
        scored and simulated by the same fit.

        Args:
            data: with the covariates that the model was fitted to, in their order.
        """
        return fit_at(copy.deepcopy(self.model), data, self.params, self.source)


def imported(
    source: str,
    class_weights: np.ndarray,
    initial_probs: np.ndarray,
    transitions: Transitions,
    transition_params: dict[str, np.ndarray],
) -> Imported:
    """A model of labelled behaviour from arrays.

    Args:
        source: name of the program.
        class_weights: of all classes, (states, classes, features). One class's weights
            are taken off all others, for only differences count.
        initial_probs: of the first state, (states,).
        transitions: the component.
        transition_params: values of its parameters, by attribute.
    """
    states, classes, _ = class_weights.shape
    free = class_weights[:, 1:] - class_weights[:, :1]
    values = {"emissions.weights": free}
    if states > 1:
        values["initial.probs"] = initial_probs
        values |= {f"transitions.{n}": v for n, v in transition_params.items()}
    return Imported(
        GLMHMM(states, Categorical(classes), transitions, Initial()),
        {
            name: torch.tensor(value.astype(np.float64))
            for name, value in values.items()
        },
        source,
    )


def leaving(square: np.ndarray) -> np.ndarray:
    """(origins, destinations, ...) without the destinations that are the origin."""
    states = len(square)
    away = ~np.eye(states, dtype=bool)
    return square[away].reshape((states, states - 1) + square.shape[2:])


def array(name: str, value: ArrayLike, shape: tuple[int | None, ...]) -> np.ndarray:
    """Numbers as float64, checked.

    Args:
        name: what the array is, for messages.
        value: anything numpy can read, an array of jax or autograd for example.
        shape: its shape; ``None`` for a size that may be anything.

    Raises:
        ValueError: it is not of this shape, or not finite.
        TypeError: it does not hold real numbers.
    """
    found = numbers(name, value)
    sizes = zip(shape, found.shape)
    fits = found.ndim == len(shape) and all(n in (None, size) for n, size in sizes)
    if not fits or found.size == 0 or not np.isfinite(found).all():
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise ValueError(
            f"{name} must be finite, of shape ({wanted}), got shape {found.shape}"
            "; take the parameters of a finished fit"
        )
    return found


def numbers(name: str, value: ArrayLike) -> np.ndarray:
    """An array in float64, of any shape."""
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        kind = type(value).__name__
        raise TypeError(
            f"{name} must be an array of numbers, got {kind}"
            "; convert it by numpy.asarray"
        ) from None


def probabilities(name: str, value: ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    """Probabilities that sum to 1 over the last axis, in float64.

    What single precision leaves of a sum other than 1 is divided out.
    """
    found = array(name, value, shape)
    total = found.sum(-1, keepdims=True)
    if (found < 0).any() or not np.allclose(total, 1, atol=1e-4):
        raise ValueError(
            f"{name} must be probabilities that sum to 1 over the last axis, got sums "
            f"from {total.min():g} to {total.max():g} and a smallest of {found.min():g}"
            "; normalise them"
        )
    return found / total


def part(name: str, whole: Any, attribute: str) -> Any:
    """An attribute, or an entry of a mapping, of what another program has made."""
    if isinstance(whole, dict) and attribute in whole:
        return whole[attribute]
    if not hasattr(whole, attribute):
        raise ValueError(
            f"{name} must have {attribute!r}, as an attribute or an entry, got "
            f"{type(whole).__name__} without it"
            "; give the object that the other package fitted"
        )
    return getattr(whole, attribute)


def has_part(whole: Any, attribute: str) -> bool:
    """Whether what another program has made has such an attribute or entry."""
    return hasattr(whole, attribute) or isinstance(whole, dict) and attribute in whole


def refuse_parts(name: str, whole: Any, attributes: tuple[str, ...], why: str) -> None:
    """Raise a ValueError if what another program made has one of these attributes."""
    for attribute in attributes:
        if has_part(whole, attribute):
            raise ValueError(
                f"{name} must have no {attribute!r}, got one, {why}; "
                "import a model without"
            )
