"""Drift: states and behaviour that change from a half of the data to the other."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from glmhmm_pyro.inference.checks.forecasts import ColumnForecast
from glmhmm_pyro.inference.checks.martingales import of_several, two_sided, z_score
from glmhmm_pyro.inference.checks.report import RATE, WARNING, Finding

# Covariates that vary, by output: names of the columns, and these (steps, columns).
Designs = Mapping[str, tuple[Sequence[str], np.ndarray]]


class HalfContrast(NamedTuple):
    """Steps in first halves count -1, those in second halves 1, of what is in words."""

    words: str
    sides: np.ndarray

    @classmethod
    def of(cls, starts: np.ndarray, num_steps: int) -> "list[HalfContrast]":
        """Halves of every session, and earlier and later sessions of 4 or more."""
        lengths = np.diff(np.append(starts, num_steps))
        place = np.arange(num_steps) - np.repeat(starts, lengths)
        within = np.sign(2 * place + 1 - np.repeat(lengths, lengths))
        found = [cls("second halves of sessions", within)]
        if len(starts) >= 4:
            number = np.repeat(np.arange(len(starts)), lengths)
            found.append(cls("later sessions", np.sign(2 * number + 1 - len(starts))))
        return found


def drift(
    forecasts: Sequence[ColumnForecast],
    filtered: np.ndarray,
    predicted: np.ndarray,
    starts: np.ndarray,
    names: Sequence[str],
    designs: Designs,
    moves: str,
) -> Iterator[Finding]:
    """States or behaviour in them that change from a half to the other.

    Args:
        forecasts: of all columns of the emissions.
        filtered: p(z_t | y up to t), shape (steps, states).
        predicted: p(z_t | y before t), the same shape.
        starts: first steps of the sessions.
        names: of the states.
        designs: covariates of the outputs.
        moves: where else a covariate of time may be wanted, in words.
    """
    sides = HalfContrast.of(starts, len(filtered))
    groups = [
        _entries(filtered - predicted, names),
        _behaviour(forecasts, filtered, names, designs),
    ]
    tests = [
        {
            (what, half.words): z_score(half.sides * term)
            for what, term in group.items()
            for half in sides
        }
        for group in groups
        if group
    ]
    p_values = [of_several([two_sided(z) for z in group.values()]) for group in tests]
    p_value = of_several(p_values)
    if p_value < RATE:
        scores = tests[int(np.argmin(p_values))]
        known = {key: z for key, z in scores.items() if not np.isnan(z)}
        what, when = max(known, key=lambda key: abs(known[key]))
        chosen = r"\1" if known[what, when] > 0 else r"\2"
        said = re.sub(r"(more|higher)\|(less|lower)", chosen, what)
        yield Finding(
            "drift",
            WARNING,
            f"{said} in {when} than the fit says: add a covariate of time"
            f"{moves}, or fit the halves apart",
            p_value,
        )


def _entries(moved: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
    """What each step's emission says of the state more than was forecast, by words."""
    if len(names) < 2:
        return {}
    return {
        f"state {name} is entered more|less": term for name, term in zip(names, moved.T)
    }


def _behaviour(
    forecasts: Sequence[ColumnForecast],
    filtered: np.ndarray,
    names: Sequence[str],
    designs: Designs,
) -> dict[str, np.ndarray]:
    """Residuals in each state, by themselves and times each covariate, by words.

    Times the probability of the state given the step too, they are martingale
    differences: the score of the state's regression (Fisher's identity).
    """
    found = {}
    for forecast in forecasts:
        spread = np.sqrt(forecast.state_variance)
        off = (forecast.value[:, None] - forecast.state_mean) / np.where(
            spread > 0, spread, np.inf
        )
        own = np.zeros_like(filtered)
        own[forecast.steps] = filtered[forecast.steps] * off
        for name, terms in zip(names, own.T):
            what = forecast.name + (f" in state {name}" if len(names) > 1 else "")
            found[f"{what} comes higher|lower"] = terms
            for covariate, column in _columns(designs, forecast.output):
                key = f"{what} has a higher|lower slope on {covariate}"
                found[key] = terms * column
    return found


def _columns(designs: Designs, output: str) -> Iterator[tuple[str, np.ndarray]]:
    """Names and values of the covariates of an output."""
    if output in designs:
        names, design = designs[output]
        yield from zip(names, design.T)
