"""The evidence: how probable data are under a model and its priors as a whole."""

import copy
import math
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from glmhmm_pyro.analysis.images import log_num_images
from glmhmm_pyro.arguments import suggests_names
from glmhmm_pyro.concurrency import usual_modes
from glmhmm_pyro.inference import MAP, Fit
from glmhmm_pyro.inference.curvature.curvature import CurvatureError, round_scale
from glmhmm_pyro.inference.curvature.information import Information
from glmhmm_pyro.inference.curvature.uncertainty import Uncertainty
from glmhmm_pyro.inference.marginal.ascent import Scales
from glmhmm_pyro.inference.marginal.integrated import integrated_log_evidence
from glmhmm_pyro.inference.marginal.law_evidence import NoModeError
from glmhmm_pyro.inference.marginal.problem import MarginalProblem
from glmhmm_pyro.inference.mode.descent import Descent
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Data, Program
from glmhmm_pyro.inference.program.renumbering import StateAxes
from glmhmm_pyro.inference.status import Status
from glmhmm_pyro.priors.answers import log_mass

# How a search ends that leaves no point to expand around.
_NO_MODE = {Status.UNBOUNDED, Status.NON_FINITE}

# A search for the mode, and one that begins near it and need not be made round; which
# is sooner given up where a curvature costs less than its iterations.
_SEARCH, _SHORT = MAP(num_iters=1000, tol=1e-8), MAP(num_iters=100, tol=1e-8)
_FEW_ITERS = 30

# The same in coordinates that a curvature made round, whose last digits cost few steps;
# of long data that curvature is one of every so many sessions.
_ROUND = MAP(num_iters=200, tol=1e-10)
_EVERY, _LONG = 4, 5_000


class NoEvidenceError(ValueError):
    """A posterior that has no normal approximation, and so no Laplace evidence."""


class PosteriorExpansion(NamedTuple):
    """A posterior expanded around its mode.

    Attributes:
        log_evidence: Laplace's, nats.
        mode: values of the sites there.
        factor: shape (size, size), of the covariance of the unconstrained coordinates.
    """

    log_evidence: float
    mode: Params
    factor: Tensor


@suggests_names
@usual_modes()
def log_evidence(
    found: Fit[Data],
    data: Data,
    *,
    all_images: bool = False,
    state_axes: StateAxes | None = None,
) -> float:
    r"""Laplace's approximation of the log evidence, in nats.

    .. math:: \log p(y) \approx \log p(y, \hat\theta) + \log |J(\hat\theta)|
        + \tfrac{d}{2} \log 2\pi - \tfrac{1}{2} \log \det (-H)

    in the d unconstrained coordinates: J is the Jacobian of the map to the values, H
    holds the exact second derivatives, at the mode of the posterior that includes J,
    which is looked for from the fit. It is the volume around one mode, that is of one
    numbering of the states. Where the prior stays as it is when states change numbers,
    the posterior has other images of that mode, each with the same volume: to compare
    numbers of states take ``all_images=True``, which adds the log of the number of
    distinct ones. It is num_states! where the prior treats all states alike and all
    states differ, and smaller where the prior tells some apart. Images that are less
    than 4 standard deviations of the posterior apart overlap, and are refused: their
    sum would count a part of the volume twice.

    Of weights that vary by a law whose scales are learnt there is no such mode, for the
    scales run to 0 there: the weights are integrated out at every value of the scales,
    then the scales around the maximum of that.

    Source: MacKay 1992, "Bayesian interpolation"; Tierney & Kadane 1986.

    Args:
        found: the fit, by any method; its prior must be proper.
        data: what the model was fitted to.
        all_images: whether to add the log of the number of images of the mode.
        state_axes: see :class:`NUTS`; for the images of a model of the user's own.

    Raises:
        ValueError: a prior of weights is flat or improper, or the curvature at the mode
            is singular; it names the sites or the parameters. With ``all_images``:
            images overlap, or it is not known how parameters follow the states.

    Example:
        >>> import glmhmm_pyro as gh
        >>> from torch.distributions import Normal
        >>> data = gh.Sequences([0, 1, 1], [[0.5], [1.5], [-1.0]])
        >>> model = gh.GLMHMM(1, gh.Bernoulli(prior=Normal(0.0, 1.0)))
        >>> found = gh.fit(model, data, "map", num_restarts=1, progress=False)
        >>> round(log_evidence(found, data), 2)
        -2.39
    """
    program = Program.of(copy.deepcopy(found.model), found.as_fitted(data))
    program = program.in_own_units()
    problem = MarginalProblem.of(program)
    if problem is not None and Scales(problem).any:
        return _of_scales(problem, program.units.inward(found.params), all_images)
    require_proper(program)
    vector, status = search_near(program, found.params)
    expansion = expand_at_mode(program, vector, status, found)
    if not all_images:
        return expansion.log_evidence
    mode = program.units.inward(expansion.mode)
    images = log_num_images(program, mode, expansion.factor, state_axes)
    return expansion.log_evidence + images


