"""Fits of models whose latents have a normal law: the largest evidence that is found.

They begin at the fit of the model that this one is where nothing varies, so that states
are matched between units, and the evidence is never below that one's.
"""

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from glmhmm_pyro.inference.draws.importance import POOR, pareto_k
from glmhmm_pyro.inference.marginal.ascent import Ascent, EvidencePoint, Scales
from glmhmm_pyro.inference.marginal.evidence_starts import (
    Fitting,
    evidence_starts,
    is_site_of_scale,
)
from glmhmm_pyro.inference.marginal.law_evidence import NoModeError
from glmhmm_pyro.inference.marginal.problem import MarginalProblem
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.runaways import runaways, scales
from glmhmm_pyro.inference.search.runs import KICK, Findings, Restart, Solution
from glmhmm_pyro.inference.search.search import Search
from glmhmm_pyro.inference.status import Status

# The smallest scale, in units of one over the size of a covariate.
_NONE = 2.0**-12

# Fixed-point steps of every start, and evaluations of the evidence at the most.
_SETTLING, _MOST = 10, 400

# Number of steps that are determined by data from which a weight counts as constant.
_NO_STEP = 0.1

# Logarithm of the part of the greatest scale from which one may run there, and nats
# that the evidence may lose on its way.
_FAR, _LEVEL = 3.0, 0.1

# The least that a positive number is taken to have begun at, in units of a fit's own.
_LEAST_START = 1e-3

# Draws that tell whether a normal approximation is near.
_TOLD_BY = 100


def fit_marginal(
    problem: MarginalProblem, search: Search, fit_nested: Fitting, method: str
) -> Findings:
    """The parameters of the largest evidence that is found.

    Args:
        problem: a program, its latents and their law.
        search: how starts are made: of the nested model, or one start that is given.
        fit_nested: fits a program without latents.
        method: name of the inference method.
    """
    starts = evidence_starts(problem, search, fit_nested)
    ascents: list[Ascent] = []
    try:
        for start in tqdm(starts, desc="evidence", disable=not search.progress):
            ascents += _climb_from(problem, start, len(starts) == 1)
        if not problem.curvature.is_cheap and ascents:
            _highest(ascents).climb()
        _check_nested(problem, ascents, starts[0])
        status = Status.CONVERGED
    except KeyboardInterrupt:
        status = Status.INTERRUPTED
    if not ascents:
        raise _no_start(status)
    best = _highest(ascents)
    if status is Status.CONVERGED and not best.has_ended:
        status = Status.MAX_ITERS if best.most <= 0 else Status.STALLED
    return findings_at(problem, best.best, ascents, status, method)


def findings_at(
    problem: MarginalProblem,
    point: EvidencePoint,
    ascents: list[Ascent],
    status: Status,
    method: str,
) -> Findings:
    """What is known at a point.

    Args:
        problem: the problem.
        point: parameters and units.
        ascents: all climbs; the one that came to this point is the best.
        status: how the search ended.
        method: name of the inference method.
    """
    notes, unbounded = ends_of(problem, point)
    ordered = sorted(ascents, key=lambda a: -a.best.height)
    if status is Status.STALLED and ordered[0].saw_no_mode:
        notes = (*notes, _cliff_note(problem))
    if unbounded and status is Status.CONVERGED:
        status = Status.UNBOUNDED
    params = problem.params(point.at.w, point.v)
    collapsed = _collapsed(problem, ordered[0], params)
    if collapsed and status is not Status.INTERRUPTED:
        status, unbounded = Status.COLLAPSED, collapsed
    kicks = tuple(range(1, len(ordered)))
    height = point.height + problem.program.units.log_effects
    best = Solution(params, point.at.evidence, height, status, (0,), kicks)
    return Findings(
        method=method,
        params=params,
        solutions=(best,),
        log_likelihood=point.at.evidence,
        log_joint=height,
        status=status,
        restarts=tuple(_climb_record(a, i > 0, status) for i, a in enumerate(ordered)),
        best=0,
        unbounded=unbounded,
        notes=(
            *notes,
            *_swap_warning(problem, point),
            *_normality_warning(problem, point),
        ),
    )


