"""predictive_check: does behaviour simulated from a fit look like the animal's?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from glmhmm_pyro.analysis.checks.statistics import (
    LONGEST,
    autocorrelation,
    bins_of,
    in_bins,
    survival,
)
from glmhmm_pyro.arguments import (
    one_of,
    suggests_all_names,
    suggests_names,
    whole_number,
)
from glmhmm_pyro.displays import display, framed, with_level
from glmhmm_pyro.inference import Finding, Fit, Report
from glmhmm_pyro.inference.checks.report import WARNING
from glmhmm_pyro.inference.fits.closed_loop import History
from glmhmm_pyro.sequences import Sequences

if TYPE_CHECKING:
    import pandas as pd

STATISTICS = ("autocorrelation", "runs", "psychometric", "dwell")

# How often the four together may warn of a well-specified fit.
_RATE = 0.04

_ADVICE = {
    "autocorrelation": "add covariates of the past or slow trends, states, or fits of "
    "every animal",
    "runs": "add covariates of the past, such as gh.covariates.PreviousChoice",
    "psychometric": "add powers or a basis of the covariate, or lapses as a state",
    "dwell": "let transitions follow covariates, by gh.InputDriven, or add states",
}


@suggests_all_names
@dataclass(frozen=True, repr=False)
class PredictiveCheck:
    """Behaviour against simulations, as :func:`predictive_check` finds it.

    Attributes:
        table: index ``statistic`` and ``at`` (lag, length in steps, value of the
            covariate): columns ``observed``; ``estimate``, the mean over simulations;
            ``lower`` and ``upper``, 95 % of them. Attributes ``covariate``, that of
            the psychometric curve, and ``mean_of``, what its values are means of.
        p_values: by statistic, how often a simulation is farther from the others than
            the data are.
        num_samples: number of simulations.
        report: findings, of the statistics in which the data stand out.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.Sequences([0, 1, 1, 0] * 10, lengths=[20, 20])
        >>> fit = gh.fit(gh.GLMHMM(1, gh.Bernoulli()), data, progress=False)
        >>> check = gh.analysis.predictive_check(fit, data, num_samples=20)
        >>> check.p_values.index.tolist()
        ['autocorrelation', 'runs']
    """

    table: "pd.DataFrame"
    p_values: "pd.Series"
    num_samples: int
    report: Report

    def __repr__(self) -> str:
        said = ", ".join(f"{n} p = {p:.2g}" for n, p in self.p_values.items())
        return f"PredictiveCheck of {self.num_samples} simulations: {said}"

    def _repr_html_(self) -> str:
        parts = {"Findings": self.report._repr_html_(), "Table": framed(self.table)}
        return display("Predictive check", repr(self), parts)


@suggests_names
def predictive_check(
    fit: Fit,
    data: Sequences,
    *,
    covariate: str | None = None,
    history: History | Sequence[History] | bool | None = None,
    max_lag: int = 50,
    num_samples: int = 200,
    seed: int = 0,
) -> PredictiveCheck:
    """Whether behaviour that a fit simulates looks like the behaviour it was fitted to.

    All sessions are simulated, in closed loop where covariates are made of past
    emissions, and compared by statistics that no fit is made to match: the
    autocorrelation of the emissions within sessions; the lengths of runs of one choice;
    the mean emission against a covariate; and the lengths of visits to states, on a
    path drawn from p(z | y) against the simulated ones. Labels are numbers, and missing
    emissions of the data are missing in the simulations too.

    A p value of a statistic is how often a simulation's largest deviation from the mean
    of all, in standard deviations, is as large as that of the data. As the parameters
    were fitted to the data it is too large rather than too small (Gelman, Meng & Stern
    1996). A finding is one below 0.01.

    Args:
        fit: the fit; one with draws is simulated at them.
        data: the data set, of one emission a step.
        covariate: of the emissions, for the psychometric curve; by default the first
            that varies and is not made of past emissions.
        history: see :meth:`Fit.simulate`. By default that of the designs which made the
            data; ``False`` leaves all covariates as they are.
        max_lag: largest lag of the autocorrelation, in steps.
        num_samples: number of simulations, 100 or more for findings.
        seed: makes them reproducible.

    Raises:
        ValueError: a covariate is the emission of the step before and nothing tells how
            it is made anew.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.Sequences([0, 1, 1, 0] * 20, lengths=[40, 40])
        >>> fit = gh.fit(gh.GLMHMM(1, gh.Bernoulli()), data, progress=False)
        >>> check = gh.analysis.predictive_check(fit, data, num_samples=100)
        >>> check.p_values.index.tolist(), check.report.codes
        (['autocorrelation', 'runs'], ('unlike-autocorrelation',))
    """
    num_samples = whole_number("num_samples", num_samples, 20)
    max_lag = whole_number("max_lag", max_lag, 1)
    data = fit.as_fitted(data)
    if data.emissions.dim() > 1:
        raise ValueError(
            "data must have one emission a step to be compared with simulations, got "
            f"{data.num_outputs}; simulate by fit.simulate, and compare by "
            "gh.plotting.generated"
        )
    closed = _history_of(data, history)
    draws = fit.posterior is not None
    options: Any = {"history": closed, "num_samples": num_samples, "draws": draws}
    simulated, states = fit.simulate(data, seed, **options)
    values = simulated.emissions.reshape(num_samples, -1).cpu().double().numpy()
    own = data.emissions.cpu().double().numpy()[None]
    if data.mask is not None:
        unseen = ~data.mask.cpu().numpy()
        values, own = values.copy(), own.copy()
        values[:, unseen] = own[:, unseen] = np.nan
    name = _curve_over(data, covariate)
    pairs = _compared(data, name, max_lag, own, values)
    if fit.labels.num_states != 1:
        path = fit.sample_states(data, 1, seed).astype(float)
        visits = [path, states.reshape(num_samples, -1).astype(float)]
        pairs["dwell"] = _survivals(data, *visits)
    found = _summed_up(pairs, num_samples)
    found.table.attrs |= {"covariate": name, "mean_of": _mean_of(data)}
    return found


_Pair = tuple[np.ndarray, np.ndarray, np.ndarray]


def _history_of(
    data: Sequences, history: History | Sequence[History] | bool | None
) -> History | Sequence[History] | bool | None:
    """What closes the loop: that given, or that of the data's own designs."""
    if history is not None:
        return history
    source = data.design_source
    if source is not None and source.histories(data):
        return True
    before = data.emissions.cpu().double().numpy()[:-1]
    later = np.ones(data.num_steps, dtype=bool)
    later[data.starts.cpu().numpy()] = False
    for argument in ("covariates", "transition_covariates"):
        names = getattr(data, f"{argument[:-1]}_names")
        for name, column in zip(names, getattr(data, argument).cpu().numpy().T):
            if source is None and _follows(column[1:][later[1:]], before[later[1:]]):
                raise ValueError(
                    "history must tell how covariates of past emissions are made anew "
                    f"in a simulation, got nothing for {name!r}, which is the emission "
                    "of the step before: make data by Sequences.from_dataframe("
                    "covariates=Design(...)), give a mapping as Fit.simulate takes it, "
                    "or history=False to leave it as it is"
                )
    return None


