"""The course of a fit from all of its starts."""

from typing import TYPE_CHECKING

import numpy as np

from glmhmm_pyro.inference import Fit
from glmhmm_pyro.inference.fits.ends import agreeing
from glmhmm_pyro.plotting.pictures import picture
from glmhmm_pyro.plotting.style import (
    FAINT,
    STATE_COLOURS,
    axes_or_new,
    hide_frame,
    legend_above,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

AGREES = STATE_COLOURS[0]
BEST = "#000000"


@picture
def history(fit: Fit, ax: "Axes | None" = None) -> "Axes":
    """Log-joint against iteration from every start, the best one highlighted.

    A dot marks where a start ended. The legend counts the independent starts that ended
    in the best solution, see :attr:`Fit.num_agreeing`; all others are grey. Values far
    below the lowest end are cut off, so that the ends can be told apart.

    Args:
        fit: the fit.
        ax: where to draw; a new figure by default.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.Sequences([0, 1, 1, 0, 1, 0], lengths=[3, 3])
        >>> model = gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(1.0)))
        >>> fit = gh.fit(model, data, num_restarts=1, progress=False)
        >>> history(fit).get_xlabel()
        'EM iteration'
    """
    from matplotlib.ticker import MaxNLocator

    ax = axes_or_new(ax, 6.4, 3.8)
    curves = [restart.log_joints for restart in fit.restarts]
    ends = np.array([curve[-1] for curve in curves])
    agree_with_best = {fit.best, *agreeing(fit)}
    agree = [number in agree_with_best for number in range(len(curves))]
    # Starts that failed before anything was evaluated have no curve.
    known = np.flatnonzero(np.isfinite(ends)).tolist()
    order = sorted(known, key=lambda i: (i == fit.best, ends[i]))
    for number in order:
        _draw(ax, curves[number], agree[number], number == fit.best)
    lines = dict(zip(order, ax.lines[::2]))
    ax.set_ylim(*_limits([curves[i] for i in known], ends[known]))
    ax.set_xlim(left=0)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.ticklabel_format(axis="y", useOffset=False)
    ax.set_xlabel("EM iteration")
    ax.set_ylabel("log-joint (nats)")
    hide_frame(ax)
    legend_above(ax, _named_kinds(lines, agree, fit))
    return ax


def _draw(ax: "Axes", curve: np.ndarray, agrees: bool, is_best: bool) -> None:
    colour = BEST if is_best else AGREES if agrees else FAINT
    ax.plot(curve, color=colour, linewidth=2.2 if is_best else 1.2, clip_on=True)
    last = len(curve) - 1
    ax.plot(last, curve[-1], "o", color=colour, markersize=6 if is_best else 4)


def _named_kinds(
    lines: dict[int, "Line2D"], agree: list[bool], fit: Fit
) -> list["Line2D"]:
    """One line of every kind of start, with its name for the legend."""
    best = f"best start ({fit.num_agreeing} of {fit.num_starts} agree)"
    kinds = {
        best: [fit.best],
        "agree with it": [i for i in lines if agree[i] and i != fit.best],
        "stopped lower": [i for i in lines if not agree[i]],
    }
    named = {text: lines[members[0]] for text, members in kinds.items() if members}
    for text, line in named.items():
        line.set_label(text)
    return list(named.values())


def _limits(curves: list[np.ndarray], ends: np.ndarray) -> tuple[float, float]:
    """From a little below the lowest end, or all that there is if that is less."""
    best = float(ends.max())
    lowest = min(float(curve.min()) for curve in curves)
    third = np.median([curve[min(2, len(curve) - 1)] for curve in curves])
    below = max(1.6 * (best - float(ends.min())), 0.5 * (best - float(third)), 1.0)
    bottom = max(best - below, lowest)
    return bottom - 0.04 * (best - bottom), best + 0.06 * (best - bottom) + 1e-3