def _collapsed(
    problem: MarginalProblem, ascent: Ascent, params: Params
) -> tuple[str, ...]:
    """Sentences about positive parameters at ends with an infinite density.

    Scales of the law are none of these: units that do not vary have an evidence.
    """
    program, law = problem.program, Ascent(problem).scales
    own = [
        name
        for name in scales(program.priors)
        if name in params and not is_site_of_scale(problem, law, name)
    ]
    first = ascent.path[0]
    begun = problem.params(first.at.w, first.v)
    # The fit without latents that a climb begins at may have been led there already.
    begun = {name: begun[name].clamp(min=_LEAST_START) for name in own}
    return runaways(own, begun, params)


def _cliff_note(problem: MarginalProblem) -> str:
    """A sentence on a search led to the edge of where there is an evidence."""
    law = Ascent(problem).scales
    flat = [
        name
        for name in problem.program.improper
        if is_site_of_scale(problem, law, name)
    ]
    prior = f"give {flat[0]} a prior, " if flat else ""
    return (
        "the weights that vary have no single mode a little further on: let fewer of "
        f"them vary, {prior}or fit by method='nuts'"
    )


def _climb_from(problem: MarginalProblem, start: Params, is_only: bool) -> list[Ascent]:
    """The climb from a start; none where there is no mode."""
    ascent = Ascent(problem, most=_MOST)
    w, v = problem.packed(start)
    low, high = torch.from_numpy(ascent.scales.ends).unbind(1)
    try:
        ascent.visit(v.maximum(low).minimum(high), w)
    except NoModeError:
        return []
    ascent.settle(_SETTLING)
    if problem.curvature.is_cheap:
        ascent.climb()
    return [ascent]


def _check_nested(
    problem: MarginalProblem, ascents: list[Ascent], start: Params
) -> None:
    """Climb from where nothing varies, too, if the evidence is higher there."""
    ascent = Ascent(problem, most=_MOST)
    if not ascent.scales.any or not ascents:
        return
    w, v = problem.packed(start)
    sizes = dict.fromkeys(("scale", "step_scale", "border_scale"), _NONE)
    try:
        ascent.visit(ascent.scales.at(v, sizes), w)
    except NoModeError:
        return
    if ascent.best.height > _highest(ascents).best.height:
        ascent.climb()
        ascents.append(ascent)


def _highest(ascents: list[Ascent]) -> Ascent:
    return max(ascents, key=lambda ascent: ascent.best.height)


def _climb_record(ascent: Ascent, is_other: bool, status: Status) -> Restart:
    """The record of a climb; starts at other scales are no independent ones."""
    effects = ascent.problem.program.units.log_effects
    return Restart(
        np.array([point.at.evidence for point in ascent.path]),
        np.array([point.height for point in ascent.path]) + effects,
        status,
        f"{KICK} of scales" if is_other else "start",
    )


def _no_start(status: Status) -> BaseException:
    if status is Status.INTERRUPTED:
        return KeyboardInterrupt("interrupted before the first evaluation")
    return ValueError(
        "weights that vary must have a mode to be integrated out by Laplace's "
        "approximation, got none from any start; give the law smaller scales, or fit "
        "by method='nuts'"
    )


