"""Values of one site from the unconstrained vector, and slopes by the vector.

In numpy, by hand for the supports that sites of the package's own have, else by the
transform's own derivatives. The transforms are those of ``torch``'s ``biject_to``.
"""

from typing import Any

import numpy as np
import torch
from torch.distributions import (
    AffineTransform,
    ComposeTransform,
    ExpTransform,
    IndependentTransform,
    StickBreakingTransform,
    Transform,
)

from glmhmm_pyro.components.limits import Clamped, bounds_of

# What a share of a stick is at least and at most, as torch cuts it off.
_LEAST, _MOST = np.finfo(np.float64).tiny, 1.0 - np.finfo(np.float64).eps


class Placed:
    """A site whose unconstrained numbers are its values.

    Args:
        transform: from unconstrained numbers to values.
        shape: of the unconstrained numbers.
    """

    def __init__(self, transform: Transform, shape: torch.Size):
        self.transform, self.shape = transform, shape

    def value(self, free: np.ndarray) -> np.ndarray:
        """Values of unconstrained numbers, kept for what is asked next."""
        return free

    def gain(self) -> float:
        """Log volume that the map to the last values gains."""
        return 0.0

    def slope(self, by_value: np.ndarray, jacobian: bool) -> np.ndarray:
        """Slope by the unconstrained numbers, from that by the last values.

        Args:
            by_value: in the shape of the values.
            jacobian: whether the log volume is added to what is derived.
        """
        return by_value


class PlacedPositive(Placed):
    """A site of positive numbers, which are exponentials."""

    def value(self, free: np.ndarray) -> np.ndarray:
        """Exponentials."""
        self._free, self._value = free, np.exp(free)
        return self._value

    def gain(self) -> float:
        """Sum of the logarithms."""
        return float(np.add.reduce(self._free, None))

    def slope(self, by_value: np.ndarray, jacobian: bool) -> np.ndarray:
        """Slope by the logarithms."""
        return by_value * self._value + jacobian


class PlacedWithinBounds(PlacedPositive):
    """A site of positive numbers that a fit keeps within bounds.

    The log volume is as if there were none.
    """

    def __init__(self, transform: Transform, shape: torch.Size):
        super().__init__(transform, shape)
        bounds: Any = bounds_of(transform)
        self._low, self._high = bounds.low.numpy(), bounds.high.numpy()

    def value(self, free: np.ndarray) -> np.ndarray:
        """Exponentials, or the bound that they are beyond."""
        self._free, self._exp = free, np.exp(free)
        return np.clip(self._exp, self._low, self._high)

    def slope(self, by_value: np.ndarray, jacobian: bool) -> np.ndarray:
        """Slope by the logarithms, 0 where values are held at a bound."""
        moves = (self._exp >= self._low) & (self._exp <= self._high)
        return np.where(moves, by_value * self._exp, 0.0) + jacobian


class PlacedSimplex(Placed):
    r"""A site of probabilities, which are broken sticks.

    Of what is left of a stick, number k takes the share z_k, whose log-odds are the
    unconstrained number less log(number of those that follow), so that

    .. math:: \frac{\partial \log p_j}{\partial x_k} = 1 - z_k \; (j = k),
        \quad -z_k \; (j > k)
    """

    def __init__(self, transform: Transform, shape: torch.Size):
        super().__init__(transform, shape)
        self.offset = np.log(np.arange(shape[-1], 0, -1.0)) if shape[-1] else 0.0

    def value(self, free: np.ndarray) -> np.ndarray:
        """Probabilities."""
        self._odds = free - self.offset
        share = 1.0 / (1.0 + np.exp(-self._odds))
        self._share = np.minimum(np.maximum(share, _LEAST), _MOST)
        self._moves = share == self._share
        self._value = np.empty(free.shape[:-1] + (free.shape[-1] + 1,))
        self._value[..., 0] = 1.0
        (1.0 - self._share).cumprod(-1, out=self._value[..., 1:])
        self._value[..., :-1] *= self._share
        return self._value

    def gain(self) -> float:
        """Logarithms of the shares that are left and of the probabilities."""
        gains = np.log(self._value[..., :-1]) - np.logaddexp(0.0, self._odds)
        return float(np.add.reduce(gains, None))

    def slope(self, by_value: np.ndarray, jacobian: bool) -> np.ndarray:
        """Slope by the log-odds of the shares."""
        by_log = by_value * self._value
        if not self._value.all():
            by_log[self._value == 0] = 0.0
        own = by_log[..., :-1]
        if jacobian:
            own += 1.0
        from_here = by_log[..., ::-1].cumsum(-1)[..., :0:-1]
        found: np.ndarray = (own - from_here * self._share) * self._moves
        return found - self._share if jacobian else found


class PlacedOtherwise(Placed):
    """A site of any other support, by automatic differentiation of its transform."""

    def value(self, free: np.ndarray) -> np.ndarray:
        """What the transform makes of them."""
        self._leaf = torch.tensor(free, requires_grad=True)
        with torch.enable_grad():
            self._value = self.transform(self._leaf)
        found: np.ndarray = self._value.detach().numpy()
        return found

    def _gain(self) -> Any:
        return self.transform.log_abs_det_jacobian(self._leaf, self._value).sum()

    def gain(self) -> float:
        """What the transform says of it."""
        return float(self._gain().detach())

    def slope(self, by_value: np.ndarray, jacobian: bool) -> np.ndarray:
        """The transform's own derivatives."""
        with torch.enable_grad():
            total = (self._value * torch.from_numpy(by_value)).sum()
            total = total + self._gain() if jacobian else total
            if not total.requires_grad:
                return np.zeros(self.shape)
            (slope,) = torch.autograd.grad(total, self._leaf, materialize_grads=True)
        found: np.ndarray = slope.numpy()
        return found


def placed(transform: Transform, shape: torch.Size, is_real: bool) -> Placed:
    """The map between a site's values and its part of the vector.

    Args:
        transform: from unconstrained numbers to values.
        shape: of the unconstrained numbers.
        is_real: whether the values are the unconstrained numbers.
    """
    inner = transform
    while isinstance(inner, IndependentTransform):
        inner = inner.base_transform
    kind: type[Placed] = PlacedOtherwise
    if is_real:
        kind = Placed
    elif isinstance(inner, StickBreakingTransform):
        kind = PlacedSimplex
    elif isinstance(inner, Clamped) and _is_exponential(inner.inner):
        kind = PlacedWithinBounds
    elif _is_exponential(inner):
        kind = PlacedPositive
    return kind(transform, shape)


def _is_exponential(transform: Transform) -> bool:
    """Whether it is the exponential, to which torch may add 0 and a factor of 1."""
    if isinstance(transform, ComposeTransform):
        first, *others = transform.parts or [transform]
        added = all(
            isinstance(t, AffineTransform) and t.loc == 0 and t.scale == 1
            for t in others
        )
        return isinstance(first, ExpTransform) and added
    return isinstance(transform, ExpTransform)
