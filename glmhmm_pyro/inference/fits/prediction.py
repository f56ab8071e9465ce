"""What a fit says of data: states decoded, emissions predicted."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.arguments import seed_number, whole_number
from glmhmm_pyro.components.levels import Levels
from glmhmm_pyro.concurrency import seeded, usual_modes
from glmhmm_pyro.inference.draws.estimate import BEST_DRAW, MEAN
from glmhmm_pyro.inference.fits.latent_draws import with_latents_for
from glmhmm_pyro.inference.fits.lookups import checked_site, sites_of
from glmhmm_pyro.inference.fits.mixture import (
    Draws,
    decoded_by_draws,
    expected_ahead,
    predicted_by_draws,
)
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.labels import by_step_dataset
from glmhmm_pyro.inference.program.program import Data, Observed, Program

if TYPE_CHECKING:
    import xarray as xr

    from glmhmm_pyro.inference.fits.fit import Fit


@usual_modes()
def decode(
    fit: "Fit[Data]",
    data: Data,
    site: str | None = None,
    *,
    num_draws: int | None = None,
) -> "xr.Dataset":
    r"""Probabilities of the states at every step, and their most probable path.

    A fit with draws averages over them. ``smoothed_probs`` are the mean of p(z_t |
    y, θ) over the draws, which is p(z_t | y) where ``data`` are those fitted. What
    looks ahead, ``filtered_probs``, ``predicted_probs`` and ``log_prob_per_step``,
    is a mixture in which a draw counts by how probable it makes the emissions that
    the session has had before,

    .. math:: p(y_t \mid y_{<t}) = \sum_d w_{td} \, p(y_t \mid y_{<t}, \theta_d),
        \quad w_{td} \propto p(y_{<t} \mid \theta_d),

    so that it sums to the marginal :meth:`score`. The path is that at ``params``.
    States are numbered as at ``params``, in every draw by what they do. Attributes
    called ``parameters`` say so of every variable.

    Args:
        data: as the model takes it.
        site: name of the ``HiddenMarkov`` site, where a model has several.
        num_draws: draws to average over, evenly spaced; all by default.

    Returns:
        Variables ``filtered_probs`` p(z_t | y_0..t), ``predicted_probs``
        p(z_t | y_0..t-1), ``smoothed_probs`` p(z_t | y) (step, state),
        ``viterbi_states`` and ``log_prob_per_step`` (step); coordinates ``session``,
        ``state``, and ``group`` where sessions have groups. Of a model on two levels,
        whose states are pairs, also the smoothed ``slow_probs`` (step, slow) and
        ``fast_probs`` (step, fast), and the ``slow_states`` and ``fast_states`` of the
        most probable path (step).
    """
    data = fit.as_fitted(data)
    fit = with_latents_for(fit, data)
    site = checked_site(sites_of(fit, data), site)
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
            said = _parameters_in_words(draws, point_of(fit))
    variables: dict[str, Any] = {name: (by_state, probs[name]) for name in _PROBS}
    variables |= {
        "viterbi_states": (by_step, path),
        "log_prob_per_step": (by_step, log_probs),
    }
    variables |= _by_level(fit, probs["smoothed_probs"], path)
    found = by_step_dataset(hidden, data, fit.labels, **variables)
    for name in found:
        source = _FROM.get(str(name), str(name))
        found[name].attrs["parameters"] = said.get(source, "fit.params")
    return found


def _by_level(fit: "Fit", probs: Tensor, path: Tensor) -> dict[str, Any]:
    """Smoothed probabilities and most probable states of slow and fast states."""
    if fit.labels.levels is None:
        return {}
    levels = Levels(*fit.labels.levels)
    found: dict[str, Any] = {}
    for level in ("slow", "fast"):
        found[f"{level}_probs"] = (("step", level), levels.marginal(probs, level))
        found[f"{level}_states"] = (("step",), levels.of(path, level))
    return found


# What is said of a level is said of pairs.
_FROM = {
    **dict.fromkeys(("slow_probs", "fast_probs"), "smoothed_probs"),
    **dict.fromkeys(("slow_states", "fast_states"), "viterbi_states"),
}

_PROBS = ("filtered_probs", "predicted_probs", "smoothed_probs")


def _parameters_in_words(draws: Draws, point: str) -> dict[str, str]:
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


def point_of(fit: "Fit") -> str:
    """What the parameters of a fit with draws are, in words."""
    mean = {name: value.mean((0, 1)) for name, value in fit.draws.items()}
    same = all(torch.allclose(fit.params[n], value) for n, value in mean.items())
    return MEAN if same else BEST_DRAW


@usual_modes()
def predict(
    fit: "Fit[Data]",
    data: Data,
    site: str | None = None,
    *,
    steps_ahead: int = 1,
    num_draws: int | None = None,
) -> Any:
    r"""Prediction of every emission from those k or more steps earlier.

    .. math:: p(y_t \mid y_{0..t-k}) = \sum_{ij} p(z_{t-k} = i \mid y_{0..t-k})
        \, (A_{t-k+1} \cdots A_t)_{ij} \, p(y_t \mid z_t = j)

    The first k steps of a session are predicted from its start alone. Covariates of
    all steps up to t are read as they stand, those made from the emissions between
    t - k and t too; :meth:`simulate` with ``history`` draws these anew.

    A fit with draws gives the mixture of the predictions at all of them, a draw
    weighted by p(y_0..t-k of the session | θ), as in :meth:`decode`.

    Args:
        data: as the model takes it.
        site: name of the ``HiddenMarkov`` site, where a model has several.
        steps_ahead: k; 1 is the one-step prediction.
        num_draws: draws to average over, evenly spaced; all by default.

    Returns:
        p(y_t = c | y_0..t-k) (step, class) for labels; for other families the
        expected emission (step, ...). Of several families, or several outputs that are
        labels, a data set with an array for each by its name.
    """
    data = fit.as_fitted(data)
    fit = with_latents_for(fit, data)
    site = checked_site(sites_of(fit, data), site)
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
    dataset = by_step_dataset(hidden, data, labels, **arrays).assign_coords(coords)
    for name in dataset:
        dataset[name].attrs["parameters"] = said
    return dataset["predicted"] if list(means) == [""] else dataset


@usual_modes()
def sample_states(
    fit: "Fit[Data]",
    data: Data,
    num_samples: int = 1,
    seed: int = 0,
    site: str | None = None,
) -> np.ndarray:
    """Paths of states drawn from p(z | y), shape (num_samples, steps).

    Of a fit with draws every path is at a draw of its own, taken at random; states
    are numbered as in :meth:`decode`. Where latents of other sessions are drawn, every
    session takes draws as often as they make it probable.

    Args:
        data: as the model takes it.
        num_samples: number of paths.
        seed: the same number gives the same paths, so that a second call without one
            repeats the first: give another for others.
        site: name of the ``HiddenMarkov`` site, where a model has several.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.Sequences([0, 1, 1, 0, 1, 0], lengths=[3, 3])
        >>> model = gh.GLMHMM(2, gh.Bernoulli(gh.priors.Ridge(1.0)))
        >>> fit = gh.fit(model, data, num_restarts=1, progress=False)
        >>> fit.sample_states(data, num_samples=4, seed=1).shape
        (4, 6)
    """
    num_samples = whole_number("num_samples", num_samples, 1)
    seed = seed_number(seed)
    data = fit.as_fitted(data)
    fit = with_latents_for(fit, data)
    site = checked_site(sites_of(fit, data), site)
    if fit.posterior is None:
        hidden, y = _site_at(fit, data, fit.params, site)
        generator = torch.Generator(device=y.device).manual_seed(seed)
        with torch.no_grad():
            return hidden.sample_states(y, num_samples, generator).cpu().numpy()
    draws = Draws.of(fit.posterior, None)
    if fit.labels.lack_latents(data):
        return _paths_by_session(fit, data, draws, site, num_samples, seed)
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


def _paths_by_session(
    fit: "Fit[Data]", data: Data, draws: Draws, site: str, num_samples: int, seed: int
) -> np.ndarray:
    """Paths at draws that every session takes as often as they make it probable."""
    at = [{n: v[i] for n, v in draws.params.items()} for i in range(draws.number)]
    sites = [_site_at(fit, data, params, site) for params in at]
    lengths = sites[0].hidden.chain_lengths
    with seeded(seed), torch.no_grad():
        log_weights = [hidden.log_prob_per_chain(y) for hidden, y in sites]
        by_chain = torch.distributions.Categorical(logits=torch.stack(log_weights, 1))
        chosen = by_chain.sample(torch.Size((num_samples,)))
        chosen = chosen.repeat_interleave(lengths, -1)
        paths = torch.zeros_like(chosen)
        for number in chosen.unique().tolist():
            is_here = chosen == number
            hidden, y = sites[number]
            drawn = hidden.sample_states(y, int(is_here.sum(0).max()))
            if draws.orders is not None:
                drawn = draws.orders[number].argsort().to(drawn.device)[drawn]
            places = (is_here.cumsum(0) - 1).clamp(min=0)
            paths = torch.where(is_here, drawn.gather(0, places), paths)
    return paths.cpu().numpy()


def _site_at(fit: "Fit[Data]", data: Data, params: Params, site: str) -> Observed:
    with torch.no_grad():
        return Program.kind_of(fit.model).observed_sites(fit.model, data, params)[site]
