"""check of a fit: what its states, forecasts and ends say of it."""

from typing import TYPE_CHECKING, Any

import torch

from glmhmm_pyro.concurrency import usual_modes
from glmhmm_pyro.inference.checks.after import state_findings, uses_of
from glmhmm_pyro.inference.checks.report import NOTE, WARNING, Finding, Report
from glmhmm_pyro.inference.fits.latents import carried
from glmhmm_pyro.inference.fits.lookups import sites_of
from glmhmm_pyro.inference.status import Status

if TYPE_CHECKING:
    from glmhmm_pyro.inference.fits.fit import Fit

_MADE = ("convergence", "unbounded weights", "states")


@usual_modes()
def check(fit: "Fit", data: Any) -> Report:
    """Look for what makes a fit useless or doubtful, in one pass over the data.

    How the search ended; weights that run to infinity; states that are empty (less than
    one step is expected there), that vanish (fewer than 5 steps a weight, or never the
    most probable), that are one state twice, or that are left less than twice.

    Of a fit with draws it looks at ``params``.

    Args:
        data: what the model was fitted to, or other data.

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
    fit = carried(fit, data)
    findings = [*_ending(fit)]
    with torch.no_grad():
        sites = sites_of(fit, data)
        for use in uses_of(fit.model, sites, fit.params, fit.labels.states or ()):
            findings += state_findings(use)
    return Report.of("a fit", findings, _MADE)


def _ending(fit: "Fit") -> list[Finding]:
    """How the fit ended, its unbounded weights, and whether it may be the best."""
    found = [
        Finding("unbounded-weights", WARNING, f"{said}. {Status.UNBOUNDED.advice}")
        for said in fit.unbounded
    ]
    if not fit.status.is_success and fit.status is not Status.UNBOUNDED:
        said = f"{fit.status.sentence}. {fit.status.advice}"
        found.append(Finding("not-converged", WARNING, said.strip()))
    if fit.doubt:
        found.append(Finding("single-solution", NOTE, f"{fit.doubt}."))
    return found
