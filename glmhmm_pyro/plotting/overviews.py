"""A fit on one page: weights, transitions, occupancy, dwell times, a session."""

from typing import TYPE_CHECKING, Any

from glmhmm_pyro import analysis
from glmhmm_pyro.arguments import suggests_names
from glmhmm_pyro.inference import Fit
from glmhmm_pyro.plotting.by_state import occupancy
from glmhmm_pyro.plotting.coefficients import weights, weights_by_state
from glmhmm_pyro.plotting.state_curves import dwell_times, states_in_session
from glmhmm_pyro.plotting.switching import transitions
from glmhmm_pyro.plotting.timelines import timeline
from glmhmm_pyro.sequences import Sequences

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Inches of a page's two columns, and of its four rows.
_WIDTH, _ROWS = 7.2, (2.4, 3.2, 2.4, 2.2)

# Weights that are shown, and what they are called.
_WEIGHTS = {"weights": "weights", "weights_mean": "mean weights"}

# What stands above the panels, in their order.
_TITLES = (
    *("weights of emissions", "transitions", "occupancy"),
    *("dwell times", "states in the session", "one session"),
)


@suggests_names
def overview(
    fit: Fit,
    data: Sequences,
    *,
    session: int | str = 0,
    num_samples: int = 100,
    seed: int = 0,
) -> "Figure":
    """The pictures of a fit on one page, as wide as two columns of a paper.

    Weights with intervals, the transitions (their mean over the data where covariates
    drive them), occupancy, dwell times, states against the time in the session, and the
    timeline of a session.

    Args:
        fit: the fit, of a ``GLMHMM``.
        data: what it was fitted to.
        session: number or name of the session of the timeline.
        num_samples: number of paths of states that shares and dwell times are told of.
        seed: makes these reproducible.

    Returns:
        The figure; its axes in this order.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.Sequences([0, 1, 1, 0, 1, 0] * 5, lengths=[15, 15])
        >>> model = gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(1.0)))
        >>> fit = gh.fit(model, data, num_restarts=1, progress=False)
        >>> figure = overview(fit, data, num_samples=20)
        >>> len(figure.axes) >= 6
        True
    """
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(_WIDTH, sum(_ROWS)), layout="constrained")
    grid = figure.add_gridspec(len(_ROWS), 2, height_ratios=_ROWS)
    places = [grid[0, :], grid[1, 0], grid[1, 1], grid[2, 0], grid[2, 1], grid[3, :]]
    wide, matrix, shares, dwell, course, below = map(figure.add_subplot, places)
    drawn: dict[str, Any] = {"num_samples": num_samples, "seed": seed}
    titles, has_weights = list(_TITLES), _emission_weights(fit, data, wide)
    titles[0] = has_weights or titles[0]
    transitions(fit, data, matrix)
    occupancy(analysis.occupancy(fit, data, by=None, **drawn), ax=shares)
    dwell_times(analysis.dwell_times(fit, data, **drawn), ax=dwell)
    states_in_session(analysis.states_in_session(fit, data, **drawn), ax=course)
    timeline(fit, data, session, below)
    _tidy(matrix, dwell, *((course, below) if has_weights else ()))
    for panel, title in zip((wide, matrix, shares, dwell, course, below), titles):
        panel.set_title(title, loc="left", fontsize="medium", fontweight="bold")
    return figure


def _emission_weights(fit: Fit, data: Sequences, ax: "Axes") -> str:
    """Draw the weights of the first output; their title, empty if there are none."""
    known = weights_by_state(fit)
    ends = tuple(f".{attribute}" for attribute in _WEIGHTS)
    names = [n for n in known if n.startswith("emissions.") and n.endswith(ends)]
    if not names:
        ax.axis("off")
        said = "the emissions have no weights by state and covariate alone"
        ax.text(0.5, 0.5, said, ha="center", transform=ax.transAxes)
        return ""
    weights(fit, data if fit.posterior is None else None, ax, parameter=names[0])
    where, _, what = names[0].rpartition(".")
    return f"{_WEIGHTS[what]} of {where}"


def _tidy(matrix: "Axes", dwell: "Axes", *others: "Axes") -> None:
    """Leave room for titles: the colours of states are told beside the weights."""
    lines, labels = dwell.get_legend_handles_labels()
    means = [label.rpartition(", ")[2] for label in labels]
    dwell.legend(lines, means, loc="upper right", frameon=False, fontsize="small")
    for part in (matrix.images[0].colorbar, *(ax.get_legend() for ax in others)):
        if part is not None:
            part.remove()
