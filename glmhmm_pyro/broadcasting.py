"""Shapes of results, found without what torch imports to find them.

``torch.broadcast_shapes`` imports sympy when it is first called (torch 2.13), which
takes longer than many a fit.
"""

import numpy as np
import torch
from torch.distributions.transforms import (
    AffineTransform,
    ComposeTransform,
    IndependentTransform,
    Transform,
)


def broadcast_shape(*shapes: tuple[int, ...]) -> torch.Size:
    """Shape of the result of an operation on tensors of these shapes.

    Raises:
        ValueError: they do not broadcast.

    Example:
        >>> broadcast_shape((3, 1), (2,))
        torch.Size([3, 2])
    """
    return torch.Size(np.broadcast_shapes(*shapes))


def unconstrained_shape(transform: Transform, shape: torch.Size) -> torch.Size:
    """Shape of what a transform makes values of a shape from.

    Args:
        transform: from unconstrained values, such as ``biject_to(support)``; if a part
            of it shifts and scales, then by no more numbers than there are values.
        shape: of the values.

    Example:
        >>> simplex = torch.distributions.constraints.simplex
        >>> to_value = torch.distributions.biject_to(simplex)
        >>> unconstrained_shape(to_value, torch.Size([2, 3]))
        torch.Size([2, 2])
    """
    if isinstance(transform, AffineTransform):
        return shape
    if isinstance(transform, IndependentTransform):
        return unconstrained_shape(transform.base_transform, shape)
    if isinstance(transform, ComposeTransform):
        for part in reversed(transform.parts):
            shape = unconstrained_shape(part, shape)
        return shape
    return torch.Size(transform.inverse_shape(shape))
