r"""Checks by one-step forecasts: their calibration, their law, memory and drift.

Each is a p value corrected for all that its check looks at, and warns at 1 in 200, so
that the four together warn of some 2 well-specified fits in 100 by their own count, and
of less than 5 where few steps make the p values of sums smaller than they should be.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.special import chdtrc

from glmhmm_pyro.components import Stationary
from glmhmm_pyro.displays import with_level
from glmhmm_pyro.distributions import HiddenMarkov
from glmhmm_pyro.inference.checks.columns import (
    OR_PRIOR,
    WeightedColumns,
    weights_are_flat,
)
from glmhmm_pyro.inference.checks.drift import Designs, drift
from glmhmm_pyro.inference.checks.forecasts import ColumnForecast, forecasts_of
from glmhmm_pyro.inference.checks.martingales import (
    lagged,
    memory_p_value,
    of_several,
    smooth_p_value,
)
from glmhmm_pyro.inference.checks.report import NOTE, RATE, WARNING, Finding
from glmhmm_pyro.inference.program.program import Data, Model, Observed, Program
from glmhmm_pyro.sequences import Sequences

if TYPE_CHECKING:
    import pandas as pd

# Bins of forecasts, and what a bin must hold: steps, and variance of classes.
NUM_BINS = 10
_FEWEST_STEPS = 20
_LEAST_VARIANCE = 5.0

# Covariates beyond which drift is not looked for in the weight of each.
_MOST_COLUMNS = 50

# Variance in a state's steps, as part of that over all steps, which is hardly any:
# standard errors are then more than three times what as many steps could give.
_RANK = 0.1

# Variance, of columns of variance 1, that is none over all steps either.
_NONE = 1e-6

# Draws of randomised quantiles, of whose p values the median counts twice.
NUM_SEEDS = 5


class Bins(NamedTuple):
    """Forecasts in bins of their means.

    Attributes:
        predicted: mean forecast of every bin.
        observed: mean of what came.
        lower, upper: ends of an interval of 95 % about ``observed``.
        steps: number of steps.
        scores: z scores of the differences.
    """

    predicted: np.ndarray
    observed: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    steps: np.ndarray
    scores: np.ndarray


def binned(forecast: ColumnForecast, num_bins: int = NUM_BINS) -> Bins:
    """Forecasts against what came, in bins that hold about equally many steps.

    Intervals are Wilson's (1927) of the share of a class; else they have the width that
    the forecasts' own variances give. Bins too small to tell anything are joined.
    """
    order = np.argsort(forecast.mean, kind="stable")
    groups = _joined(forecast, np.array_split(order, num_bins))
    count = np.array([len(group) for group in groups])
    predicted, observed, variance = (
        np.array([values[group].mean() for group in groups])
        for values in (forecast.mean, forecast.value, forecast.variance)
    )
    errors = np.sqrt(variance / count)
    if forecast.is_class:
        lower, upper = _wilson(observed, count)
    else:
        lower, upper = observed - 1.96 * errors, observed + 1.96 * errors
    return Bins(
        predicted, observed, lower, upper, count, (observed - predicted) / errors
    )


def _joined(forecast: ColumnForecast, parts: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Neighbouring bins put together until each holds enough."""
    groups: list[np.ndarray] = []
    waiting = np.empty(0, int)
    for part in parts:
        waiting = np.append(waiting, part)
        enough = not forecast.is_class or (
            forecast.variance[waiting].sum() >= _LEAST_VARIANCE
        )
        if len(waiting) >= _FEWEST_STEPS and enough:
            groups.append(waiting)
            waiting = np.empty(0, int)
    if len(waiting) and groups:
        groups[-1] = np.append(groups[-1], waiting)
    return groups


