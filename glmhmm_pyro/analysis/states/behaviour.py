"""Behaviour by state: how often it was right, any other column, what leads to switches.

Which step was in which state is drawn anew in every sample, and what then is left open
by the number of steps too, so that intervals hold both.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from glmhmm_pyro.analysis.states.parameter_draws import HELD
from glmhmm_pyro.analysis.states.paths import (
    StatePaths,
    called,
    column_of,
    rates,
    ratio,
    right_or_wrong,
    weights_of_units,
)
from glmhmm_pyro.arguments import one_of, suggests_names, whole_number
from glmhmm_pyro.inference import Fit
from glmhmm_pyro.sequences import Sequences

if TYPE_CHECKING:
    import pandas as pd

DIRECTIONS = ("into", "out of")


@suggests_names
def accuracy_by_state(
    fit: Fit,
    data: Sequences,
    correct: str | ArrayLike,
    *,
    weights: str = "smoothed",
    num_samples: int = 200,
    seed: int = 0,
) -> "pd.DataFrame":
    r"""Share of the steps of every state that were right.

    .. math:: \frac{\sum_t w_{tk} c_t}{\sum_t w_{tk}}, \quad
        w_{tk} = p(z_t = k \mid y) \text{ or } p(z_t = k \mid y_{<t})

    The interval of 95 % is that of rates drawn for the counts on every path, with
    Jeffreys' prior: it holds what is not known of the states, and what their number of
    steps leaves open. Parameters are drawn as for :func:`occupancy` with smoothed
    weights, and held with predicted ones of a fit at a maximum. In
    ``benchmarks/by_state.py`` it held the true rate, with smoothed weights, in
    96.7 +- 2.3 % of cases with Laplace draws, and in 93.3 +- 3.2 % with a fit at a
    maximum.

    Args:
        fit: the fit.
        data: the data set.
        correct: True or 1 where the step was right, False or 0 where not, NaN where
            there is no right or wrong, shape (steps,); or the name of such a column of
            ``data``. Steps of which nothing was observed count as neither.
        weights: ``"smoothed"`` counts steps by p(z_t | all y), as Ashwood et al. 2022
            do. These have seen the choice that is judged. ``"predicted"`` counts them
            by p(z_t | y before t), which have not; they are less sure of the state, so
            that states look more alike than they are (``column_by_state`` has
            ``statistic="unmixed"`` against that).
        num_samples: number of paths.
        seed: makes the intervals reproducible.

    Returns:
        Columns ``estimate``, ``lower``, ``upper`` and ``steps``, the expected number of
        steps judged; index ``state``.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.Sequences([0, 1, 1, 0, 1, 0], lengths=[3, 3])
        >>> model = gh.GLMHMM(1, gh.Bernoulli())
        >>> fit = gh.fit(model, data, num_restarts=1, progress=False)
        >>> right = [True, True, False, True, None, None]
        >>> float(accuracy_by_state(fit, data, right).estimate.iloc[0])
        0.75
    """
    is_right = right_or_wrong(data, correct)
    known = np.isfinite(is_right)
    paths = StatePaths.of(fit, data, num_samples, seed, weights)
    one, values = np.zeros(len(known), dtype=int), np.where(known, is_right, 0.0)
    steps = paths.expected(known, one, 1)[0]
    hits = paths.sums(values, one, 1)[:, 0]
    misses = paths.sums(known - values, one, 1)[:, 0]
    estimate = ratio(paths.expected(values, one, 1)[0], steps)
    found = paths.table(estimate, rates(hits, misses, seed), state=paths.names)
    return found.assign(steps=steps)


@suggests_names
def column_by_state(
    fit: Fit,
    data: Sequences,
    column: str | ArrayLike,
    *,
    statistic: str = "mean",
    weights: str = "smoothed",
    unit: str = "session",
    num_samples: int = 200,
    seed: int = 0,
) -> "pd.DataFrame":
    r"""Mean or median by state of anything that has a value a step: response times.

    Steps count by the probability :math:`w_{tk}` of the state. Where states are not
    sure, every state's mean has some of the others' in it, unless the model reads the
    column. That is undone by ``"unmixed"``: the means :math:`\mu` for which

    .. math:: \mathrm{E}[x_t \mid y] = \sum_k w_{tk} \mu_k

    by least squares, which are those of the states if the column depends on the
    emissions through the states alone.

    Intervals of 95 % are those of paths drawn from p(z | y), with sessions (or steps)
    weighted anew in each (Bayesian bootstrap, Rubin 1981); of ``"unmixed"`` those of
    the weights alone. They are too narrow where sessions are few or weights uncertain:
    in ``benchmarks/by_state.py``, with ten sessions, they held the true means in
    70.0 +- 5.7 % of cases; those of ``"mean"``, each with some of the other, in
    5.0 +- 2.8 %.

    Args:
        fit: the fit.
        data: the data set.
        column: values, shape (steps,), NaN where there is none; or the name of a column
            of ``data``.
        statistic: ``"mean"``, ``"median"`` or ``"unmixed"``.
        weights: as for :func:`accuracy_by_state`.
        unit: what is taken to be independent: ``"session"``; or ``"step"``, where there
            is a single session, which makes intervals too narrow if the column changes
            slowly.
        num_samples: number of paths.
        seed: makes the intervals reproducible.

    Returns:
        Columns ``estimate``, ``lower``, ``upper`` and ``steps``, the expected number of
        steps that have a value; index ``state``. Attributes ``column``, ``statistic``.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.Sequences([0, 1, 1, 0, 1, 0], lengths=[3, 3])
        >>> model = gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(1.0)))
        >>> fit = gh.fit(model, data, num_restarts=1, progress=False)
        >>> times = [0.2, 0.4, 0.3, 0.5, 0.6, 0.4]
        >>> float(column_by_state(fit, data, times).estimate.iloc[0].round(6))
        0.4
    """
    one_of("statistic", statistic, _FINDERS)
    values = column_of(data, column, "column")
    known = np.isfinite(values)
    paths = StatePaths.of(fit, data, num_samples, seed, weights)
    units = _units(unit, paths.sessions)
    weighted = weights_of_units(num_samples, int(units.max()) + 1, seed)
    find, states, drawn = _FINDERS[statistic], np.eye(paths.num_states), []
    for path, each in zip(paths.paths, weighted):
        probs = paths.probs if statistic == "unmixed" else states[path]
        drawn.append(find(values, probs, each[units] * known * paths.copies))
    estimate = find(values, paths.probs, known * paths.copies)
    found = paths.table(estimate, np.array(drawn), state=paths.names)
    found.attrs |= {"column": called(column), "statistic": statistic}
    if statistic == "unmixed":
        found.attrs["parameters"] = HELD
    return found.assign(steps=paths.probs.T @ (known * paths.copies))


def _units(unit: str, sessions: np.ndarray) -> np.ndarray:
    """Number of what every step belongs to, that is weighted as a whole."""
    one_of("unit", unit, ("session", "step"))
    if unit == "step":
        return np.arange(len(sessions))
    if sessions[-1] == 0:
        raise ValueError(
            "unit must be 'step' for a single session, got 'session', of which there "
            "are no others; give unit='step'"
        )
    return sessions


def _means(values: np.ndarray, probs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Means (states,) of values, by weights and probabilities of the steps."""
    there = weights > 0
    by_state = probs[there] * weights[there, None]
    return ratio(values[there] @ by_state, by_state.sum(0))