def _of_scales(problem: MarginalProblem, params: Params, all_images: bool) -> float:
    """The evidence where scales of a law are learnt."""
    flat = [n for n in problem.program.improper if _is_learnt_scale(problem, n)]
    if flat:
        raise ValueError(
            "priors must be proper for an evidence, got flat ones of scales that are "
            f"learnt, {', '.join(flat)}; fit.log_likelihood is the evidence at the "
            "scales found, and a law that gives them a prior, such as "
            "gh.priors.RandomWalk(HalfNormal(1.0)), has them integrated out"
        )
    require_proper(problem.program)
    if all_images and problem.program.model.num_states > 1:
        raise ValueError(
            "all_images must be False where scales of a law are learnt, got True; "
            "compare numbers of states by gh.analysis.cross_validate"
        )
    try:
        own = integrated_log_evidence(problem, params)
        return own + problem.program.units.log_likelihood
    except NoModeError as error:
        raise NoEvidenceError(f"{error}; give scales a tighter prior") from error


def _is_learnt_scale(problem: MarginalProblem, name: str) -> bool:
    """Whether a site is a scale of a law, not one of the family that varies."""
    prefix, component = problem.program.model.component_of(name)
    learnt = getattr(component, "learnt_scales", ())
    return name.removeprefix(f"{prefix}.") in learnt


def require_proper(program: Program) -> None:
    """Raise a ValueError if a prior is improper, or known up to a constant."""
    if program.improper:
        raise ValueError(
            "priors must be proper for an evidence, got flat ones of "
            f"{', '.join(program.improper)}; give weights a prior such as Normal(0, 2)"
            ", and scales one such as HalfNormal(1)"
        )
    if program.unnormalised:
        raise ValueError(
            "priors must be normalised for an evidence, got one known up to a constant "
            f"of {', '.join(program.unnormalised)}, as a Contrast is; compare models "
            "by gh.analysis.cross_validate"
        )


def search_near(
    program: Program, params: Params, factor: Tensor | None = None
) -> tuple[Tensor, Status]:
    """Mode of the density of the unconstrained vector near these values; how found.

    Args:
        program: the model with its data.
        params: where to begin.
        factor: of a covariance like that at the mode, which makes the search round.
            Without it a search that does not soon arrive goes on with that of where it
            has come to: where priors are smooth over lags, thousands of steps become
            tens.
    """
    start, params = program.packed(params), program.units.inward(params)
    if factor is not None:
        return _search_round(_SEARCH, program, params, start, factor)
    factor = _rough_factor(program, start)
    if factor is not None:
        found = _search_round(_ROUND, program, params, start, factor)
        if found[1] is Status.CONVERGED:
            return found
    short = _SHORT
    if program.knows_curvature:
        short = replace(_SHORT, num_iters=_FEW_ITERS)
    reached, status = short.density_mode(program, params)
    if status is Status.CONVERGED:
        return reached, status
    start = start if status in _NO_MODE else reached
    factor = _factor_at(program, start)
    if factor is None:
        return _SEARCH.density_mode(program, params)
    return _search_round(_SEARCH, program, params, start, factor)


def _search_round(
    search: MAP, program: Program, params: Params, start: Tensor, factor: Tensor
) -> tuple[Tensor, Status]:
    """What a search finds in coordinates that a factor makes round; how it ended."""
    descent = Descent(program, params, jacobian=True).seen_from(start, factor)
    point, status = search.minimise(descent, torch.zeros_like(start))
    return start + factor @ point, status


def _rough_factor(program: Program, vector: Tensor) -> Tensor | None:
    """Factor of a covariance by every so many sessions, which stand for the others.

    ``None`` where a curvature is not cheap, or data are short.
    """
    if not program.knows_curvature or program.data.num_steps < _LONG:
        return None
    some = program.data.subset(slice(None, None, _EVERY))
    if some.num_sessions < _EVERY:
        return None
    each = torch.ones(some.num_sessions, dtype=torch.float64)
    each = each if some.session_weights is None else some.session_weights
    weights = each * (program.data.num_steps / some.num_steps)
    part: Program = Program.of(program.model, some.weighted(weights))
    return round_scale(part, vector)


def _factor_at(program: Program, vector: Tensor) -> Tensor | None:
    """Factor of the covariance by the curvature, or None where it is no maximum's."""
    try:
        information = Information.of(program, vector, jacobian=True)
    except CurvatureError:
        return None
    return information.factor if information.is_complete else None


def expand_at_mode(
    program: Program, mode: Tensor, status: Status, found: Fit
) -> PosteriorExpansion:
    """The posterior expanded at the mode of the unconstrained coordinates.

    Raises:
        NoEvidenceError: there is no mode, or its curvature is singular.
    """
    if status in _NO_MODE:
        raise NoEvidenceError(f"the posterior has no mode to expand at: {status.value}")
    try:
        information = Information.of(program, mode, jacobian=True)
    except CurvatureError as error:
        raise NoEvidenceError(str(error)) from error
    if not information.is_complete:
        uncertainty = Uncertainty.of(program, mode, information)
        notes = uncertainty.sentences(found.model, found.labels)
        fewer = "" if found.labels.num_states == 1 else ", or use fewer states"
        raise NoEvidenceError(
            "the evidence needs a posterior with a quadratic maximum: "
            f"{'; '.join(notes)}; give these a tighter prior{fewer}"
        )
    with torch.no_grad():
        density = float(program.log_density(mode, jacobian=True))
        density += program.units.log_likelihood
        params = program.users_values(mode)
    # A flat prior on probabilities is uniform but for the volume of their simplex.
    density -= sum(map(log_mass, program.priors.values()))
    volume = (len(mode) * math.log(2 * math.pi) - information.log_det) / 2
    return PosteriorExpansion(density + volume, params, information.factor)
