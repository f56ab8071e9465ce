"""check of a fit: what its states, forecasts and ends say of it."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from glmhmm_pyro.concurrency import usual_modes
from glmhmm_pyro.inference.checks.after import state_findings, uses_of
from glmhmm_pyro.inference.checks.columns import WeightedColumns
from glmhmm_pyro.inference.checks.forecasts import ColumnForecast
from glmhmm_pyro.inference.checks.leak_checks import leak_findings, leaks_left_out
from glmhmm_pyro.inference.checks.level_checks import level_findings
from glmhmm_pyro.inference.checks.report import NOTE, UNTOLD, WARNING, Finding, Report
from glmhmm_pyro.inference.checks.step_checks import (
    left_out,
    named_forecasts,
    starts_of,
    step_findings,
)
from glmhmm_pyro.inference.fits.latent_draws import with_latents_for
from glmhmm_pyro.inference.fits.lookups import sites_of
from glmhmm_pyro.inference.program.program import Data, Observed, Program
from glmhmm_pyro.inference.status import Status

if TYPE_CHECKING:
    from glmhmm_pyro.inference.fits.fit import Fit

_MADE = (
    *("convergence", "unbounded weights", "states"),
    *("leaks", "calibration", "law", "memory", "drift"),
)


@usual_modes()
def check(fit: "Fit", data: Data) -> Report:
    r"""Look for what makes a fit useless or doubtful, in a pass or two over the data.

    How the search ended; weights that run to infinity; states that are empty (less than
    one step is expected there), that vanish (fewer than 5 steps a weight, or never the
    most probable), that are one state twice, that are left less than twice, or in which
    covariates follow from each other. Of slow states: whether they are left fewer than
    10 times for each of their parameters, or look at covariates that change faster than
    their switches can be timed. Covariates that hold the emission of their own step.

    Then one-step forecasts, which at the right parameters err by martingale
    differences: whether they are calibrated in bins; whether quantile residuals
    :math:`F(y_t \mid y_{<t})`, randomised for counts (Dunn & Smyth 1996), are uniform
    (Neyman 1937); whether Pearson residuals are correlated within sessions; and whether
    visits to states, emissions in them or their weights drift from first to second
    halves of sessions or from earlier to later sessions. Labels are looked at one class
    against the rest. Each of the four warns where its p value is below 0.005;
    ``p_value`` is corrected for all that it looks at.

    Of a fit with draws it looks at ``params``.

    Args:
        data: what the model was fitted to. Of data held out the errors of the
            parameters are found, too, where there are many.

    Returns:
        Findings with a code, a severity and a sentence that says what to do; empty
        where nothing was found.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.datasets.load_rat().subset(range(5))
        >>> fit = gh.fit(gh.GLMHMM(1, gh.Bernoulli()), data, progress=False)
        >>> fit.check(data).codes
        ()
    """
    data = fit.as_fitted(data)
    fit = with_latents_for(fit, data)
    findings = [*_findings_on_end(fit)]
    components = Program.kind_of(fit.model).components_of(fit.model)
    columns = [found for _, found in WeightedColumns.of(components, data)]
    findings += leak_findings(columns)
    with torch.no_grad():
        sites = sites_of(fit, data)
        for use in uses_of(fit.model, sites, fit.params, fit.labels.state_names):
            findings += state_findings(use)
        lacking = leaks_left_out(columns) if components else {"leaks": UNTOLD}
        for observed in sites.values():
            names = fit.labels.state_names
            findings += step_findings(fit.model, data, observed, names)
            lacking |= left_out(observed)
            latents = fit.labels.latents
            findings += level_findings(fit.model, data, observed, fit.params, latents)
    made = [name for name in _MADE if name not in lacking]
    return Report.of("a fit", findings, made, lacking)


@usual_modes()
def forecasts(fit: "Fit", data: Data) -> tuple[list[ColumnForecast], np.ndarray]:
    """One-step forecasts of every column of the emissions, and the sessions' starts.

    Args:
        data: as the model takes it; of a model of the user's own with a single site.
    """
    data = fit.as_fitted(data)
    ((hidden, value),) = sites_of(with_latents_for(fit, data), data).values()
    return named_forecasts(data, Observed(hidden, value)), starts_of(hidden)


def _findings_on_end(fit: "Fit") -> list[Finding]:
    """How the fit ended, its unbounded weights, and whether it may be the best."""
    number = fit.labels.num_states
    advice = Status.UNBOUNDED.advice_for(number)
    found = [
        Finding("unbounded-weights", WARNING, f"{said}. {advice}")
        for said in fit.unbounded
    ]
    if not fit.status.is_success and fit.status is not Status.UNBOUNDED:
        said = f"{fit.status.sentence}. {fit.status.advice_for(number)}"
        found.append(Finding("not-converged", WARNING, said.strip()))
    if fit.doubt:
        found.append(Finding("single-solution", NOTE, f"{fit.doubt}."))
    return found
