"""L-BFGS for one problem, as a coroutine: it hands out points and is sent replies."""

import math
from collections.abc import Generator

import numpy as np

from glmhmm_pyro.arguments import suggests_names
from glmhmm_pyro.optim.armijo import armijo_search
from glmhmm_pyro.optim.interpolation import divide
from glmhmm_pyro.optim.memory import DampedHistory, History, SkippingHistory
from glmhmm_pyro.optim.minimum import MinimizeResult, Termination, Trace
from glmhmm_pyro.optim.options import LBFGSOptions
from glmhmm_pyro.optim.trial import Found, Line, Reply, is_finite, largest_entry
from glmhmm_pyro.optim.wolfe import wolfe_search

Problem = Generator[np.ndarray, Reply, MinimizeResult[np.ndarray]]


@suggests_names
def lbfgs(
    x0: np.ndarray, options: LBFGSOptions | None = None, *, keep_trace: bool = False
) -> Problem:
    """Minimise a function whose values somebody else computes.

    The behaviour is that of minFunc (Schmidt 2012), ``Method = 'lbfgs'``. Every point
    that is handed out wants a pair: the value, a float, and the gradient, a float64
    array of its own. Neither that array nor the point may be changed afterwards.
    :func:`minimize` and :func:`minimize_batched` are loops that answer one or many of
    these.

    Args:
        x0: the start, one axis of float64.
        options: minFunc's defaults if not given.
        keep_trace: whether the result has a trace.

    Returns:
        A generator of points, whose return value is the result.

    Example:
        >>> problem = lbfgs(np.array([3.0]))
        >>> x = next(problem)
        >>> try:
        ...     while True:
        ...         x = problem.send((float(x[0] ** 2), 2 * x))
        ... except StopIteration as end:
        ...     print(end.value.status.name)
        CONVERGED_GRADIENT
    """
    steps = _minimize(_Run(x0, options or LBFGSOptions(), keep_trace))
    point = next(steps)
    while True:
        reply = yield point
        # Overflow is an answer, tested for where it matters. The setting must not be
        # held over a yield: whoever computes the objective would inherit it.
        with np.errstate(all="ignore"):
            try:
                point = steps.send(reply)
            except StopIteration as end:
                return end.value


def _minimize(run: "_Run") -> Problem:
    """The loop over iterations."""
    fun, grad = yield run.x.copy()
    status = run.begin(fun, grad)
    while status is None:
        run.num_iters += 1
        line = run.next_line()
        status = run.blocked(line)
        if status is None:
            found = yield from run.search(line)
            status = run.advance(line, found)
    return run.result(status)


