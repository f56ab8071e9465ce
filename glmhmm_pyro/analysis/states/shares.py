"""How much of the time goes to which state: in all, by session, within sessions."""

from typing import TYPE_CHECKING

import numpy as np

from glmhmm_pyro.analysis.states.paths import (
    StatePaths,
    ratio,
    weights_of_units,
)
from glmhmm_pyro.arguments import one_of, suggests_names, whole_number
from glmhmm_pyro.inference import Fit
from glmhmm_pyro.sequences import Sequences

if TYPE_CHECKING:
    import pandas as pd


@suggests_names
def occupancy(
    fit: Fit,
    data: Sequences,
    by: str | None = None,
    *,
    num_samples: int = 200,
    seed: int = 0,
) -> "pd.DataFrame":
    r"""Share of the steps that was spent in every state.

    .. math:: \frac{1}{T} \sum_t p(z_t = k \mid y)

    with the 95 % interval of this share on paths drawn from p(z | y), each at a draw of
    the parameters. Those of a fit at a maximum are drawn from the normal distribution
    of the curvature there, as for :meth:`Fit.standard_errors`; ``attrs["parameters"]``
    says so, or why they are held (the data are others, or there is no such normal),
    which makes intervals too narrow. In ``benchmarks/by_state.py`` (1500 choices of two
    states) intervals from Laplace draws held the true share in 96.7 +- 3.3 % of cases,
    those at a maximum in 83.3 +- 6.9 %.

    The share is that of the steps at hand; steps without an observed emission count
    like all others, and those of a session as often as its weight says.

    Args:
        fit: the fit.
        data: the data set.
        by: ``"session"`` or ``"group"`` for a row each, ``None`` for all steps.
        num_samples: number of paths.
        seed: makes the interval reproducible.

    Returns:
        Columns ``estimate``, ``lower``, ``upper``; index ``state``, after ``session``
        or ``group``.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.Sequences([0, 1, 1, 0, 1, 0], lengths=[3, 3])
        >>> model = gh.GLMHMM(2, gh.Bernoulli(gh.priors.Ridge(1.0)))
        >>> fit = gh.fit(model, data, num_restarts=1, progress=False)
        >>> float(occupancy(fit, data).estimate.sum().round(6))
        1.0
    """
    paths = StatePaths.of(fit, data, num_samples, seed)
    units, names = np.zeros(len(paths.probs), dtype=int), [""]
    if by is not None:
        one_of("by", by, ("session", "group"))
        units, names = _units(data, by, paths.sessions)
    sizes, ones = np.bincount(units, paths.copies)[:, None], np.ones(len(units))
    expected = paths.expected(ones, units, len(names)) / sizes
    drawn = paths.sums(ones, units, len(names)) / sizes
    found = paths.table(expected, drawn, **{by or "all": names}, state=paths.names)
    return found.droplevel(0) if by is None else found


def _units(
    data: Sequences, by: str, sessions: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """Number of the session or group of every step, and their names."""
    if by == "session":
        return sessions, list(data.session_names)
    if data.groups is None:
        raise ValueError(
            "data must have groups for a row of each, got none; give groups to "
            "Sequences, or group= to Sequences.from_dataframe"
        )
    names = list(data.group_names)
    numbers = np.array([names.index(group) for group in data.groups])
    return numbers[sessions], names


@suggests_names
def states_in_session(
    fit: Fit,
    data: Sequences,
    num_bins: int = 20,
    *,
    relative: bool = False,
    num_samples: int = 200,
    seed: int = 0,
) -> "pd.DataFrame":
    """Shares of the states against the time in the session, averaged over sessions.

    A bin has the steps of all sessions that are as long. Intervals are those of paths
    drawn from p(z | y), sessions weighted anew in each (Bayesian bootstrap, Rubin
    1981): they tell what other sessions might show. Of a single session they are about
    its states alone.

    Args:
        fit: the fit.
        data: the data set.
        num_bins: number of bins of equal length.
        relative: whether time is counted in shares of each session, from 0 to 1,
            instead of in steps.
        num_samples: number of paths.
        seed: makes the intervals reproducible.

    Returns:
        Columns ``estimate``, ``lower``, ``upper``, and ``sessions``, how many reach the
        bin; index ``step`` (or ``time``), the middle of the bin, and ``state``.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.Sequences([0, 1, 1, 0, 1, 0], lengths=[3, 3])
        >>> model = gh.GLMHMM(2, gh.Bernoulli(gh.priors.Ridge(1.0)))
        >>> fit = gh.fit(model, data, num_restarts=1, progress=False)
        >>> table = states_in_session(fit, data, num_bins=1)
        >>> float(table.estimate.sum().round(6))
        1.0
    """
    paths = StatePaths.of(fit, data, num_samples, seed)
    lengths = np.bincount(paths.sessions)
    starts = np.repeat(lengths.cumsum() - lengths, lengths)
    step = np.arange(len(starts)) - starts
    whole = (
        np.repeat(lengths, lengths) if relative else np.full(len(step), max(lengths))
    )
    num_bins = min(whole_number("num_bins", num_bins, 1), int(max(lengths)))
    bins = step * num_bins // whole
    ones, size = np.ones(len(bins)), len(lengths) * num_bins
    units = paths.sessions * num_bins + bins
    shape = (len(lengths), num_bins)
    counts = np.bincount(units, paths.copies, size).reshape(shape)
    sums = paths.sums(ones, units, size).reshape(-1, *shape, paths.num_states)
    weights = weights_of_units(len(sums), len(lengths), seed)
    drawn = ratio(
        np.einsum("ds,dsbk->dbk", weights, sums), (weights @ counts)[..., None]
    )
    length = 1.0 if relative else float(max(lengths))
    middles = (np.arange(num_bins) + 0.5) * length / num_bins
    found = paths.table(
        ratio(paths.expected(ones, bins, num_bins), counts.sum(0)[:, None]),
        drawn,
        **{"time" if relative else "step": middles},
        state=paths.names,
    )
    return found.assign(sessions=np.repeat((counts > 0).sum(0), paths.num_states))
