"""The one point that stands for all draws, where a single value is asked for.

The mean of every site is the estimate as long as it means something: where the log
density of the data is concave in the parameters it is at least as high at their mean as
on average over the draws (Jensen). Where it is lower there, the mean of the sites is no
parameter that the draws tell of, as when a product of two sites counts (a hierarchy
written non-centred) or draws are of several modes; half the effective number of
parameters would be negative (Spiegelhalter et al. 2002, JRSS B 64, 583, section 5).
The draw of the highest log-joint stands for them then.
"""

import math
from typing import NamedTuple

import numpy as np
import torch

from glmhmm_pyro.inference.draws.posterior import Posterior
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Program

# Draws, evenly spaced, over which the log-likelihood is averaged.
_MOST = 200

BEST_DRAW = "the draw of the highest log-joint"
MEAN = "the mean of the draws"

# How the sentence begins that says so of a fit.
STANDS = "params are "


class Estimate(NamedTuple):
    """A point, its log densities, what it is in words, and what is to be said."""

    params: Params
    log_likelihood: float
    log_joint: float
    what: str
    notes: tuple[str, ...] = ()


def point_estimate(program: Program, posterior: Posterior) -> Estimate:
    """The mean of the draws, or the best of them where the mean is no estimate.

    Args:
        program: the model with its data.
        posterior: draws, with their ``log_joint`` among the ``stats``.
    """
    mean, flat = posterior.mean(), posterior.flattened()
    joints = np.nan_to_num(np.ravel(posterior.stats["log_joint"]), nan=-math.inf)
    if all(bool(program.priors[n].support.check(v).all()) for n, v in mean.items()):
        found = _estimate_at(program, mean, MEAN)
        usual = _usual_likelihood(program, flat, joints)
        # What rounding makes of a likelihood that does not change.
        if not found.log_likelihood < usual - 1e-9 * (1 + abs(usual)):
            return found
    best = int(joints.argmax())
    return _estimate_at(
        program, {name: value[best] for name, value in flat.items()}, BEST_DRAW
    )


def _usual_likelihood(program: Program, draws: Params, joints: np.ndarray) -> float:
    """Mean log-likelihood over draws (draws, *shape) with these log-joints."""
    chosen = np.unique(np.linspace(0, len(joints) - 1, _MOST).round().astype(int))
    chosen = chosen[np.isfinite(joints[chosen])]
    if not len(chosen):
        return -math.inf
    with torch.no_grad():
        priors = [
            float(program.log_prior({n: v[i] for n, v in draws.items()}))
            for i in chosen
        ]
    return float(np.mean(joints[chosen] - priors))


def _estimate_at(program: Program, params: Params, what: str) -> Estimate:
    with torch.no_grad():
        likelihood, prior = (float(part) for part in program.log_parts(params))
    said = (f"{STANDS}{what}, for the mean of the sites is no estimate",)
    notes = () if what == MEAN else said
    return Estimate(params, likelihood, likelihood + prior, what, notes)
