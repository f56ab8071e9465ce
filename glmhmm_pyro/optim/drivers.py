"""The loops that answer L-BFGS coroutines: one problem, or many at once."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.arguments import suggests_names, with_article
from glmhmm_pyro.optim.lbfgs import Problem, lbfgs
from glmhmm_pyro.optim.minimum import MinimizeResult
from glmhmm_pyro.optim.options import LBFGSOptions, resolve_options

Objective = Callable[[Tensor], tuple[Any, Tensor]]
BatchedObjective = Callable[[np.ndarray, np.ndarray], tuple[Any, Any]]


@suggests_names
def minimize(
    fun: Objective,
    x0: Tensor,
    options: LBFGSOptions | None = None,
    *,
    keep_trace: bool = False,
    **named: Any,
) -> MinimizeResult[Tensor]:
    """Minimise a smooth function by minFunc's L-BFGS.

    Everything is computed in float64 whatever the dtype of the start: single precision
    loses the last digits that a stopping rule compares. ``fun`` is called with float64
    tensors. A nan or an infinite value is no error: the search turns back from it, and
    if that fails the status says so.

    Args:
        fun: takes a tensor shaped like ``x0``; returns the value and the gradient.
            :func:`value_and_grad` makes it from a function that returns a value alone.
        x0: the start, of any shape; it is not changed.
        options: minFunc's defaults if not given.
        keep_trace: whether the result has a trace.
        named: fields of :class:`LBFGSOptions`, which override ``options``.

    Returns:
        The end point, in the shape and dtype of ``x0`` (float64 if that is not a
        floating one), with value, gradient, counts and status.

    Raises:
        ValueError: if the start is empty or not finite, or a reply has a wrong shape.

    Example:
        >>> center = torch.tensor([1.0, 2.0])
        >>> result = minimize(lambda x: (((x - center) ** 2).sum(), 2 * (x - center)),
        ...                   torch.zeros(2), max_iters=20)
        >>> result.status.name, result.x
        ('CONVERGED_GRADIENT', tensor([1., 2.]))
    """
    if not isinstance(x0, Tensor):
        raise TypeError(
            f"x0 must be a tensor, got {type(x0).__name__}" "; give torch.as_tensor(x0)"
        )
    if x0.is_complex():
        raise TypeError(
            f"x0 must hold real numbers, got dtype {x0.dtype}; give real and imaginary "
            "parts as two entries, by torch.view_as_real"
        )
    options = resolve_options(options, named)
    start = x0.detach().to(torch.float64)
    dtype = x0.dtype if x0.dtype.is_floating_point else torch.float64

    def as_tensor(point: np.ndarray) -> Tensor:
        return torch.from_numpy(point).reshape(x0.shape).to(x0.device)

    problem = lbfgs(
        _checked_start(start.reshape(-1).cpu().numpy()), options, keep_trace=keep_trace
    )
    point = next(problem)
    try:
        while True:
            # A copy, so that a function that changes its argument changes nothing here.
            value, grad = _both(fun(as_tensor(point.copy())))
            point = problem.send((_as_float(value), _as_vector(grad, x0.shape)))
    except StopIteration as end:
        result: MinimizeResult[np.ndarray] = end.value
    return result.replaced(
        as_tensor(result.x).to(dtype), as_tensor(result.grad).to(dtype)
    )


@suggests_names
def minimize_batched(
    fun: BatchedObjective,
    x0: np.ndarray,
    options: LBFGSOptions | Sequence[LBFGSOptions] | None = None,
    *,
    keep_trace: bool = False,
    **named: Any,
) -> list[MinimizeResult[np.ndarray]]:
    """Minimise many independent problems of one size in lockstep.

    Every round evaluates one point of each problem that still runs, in a single call.
    A problem takes exactly the path that it takes alone if its values are the same
    numbers; a batched matrix product changes their last bits.

    Args:
        fun: takes points, float64 of shape (running, n), and the indices of their
            problems, of shape (running,); returns values of shape (running,) and
            gradients of shape (running, n). Arrays cross here, not tensors: a problem
            is too small to pay for tensors; convert a batch at once in ``fun``.
        x0: starts of shape (problems, n); it is not changed.
        options: minFunc's defaults if not given; of every problem, or of each.
        keep_trace: whether the results have traces.
        named: fields of :class:`LBFGSOptions`, which override ``options``.

    Returns:
        The result of each problem, in order.

    Raises:
        ValueError: if a start is not finite, a reply has a wrong shape, or there are
            not as many options as problems.

    Example:
        >>> centers = np.array([[1.0, 2.0], [3.0, 4.0]])
        >>> def fun(points, problems):
        ...     away = points - centers[problems]
        ...     return (away**2).sum(1), 2 * away
        >>> for result in minimize_batched(fun, np.zeros((2, 2))):
        ...     print(result.x.round(6), result.status.name)
        [1. 2.] CONVERGED_GRADIENT
        [3. 4.] CONVERGED_GRADIENT
    """
    try:
        starts = np.array(x0, dtype=np.float64)
    except (RuntimeError, TypeError, ValueError):
        raise TypeError(
            f"x0 must be an array of numbers, got {x0!r:.80}; give a row for each "
            "problem, by x0.detach().numpy() of a tensor"
        ) from None
    if starts.ndim != 2:
        raise ValueError(
            f"x0 must have shape (problems, n), got {starts.shape}"
            "; give a row for each problem"
        )
    problems = [
        lbfgs(_checked_start(start), own, keep_trace=keep_trace)
        for start, own in zip(starts, _options_of_each(options, named, len(starts)))
    ]
    points = {index: next(problem) for index, problem in enumerate(problems)}
    results: dict[int, MinimizeResult[np.ndarray]] = {}
    while points:
        running = np.fromiter(points, dtype=np.int64, count=len(points))
        values, grads = _evaluate(fun, np.stack(list(points.values())), running)
        _answer(problems, points, results, (values, grads))
    return [results[index] for index in range(len(problems))]


@suggests_names
def value_and_grad(fun: Callable[[Tensor], Tensor]) -> Objective:
    """The value and, by autograd, the gradient of a function that returns a scalar.

    Args:
        fun: takes a tensor; returns a tensor of one element.

    Example:
        >>> value_and_grad(lambda x: (x**2).sum())(torch.tensor([3.0]))
        (tensor(9.), tensor([6.]))
    """

    def objective(x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            value = fun(x)
        _check_has_gradient(value)
        (grad,) = torch.autograd.grad(
            value, x, allow_unused=True, materialize_grads=True
        )
        return value.detach(), grad

    return objective


def _options_of_each(
    options: LBFGSOptions | Sequence[LBFGSOptions] | None,
    named: dict[str, Any],
    problems: int,
) -> list[LBFGSOptions]:
    """Options of every problem, of all alike or of each by itself."""
    if not isinstance(options, Sequence):
        return [resolve_options(options, named)] * problems
    if len(options) != problems:
        raise ValueError(
            f"options must be one LBFGSOptions, or one for each of the {problems} "
            f"rows of x0, got {len(options)}; give as many as there are rows"
        )
    return [resolve_options(own, named) for own in options]


def _answer(
    problems: list[Problem],
    points: dict[int, np.ndarray],
    results: dict[int, MinimizeResult[np.ndarray]],
    replies: tuple[list[float], np.ndarray],
) -> None:
    """Send each running problem its reply; finished ones move to the results."""
    for index, value, grad in zip(list(points), *replies):
        try:
            points[index] = problems[index].send((value, grad))
        except StopIteration as end:
            results[index] = end.value
            del points[index]


def _evaluate(
    fun: BatchedObjective, points: np.ndarray, running: np.ndarray
) -> tuple[list[float], np.ndarray]:
    """Values and gradients of a batch of points, in an array that nobody else holds."""
    shape = points.shape
    values, grads = _both(fun(points, running))
    values = np.asarray(values, dtype=np.float64)
    grads = np.array(grads, dtype=np.float64)
    if values.shape != shape[:1] or grads.shape != shape:
        wanted = f"values of shape {shape[:1]} and gradients of shape {shape}"
        got = f"{values.shape} and {grads.shape}"
        raise ValueError(
            f"fun must return {wanted}, got {got}" "; return both, in this order"
        )
    return values.tolist(), grads


def _checked_start(start: np.ndarray) -> np.ndarray:
    """The start, which must have entries, all finite."""
    if start.size == 0:
        raise ValueError(
            "x0 must have at least one entry, got none"
            "; give the parameters to be fitted"
        )
    if not np.isfinite(start).all():
        bad = int(np.flatnonzero(~np.isfinite(start))[0])
        raise ValueError(
            f"x0 must be finite, got {start[bad]} at entry {bad}" "; begin elsewhere"
        )
    return start


def _both(reply: Any) -> tuple[Any, Any]:
    """The value and the gradient that a function returned."""
    if isinstance(reply, tuple | list) and len(reply) == 2:
        return reply[0], reply[1]
    got = with_article(type(reply))
    if isinstance(reply, tuple | list):
        got = f"{got} of {len(reply)}"
    raise TypeError(
        f"fun must return the value and its gradient, got {got}; value_and_grad makes "
        "both from a function that returns a value alone"
    )


def _check_has_gradient(value: Any) -> None:
    """Raise an error for what autograd takes no gradient of."""
    if isinstance(value, Tensor) and value.numel() == 1 and value.requires_grad:
        return
    got = with_article(type(value))
    if isinstance(value, Tensor):
        got = f"shape {tuple(value.shape)}"
        if value.numel() == 1:
            got = "one that does not depend on it, as after detach() or item()"
    raise TypeError(
        "fun must return a tensor of one element that torch computed from its argument,"
        f" got {got}; sum it, and stay with torch's functions"
    )


def _as_float(value: Tensor | complex) -> float:
    """A value, as a number or a tensor of one element, as a float."""
    if isinstance(value, complex):
        return math.nan
    if isinstance(value, Tensor):
        value = value.detach()
    if getattr(value, "ndim", 0) and math.prod(value.shape) != 1:
        raise ValueError(
            f"fun must return a scalar value, got shape {value.shape}" "; sum it"
        )
    return float(value)


def _as_vector(grad: Tensor, shape: torch.Size) -> np.ndarray:
    """A gradient as a float64 array of one axis that nobody else holds."""
    if not isinstance(grad, Tensor):
        kind = type(grad).__name__
        raise TypeError(
            f"fun must return its gradient as a tensor, got {kind}; value_and_grad "
            "makes value and gradient from a function that returns a value alone"
        )
    if grad.is_complex():
        raise TypeError(
            f"fun must return a real gradient, got dtype {grad.dtype}; give its real "
            "part, or look for a root or a logarithm of what is negative"
        )
    if grad.shape != shape:
        got = tuple(grad.shape)
        raise ValueError(
            f"fun must return a gradient of x0's shape {tuple(shape)}, got {got}"
            "; return one entry for each of x0"
        )
    flat = grad.detach().reshape(-1).to("cpu", torch.float64)
    return np.array(flat.numpy())
