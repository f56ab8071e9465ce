"""Weights of every animal, with those of the fit to all behind."""

from typing import TYPE_CHECKING, Any

import numpy as np

from glmhmm_pyro.analysis.groups import GroupFits
from glmhmm_pyro.analysis.groups.group_tables import weights_by_state
from glmhmm_pyro.plotting.pictures import picture
from glmhmm_pyro.plotting.style import (
    FAINT,
    axes_or_new,
    check_kind,
    hide_frame,
    legend_above,
    name_ticks,
    state_colour,
    state_labels,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Half the width that the groups of one weight take, of 1 between two weights.
_SPREAD = 0.3


@picture
def groups(each: GroupFits, ax: "Axes | None" = None) -> "Axes":
    """Weights of the emissions in every group, a point each, by state and covariate.

    A bar behind the points is the weight in the fit to all groups. Points stand side by
    side in the order of the groups, the same for every weight.

    Args:
        each: of :func:`fit_groups`.
        ax: where to draw; a new figure by default.

    Raises:
        ValueError: no group has a fit, or its emissions have no weights.

    Example:
        >>> import glmhmm_pyro as gh
        >>> animals = ["ann", "bob"]
        >>> data = gh.Sequences([0, 1, 1, 0, 1, 0], lengths=[3, 3], groups=animals)
        >>> model = gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(1.0)))
        >>> fit = gh.fit(model, data, num_restarts=1, progress=False)
        >>> ax = groups(gh.analysis.fit_groups(fit, data, progress=False))
    """
    check_kind("each", each, GroupFits, "take what fit_groups returns")
    whole = weights_by_state(each.whole)
    if not each.fits or whole.empty:
        raise ValueError(
            "each must have a fit with weights by covariate to draw, got none; its "
            "table says why"
        )
    own = np.array([weights_by_state(fit).to_numpy() for fit in each.fits.values()])
    (states, weights), number = whole.shape, len(own)
    ax = axes_or_new(ax, min(2.0 + 0.35 * states * weights, 10.0), 3.0)
    ax.axhline(0.0, color=FAINT, linewidth=0.8, zorder=0)
    beside = np.linspace(-_SPREAD, _SPREAD, number) if number > 1 else np.zeros(1)
    size = float(np.clip(40 / number, 3, 14))
    for state, label in enumerate(state_labels(each.whole)):
        places = np.arange(weights) + state * (weights + 1)
        bars: Any = {"color": state_colour(state), "alpha": 0.35, "linewidth": 5}
        ends = (places - _SPREAD - 0.1, places + _SPREAD + 0.1)
        ax.hlines(whole.iloc[state], *ends, label=label, zorder=1, **bars)
        x = (places[None] + beside[:, None]).ravel()
        ax.scatter(
            x, own[:, state].ravel(), s=size, color=state_colour(state), zorder=2
        )
    ticks = [p + s * (weights + 1) for s in range(states) for p in range(weights)]
    name_ticks(ax.xaxis, list(whole.columns) * states, ticks)
    ax.set_ylabel("weight per unit")
    hide_frame(ax)
    legend_above(ax)
    return ax