def _follows(column: np.ndarray, before: np.ndarray) -> bool:
    """Whether a column that varies is one code of the emission before."""
    if len(column) < 2 or np.ptp(column) == 0 or np.ptp(before) == 0:
        return False
    codes = [column[before == value] for value in np.unique(before)]
    return len(codes) <= 20 and all(np.ptp(code) == 0 for code in codes)


def _curve_over(data: Sequences, covariate: str | None) -> str | None:
    """The covariate of the psychometric curve, if there is one."""
    if covariate is None:
        return _stimulus(data)
    one_of("covariate", covariate, data.covariate_names)
    return covariate


def _mean_of(data: Sequences) -> str:
    """What the mean emission is: of two labels the share of the second."""
    name = data.emission_names[0]
    if not data.is_integer or int(data.emissions.max()) > 1:
        return f"mean {name}"
    names = data.class_names or ()
    return f"share of {names[1] if len(names) == 2 else f'{name} = 1'}"


def _compared(
    data: Sequences,
    name: str | None,
    max_lag: int,
    own: np.ndarray,
    values: np.ndarray,
) -> dict[str, _Pair]:
    """Places, and statistics of the data and of simulations, by statistic.

    Args:
        data: the data set.
        name: of the covariate of the psychometric curve.
        max_lag: in steps.
        own: emissions of the data, shape (1, steps).
        values: those of simulations, shape (simulations, steps).
    """
    starts = data.starts.cpu().numpy()
    lags = np.arange(1, min(max_lag, int(data.lengths.max()) - 1) + 1)
    found: dict[str, _Pair] = {}
    if len(lags):
        arrays = [autocorrelation(each, starts, lags) for each in (own, values)]
        found["autocorrelation"] = (lags, arrays[0][0], arrays[1])
    if data.is_integer and len(np.unique(own[~np.isnan(own)])) <= 20:
        found["runs"] = _survivals(data, own, values)
    if name is not None:
        column = data.covariates[:, data.covariate_names.index(name)].cpu().numpy()
        places, bins = bins_of(column)
        means = [in_bins(each, bins, len(places)) for each in (own, values)]
        found["psychometric"] = (places, means[0][0], means[1])
    return found