def ends_of(
    problem: MarginalProblem, point: EvidencePoint
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Sentences about scales that have run to 0, and about those without an end."""
    scales = Ascent(problem).scales
    known = scales.counts > 0
    # Data determine no step at all of these (MacKay's effective number of them).
    at_zero = known & (scales.determined(point) < _NO_STEP)
    at_end = unbounded_scales(problem, point, scales)
    notes = [
        f"{name} runs to 0: the evidence is largest where this weight does not vary"
        for name in _parameter_names(problem, at_zero)
    ]
    ends = [f"{name} grows without end" for name in _parameter_names(problem, at_end)]
    return tuple(notes), tuple(ends)


def unbounded_scales(
    problem: MarginalProblem, point: EvidencePoint, scales: Scales
) -> Tensor:
    """Which scales are at their greatest, or might as well be."""
    high = torch.from_numpy(scales.ends)[:, 1]
    found = (scales.counts > 0) & (point.v > high - 1e-6)
    # A search ends where the evidence is as good as level, far before that.
    large = (scales.counts > 0) & ~found & (point.v > high - _FAR)
    for place in large.nonzero().flatten().tolist():
        v = point.v.clone()
        v[place] = high[place]
        try:
            reached = Ascent(problem).visit(v, point.at.w).height
        except NoModeError:
            continue
        found[place] = reached > point.height - _LEVEL
    return found


def _parameter_names(problem: MarginalProblem, which: Tensor) -> list[str]:
    """Names of parameters, with those of the covariates where they are known."""
    found = []
    for name, place in problem.theta.slices.items():
        if not which[place].any():  # Scales of priors, which no law has, are no sites.
            continue
        prefix, component = problem.program.model.component_of(name)
        site = component.sites[name.removeprefix(f"{prefix}.")]
        axes = component.shown_axes(site.axes)
        shape = problem.theta.shapes[name]
        for index in which[place].reshape(shape).nonzero().tolist():
            said = []
            for axis, number in zip(axes, index):
                names = component.names_along(axis)
                said.append(names[number] if names else f"{axis} {number}")
            found.append(f"{name} of {', '.join(said)}" if said else name)
    return found


def _swap_warning(problem: MarginalProblem, point: EvidencePoint) -> tuple[str, ...]:
    """A sentence if states change places from a unit to the next."""
    sentences = []
    for name in problem.names:
        prefix, component = problem.program.model.component_of(name)
        axes = component.sites[name.removeprefix(f"{prefix}.")].axes
        follows = problem.follows[name]
        if "state" not in axes or not bool(follows.any()):
            continue
        if prefix != "emissions":
            continue
        w = problem.latents(point.at.w)[name].movedim(axes.index("state"), 1).flatten(2)
        units = problem.units_of(name)
        w = w / units.reshape(1, w.shape[1], -1) if units.numel() == w[0].numel() else w
        distances = (w[1:, :, None] - w[:-1, None]).square().sum(-1)
        stay = distances.diagonal(dim1=1, dim2=2)
        other = distances.argmin(2) != torch.arange(w.shape[1])
        pairs = (other & other.any(1, keepdim=True)).sum(1) > 1
        worst = pairs & follows[1:] & (stay.sum(1) > 0)
        if worst.any():
            sentences.append(
                f"states seem to change places between units {int(worst.nonzero()[0])} "
                "and the next, for the weights of one are nearer to those of another "
                "before: give a smaller step_scale, or share it over states"
            )
    return tuple(sentences)


def log_weights(
    problem: MarginalProblem, point: EvidencePoint, number: int, seed: int = 0
) -> Tensor:
    """Logarithms of importance weights of draws of the units, shape (draws,)."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(number):
        noise = torch.randn(point.at.w.shape, generator=generator, dtype=torch.float64)
        w = point.at.w + point.at.factor.draw(noise)
        with torch.no_grad():
            value = problem.curvature.value(w, point.v) + point.at.prior.log_prob(w)
        found.append(value + noise.square().sum() / 2)
    return torch.stack(found)


def _normality_warning(
    problem: MarginalProblem, point: EvidencePoint
) -> tuple[str, ...]:
    """A sentence if the units' density is far from normal."""
    if problem.curvature.is_cheap:
        return ()
    k = pareto_k(log_weights(problem, point, _TOLD_BY))
    if not k > POOR:
        return ()
    return (
        "Laplace's approximation of the weights is not to be trusted, for the Pareto "
        f"shape of its importance weights is {k:.2f}, above {POOR}: have draws by "
        "method='nuts'",
    )
