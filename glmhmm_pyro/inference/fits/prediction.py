"""What a fit says of data: states decoded, emissions predicted, a score."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from glmhmm_pyro.inference.coordinates import Params
from glmhmm_pyro.inference.fits.batches import at_draws
from glmhmm_pyro.inference.fits.estimate import BEST_DRAW, MEAN
from glmhmm_pyro.inference.fits.labels import by_step_dataset
from glmhmm_pyro.inference.fits.mixture import (
    Draws,
    decoded_by_draws,
    expected_ahead,
    predicted_by_draws,
)
from glmhmm_pyro.inference.program import Observed, Program

if TYPE_CHECKING:
    import xarray as xr


def decoded(fit: Any, data: Any, site: str, num_draws: int | None) -> "xr.Dataset":
    """What :meth:`Fit.decode` returns."""
    hidden, y = _site_at(fit, data, fit.params, site)
    by_state, by_step = ("step", "state"), ("step",)
    with torch.no_grad():
        path = hidden.viterbi_states(y)
        if fit.posterior is None:
            probs = {n: getattr(hidden, n)(y) for n in _PROBS}
            log_probs, said = hidden.log_prob_per_step(y), {}
        else:
            draws = Draws.of(fit.posterior, num_draws)
            probs, log_probs = decoded_by_draws(fit, data, draws, site)
            said = _said_of(draws, point_of(fit))
    found = by_step_dataset(
        hidden,
        data,
        **{name: (by_state, probs[name]) for name in _PROBS},
        viterbi_states=(by_step, path),
        log_prob_per_step=(by_step, log_probs),
    )
    for name in found:
        found[name].attrs["parameters"] = said.get(str(name), "fit.params")
    return found


_PROBS = ("filtered_probs", "predicted_probs", "smoothed_probs")


def _said_of(draws: Draws, point: str) -> dict[str, str]:
    """At which parameters every variable is, in words."""
    some = f"{draws.number} of {draws.num_all} draws"
    weighted = f"mixture over {some}, weighted by the emissions of the session"
    return {
        "filtered_probs": f"{weighted} up to the step",
        "predicted_probs": f"{weighted} before the step",
        "smoothed_probs": f"mean over {some}",
        "viterbi_states": f"fit.params, {point}",
        "log_prob_per_step": f"{weighted} before the step",
    }


def point_of(fit: Any) -> str:
    """What the parameters of a fit with draws are, in words."""
    mean = fit.posterior.mean()
    same = all(torch.allclose(fit.params[n], value) for n, value in mean.items())
    return MEAN if same else BEST_DRAW


def predicted(
    fit: Any, data: Any, site: str, steps_ahead: int, num_draws: int | None
) -> Any:
    """What :meth:`Fit.predict` returns."""
    hidden, y = _site_at(fit, data, fit.params, site)
    outputs, labels, said = hidden.outputs(y), fit.labels, "fit.params"
    with torch.no_grad():
        if fit.posterior is None:
            means = expected_ahead(hidden, y, steps_ahead)
        else:
            draws = Draws.of(fit.posterior, num_draws)
            means = predicted_by_draws(fit, data, draws, site, steps_ahead)
            said = (
                f"mixture over {draws.number} of {draws.num_all} draws, weighted by "
                f"the emissions of the session until {steps_ahead} steps before"
            )
    arrays: dict[str, Any] = {}
    coords: dict[str, Any] = {}
    for name, found in means.items():
        own = f"{name}_" if name else ""
        names = ["class"]
        if not outputs[name].emission_dist.has_enumerate_support:
            names = [f"output_{i}" for i in range(found.dim() - 1)]
        known = labels.coords("emissions", tuple(names), tuple(found.shape[1:]))
        coords |= {f"{own}{dim}": values for dim, values in known.items()}
        arrays[name or "predicted"] = (("step", *(f"{own}{n}" for n in names)), found)
    dataset = by_step_dataset(hidden, data, **arrays).assign_coords(coords)
    for name in dataset:
        dataset[name].attrs["parameters"] = said
    return dataset["predicted"] if list(means) == [""] else dataset


def sampled_states(
    fit: Any, data: Any, site: str, num_samples: int, seed: int
) -> np.ndarray:
    """What :meth:`Fit.sample_states` returns."""
    if fit.posterior is None:
        hidden, y = _site_at(fit, data, fit.params, site)
        generator = torch.Generator(device=y.device).manual_seed(seed)
        with torch.no_grad():
            return hidden.sample_states(y, num_samples, generator).cpu().numpy()
    draws = Draws.of(fit.posterior, None)
    rng = np.random.default_rng(seed)
    chosen = rng.integers(draws.number, size=num_samples)
    paths: list[np.ndarray] = [np.empty(0)] * num_samples
    for number in np.unique(chosen):
        params = {name: value[number] for name, value in draws.params.items()}
        hidden, y = _site_at(fit, data, params, site)
        generator = torch.Generator(device=y.device).manual_seed(
            int(rng.integers(2**62))
        )
        places = np.flatnonzero(chosen == number)
        with torch.no_grad():
            drawn = hidden.sample_states(y, len(places), generator)
        if draws.orders is not None:
            drawn = draws.orders[number].argsort().to(drawn.device)[drawn]
        for place, path in zip(places, drawn.cpu().numpy()):
            paths[place] = path
    return np.stack(paths)


def _site_at(fit: Any, data: Any, params: Params, site: str) -> Observed:
    with torch.no_grad():
        return Program.kind_of(fit.model).observed_sites(fit.model, data, params)[site]


def score(
    fit: Any, data: Any, sites: Mapping[str, Observed], marginal: bool | None
) -> float:
    """What :meth:`Fit.score` returns, from the sites at the estimate."""
    observed = sum(site.hidden.num_observed for site in sites.values())
    if not observed:
        raise ValueError(
            "data must have an observed step to be scored, got none"
            "; give sessions of which something is seen"
        )
    if marginal is None:
        marginal = fit.posterior is not None
    if not marginal:
        found = [float(s.hidden.log_prob(s.value)) for s in sites.values()]
        return sum(found) / observed
    flat = {name: value.flatten(0, 1) for name, value in fit.draws.items()}
    by_session = at_draws(
        fit.model, data, flat, lambda s: s.hidden.log_prob_per_session(s.value)
    )
    total = (by_session.logsumexp(0) - math.log(len(by_session))).sum()
    return float(total) / observed