def _stimulus(data: Sequences) -> str | None:
    """The first covariate that varies and that past emissions do not make."""
    made = set()
    for history in data.design_source.histories(data) if data.design_source else ():
        for names in history.replay(data):
            made |= {names} if isinstance(names, str) else set(names)
    for name, column in zip(data.covariate_names, data.covariates.cpu().numpy().T):
        if name not in made and np.ptp(column) > 0:
            return name
    return None


def _survivals(data: Sequences, own: np.ndarray, values: np.ndarray) -> _Pair:
    """Shares of runs that last more than so many steps."""
    starts, longest = data.starts.cpu().numpy(), min(LONGEST, int(data.lengths.max()))
    arrays = [survival(each, starts, longest) for each in (own, values)]
    return np.arange(1, longest + 1), arrays[0][0], arrays[1]


def _summed_up(pairs: dict[str, _Pair], num_samples: int) -> PredictiveCheck:
    """The table, p values and findings of all statistics."""
    import pandas as pd

    tables, p_values, findings = {}, {}, []
    for name, (places, own, simulated) in pairs.items():
        lower, upper = np.nanquantile(simulated, [0.025, 0.975], axis=0)
        mean, spread = np.nanmean(simulated, 0), np.nanstd(simulated, 0)
        columns = {"observed": own, "estimate": mean, "lower": lower, "upper": upper}
        index = pd.Index(places.astype(float), name="at")
        tables[name] = pd.DataFrame(columns, index=index)
        known = (spread > 1e-12) | (np.abs(own - mean) > 1e-12)
        scale = np.where(spread > 1e-12, spread, 1e-12)
        off = np.abs(np.vstack([own, simulated]) - mean) / scale
        largest = np.nan_to_num(off[:, known], nan=0.0).max(1, initial=0.0)
        count = (largest[1:] >= largest[0]).sum() + 1
        p_values[name] = float(count) / (num_samples + 1)
        if p_values[name] <= _RATE / len(STATISTICS):
            place = int(np.nanargmax(np.where(known, off[0], -1)))
            findings.append(
                Finding(
                    f"unlike-{name}",
                    WARNING,
                    f"{name} of the data is {own[place]:.3g} at {places[place]:.3g}, "
                    f"that of simulations {lower[place]:.3g} to {upper[place]:.3g}: "
                    f"{_ADVICE[name]}",
                    p_values[name],
                )
            )
    report = Report.of("simulations against the data", findings, pairs)
    table = with_level(pd.concat(tables, names=["statistic"]))
    series = pd.Series(p_values, name="p_value").rename_axis("statistic")
    return PredictiveCheck(table, series, num_samples, report)
