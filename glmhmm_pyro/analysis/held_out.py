"""What fits make of sessions held out, and what of the difference between them is sure.

Sessions are scored one by one. Of several fits the same sessions are compared, so that
what makes a session hard for all of them cancels: errors are those of differences.
"""

import math
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from glmhmm_pyro.inference import Fit
from glmhmm_pyro.inference.fits.criteria import (
    baseline_by_session,
    log_probs_by_session,
)
from glmhmm_pyro.masking import steps_observed
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.weights import by_session as weights_of_sessions

if TYPE_CHECKING:
    import pandas as pd

RULES = ("best", "one_standard_error")

# Levels of the index of scores, after that of the candidates.
FOLD, SESSION = "fold", "session"


def scores_of(fit: Fit, data: Sequences) -> dict[str, np.ndarray]:
    """By session of data held out: log-likelihood, that of the baseline, and steps.

    Returns:
        ``log_likelihood`` and ``baseline`` in nats (NaN of a fit that has none),
        ``num_observed`` steps, each of shape (sessions,) and times the weights of the
        sessions, so that their sums are those of copies.
    """
    laid_out = fit.as_fitted(data)
    found = log_probs_by_session(fit, laid_out).cpu().numpy()
    seen = steps_observed(data.mask)
    observed = np.ones(data.num_steps) if seen is None else seen.cpu().numpy()
    baseline = np.full(data.num_sessions, math.nan)
    if fit.baseline is not None and fit.baseline.params:
        baseline = baseline_by_session(fit, laid_out).cpu().numpy()
    weights = weights_of_sessions(data).cpu().numpy()
    return {
        # One row for every site of a model of the user's own.
        "log_likelihood": found.reshape(-1, data.num_sessions).sum(0) * weights,
        "baseline": baseline * weights,
        "num_observed": by_session(observed, data),
    }


def by_session(values: np.ndarray, data: Sequences) -> np.ndarray:
    """Sums over the steps of every session, times its weight."""
    sums = np.add.reduceat(values.astype(float), data.starts.cpu().numpy())
    return np.asarray(sums * weights_of_sessions(data).cpu().numpy())


def score_frame(
    rows: Sequence[tuple[Hashable, int, Sequence[str], dict[str, np.ndarray]]],
    name: str,
    units: dict[str, Any],
) -> "pd.DataFrame":
    """Scores of all candidates: a row a candidate, fold and session.

    Args:
        rows: candidate, number of the fold, names of its sessions, their scores.
        name: what the candidates are called.
        units: of every session, what it is drawn with: itself, or its group.

    All have the baseline of the first candidate.
    """
    import pandas as pd

    frames, labels = [], list(dict.fromkeys(label for label, *_ in rows))
    rows = sorted(rows, key=lambda row: (labels.index(row[0]), row[1]))
    for label, fold, sessions, scores in rows:
        levels = [[label] * len(sessions), [fold] * len(sessions), list(sessions)]
        index = pd.MultiIndex.from_arrays(levels, names=[name, FOLD, SESSION])
        frames.append(pd.DataFrame(scores, index=index))
    frame = pd.concat(frames)
    frame["unit"] = [units[session] for session in frame.index.get_level_values(2)]
    # Families that differ have baselines that do: all are held against the first's.
    first = frame.xs(rows[0][0])["baseline"]
    frame["baseline"] = first.reindex(frame.index.droplevel(0)).to_numpy()
    return frame


def units_of(data: Sequences, groups: Sequence[Any] | None = None) -> dict[str, Any]:
    """What sessions are drawn with, by name: their group, or themselves."""
    own = data.groups if groups is None else groups
    names = data.session_names
    return dict(zip(names, names if own is None else own))


def compared(frame: "pd.DataFrame", labels: Sequence[Hashable]) -> "pd.DataFrame":
    r"""Bits per step of all candidates, and differences from the best, with errors.

    Sums over sessions are divided by sums of their steps. Errors are those of such a
    ratio over units (sessions, or groups of them) that have e_u above its part,

    .. math:: \frac{1}{T \log 2} \sqrt{\frac{U}{U - 1} \sum_u e_u^2},
        \quad e_u = x_u - T_u \frac{\sum x}{\sum T}.

    A session that several folds held out counts once, at the mean of its scores.

    Args:
        frame: of :func:`score_frame`.
        labels: the candidates, in their order.

    Returns:
        By candidate: ``held_out_bits_per_step`` above the baseline, its
        ``standard_error``; ``difference`` from the best candidate (0 or less) and
        ``difference_error``, that of the paired difference.

    Source: Cochran 1977, section 6.3, of ratios.
    """
    import pandas as pd

    name = frame.index.names[0]
    whole = frame.groupby(level=[0, 2], sort=False)
    means = whole[["log_likelihood", "baseline", "num_observed"]].mean()
    units = whole["unit"].first().groupby(level=1, sort=False).first()
    logs = means["log_likelihood"].unstack(name).dropna()
    logs = logs.reindex(columns=[label for label in labels if label in logs])
    first = means.groupby(level=1, sort=False).first().loc[logs.index]
    steps, units = first["num_observed"], units[logs.index]
    with np.errstate(invalid="ignore"):
        gains = logs.sub(first["baseline"], axis=0)
        own = {label: _ratio(gains[label], steps, units) for label in logs}
        total = logs.sum()
        best = total.idxmax()
        others = logs.sub(logs[best], axis=0)
        pairs = {label: _ratio(others[label], steps, units) for label in logs}
    columns = {
        "held_out_bits_per_step": {label: own[label][0] for label in own},
        "standard_error": {label: own[label][1] for label in own},
        "difference": {label: pairs[label][0] for label in own},
        "difference_error": {label: pairs[label][1] for label in own},
    }
    index = pd.Index(list(labels), name=name)
    table = pd.DataFrame({key: pd.Series(found) for key, found in columns.items()})
    return table.reindex(index)


def _ratio(
    values: "pd.Series", steps: "pd.Series", units: "pd.Series"
) -> tuple[float, float]:
    """Sum of values over that of steps, in bits, and its standard error over units."""
    # NaN where there is no baseline to hold them against.
    rate = values.sum(skipna=False) / steps.sum()
    rest = (values - rate * steps).groupby(units, sort=False).sum()
    if math.isnan(rate):
        return math.nan, math.nan
    number, scale = len(rest), steps.sum() * math.log(2)
    if number < 2:
        return rate / math.log(2), math.nan
    error = math.sqrt(number / (number - 1) * (rest**2).sum()) / scale
    return rate / math.log(2), error


def chosen(table: "pd.DataFrame", rule: str, argument: str) -> Any:
    """The best of all candidates, or the first that is near it.

    Args:
        table: of :func:`compared`, the simplest candidate first.
        rule: ``"best"``, or ``"one_standard_error"``: the first whose paired difference
            from the best is within its standard error.
        argument: of the models, for the error.

    Raises:
        ValueError: sessions held out are impossible under all of them.
    """
    differences, errors = table["difference"], table["difference_error"]
    if not np.isfinite(differences).any():
        raise ValueError(
            f"{argument} must give models under which sessions held out are possible, "
            "got none; give probabilities a prior such as a Dirichlet"
        )
    names = table.index.tolist()  # Numbers of Python's own.
    best = int(np.nanargmax(differences))
    if rule == "best":
        return names[best]
    near = (-differences <= errors) | (np.arange(len(names)) == best)
    return names[near.to_numpy().argmax()]