class _Run:
    """State of a minimisation between two evaluations."""

    def __init__(self, x0: np.ndarray, options: LBFGSOptions, keep_trace: bool) -> None:
        self.x = np.array(x0, dtype=np.float64)
        self.fun = math.inf
        self.grad = np.zeros_like(self.x)
        self.num_iters = 0
        self._options = options
        self._num_evals = 1
        self._optimality = math.inf
        self._step = 1.0
        self._slope = -math.inf
        self._fun_before = math.inf
        self._window: list[float] = []
        self._fell_without_end = False
        self._any_finite = True
        self._history = _make_history(self.x.size, options)
        self._rows: list[tuple[int, int, float, float, float]] | None = None
        if keep_trace:
            self._rows = []

    def begin(self, fun: float, grad: np.ndarray) -> Termination | None:
        """Take the reply at the start; a status if the run ends there."""
        if not (math.isfinite(fun) and is_finite(grad)):
            return Termination.NON_FINITE_START
        self.fun, self.grad = fun, grad
        self._optimality = largest_entry(grad)
        self._record(0.0)
        if self._optimality <= self._options.gradient_tol:
            return Termination.STATIONARY_START
        return None

    def next_line(self) -> Line:
        """The direction from here, and the slope along it."""
        direction = self._history.direction(self.grad)
        slope = float(self.grad.dot(direction))
        return Line(self.x, direction, self.fun, self.grad, slope)

    def blocked(self, line: Line) -> Termination | None:
        """A status if no progress can be made along a direction."""
        if not is_finite(line.direction) or math.isnan(line.slope):
            return Termination.NON_FINITE_DIRECTION
        if line.slope > self._options.progress_tol:
            return Termination.ASCENT_DIRECTION
        if line.slope > -self._options.progress_tol:
            return Termination.CONVERGED_SLOPE
        return None

    def search(self, line: Line) -> Generator[np.ndarray, Reply, Found]:
        """Search along a line by the method of the options."""
        step = self._first_trial(line.slope)
        if self._options.line_search == "wolfe":
            return wolfe_search(line, step, self._options)
        self._window = [*self._window, self.fun][-self._options.nonmonotone_window :]
        return armijo_search(line, step, max(self._window), self._options)

    def advance(self, line: Line, found: Found) -> Termination | None:
        """Move to the point that a search found; a status if the run ends there."""
        trial = found.trial
        self._num_evals += found.num_evals
        self._fell_without_end |= found.fell_without_end
        self._any_finite = found.any_finite
        if not trial.is_finite:
            return Termination.NON_FINITE
        self._fun_before, self._slope, self._step = line.fun, line.slope, trial.step
        self.x, self.fun, self.grad = trial.x, trial.fun, trial.grad
        self._optimality = largest_entry(trial.grad)
        self._record(trial.step)
        status = self._finished(line, trial.step)
        if status is None:
            change = trial.step * line.direction, trial.grad - line.grad
            self._history.add(*change)
        return status

    def result(self, status: Termination) -> MinimizeResult[np.ndarray]:
        """The result, for a run that ended with a status."""
        refined = self._refine(status)
        ours = status.exit_flag == Termination.UNBOUNDED.exit_flag
        message = refined.message if ours else status.message
        return MinimizeResult(
            x=self.x,
            fun=self.fun,
            grad=self.grad,
            num_iters=self.num_iters,
            num_evals=self._num_evals,
            optimality=self._optimality,
            status=refined,
            message=message,
            exit_flag=status.exit_flag,
            trace=_trace(self._rows),
        )

    def _refine(self, status: Termination) -> Termination:
        """Tell apart what minFunc reports in the same words."""
        if self._fell_without_end and status is not Termination.CONVERGED_GRADIENT:
            return Termination.UNBOUNDED
        if status is Termination.CONVERGED_STEP and self._step == 0.0:
            finite = self._any_finite
            return Termination.LINE_SEARCH_FAILED if finite else Termination.NON_FINITE
        return status

    def _first_trial(self, slope: float) -> float:
        """The step that a line search tries first."""
        if self.num_iters == 1:
            return min(1.0, divide(1.0, float(np.abs(self.grad).sum())))
        rule = self._options.initial_step
        if rule == "slope":
            step = self._step * _smaller(2.0, divide(self._slope, slope))
        elif rule == "quadratic":
            step = _smaller(1.0, divide(2.0 * (self.fun - self._fun_before), slope))
        elif rule == "double":
            step = min(1.0, 2.0 * self._step)
        else:
            step = 1.0
        return step if step > 0.0 else 1.0

    def _finished(self, line: Line, step: float) -> Termination | None:
        """minFunc's tests after a step, in its order."""
        options = self._options
        if self._optimality <= options.gradient_tol:
            return Termination.CONVERGED_GRADIENT
        if abs(step) * largest_entry(line.direction) <= options.progress_tol:
            return Termination.CONVERGED_STEP
        if abs(self.fun - line.fun) < options.progress_tol:
            return Termination.CONVERGED_FUNCTION
        if self._num_evals >= options.max_evals:
            return Termination.MAX_EVALS
        if self.num_iters == options.max_iters:
            return Termination.MAX_ITERS
        return None

    def _record(self, step: float) -> None:
        """Add a row to the trace."""
        if self._rows is not None:
            self._rows.append(
                (self.num_iters, self._num_evals, step, self.fun, self._optimality)
            )


def _make_history(num_variables: int, options: LBFGSOptions) -> History:
    """An empty history; no more pairs than iterations are ever stored."""
    size = min(options.history_size, options.max_iters)
    if options.damped:
        return DampedHistory(size, num_variables)
    return SkippingHistory(size, num_variables, options.max_iters)


def _smaller(bound: float, value: float) -> float:
    """The smaller of two numbers; the bound where the other is nan."""
    return value if value < bound else bound


def _trace(rows: list[tuple[int, int, float, float, float]] | None) -> Trace | None:
    """The rows as arrays by column."""
    if rows is None:
        return None
    iteration, evaluations, step, fun, optimality = list(zip(*rows)) or [()] * 5
    return Trace(
        np.array(iteration, dtype=np.int64),
        np.array(evaluations, dtype=np.int64),
        np.array(step, dtype=np.float64),
        np.array(fun, dtype=np.float64),
        np.array(optimality, dtype=np.float64),
    )
