"""The penalty strengths of pyGLMHMM and of its MATLAB original, as priors."""

import math

from glmhmm_pyro.arguments import suggests_names
from glmhmm_pyro.priors.elementwise import Ridge
from glmhmm_pyro.priors.lags import RandomWalk
from glmhmm_pyro.priors.recipe import as_number


@suggests_names
def prior_from_lambda(
    lambda_: float, num_steps: int, *, smooth: bool = False, start_scale: float = 10.0
) -> Ridge | RandomWalk | None:
    r"""The prior that is the original's penalty of strength ``lambda_``.

    The original (Calhoun, Pillow & Murthy 2019) minimises a mean over time plus a
    penalty, so the penalty on the log-likelihood's scale grows with the number of
    steps:

    .. math:: -\tfrac{1}{T} \log p(y) + \tfrac{\lambda}{2} w^\top w
        \;\Rightarrow\; w \sim N\big(0, 1 / (\lambda T)\big)

    and with ``smooth``, for (lambda / 2) w'Dw, a random walk of steps with that
    variance. (The original's code adds another value of the smoothness penalty, of
    which its gradient lambda D w is not the derivative; this is the penalty of that
    gradient.)

    Args:
        lambda_: strength of the penalty, at least 0.
        num_steps: number T of steps of all sessions.
        smooth: whether the penalty is that of neighbouring lags.
        start_scale: with ``smooth``, standard deviation of the weight at the first lag,
            of which the original's penalty says nothing.

    Returns:
        A :class:`Ridge`, a :class:`RandomWalk`, or ``None`` for a strength of 0.

    Example:
        >>> import glmhmm_pyro as gh
        >>> gh.priors.prior_from_lambda(0.01, num_steps=10_000)
        Ridge(scale=0.1)
        >>> gh.priors.prior_from_lambda(0.01, 10_000, smooth=True)
        RandomWalk(step_scale=0.1, start_scale=10.0, per=(), border_scale=None)
    """
    strength, steps = as_number(lambda_), as_number(num_steps)
    if not 0 <= strength < math.inf:
        raise ValueError(
            f"lambda_ must be a finite number from 0, got {lambda_!r}"
            "; give 0 for no penalty"
        )
    if not (1 <= steps < math.inf and steps == int(steps)):
        raise ValueError(
            f"num_steps must be a whole number from 1, got {num_steps!r}"
            "; give data.num_steps"
        )
    if strength == 0:
        return None
    scale = 1.0 / math.sqrt(strength * steps)
    return RandomWalk(scale, start_scale) if smooth else Ridge(scale)