def _medians(values: np.ndarray, probs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The least values up to which half of the weights lies; NaN of nothing."""
    there = np.flatnonzero(weights > 0)
    order = there[np.argsort(values[there], kind="stable")]
    below = (probs[order] * weights[order, None]).cumsum(0)
    found = np.full(probs.shape[1], np.nan)
    for state, column in enumerate(below.T):
        if len(column) and column[-1] > 0:
            found[state] = values[order[np.searchsorted(column, column[-1] / 2)]]
    return found


def _unmixed(values: np.ndarray, probs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Means of the states that explain the values best, by weighted least squares."""
    there = weights > 0
    root = np.sqrt(weights[there])
    design, target = probs[there] * root[:, None], values[there] * root
    return np.asarray(np.linalg.lstsq(design, target, rcond=None)[0])


_FINDERS = {"mean": _means, "median": _medians, "unmixed": _unmixed}


@suggests_names
def switch_triggered(
    fit: Fit,
    data: Sequences,
    column: str | ArrayLike,
    *,
    direction: str = "into",
    steps_before: int = 10,
    steps_after: int = 10,
    num_samples: int = 200,
    seed: int = 0,
) -> "pd.DataFrame":
    """Mean of a column around the switches into, or out of, every state.

    Switches are those of paths drawn from p(z | y). Lag 0 is the first step in the new
    state; steps of other sessions are left out. Intervals of 95 % are those of paths,
    their switches weighted anew in each (Bayesian bootstrap, Rubin 1981).

    The states follow from the emissions and the covariates: around switches these must
    change, even if nothing but chance makes them. What the model does not read, such as
    response times or pupils, is evidence.

    Args:
        fit: the fit.
        data: the data set.
        column: values, shape (steps,), NaN where there is none; or the name of a column
            of ``data``.
        direction: ``"into"`` or ``"out of"`` a state.
        steps_before: steps before the switch.
        steps_after: steps after it.
        num_samples: number of paths.
        seed: makes them reproducible.

    Returns:
        Columns ``estimate``, ``lower``, ``upper`` and ``switches``, the expected number
        of those that have a value at the lag; index ``state`` and ``lag``. Attributes
        ``column`` and ``direction``.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.Sequences([0, 1, 1, 0, 1, 0], lengths=[3, 3])
        >>> model = gh.GLMHMM(2, gh.Bernoulli(gh.priors.Ridge(1.0)))
        >>> fit = gh.fit(model, data, num_restarts=1, progress=False)
        >>> times = [0.2, 0.4, 0.3, 0.5, 0.6, 0.4]
        >>> found = switch_triggered(fit, data, times, steps_before=1, steps_after=1)
        >>> found.index.unique("state").tolist()
        ['0', '1']
    """
    one_of("direction", direction, DIRECTIONS)
    before = whole_number("steps_before", steps_before, 0)
    after = whole_number("steps_after", steps_after, 0)
    values = column_of(data, column, "column")
    paths = StatePaths.of(fit, data, num_samples, seed)
    lags = np.arange(-before, after + 1)
    shape = (num_samples, paths.num_states, len(lags))
    sums, totals, drawn = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    rng = np.random.default_rng([seed, 4])
    for number, path in enumerate(paths.paths):
        at = np.flatnonzero((np.diff(path, prepend=path[0]) != 0) & ~paths.begins)
        states = path[at if direction == "into" else at - 1]
        around = _around(values, paths.sessions, at, lags)
        there = np.isfinite(around)
        chosen = (states == np.arange(paths.num_states)[:, None]) * paths.copies[at]
        sums[number] = chosen @ np.where(there, around, 0.0)
        totals[number] = chosen @ there
        chosen *= rng.exponential(size=len(at))
        drawn[number] = ratio(chosen @ np.where(there, around, 0.0), chosen @ there)
    estimate = ratio(sums.sum(0), totals.sum(0))
    found = paths.table(estimate, drawn, state=paths.names, lag=lags)
    found.attrs |= {"column": called(column), "direction": direction}
    return found.assign(switches=totals.mean(0).ravel())


def _around(
    values: np.ndarray, sessions: np.ndarray, at: np.ndarray, lags: np.ndarray
) -> np.ndarray:
    """Values (switches, lags); NaN in other sessions."""
    rows = at[:, None] + lags
    inside = (rows >= 0) & (rows < len(values))
    rows = rows.clip(0, len(values) - 1)
    inside &= sessions[rows] == sessions[at][:, None]
    return np.where(inside, values[rows], np.nan)
