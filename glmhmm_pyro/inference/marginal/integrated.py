r"""The evidence of a model whose scales are learnt: these integrated out as well.

The joint mode of weights and their scale runs to 0, where no normal approximation is
near. The weights are integrated out first, by Laplace's approximation at every value of
the other parameters, then these, by the same around the maximum of what is left,

.. math:: \log p(y) \approx E(\hat v) + \log p(\hat v)
    + \tfrac d2 \log 2\pi - \tfrac12 \log\det(-\nabla^2 (E + \log p))

with E the evidence given the parameters v, unconstrained, whose density has the
Jacobian (Rue, Martino & Chopin 2009, J. R. Stat. Soc. B 71:319, in the simplest form).
"""

import math

import torch

from glmhmm_pyro.inference.marginal.ascent import Ascent
from glmhmm_pyro.inference.marginal.law_evidence import (
    NoModeError,
    evidence_bends,
)
from glmhmm_pyro.inference.marginal.problem import MarginalProblem
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.priors.answers import log_mass


def integrated_log_evidence(problem: MarginalProblem, params: Params) -> float:
    """Log evidence of the model, nats.

    Args:
        problem: weights with a law, and other parameters whose priors are proper.
        params: of a fit, where the search for the maximum begins.

    Raises:
        NoModeError: there is no maximum with a curvature to go by.
    """
    w, v = problem.packed(params)
    ascent = Ascent(problem, jacobian=True)
    ascent.visit(v, w)
    ascent.climb()
    best = ascent.best
    spread = evidence_bends(problem, best.v, best.at.w, jacobian=True)
    roots, failed = torch.linalg.cholesky_ex(spread)
    if failed:
        raise NoModeError("the evidence has no quadratic maximum in the parameters")
    log_det = 2 * float(roots.diagonal().log().sum())
    volume = (len(best.v) * math.log(2 * math.pi) - log_det) / 2
    # A flat prior on probabilities is uniform but for the volume of their simplex.
    masses = [log_mass(problem.program.priors[name]) for name in problem.theta.slices]
    return best.height + volume - sum(masses)
