"""The bar of iterations: what part of a fit is under way, and how long it may take."""

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

# Fewest and most iterations of each of the two windows in which rises are compared.
# A jump of SQUAREM takes three.
_WINDOWS = (5, 20)

# Smallest ratio of means of two windows that is told apart from smaller ones.
_STEEPEST = 1e-6


class Climb(Protocol):
    """What the bar reads of a run."""

    log_joints: list[float]

    @property
    def goes_on(self) -> bool:
        """Whether it has neither ended nor paused."""


class ProgressBar:
    """A progress bar of iterations, whose total is that expected of the present part.

    Parts are those of a search, such as ``"search by kicks (1 of 3)"``, and the
    ``"fit"`` in the end. How many iterations a part takes is not known before: it is
    what is left until the rises of the log-joint fall below the tolerance, if they go
    on shrinking as they did lately. The time left is that of the part, at the present
    pace; there is none while rises do not shrink.

    It is a callback of :meth:`EM.advance`, and a context that closes the bar.

    Args:
        name: of the method.
        shown: whether to show a bar.
    """

    def __init__(self, name: str, shown: bool):
        self.name = name
        self.bar = tqdm(desc=name, unit="it", disable=not shown)
        self.gain = self.tol = 0.0
        self.limit, self.pauses = 0, False
        self.pieces, self.last = 1, -1

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    def enter(
        self, part: str, engine: Any, most: int | None, pieces: int, gain: float
    ) -> None:
        """Say that a part begins.

        Args:
            part: what it is called.
            engine: options with ``tol`` and ``num_iters``.
            most: iterations after which runs pause, if they do.
            pieces: into how many pieces its runs are divided, made one after another.
            gain: by which log-joints in a fit's own units become the user's.
        """
        self.bar.set_description_str(f"{self.name}, {part}", refresh=False)
        self.limit, self.pauses = most or engine.num_iters, most is not None
        self.tol, self.pieces, self.gain = engine.tol, pieces, gain
        self.last = -1

    def __call__(self, iteration: int, runs: Sequence[Climb]) -> None:
        """Called after every E-step."""
        self.pieces -= iteration <= self.last
        self.last = iteration
        left = self._iterations_left(runs)
        best = max(run.log_joints[-1] for run in runs) + self.gain
        self.bar.total = None if left is None else self.bar.n + 1 + left
        self.bar.set_postfix(starts=len(runs), log_joint=f"{best:.3f}", refresh=False)
        self.bar.update()

    def _iterations_left(self, runs: Sequence[Climb]) -> int | None:
        """Of this piece and those to come, which are taken to be as long."""
        going = [run for run in runs if run.goes_on]
        each = [iterations_left(run.log_joints, self.tol) for run in going]
        slowest = max(each, default=0.0)
        if slowest == math.inf and not self.pauses:
            return None
        left = max(0.0, min(slowest, self.limit - self.last - 1))
        return math.ceil(left + (self.pieces - 1) * (self.last + 1 + left))


def iterations_left(log_joints: Sequence[float], tol: float) -> float:
    """Iterations until relative rises are below ``tol``; inf if they never will be.

    Rises are taken to go on shrinking by the factor between the means of the last two
    windows of them.
    """
    least, most = _WINDOWS
    window = min(max(len(log_joints) // 3, least), most)
    last = np.array(log_joints[-2 * window - 1 :])
    if len(last) <= 2 * window or not np.isfinite(last).all():
        return math.inf
    rises = np.diff(last) / max(abs(float(last[-1])), 1.0)
    before, now = rises[:window].mean(), rises[window:].mean()
    if now <= tol:
        return 1.0
    if now >= before or tol <= 0:
        return math.inf
    shrinks = max(now / before, _STEEPEST) ** (1 / window)
    if shrinks == 1:
        return math.inf
    # The last of the geometric series whose mean over the window that is.
    rise = now * window * (1 - shrinks) / (shrinks ** (1 - window) - shrinks)
    return max(float(math.log(tol / rise) / math.log(shrinks)), 1.0)
