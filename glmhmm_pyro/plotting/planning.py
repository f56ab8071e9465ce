"""What experiments of several sizes would find."""

from typing import TYPE_CHECKING, Any

import numpy as np

from glmhmm_pyro.analysis import Power
from glmhmm_pyro.arguments import one_of
from glmhmm_pyro.plotting.pictures import picture
from glmhmm_pyro.plotting.style import (
    FAINT,
    STATE_COLOURS,
    STATE_MARKERS,
    axes_or_new,
    check_kind,
    hide_frame,
    legend_above,
    named_states,
    plain,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

# What an axis says of a figure, and the value that is hoped for.
_SAID = {
    "power": ("share of data sets\nin which it is found", None),
    "accuracy": ("states decoded right", None),
    "coverage": ("95 % intervals\nthat hold the truth", 0.95),
    "weights_rmse": ("error of weights (rms)", None),
    "right_num_states": ("right number\nof states chosen", 1.0),
    "converged": ("fits that end well", 1.0),
}


@picture
def power(
    result: Power,
    figure: str = "power",
    *,
    parameter: str = "emissions.weights",
    ax: "Axes | None" = None,
) -> "Axes":
    """A figure against the number of sessions, with its Monte Carlo error.

    Bars are a standard error to either side. Power is that of every weight, at the
    largest number of trials; other figures have a line for each number of trials. A
    dashed line is at the level of the test, or at what is hoped for.

    Args:
        result: of :func:`glmhmm_pyro.analysis.power`.
        figure: ``"power"``, ``"accuracy"``, ``"coverage"``, ``"weights_rmse"``,
            ``"converged"``, or ``"right_num_states"`` where several were fitted.
        parameter: whose weights, for ``"power"``.
        ax: where to draw; a new figure by default.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.datasets.load_rat().subset(range(4))
        >>> model = gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(2.0)))
        >>> fit = gh.fit(model, data, method="map", progress=False)
        >>> quick = {"num_replicates": 2, "method": "map", "progress": False}
        >>> ax = power(gh.analysis.power(fit, data, [2, 4], **quick))
    """
    check_kind("result", result, Power, "take what gh.analysis.power returns")
    table = result.table()
    known = ["power", *[name for name in _SAID if name in table]]
    one_of("figure", figure, known)
    lines = _of_weights(result, parameter)
    if figure != "power":
        trials = table.index.unique("num_trials")
        lines = {f"{n} trials": table.xs(n, level="num_trials") for n in trials}
    ax = axes_or_new(ax, 3.5, 2.6 + 0.15 * max(len(lines) - 2, 0))
    shown = np.array(sorted({n for frame in lines.values() for n in frame.index}))
    for number, (label, frame) in enumerate(lines.items()):
        # Side by side, so that bars of figures that are alike do not hide each other.
        aside = 1 + 0.02 * (number - (len(lines) - 1) / 2)
        style: Any = {"color": STATE_COLOURS[number % len(STATE_COLOURS)]}
        style |= {"marker": STATE_MARKERS[number % len(STATE_MARKERS)], "markersize": 4}
        bars = (frame[figure].to_numpy(), frame[f"{figure}_error"].to_numpy())
        ax.errorbar(frame.index * aside, *bars, capsize=2, label=label, **style)
    said, hoped = _SAID[figure]
    hoped = result.level if figure == "power" else hoped
    if hoped is not None:
        ax.axhline(hoped, color=FAINT, linestyle="--", linewidth=0.8, zorder=0)
    if figure not in ("accuracy", "weights_rmse"):
        ax.set_ylim(-0.03, 1.03)
    ax.set_xscale("log")
    ax.set_xticks(shown, labels=[str(n) for n in shown])
    ax.minorticks_off()
    ax.set_xlabel("number of sessions")
    ax.set_ylabel(said)
    hide_frame(ax)
    if len(lines) > 1:
        legend_above(ax)
    return ax


def _of_weights(result: Power, parameter: str) -> "dict[str, pd.DataFrame]":
    """Effects by the number of sessions, for every weight by its name."""
    effects = result.effects(parameter)
    most = max(effects.index.unique("num_trials"))
    effects = effects.xs(most, level="num_trials").droplevel("parameter")
    axes = list(effects.index.names)[1:]
    lines: dict[str, Any] = {}
    for key, frame in effects.groupby(axes, sort=False):
        values = dict(zip(axes, key if isinstance(key, tuple) else (key,)))
        if "state" in values:
            values["state"] = named_states([str(values["state"])])[0]
        label = ", ".join(plain(value) for value in values.values())
        lines[label] = frame.droplevel(axes)
    return lines
