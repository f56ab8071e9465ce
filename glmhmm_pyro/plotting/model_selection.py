"""How well models do on sessions held out, and how sure their differences are."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from glmhmm_pyro.analysis import Study
from glmhmm_pyro.plotting.pictures import picture
from glmhmm_pyro.plotting.style import (
    FAINT,
    STATE_COLOURS,
    axes_or_new,
    check_kind,
    hide_frame,
    legend_above,
    name_ticks,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

COLOUR, CHOSEN = STATE_COLOURS[0], STATE_COLOURS[5]


@picture
def model_selection(study: Study, ax: "Axes | None" = None) -> "Axes":
    """Held-out bits per step of every K, or model, and the spread of differences.

    Bars ("paired error") are a standard error to either side, of the paired difference
    from the best: where one reaches the dashed line, at the best, the difference is
    within its error. In grey behind stand the sessions, or groups where the data have
    groups, each moved up or down to have the mean of all ("centred"): what is hard or
    easy for all models alike does not count. A ring marks the model chosen.

    Args:
        study: of :func:`choose_num_states` or :func:`compare_models`.
        ax: where to draw; a new figure by default.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.datasets.load_rat().subset(range(4))
        >>> models = {"one": gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(2.0)))}
        >>> quick = {"folds": 2, "num_restarts": 1, "progress": False}
        >>> ax = model_selection(gh.analysis.compare_models(models, data, **quick))
    """
    check_kind("study", study, Study, "take what choose_num_states returns")
    table = study.table
    ax = axes_or_new(ax, min(3.5 + 0.35 * max(len(table) - 5, 0), 9.0), 2.8)
    places = np.arange(len(table))
    is_ordered = table.index.name == "num_states"
    joined: Any = {"linestyle": "-" if is_ordered else "none"}
    faint: Any = {"color": FAINT, "alpha": 0.5, "linewidth": 0.6, "markersize": 4}
    faint["marker"] = None if is_ordered else "."
    for number, values in enumerate(_by_unit(study).to_numpy()):
        label = f"{_unit(study)}s, centred" if number == 0 else None
        ax.plot(places, values, label=label, **faint, **joined)
    means, errors = table["held_out_bits_per_step"], table["difference_error"]
    style: Any = {"color": COLOUR, "marker": "o", "markersize": 5, "linewidth": 1.5}
    style |= {"yerr": errors.to_numpy(), "capsize": 3, "zorder": 3}
    style["label"] = "mean, paired error"
    ax.errorbar(places, means.to_numpy(), **style, **joined)
    ax.axhline(means.max(), color=COLOUR, linewidth=0.8, linestyle="--", zorder=2)
    best = table.index.get_loc(study.best)
    ring: Any = {"markersize": 11, "fillstyle": "none", "color": CHOSEN}
    ax.plot(best, means.iloc[best], "o", label="chosen", **ring)
    name_ticks(ax.xaxis, list(table.index))
    ax.set_xlim(-0.5, len(table) - 0.5)
    ax.set_xlabel("number of states" if is_ordered else "model")
    ax.set_ylabel("held-out log-likelihood\n(bits per step)")
    ax.ticklabel_format(axis="y", useOffset=False)
    hide_frame(ax)
    legend_above(ax)
    return ax


def _unit(study: Study) -> str:
    """What errors are told over: sessions, or groups where the data have groups."""
    units, sessions = study.folds["unit"], study.folds.index.get_level_values("session")
    return "session" if (units == sessions).all() else "group"


def _by_unit(study: Study) -> "pd.DataFrame":
    """Bits per step of every session or group, at the mean of all (units, models)."""
    scores, names = study.folds, study.folds.index.names
    gains = scores["log_likelihood"] - scores["baseline"]
    frame = gains.to_frame("gain").assign(
        unit=scores["unit"], steps=scores["num_observed"]
    )
    sums = frame.groupby([names[0], "unit"], sort=False)[["gain", "steps"]].sum()
    bits = (sums["gain"] / sums["steps"] / math.log(2)).unstack(names[0]).dropna()
    bits = bits.reindex(columns=study.table.index)
    centre = study.table["held_out_bits_per_step"].mean()
    return bits.sub(bits.mean(axis=1), axis=0) + centre
