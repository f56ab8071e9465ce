"""What a fit knows by name: its parameters, the data that it reads, its sites."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from glmhmm_pyro.concurrency import usual_modes
from glmhmm_pyro.distributions import HiddenMarkov
from glmhmm_pyro.inference.fits.latent_draws import with_latents_for
from glmhmm_pyro.inference.program.labels import named_parameters
from glmhmm_pyro.inference.program.program import Data, Observed, Program

if TYPE_CHECKING:
    import xarray as xr

    from glmhmm_pyro.inference.fits.fit import Fit


def parameters(fit: "Fit") -> "dict[str, xr.DataArray]":
    """Parameters with reference rows in place and names on every axis."""
    return named_parameters(fit.model, fit.params, fit.labels)


def draws(fit: "Fit") -> dict[str, Tensor]:
    """Values (chains, draws, *shape) by site, reference rows left out.

    A fit without a posterior has one chain of one draw, the estimate.
    """
    if fit.posterior is not None:
        return fit.posterior.draws
    return {name: value[None, None] for name, value in fit.params.items()}


def log_likelihood_per_step(fit: "Fit") -> float:
    """Log-likelihood over the number of observed steps, nats."""
    return fit.log_likelihood / max(fit.labels.num_observed, 1)


def as_fitted(fit: "Fit[Data]", data: Data) -> Data:
    """Data with all that has a name where the data of the fit had it.

    Every method of a fit reads its data so: covariates, outputs and classes are put
    in the order of the fit, and covariates that it does not read are left out. What
    has no name (a column of an array, a class that is a number) is taken by its
    place. Sessions are matched by name by those models alone that have parameters
    for each.

    Args:
        data: as the model takes it; the same is returned if nothing changes.

    Raises:
        ValueError: a name that the fit reads is lacking.

    Warns:
        MatchingWarning: what has a name on one side only is taken by its place.
    """
    return fit.labels.as_fitted(fit.model, data)


@usual_modes()
def distribution(fit: "Fit[Data]", data: Data, site: str | None = None) -> HiddenMarkov:
    """The distribution of the emissions of ``data`` at ``params``.

    Latents of other sessions than those fitted are at the mean of their draws.

    Args:
        data: as the model takes it.
        site: name of the ``HiddenMarkov`` site, where a model has several.
    """
    data = fit.as_fitted(data)
    sites = sites_of(with_latents_for(fit, data), data)
    return sites[checked_site(sites, site)].hidden


def sites_of(fit: "Fit[Data]", data: Data) -> dict[str, Observed]:
    """Every ``HiddenMarkov`` site of data laid out as those fitted, by name."""
    with torch.no_grad():
        return Program.kind_of(fit.model).observed_sites(fit.model, data, fit.params)


def checked_site(sites: Mapping[str, Observed], site: str | None) -> str:
    """The name of the site asked for, or of the only one."""
    if site is None and len(sites) == 1:
        return next(iter(sites))
    if site is None or site not in sites:
        raise ValueError(
            f"site must name a HiddenMarkov site of the model, {', '.join(sites)}, "
            f"got {site!r}; name one of these"
        )
    return site