def _wilson(share: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's interval of 95 % of a share."""
    z = 1.959964
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    half = half / (1 + z**2 / count)
    return middle - half, middle + half


def calibration_table(
    forecasts: Sequence[ColumnForecast], num_bins: int = NUM_BINS
) -> "pd.DataFrame":
    """A row for every bin of every forecast; see :func:`binned`."""
    import pandas as pd

    found = {}
    for forecast in forecasts:
        bins = binned(forecast, num_bins)
        columns = {"predicted": bins.predicted, "estimate": bins.observed}
        columns |= {"lower": bins.lower, "upper": bins.upper, "count": bins.steps}
        found[forecast.name] = pd.DataFrame(columns).rename_axis("bin")
    return with_level(pd.concat(found, names=["emission"]))


def miscalibration(forecasts: Sequence[ColumnForecast]) -> Iterator[Finding]:
    """Forecasts that do not come as often, or as large, as they say."""
    scores = {f.name: binned(f).scores for f in forecasts}
    p_values = {name: float(chdtrc(len(z), (z**2).sum())) for name, z in scores.items()}
    p_value = of_several(list(p_values.values()))
    if p_value < RATE:
        worst = min(p_values, key=lambda name: p_values[name])
        bins = binned(next(f for f in forecasts if f.name == worst))
        place = int(np.argmax(np.abs(bins.scores)))
        yield Finding(
            "miscalibrated",
            WARNING,
            f"one-step forecasts of {worst} are off: where {bins.predicted[place]:.3g} "
            f"is expected, {bins.observed[place]:.3g} came, in {bins.steps[place]} "
            "steps: add covariates, or powers of those there are, or states "
            "(gh.plotting.calibration_of_steps shows all bins)",
            p_value,
        )


def law(forecasts: Sequence[ColumnForecast], seed: int = 0) -> Iterator[Finding]:
    """Numbers that come by another law than the forecasts have; of classes none is."""
    p_values = {}
    for forecast in forecasts:
        if forecast.is_class or forecast.up_to is None:
            continue
        seeds = range(seed, seed + NUM_SEEDS if forecast.is_discrete else seed + 1)
        found = [
            smooth_p_value(forecast.uniform(np.random.default_rng(s))) for s in seeds
        ]
        p_values[forecast.name] = min(1.0, min(len(found), 2) * float(np.median(found)))
    p_value = of_several(list(p_values.values()))
    if p_value < RATE:
        worst = min(p_values, key=lambda name: p_values[name])
        yield Finding(
            "wrong-law",
            WARNING,
            f"{worst} comes by another law than the family's, as quantile residuals "
            "show: take another family, such as StudentT for heavy tails or "
            "NegativeBinomial for counts that vary more, transform the output, or add "
            "states (gh.plotting.residuals shows how it differs)",
            p_value,
        )


def memory(
    forecasts: Sequence[ColumnForecast], starts: np.ndarray
) -> Iterator[Finding]:
    """Residuals that remember one another: the past says more than the model takes."""
    found = {f.name: lagged(f.pearson, f.steps, starts) for f in forecasts}
    p_values = {name: memory_p_value(scores) for name, (_, _, scores) in found.items()}
    p_value = of_several(list(p_values.values()))
    if p_value < RATE:
        worst = min(p_values, key=lambda name: p_values[name])
        lags, means, scores = found[worst]
        place = int(np.argmax(np.abs(scores)))
        yield Finding(
            "memory-left",
            WARNING,
            f"residuals of {worst} are correlated, by {means[place]:.2f} at lag "
            f"{lags[place]}: add covariates of the past, such as "
            "gh.covariates.PreviousChoice or Lags, or slow trends, or states",
            p_value,
        )


def starts_of(hidden: HiddenMarkov) -> np.ndarray:
    """First steps of the sessions."""
    return (hidden.lengths.cumsum(0) - hidden.lengths).cpu().numpy()


def named_forecasts(data: Data, observed: Observed) -> list[ColumnForecast]:
    """Forecasts of a site, named as its data name emissions and classes."""
    classes: tuple[str, ...] | None = None
    names: tuple[str, ...] = ()
    if isinstance(data, Sequences):
        classes, names = data.class_names, data.emission_names
    return list(forecasts_of(*observed, classes, names))


def left_out(observed: Observed) -> dict[str, str]:
    """Checks that an emission's law does not allow, and why."""
    forecasts = list(forecasts_of(*observed))
    if not forecasts:
        why = "the law of the emissions tells no finite mean and variance"
        return dict.fromkeys(
            ("calibration", "law", "memory", "drift of behaviour"), why
        )
    unknown = [f.name for f in forecasts if f.up_to is None]
    if unknown:
        why = f"the law of {', '.join(unknown)} has no cumulative distribution"
        return {"law": why}
    return {}


def step_findings(
    model: Model, data: Data, observed: Observed, names: Sequence[str]
) -> list[Finding]:
    """Findings of all checks by one-step forecasts of a site.

    Args:
        model: bound to the data.
        data: laid out as those fitted.
        observed: the site, at the fitted parameters.
        names: of the states; their numbers where the site has other states.
    """
    hidden, value = observed
    if hidden.batch_shape:
        return []
    forecasts = [f for f in named_forecasts(data, observed) if len(f.value)]
    starts, number = starts_of(hidden), hidden.num_states
    known = names if len(names) == number else tuple(map(str, range(number)))
    filtered = hidden.filtered_probs(value).cpu().double().numpy()
    predicted = hidden.predicted_probs(value).cpu().double().numpy()
    designs = _designs(model, data)
    probs = hidden.smoothed_probs(value).cpu().double().numpy()
    return [
        *rank_deficiency(model, probs, known, designs),
        *miscalibration(forecasts),
        *law(forecasts),
        *memory(forecasts, starts),
        *drift(forecasts, filtered, predicted, starts, known, designs, _moves(model)),
    ]


def _moves(model: Any) -> str:
    """Where a covariate of time may be wanted, besides in the emissions."""
    if getattr(model, "num_states", 1) == 1:
        return ""
    is_stationary = isinstance(model.transitions, Stationary)
    by = ", by gh.InputDriven" if is_stationary else ""
    return f" (to the transitions too{by})"


def rank_deficiency(
    model: Model,
    probs: np.ndarray,
    names: Sequence[str],
    designs: Designs,
) -> Iterator[Finding]:
    """States in whose steps a covariate hardly varies, or follows from others.

    A step that is partly of a state counts by the square of its probability: it tells
    less of the state than its share, and what other states leak counts for little.

    Args:
        model: of the fit.
        probs: p(z_t | y), shape (steps, states).
        names: of the states.
        designs: covariates that vary over all steps, as for :func:`drift`.
    """
    from scipy.linalg import eigh

    components = Program.kind_of(model).components_of(model)
    for output, (columns, design) in designs.items():
        family = components[f"emissions.{output}" if output else "emissions"]
        is_flat = weights_are_flat(family)
        advice = f"leave one out, {OR_PRIOR}" if is_flat else "leave one out"
        scaled = (design - design.mean(0)) / design.std(0)
        whole = scaled.T @ scaled / len(scaled) + _NONE * np.eye(len(columns))
        for state, name in enumerate(names):
            share = probs[:, state] ** 2
            if not columns or share.sum() < len(columns) + 1:
                continue
            centred = scaled - share @ scaled / share.sum()
            gram = (centred * share[:, None]).T @ centred / share.sum()
            sizes, directions = eigh(gram, whole)
            if sizes[0] < _RANK:
                least = np.abs(directions[:, 0])
                said = least > 0.1 * least.max()
                listed = ", ".join(np.array(columns)[said])
                yield Finding(
                    "rank-deficient-state",
                    WARNING if is_flat else NOTE,
                    f"in the steps of state {name} {listed} hardly vary, or follow "
                    "from each other, so that the state's weights are not known: "
                    f"{advice}",
                )


def _designs(model: Any, data: Any) -> Designs:
    """Covariates that vary, by output, where they are few enough to look at each."""
    found: dict[str, tuple[Sequence[str], np.ndarray]] = {}
    for name, columns in WeightedColumns.of(
        Program.kind_of(model).components_of(model), data
    ):
        if name.partition(".")[0] != "emissions" or len(columns.names) > _MOST_COLUMNS:
            continue
        design = columns.whole.dense().cpu().double().numpy()
        varying = np.flatnonzero(np.ptp(design, axis=0) > 0)
        output = name.partition(".")[2]
        found[output] = [columns.names[i] for i in varying], design[:, varying]
    return found
