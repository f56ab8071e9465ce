"""How well a model does at every strength of a penalty."""

from typing import TYPE_CHECKING, Any

from glmhmm_pyro.analysis import CrossValidation
from glmhmm_pyro.plotting.pictures import picture
from glmhmm_pyro.plotting.style import (
    FAINT,
    STATE_COLOURS,
    axes_or_new,
    check_kind,
    hide_frame,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOUR, CHOSEN = STATE_COLOURS[0], STATE_COLOURS[5]


@picture
def penalty_path(result: CrossValidation, ax: "Axes | None" = None) -> "Axes":
    """Held-out bits per step, or log evidence, against the strength of the penalty.

    Bars are a standard error to either side, of the paired difference from the best
    strength: where one reaches the dashed line, at the best, the difference is within
    its error. A vertical line marks the strength chosen. Strengths stand on a
    logarithmic axis, linear around 0 if 0 is among them.

    Args:
        result: of :func:`cross_validate`.
        ax: where to draw; a new figure by default.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.datasets.load_rat().subset(range(4))
        >>> def ridge(strength):
        ...     return gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(strength**-0.5)))
        >>> quick = {"folds": 2, "num_restarts": 1, "progress": False}
        >>> found = gh.analysis.cross_validate(ridge, data, [0.1, 10.0], **quick)
        >>> ax = penalty_path(found)
    """
    check_kind("result", result, CrossValidation, "take what cross_validate returns")
    ax = axes_or_new(ax, 5.6, 3.6)
    table, places = result.table, result.table.index.to_numpy()
    style: Any = {"color": COLOUR, "marker": "o", "markersize": 5, "linewidth": 1.5}
    if result.criterion == "evidence":
        ax.plot(places, table["log_evidence"].to_numpy(), **style)
        ax.set_ylabel("log evidence (nats)")
    else:
        means, errors = table["held_out_bits_per_step"], table["difference_error"]
        bars = (means.to_numpy(), errors.to_numpy())
        ax.errorbar(places, *bars, capsize=3, **style)
        ax.set_ylabel("held-out log-likelihood\n(bits per step)")
        ax.axhline(means.max(), color=FAINT, linestyle="--", label="best")
    label = f"chosen: {result.best:g}"
    ax.axvline(result.best, color=CHOSEN, linewidth=1.2, label=label)
    positive = places[places > 0]
    if len(positive) < len(places):
        ax.set_xscale("symlog", linthresh=float(positive.min()))
    else:
        ax.set_xscale("log")
    ax.set_xlabel("strength of the penalty")
    ax.ticklabel_format(axis="y", useOffset=False)
    hide_frame(ax)
    ax.legend(frameon=False)
    return ax
