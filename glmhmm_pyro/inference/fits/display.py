"""A fit in a notebook: how it ended, its parameters, what the search found."""

from typing import TYPE_CHECKING

from glmhmm_pyro.displays import as_written, display, framed, listed

if TYPE_CHECKING:
    from glmhmm_pyro.inference.fits.fit import Fit


def html(fit: "Fit") -> str:
    """HTML of a fit."""
    explained = getattr(fit.model, "explain", None)
    warned = [*fit.unbounded, *([fit.doubt] if fit.doubt else [])]
    parts = {
        "What to look out for": listed(warned),
        "Parameters": framed(fit.summary()) + _more_by_data(fit),
        "Starts": framed(fit.restart_report()),
        "Solutions": framed(fit.solution_report()) if fit.solutions else "",
        "Model": "" if explained is None else as_written(explained()),
    }
    return display(f"Fit, {fit.status.name}", str(fit).replace("; ", "\n"), parts)


def _more_by_data(fit: "Fit") -> str:
    """What to call for standard errors, where there are no draws to take them of."""
    has_draws = fit.posterior is not None
    return "" if has_draws else listed(["fit.summary(data) adds standard errors."])
