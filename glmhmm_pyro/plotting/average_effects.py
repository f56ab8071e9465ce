"""Average marginal effects of covariates, by state, with intervals."""

from typing import TYPE_CHECKING, Any

import numpy as np

from glmhmm_pyro import analysis
from glmhmm_pyro.arguments import one_of
from glmhmm_pyro.plotting.pictures import picture
from glmhmm_pyro.plotting.responses import LABELS
from glmhmm_pyro.plotting.style import (
    FAINT,
    axes_or_new,
    check_kind,
    hide_frame,
    legend_above,
    named_states,
    plain,
    state_colour,
    state_marker,
)
from glmhmm_pyro.plotting.tabular import Tabular, table_or_made
from glmhmm_pyro.sequences import Sequences

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

# Inches of a panel: one column of a paper is 3.5 wide.
WIDTH, HEIGHT, PER_ROW = 3.5, 1.2, 0.35


@picture
def marginal_effects(
    effects: Tabular,
    data: Sequences | None = None,
    ax: "Axes | None" = None,
    *,
    kind: str | None = None,
    **options: Any,
) -> "Axes":
    """Average effects on probabilities: a marker a state, intervals of 95 %.

    A row is a covariate, and where moves or classes are shown what they lead to.

    Args:
        effects: what :func:`glmhmm_pyro.analysis.marginal_effects` returns; or several
            of these, ``pd.concat({name: table, ...}, names=["covariate"])``; or a fit.
        data: what it was fitted to, for a fit.
        ax: where to draw; a new figure by default.
        kind: which of its kinds; ``"leaving"`` of transitions by default.
        options: of that function, for a fit: ``covariate=`` at least.

    Raises:
        ValueError: the table has no such kind.
        TypeError: it is neither such a table, alone, nor a fit.

    Example:
        >>> import glmhmm_pyro as gh
        >>> x = [[-1.0], [0.0], [1.0], [-1.0], [0.0], [1.0]]
        >>> data = gh.Sequences([0, 0, 1, 0, 1, 1], x, covariate_names=["sound"])
        >>> model = gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(1.0)))
        >>> fit = gh.fit(model, data, num_restarts=1, progress=False)
        >>> shown = {"covariate": "sound", "part": "emissions"}
        >>> marginal_effects(fit, data, **shown).get_xlabel()
        'change of probability of the class, by a unit'
    """
    made = analysis.marginal_effects
    table = table_or_made("marginal_effects", effects, data, made, options, "effects")
    table = _with_covariates(table)
    known = list(table.index.unique("kind"))
    if kind is None:
        kind = "leaving" if "leaving" in known else known[0]
    one_of("kind", kind, known)
    table = table.xs(kind, level="kind")
    rows = _rows(table)
    states = list(dict.fromkeys(table.index.get_level_values("origin")))
    ax = axes_or_new(ax, WIDTH, HEIGHT + PER_ROW * len(rows))
    ax.axvline(0.0, color=FAINT, linewidth=0.8, zorder=0)
    for state, (name, label) in enumerate(zip(states, named_states(states))):
        part = table.xs(name, level="origin")
        below = 0.5 / len(states) * (state - (len(states) - 1) / 2)
        places = np.array([rows[row] for row in part.index]) + below
        colour = state_colour(state)
        ax.hlines(places, part["lower"], part["upper"], color=colour, linewidth=1.2)
        (drawn,) = ax.plot(part["estimate"], places, color=colour, label=label)
        drawn.set(marker=state_marker(state), markersize=5, linestyle="none")
    ax.set_yticks(list(rows.values()), [_label(*row) for row in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    change = table.attrs.get("change", "")
    by = ", by a unit" if change == "by 1" else f", {change}" if change else ""
    ax.set_xlabel(f"change of {LABELS.get(kind, kind)}{by}")
    ax.set_ylabel("covariate")
    ax.locator_params(axis="x", nbins=5)
    hide_frame(ax)
    legend_above(ax)
    return ax


def _with_covariates(table: "pd.DataFrame") -> "pd.DataFrame":
    """The table with an index of covariate, kind, origin and destination."""
    import pandas as pd

    fix = "take what gh.analysis.marginal_effects returns"
    check_kind("effects", table, pd.DataFrame, fix)
    needed = ["kind", "origin", "destination"]
    names = list(table.index.names)
    if names == needed:
        one = pd.concat({table.attrs.get("covariate", ""): table}, names=["covariate"])
        one.attrs = dict(table.attrs)
        return one
    if names != ["covariate", *needed]:
        raise ValueError(
            "effects must have an index of kind, origin and destination, and before "
            f"them a covariate where there are several, got "
            f"{', '.join(map(str, names))}; {fix}"
        )
    return table


def _rows(table: "pd.DataFrame") -> dict[tuple[Any, Any], int]:
    """The place of every covariate and destination, in their order."""
    pairs = zip(
        *(table.index.get_level_values(n) for n in ("covariate", "destination"))
    )
    return {pair: place for place, pair in enumerate(dict.fromkeys(pairs))}


def _label(covariate: Any, destination: Any) -> str:
    """What a row is called."""
    named = plain(covariate)
    return f"{named}: {plain(destination)}" if destination else named
