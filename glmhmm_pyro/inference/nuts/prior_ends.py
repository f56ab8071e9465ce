"""Modes that starts made from the data lead past: climbs from where the priors are.

Where heavy-tailed priors and data disagree, the posterior has a mode near each, and
most of its mass may be at the priors'. One climb sets out near the priors' centre and
one from a draw of theirs.
"""

from collections.abc import Callable
from operator import attrgetter, methodcaller
from typing import Any

import torch
from torch import Tensor

from glmhmm_pyro.concurrency import seeded
from glmhmm_pyro.inference.curvature.bordered_information import BorderedCurvature
from glmhmm_pyro.inference.curvature.curvature import CurvatureError, hessian
from glmhmm_pyro.inference.mode.map import MAP
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.status import Status

# Where climbs begin, as parts of the way from the priors' centre to a draw of theirs.
# At the centre itself states are alike, which only a saddle is.
_PARTS = (0.1, 1.0)

_SEARCH = MAP(num_iters=200)

# What a distribution may raise that has no mean, or mode, or draws.
_HAS_NONE = (NotImplementedError, AttributeError, ValueError)


def prior_ends(program: Program, params: Params, seed: int) -> list[Params]:
    """Where climbs from the priors' side end.

    Args:
        program: the model with its data.
        params: values of the sites whose prior is improper.
        seed: of the draw.
    """
    centres = _of_priors(program, params, attrgetter("mode"), attrgetter("mean"))
    with seeded(seed):
        draws = _of_priors(program, params, methodcaller("sample"))
    centre, drawn = map(program.coordinates.pack, (centres, draws))
    ends = [_climb_end(program, centre + part * (drawn - centre)) for part in _PARTS]
    return [program.coordinates.unpack(end) for end in ends if end is not None]


def is_maximum(program: Program, vector: Tensor) -> bool:
    """Whether the density falls in every direction from a stationary vector."""
    try:
        found = BorderedCurvature.of(program, vector, jacobian=True)
        curvature = -hessian(program, vector, True) if found is None else found.schur
    except CurvatureError:
        return False
    if found is not None and not found.inside.is_positive:
        return False
    size = curvature.diagonal().abs().sqrt()
    values = torch.linalg.eigvalsh(curvature / size / size[:, None])
    return bool((values > 0).all())


def _climb_end(program: Program, start: Tensor) -> Tensor | None:
    """Where a climb ends; ``None`` where it has no beginning or no end."""
    try:
        with torch.no_grad():
            density = program.log_density(start, jacobian=True)
        if not torch.isfinite(density):
            return None
        end, status = _SEARCH.density_mode(program, program.coordinates.unpack(start))
    except ValueError:
        # Far out a distribution may refuse its own parameters.
        return None
    return end if status is Status.CONVERGED else None


def _of_priors(
    program: Program, params: Params, *ways: Callable[[Any], Tensor]
) -> Params:
    """What every prior gives in the last of these ways that it knows."""
    found = dict(params)
    for name, prior in program.priors.items():
        for way in ways:
            try:
                value = way(prior)
            except _HAS_NONE:
                continue
            if _is_inside(program, name, value):
                found[name] = value.to(params[name].dtype)
    return found


def _is_inside(program: Program, name: str, value: Tensor) -> bool:
    """Whether a value has finite unconstrained numbers."""
    free = program.coordinates.transforms[name].inv(value)
    return bool(torch.isfinite(free).all())
