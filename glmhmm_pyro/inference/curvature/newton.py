"""Newton steps to a mode, so that it does not depend on a search's tolerance."""

from collections.abc import Callable

from torch import Tensor

from glmhmm_pyro.inference.curvature.round_scales import Scale
from glmhmm_pyro.inference.program.program import Program

# Standard deviations that a step must still go to be taken, those from which on the
# curvature here says little of that at the mode, and the part that a step may leave.
_LEAST, FAR, _LEFT = 1e-13, 0.5, 0.25

_MOST_STEPS = 12

# Standard deviations that the mode may be away from where a search has arrived.
ARRIVED = 1e-6


def newton_mode(
    program: Program, vector: Tensor, factor: Scale, jacobian: bool = True
) -> tuple[Tensor, float]:
    r"""The mode of a program's density near the end of a search.

    Newton steps with one curvature, as long as each leaves little of the slope. A
    search ends where values no longer rise, or where the gradient falls below a
    tolerance, which rounding decides: what is made of that point agrees between
    processors, or units of the data, to as many digits as the tolerance has.

    Values are not compared, for near a mode they are all rounding. Slopes tell: the
    step :math:`F F^\top g` is one up, and where its end keeps less than all of
    :math:`F^\top g` the density has risen (Hager & Zhang 2005 accept such steps).

    Args:
        program: the model with its data.
        vector: point of the unconstrained coordinates, shape (size,).
        factor: F, shape (size, size), or an operator; F @ F.T is the covariance.
        jacobian: whether the density is that of the vector; see
            :meth:`Program.log_density`.

    Returns:
        The mode, or the vector as it came where there is none near it; and how many
        standard deviations away the gradient there still takes the mode to be.
    """
    return newton_steps(
        lambda point: program.evaluated(point, jacobian).slope, vector, factor
    )


def newton_steps(
    slope_at: Callable[[Tensor], Tensor], vector: Tensor, factor: Scale
) -> tuple[Tensor, float]:
    """The same of any density; see :func:`newton_mode`.

    Args:
        slope_at: of the density, (size,), at a vector (size,).
        vector: where to begin.
        factor: root of the covariance.
    """
    slope = slope_at(vector) @ factor
    for _ in range(_MOST_STEPS):
        if not _LEAST < slope.norm() < FAR:
            break
        moved = vector + slope @ factor.T
        left = slope_at(moved) @ factor
        if not left.norm() <= _LEFT * slope.norm():
            break
        vector, slope = moved, left
    return vector, float(slope.norm())
