"""The last steps of a fit: from where the best run has converged to the mode itself.

EM and L-BFGS end where the log-joint no longer rises, and there it is flat: parameters
are known to the root of its rounding. A few Newton steps lead on to where the gradient
is 0 to rounding, so that estimates and all that is made of them are the same in all
units, on all processors, from all starts.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from glmhmm_pyro.inference.curvature.curvature import hessian
from glmhmm_pyro.inference.curvature.information import FLAT, RISING, Information
from glmhmm_pyro.inference.curvature.newton import ARRIVED, FAR, newton_mode
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.search.runs import Run, ranked
from glmhmm_pyro.inference.status import Status
from glmhmm_pyro.inference.steps.collapse import at_bounds

# Most parameters of which second derivatives are taken: each costs about a gradient.
_MOST_PARAMETERS = 200

# Step of a difference of gradients, where coordinates have units of their own, and the
# part of the largest information that it may be wrong by.
_STEP, _DIFFERENCE = 1e-4, 1e-7

# Parameters times steps from which on exact second derivatives are sooner at hand.
_MUCH = 5 * 10**6

# Change of a value that is none: those at a border of their support stay there.
_NO_CHANGE = 1e-15

# How a run may have ended near a mode, and nats that one which was cut short may have
# been below it: this is what a search in flat coordinates creeps for.
_NEAR_A_MODE = (Status.CONVERGED, Status.STALLED, Status.MAX_ITERS)
_CREPT = 1e-6

# Part of a log-joint by which the last iteration of such a run raised it where it was
# far from a mode.
_CLIMBED = 1e-6

# Parts of a step that are tried where curvature says that the log-joint still rises,
# and nats that one of them must gain for a search to have ended short of a maximum.
_PARTS, _SHORT = (0.25, 1.0, 16.0, 256.0, 4096.0), 1e-2

# Part of a log-joint by which rounding may make it fall where its slopes say it rose.
_ROUNDING = 1e-9


def polish(program: Program, runs: Sequence[Run], remaining: float = 0.0) -> None:
    """Lead the best of the runs that have ended on to the mode itself.

    What is found is one more evaluation of that run, the last of its histories. A run
    that did not converge, or to no smooth mode inside the supports, stays as it is; one
    whose search had stalled beside a mode has converged then.

    Args:
        program: the model with its data.
        runs: all runs of a fit; the best is changed in place.
        remaining: part of the size of the log-joint that a search may leave to gain.
    """
    done: list[Run] = []
    while runs:
        # Rounding may put a run first that was as high as the best.
        best = runs[ranked(runs)[0]]
        if best in done or best.status not in _NEAR_A_MODE:
            return
        done.append(best)
        try:
            _polish_run(program, best, remaining)
        except KeyboardInterrupt:
            best.status = Status.INTERRUPTED
        except (ValueError, RuntimeError):
            # No curvature, or a distribution that refuses its parameters, or torch
            # cannot: what was found is not lost for the sake of its last digits.
            return


def _polish_run(program: Program, run: Run, remaining: float) -> None:
    """Lead one run on to the mode near it, if there is one."""
    if not 0 < program.coordinates.size <= _MOST_PARAMETERS:
        return
    if program.dtype != torch.float64 or program.unbounded(run.params):
        return
    if run.status is Status.MAX_ITERS and _CLIMBED < run.rise < math.inf:
        return
    vector = program.coordinates.pack(run.params)
    information = _information(program, vector)
    if information is None:
        return
    if _is_short(program, run, vector, information, remaining):
        return
    if information.missing[RISING].numel():
        return
    mode, left = newton_mode(program, vector, information.factor, jacobian=False)
    params = _stepped_values(program, run.params, vector, mode)
    with torch.no_grad():
        likelihood, prior = (float(part) for part in program.log_parts(params))
    joint, before = likelihood + prior, run.log_joints[-1]
    if run.status is Status.MAX_ITERS and not joint <= before + _CREPT:
        return
    if left <= ARRIVED and information.is_complete:
        run.status, run.reasons = Status.CONVERGED, ()
    fell = not joint >= before - _ROUNDING * max(abs(before), 1.0)
    if torch.equal(mode, vector) or fell or at_bounds(program.components, params):
        return
    run.next_params = params
    run.record(likelihood, joint, keep=bool(run.weights))


def _is_short(
    program: Program,
    run: Run,
    vector: Tensor,
    information: Information,
    remaining: float,
) -> bool:
    """Whether a run that says it converged is not, which its status then tells.

    Steps are tried by the curvature, and along directions in which the density bends
    upwards. Slopes alone would not tell: at a kink they promise what no step keeps.
    """
    if run.status is not Status.CONVERGED:
        return False
    steps = list((information.steps @ information.missing[RISING]).T)
    slope = program.evaluated(vector, jacobian=False).slope @ information.factor
    steps += [slope @ information.factor.T] if slope.norm() > FAR else []
    here = run.log_joints[-1]
    for step in steps:
        moves = [sign * part * step for part in _PARTS for sign in (1.0, -1.0)]
        found = [program.evaluated(vector + m, jacobian=False) for m in moves]
        rise = max(one.log_density for one in found) - here
        if rise > max(_SHORT, remaining * abs(here)):
            site = _most_moved(program, step / information.steps.diagonal())
            run.status = Status.STALLED
            run.reasons = (
                f"the log-joint is {rise:.2g} nats higher a step away, mostly of "
                f"{site}: M-steps ended short of their maximum, or this is a saddle",
            )
            return True
    return False


def _most_moved(program: Program, step: Tensor) -> str:
    """The site that moves most in a step (size,), in units of the curvature."""
    moved = {
        n: float(step[own].norm()) for n, own in program.coordinates.slices.items()
    }
    return max(moved, key=lambda name: moved[name])


def _information(program: Program, vector: Tensor) -> Information | None:
    """What steps to the mode take, or ``None`` where no curvature is a number.

    By differences of gradients, near enough for steps that are corrected by the next,
    which need nothing compiled that the fit has not. By exact second derivatives where
    units are not known, where these are sooner at hand, or where a direction has so
    little curvature that differences do not tell its sign.
    """
    if program.units.maps and not _is_sooner_exact(program, vector):
        matrix = _differences(program, vector)
        if not matrix.isfinite().all():
            return None
        given = program, vector, matrix, False
        found = Information.of_matrix(*given, rounding=_DIFFERENCE)
        if not found.missing[FLAT].numel():
            return found
    matrix = -hessian(program, vector)
    if not matrix.isfinite().all():
        return None
    return Information.of_matrix(program, vector, matrix, jacobian=False)


def _is_sooner_exact(program: Program, vector: Tensor) -> bool:
    """Whether second derivatives cost so much less that compiling them pays."""
    return program.knows_curvature and vector.numel() * program.data.num_steps > _MUCH


def _differences(program: Program, vector: Tensor) -> Tensor:
    """Minus second derivatives by central differences of gradients, (size, size)."""
    steps = _STEP * torch.eye(len(vector), dtype=vector.dtype)
    above, below = program.slopes(torch.cat([vector + steps, vector - steps])).chunk(2)
    rows = (below - above) / (2 * _STEP)
    return (rows + rows.T) / 2


def _stepped_values(
    program: Program, params: Params, before: Tensor, after: Tensor
) -> Params:
    """Values of all sites after steps; what is at a border stays exactly there."""
    old, new = (program.coordinates.unpack(vector) for vector in (before, after))
    found = {}
    for name, value in new.items():
        kept = (value - old[name]).abs() <= _NO_CHANGE
        free = program.coordinates.is_unbounded[name]
        found[name] = value if free else torch.where(kept, params[name], value)
    return found
