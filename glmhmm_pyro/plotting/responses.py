"""Probabilities against a covariate, by state, with bands."""

from typing import TYPE_CHECKING, Any

import numpy as np

from glmhmm_pyro import analysis
from glmhmm_pyro.arguments import one_of
from glmhmm_pyro.plotting.pictures import picture
from glmhmm_pyro.plotting.style import (
    axes_or_new,
    check_kind,
    hide_frame,
    legend_beside,
    plain,
    state_colour,
)
from glmhmm_pyro.plotting.tabular import Tabular, table_or_made
from glmhmm_pyro.sequences import Sequences

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

LABELS = {
    "moving": "p(next state)",
    "staying": "p(staying)",
    "leaving": "p(leaving)",
    "entering": "p(entering)",
    "dwell": "mean dwell time (steps)",
    "occupancy": "share of time in the long run",
    "first": "p(first state)",
    "probability": "probability of the class",
    "mean": "mean",
}
_LINES = ("-", "--", ":", "-.")


@picture
def response_curve(
    curve: Tabular,
    data: Sequences | str | None = None,
    ax: "Axes | None" = None,
    *,
    kind: str | None = None,
    **options: Any,
) -> "Axes":
    """Probabilities against a covariate, a colour a state, bands of 95 %.

    Where moves or classes are shown, lines of one colour differ in where they lead.

    Args:
        curve: what :func:`glmhmm_pyro.analysis.response_curve` returns; or a fit.
        data: what it was fitted to, for a fit. Of a table the kind may stand here.
        ax: where to draw; a new figure by default.
        kind: which of its kinds; ``"leaving"`` of transitions by default.
        options: of that function, for a fit: ``covariate=`` at least.

    Example:
        >>> import glmhmm_pyro as gh
        >>> x = [[-1.0], [0.0], [1.0], [-1.0], [0.0], [1.0]]
        >>> data = gh.Sequences([0, 0, 1, 0, 1, 1], x, covariate_names=["sound"])
        >>> model = gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(1.0)))
        >>> fit = gh.fit(model, data, num_restarts=1, progress=False)
        >>> shown = {"covariate": "sound", "part": "emissions"}
        >>> response_curve(fit, data, **shown).get_xlabel()
        'sound'
    """
    import pandas as pd

    if isinstance(data, str):
        data, kind = None, data
    made = analysis.response_curve
    curve = table_or_made("response_curve", curve, data, made, options, "curve")
    fix = "take what gh.analysis.response_curve returns"
    check_kind("curve", curve, pd.DataFrame, fix)
    if curve.index.names[:3] != ["kind", "origin", "destination"]:
        raise ValueError(
            "curve must have an index of kind, origin, destination and a covariate, "
            f"got {', '.join(map(str, curve.index.names))}; {fix}"
        )
    known = list(curve.index.unique("kind"))
    if kind is None:
        kind = "leaving" if "leaving" in known else known[0]
    one_of("kind", kind, known)
    ax = axes_or_new(ax, 4.2, 3.0)
    shown = curve.loc[[kind]]
    places = [
        {name: i for i, name in enumerate(shown.index.unique(level))}
        for level in ("origin", "destination")
    ]
    groups = shown.groupby(level=[1, 2], sort=False, observed=True)
    for (origin, end), part in groups:
        label = f"state {origin}" if str(origin).isdigit() else str(origin)
        if end:
            is_class = kind == "probability" and str(end).isdigit()
            end_name = f"class {end}" if is_class else end
            label += f" to {end}" if kind == "moving" else f": {end_name}"
        line = _LINES[places[1][end] % len(_LINES)]
        _draw(ax, part, state_colour(places[0][origin]), line, plain(label))
    ax.set_xlabel(plain(curve.index.names[3]))
    ax.set_ylabel(LABELS.get(kind, kind))
    if kind != "dwell" and kind != "mean":
        ax.set_ylim(bottom=0)
    hide_frame(ax)
    legend_beside(ax)
    return ax


def _draw(ax: "Axes", part: "pd.DataFrame", colour: str, line: str, label: str) -> None:
    x: Any = part.index.get_level_values(3).to_numpy()
    order = np.argsort(x)
    x, part = x[order], part.iloc[order]
    ax.plot(x, part["estimate"], line, color=colour, label=label)
    ax.fill_between(
        x, part["lower"], part["upper"], color=colour, alpha=0.2, linewidth=0
    )
