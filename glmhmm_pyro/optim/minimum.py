"""What a minimisation returns: its end point, why it ended, and its trace."""

from dataclasses import dataclass
from enum import Enum
from typing import Generic, NamedTuple, TypeVar

import numpy as np

Array = TypeVar("Array")
Other = TypeVar("Other")


class Termination(Enum):
    """Why a minimisation ended.

    Each has minFunc's ``message`` and ``exit_flag`` for it (1: the gradient is small,
    2: no progress, 0: a limit) or, where minFunc has none, our own and -1; and a
    ``sentence`` that says what it means.

    Example:
        >>> Termination.CONVERGED_GRADIENT.exit_flag
        1
    """

    CONVERGED_GRADIENT = (
        "Optimality Condition below optTol",
        1,
        "No entry of the gradient is larger than gradient_tol.",
    )
    STATIONARY_START = (
        "Optimality Condition below optTol",
        1,
        "The gradient at the start is already within gradient_tol; nothing was done.",
    )
    CONVERGED_SLOPE = (
        "Directional Derivative below progTol",
        2,
        "The slope along the next direction is within progress_tol of zero; that is "
        "absolute, so a small-valued objective ends here before its gradient is within "
        "gradient_tol.",
    )
    ASCENT_DIRECTION = (
        "Directional Derivative below progTol",
        2,
        "The value rises along the next direction: rounding has spoilt the "
        "approximation of the Hessian.",
    )
    CONVERGED_STEP = (
        "Step Size below progTol",
        2,
        "The last step moved no coordinate by more than progress_tol.",
    )
    CONVERGED_FUNCTION = (
        "Function Value changing by less than progTol",
        2,
        "The last step changed the value by less than progress_tol.",
    )
    MAX_EVALS = (
        "Reached Maximum Number of Function Evaluations",
        0,
        "The limit max_evals was reached before convergence.",
    )
    MAX_ITERS = (
        "Reached Maximum Number of Iterations",
        0,
        "The limit max_iters was reached before convergence.",
    )
    LINE_SEARCH_FAILED = (
        "Step Size below progTol",
        2,
        "The line search found no lower value along a descent direction: the value is "
        "flat to rounding error, or the gradient is not that of the value.",
    )
    NON_FINITE_START = (
        "Objective Not Finite at the Start",
        -1,
        "The value or the gradient at the start is nan or infinite; start elsewhere.",
    )
    NON_FINITE = (
        "Objective Not Finite along the Direction",
        -1,
        "The value or the gradient was nan or infinite where the search led; the "
        "result is the last point at which both were finite.",
    )
    NON_FINITE_DIRECTION = (
        "Step Direction Is Not Finite",
        -1,
        "The direction overflowed, as the gradient or its change is too large or too "
        "small for double precision; rescale the objective.",
    )
    UNBOUNDED = (
        "Objective Seems Unbounded Below",
        -1,
        "The value fell without end along a direction: the objective has no minimum.",
    )

    def __init__(self, message: str, exit_flag: int, sentence: str) -> None:
        self.message = message
        self.exit_flag = exit_flag
        self.sentence = sentence

    def __new__(cls, message: str, exit_flag: int, sentence: str) -> "Termination":
        # Values are the sentences: two members with equal values would be aliases.
        member = object.__new__(cls)
        member._value_ = sentence
        return member

    @property
    def converged(self) -> bool:
        """Whether one of the tests of convergence ended the run."""
        return self.name.startswith("CONVERGED") or self is Termination.STATIONARY_START


class Trace(NamedTuple):
    """One row for the start (iteration 0, step 0) and for every iteration.

    Args:
        iteration: number of the iteration.
        evaluations: evaluations of the objective so far, the start's included.
        step: step length along the direction.
        fun: value of the objective.
        optimality: largest absolute entry of the gradient.

    Example:
        >>> import numpy as np
        >>> from glmhmm_pyro.optim import minimize_batched
        >>> def bowl(points, problems):
        ...     return ((points - 1) ** 2).sum(1), 2 * (points - 1)
        >>> (result,) = minimize_batched(bowl, np.zeros((1, 2)), keep_trace=True)
        >>> result.trace.iteration.tolist()[0], float(result.trace.fun[0])
        (0, 2.0)
    """

    iteration: np.ndarray
    evaluations: np.ndarray
    step: np.ndarray
    fun: np.ndarray
    optimality: np.ndarray


@dataclass(frozen=True, eq=False)
class MinimizeResult(Generic[Array]):
    """End point of a minimisation; nan appears nowhere in it.

    Where the start itself was not finite, ``fun`` and ``optimality`` are infinite and
    ``grad`` holds zeros.

    Args:
        x: the end point, in the shape and dtype of the start.
        fun: value there.
        grad: gradient there, in the shape of ``x``.
        num_iters: iterations begun (minFunc's ``iterations``: one that ends because
            of its slope is counted, although the trace has no row for it).
        num_evals: evaluations of the objective and its gradient (``funcCount``).
        optimality: largest absolute entry of the gradient (``firstorderopt``).
        status: why it ended; ``status.sentence`` explains it.
        message: minFunc's words for the test that ended the run, also where the status
            says more: that the step is 0 because the line search failed, or that the
            value had fallen without end.
        exit_flag: minFunc's ``exitflag``, or -1 where minFunc has none.
        trace: values by iteration, if they were asked for.

    Example:
        >>> import numpy as np
        >>> from glmhmm_pyro.optim import minimize_batched
        >>> def bowl(points, problems):
        ...     return ((points - 1) ** 2).sum(1), 2 * (points - 1)
        >>> (result,) = minimize_batched(bowl, np.zeros((1, 2)))
        >>> result.x.round(6).tolist(), result.status.name
        ([1.0, 1.0], 'CONVERGED_GRADIENT')
    """

    x: Array
    fun: float
    grad: Array
    num_iters: int
    num_evals: int
    optimality: float
    status: Termination
    message: str
    exit_flag: int
    trace: Trace | None = None

    @property
    def converged(self) -> bool:
        """Whether one of the tests of convergence ended the run."""
        return self.status.converged

    def replaced(self, x: Other, grad: Other) -> "MinimizeResult[Other]":
        """This result with other arrays for its end point and gradient."""
        return MinimizeResult(**{**vars(self), "x": x, "grad": grad})
