"""A fit with its states renumbered: as a user wants it, or like another fit.

These are views: the likelihood stays what it was, but a prior that tells states apart
gives the new numbers another density, so that renumbered draws are no draws from the
posterior any more.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from glmhmm_pyro.concurrency import usual_modes
from glmhmm_pyro.inference.draws.alignment import (
    AS_DRAWN,
    TOLD_APART,
    best_order,
    renumber_draws,
    renumbers,
    state_probs,
)
from glmhmm_pyro.inference.draws.estimate import STANDS, point_estimate
from glmhmm_pyro.inference.draws.posterior import Posterior
from glmhmm_pyro.inference.fits.latent_draws import with_latents_for
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.densities import Densities
from glmhmm_pyro.inference.program.program import Data, Program
from glmhmm_pyro.inference.program.renumbering import Renumbering, StateAxes
from glmhmm_pyro.inference.program.symmetry import possible_orders
from glmhmm_pyro.sequences.arrays import as_array

if TYPE_CHECKING:
    from glmhmm_pyro.inference.fits.fit import Fit

# Draws after which a prior that no renumbering has changed is taken to stay unchanged,
# and what counts as unchanged, in nats.
_ENOUGH, _SAME = 2, 1e-9

# What is known of draws from a distribution that is gone once each is renumbered.
_OF_DRAWN_FROM = ("log_weight", "log_guide")

# A model, and the same with its states renumbered.
Models = tuple[Callable[..., Any], Callable[..., Any]]

_VIEW = "draws are numbered by what their states do, whatever priors say of the numbers"


@usual_modes()
def aligned(
    fit: "Fit[Data]",
    reference: "Fit[Data] | Tensor | np.ndarray",
    data: Data,
    state_axes: Mapping[str, Sequence[int]] | None = None,
) -> "Fit[Data]":
    """The fit with its states numbered as a reference numbers them.

    States are matched by what they do: by the assignment under which their
    probabilities at ``params`` agree best with the reference. Where a prior tells
    states apart, draws are first numbered alike, each by what its states do in the
    data fitted (see :class:`NUTS`). Such draws are a view by label, not draws from
    the posterior; ``log_joint`` is that of their new numbers.

    Names of states go with the states; a fit without names takes those of the
    reference.

    Args:
        reference: another fit, or probabilities of the states (steps, states).
        data: on which probabilities of the states are compared.
        state_axes: see :class:`NUTS`; for sites of a model of the user's own.
    """
    fit = _by_label(fit, fit.as_fitted(data), state_axes)
    own = _probs_of(fit, data)
    other: Any = reference
    probs_of_other = _probs_of(other, data) if hasattr(other, "params") else other
    given = as_array("reference", probs_of_other)
    if given.dtype.kind not in "biuf" or not np.isfinite(given).all():
        raise ValueError(
            "reference must be a fit, or finite probabilities of the states, got "
            f"{reference!r:.60}; take another fit, or its smoothed_probs"
        )
    probs = torch.as_tensor(given, dtype=own.dtype)
    if probs.shape != own.shape:
        raise ValueError(
            f"reference must have probabilities of shape {tuple(own.shape)} (steps,"
            f" states), got {tuple(probs.shape)}; take a fit of as many states"
        )
    order = best_order(probs, own, possible_orders(fit.model, own.shape[-1]))
    is_kept = order.equal(torch.arange(len(order)))
    fit = fit if is_kept else permuted(fit, order, state_axes)
    known = getattr(other, "labels", fit.labels)
    if fit.labels.states is not None or fit.labels.level_names:
        return fit
    named = replace(
        fit.labels, states=known.states, level_names=dict(known.level_names)
    )
    return replace(fit, labels=named)


def _probs_of(fit: "Fit[Data]", data: Data) -> Tensor:
    data = fit.as_fitted(data)
    fit = with_latents_for(fit, data)
    return state_probs(fit.model, data, fit.params)


def permuted(
    fit: "Fit[Data]",
    order: Sequence[int] | Tensor,
    state_axes: Mapping[str, Sequence[int]] | None = None,
) -> "Fit[Data]":
    """The fit with its states renumbered: parameters, their history, draws, names.

    The likelihood stays as it is. A prior that tells states apart gives the new
    numbers another density: ``log_joint``, the fit's and that of every draw, is
    that of the new numbers, and the draws are a view of the posterior, not draws
    from it. A model of the user's own needs data to tell its prior: there
    ``log_joint`` is left as it was.

    Args:
        order: state k is what was number ``order[k]``, shape (states,).
        state_axes: see :class:`NUTS`; for sites of a model of the user's own.
    """
    renumbering = _checked_renumbering(fit, state_axes)
    order = _checked_order(order, renumbering.states)
    posterior: Posterior | None = fit.posterior
    params = renumbering(fit.params, order)
    models = fit.model, _renumbered_model(fit.model, order)
    if posterior is not None:
        posterior = _permuted(models, posterior, order, renumbering)
    before = "before its states were renumbered: "
    return replace(
        fit,
        model=models[1],
        labels=fit.labels.renumbered(order.tolist()),
        params=params,
        log_joint=_moved_joint(models, fit, params),
        weights=tuple(renumbering(weights, order) for weights in fit.weights),
        posterior=posterior,
        solutions=tuple(
            replace(solution, params=renumbering(solution.params, order))
            for solution in fit.solutions
        ),
        unbounded=tuple(before + sentence for sentence in fit.unbounded),
    )


def _checked_renumbering(fit: "Fit", state_axes: StateAxes | None) -> Renumbering:
    """How the parameters of a fit follow; refuses what nothing is declared of."""
    state_axes = state_axes or fit.labels.state_axes
    renumbering = Renumbering(fit.model, fit.params, state_axes)
    undeclared = [n for n in renumbering.unknown if n not in renumbering.components]
    if undeclared:
        raise ValueError(
            "state_axes must say along which axes states stand in "
            f"{', '.join(undeclared)}, got nothing; write "
            f"state_axes={{{undeclared[0]!r}: (0,)}} for the first axis, () for none"
        )
    return renumbering


def _renumbered_model(model: Callable[..., Any], order: Tensor) -> Callable[..., Any]:
    """The model, with what it knows of states by their numbers renumbered."""
    parts = Program.kind_of(model).components_of(model)
    names = [n for n, part in parts.items() if part.is_numbered]
    if not names:
        return model
    made: Any = copy.deepcopy(model)
    own: Any = Program.kind_of(made).components_of(made)
    for name in names:
        own[name].renumber(order.tolist())
    return made


def _permuted(
    models: Models,
    posterior: Posterior,
    order: Tensor,
    renumbering: Renumbering,
) -> Posterior:
    """All draws renumbered alike, each with the log-joint that it has then."""
    draws, labels = renumbering(posterior.draws, order), posterior.by_label
    if labels is not None:
        labels = order.argsort()[labels[..., order]]
    priors = _log_priors_of_draws(models, posterior.draws, draws)
    stats = _moved_stats(dict(posterior.stats), *priors)
    return replace(posterior, draws=draws, by_label=labels, stats=stats)


def _moved_joint(models: Models, fit: "Fit", params: Params) -> float:
    """The log-joint of the new numbers."""
    before, after = _log_priors(models, fit.params, params)
    if math.isinf(before) and math.isfinite(after):
        return float(fit.log_likelihood + after)
    gain = after - before
    # At the border of a support both may be infinite.
    return float(fit.log_joint + (0.0 if math.isnan(gain) else gain))


def _moved_stats(
    stats: dict[str, np.ndarray], before: np.ndarray, after: np.ndarray
) -> dict[str, np.ndarray]:
    """What is known of draws whose log priors change, (chains, draws) each.

    Where a new number is impossible the log-joint is infinite. What it was without the
    prior is then kept as ``log_likelihood``, for numbers that are possible again.
    """
    if np.isfinite(before).all() and np.isfinite(after).all():
        # The density of the distribution drawn from moves along with its draws.
        moving = ("log_joint", "log_weight")
        return {n: v + (after - before) * (n in moving) for n, v in stats.items()}
    if "log_joint" in stats:
        likelihoods = stats["log_joint"] - np.where(np.isfinite(before), before, 0.0)
        stats.setdefault("log_likelihood", likelihoods)
        stats["log_joint"] = stats["log_likelihood"] + after
    return {n: v for n, v in stats.items() if n not in _OF_DRAWN_FROM}


def _log_priors_of_draws(
    models: Models, before: Params, after: Params
) -> tuple[np.ndarray, np.ndarray]:
    """Log priors of all draws before and after, (chains, draws); 0 if all are kept."""
    shape = next(iter(before.values())).shape[:2]
    places = list(np.ndindex(*shape))

    def priors(place: tuple[int, ...]) -> tuple[float, float]:
        pairs = ({n: v[place] for n, v in values.items()} for values in (before, after))
        return _log_priors(models, *pairs)

    first = np.array([priors(place) for place in places[:_ENOUGH]])
    if np.allclose(first[:, 0], first[:, 1], atol=_SAME):
        return np.zeros(shape), np.zeros(shape)
    was, now = np.array([priors(place) for place in places]).T.reshape(2, *shape)
    return was, now


def _log_priors(models: Models, before: Params, after: Params) -> tuple[float, float]:
    """Log priors of what needs no data to tell its own, before and after.

    Args:
        models: before and after.
        before: values of its sites.
        after: the same after.
    """
    densities = []
    for model, params in zip(models, (before, after)):
        with torch.no_grad(), Densities(params) as found:
            Program.kind_of(model).visit_known_priors(model)
        densities.append(float(found.of_parameters))
    return densities[0], densities[1]


def _by_label(
    fit: "Fit[Data]", data: Data, state_axes: StateAxes | None
) -> "Fit[Data]":
    """The fit with every draw numbered by what its states do in the data fitted."""
    posterior: Posterior | None = fit.posterior
    if posterior is None or posterior.by_label is None:
        return fit
    renumbering, orders = _checked_renumbering(fit, state_axes), posterior.by_label
    program = Program.of(fit.model, data)
    draws = renumber_draws(posterior.draws, orders, renumbering)
    # What is drawn from has no density any more once each draw is renumbered by itself.
    stats = {n: v for n, v in posterior.stats.items() if n not in _OF_DRAWN_FROM}
    if "log_joint" in stats:
        stats["log_joint"] = _joints(program, posterior.draws, draws, orders, stats)
    changed = int(renumbers(orders).sum())
    posterior = replace(
        posterior,
        draws=draws,
        stats=stats,
        num_relabelled=posterior.num_relabelled + changed,
        by_label=None,
    )
    notes = tuple(n for n in fit.notes if not n.startswith((AS_DRAWN, TOLD_APART)))
    view = replace(fit, posterior=posterior, notes=(*notes, _VIEW))
    likelihood = float(program.log_parts(fit.params)[0])
    if not math.isclose(likelihood, fit.log_likelihood, rel_tol=1e-9, abs_tol=1e-9):
        return view
    point = point_estimate(program, posterior)
    return replace(
        view,
        params=point.params,
        log_likelihood=point.log_likelihood,
        log_joint=point.log_joint,
        notes=(*(n for n in view.notes if not n.startswith(STANDS)), *point.notes),
    )


def _joints(
    program: Program,
    before: Params,
    after: Params,
    orders: Tensor,
    stats: Mapping[str, np.ndarray],
) -> np.ndarray:
    """Log-joints of draws, of which some were renumbered."""
    found = np.array(stats["log_joint"])
    for place in map(tuple, renumbers(orders).nonzero().tolist()):
        with torch.no_grad():
            was, now = (
                float(program.log_prior({n: v[place] for n, v in values.items()}))
                for values in (before, after)
            )
        if "log_likelihood" in stats:
            found[place] = stats["log_likelihood"][place] + now
        else:
            found[place] += now - was
    return found


def _checked_order(order: ArrayLike, states: int | None) -> Tensor:
    """The user's order as a tensor, if it is a permutation."""
    given = as_array("order", order)
    if given.dtype.kind not in "iuf" or given.ndim != 1:
        raise ValueError(
            f"order must be a list of the numbers of all states, got {order!r:.80}; "
            "write [1, 0] to exchange two"
        )
    numbers = torch.as_tensor(given)
    states = len(numbers) if states is None else states
    if numbers.is_floating_point() or sorted(numbers.tolist()) != list(range(states)):
        raise ValueError(
            f"order must hold every state from 0 to {states - 1} once, got "
            f"{numbers.tolist()}; write [1, 0] to exchange two"
        )
    return numbers.long()
