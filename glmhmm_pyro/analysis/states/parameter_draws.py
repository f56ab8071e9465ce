r"""What is not known of the parameters of a fit at a maximum, for intervals by state.

Paths of states are drawn each at a draw of the parameters. Where a fit has no draws
they are made of the curvature at its maximum, as for :meth:`Fit.standard_errors`,

.. math:: \theta \sim N(\hat\theta, (-H)^{-1})

in the unconstrained coordinates. Where there is no such normal the parameters are held,
and a sentence says why.
"""

import math
from dataclasses import replace

import torch

from glmhmm_pyro.inference import Fit, Posterior, Status
from glmhmm_pyro.inference.curvature.curvature import CurvatureError
from glmhmm_pyro.inference.curvature.information import RISING, Information
from glmhmm_pyro.inference.curvature.uncertainty import OFF
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.sequences import Sequences

# Parameters above which second derivatives cost more than a table is worth.
_MOST = 200

# Part of a log-likelihood by which that of the data fitted may differ.
_SAME = 1e-5

DRAWN = "drawn from the posterior"
NORMAL = "drawn from the normal distribution of the curvature at the maximum"
HELD = "held at those of the fit, so that intervals are too narrow"


def with_draws(fit: Fit, data: Sequences, number: int, seed: int) -> tuple[Fit, str]:
    """The fit with draws of its parameters, and where these are from, in words.

    Args:
        fit: at a maximum, or with draws, which it keeps.
        data: laid out as those fitted.
        number: of draws.
        seed: makes them reproducible.
    """
    if fit.posterior is not None:
        return fit, DRAWN
    why = _no_maximum(fit, data)
    if why:
        return fit, f"{HELD}: {why}"
    program = Program.of(fit.model, data).in_own_units()
    vector = program.packed(fit.params)
    try:
        information = Information.of(program, vector, jacobian=False)
    except CurvatureError as error:
        return fit, f"{HELD}: {error}"
    slope = program.evaluated(vector, jacobian=False).slope
    rise = information.rise(slope)
    if information.missing[RISING].numel() or not rise < OFF:
        return fit, f"{HELD}: the fit is not at a maximum of the log-joint"
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(number, len(vector), generator=generator, dtype=vector.dtype)
    with torch.no_grad():
        points = vector + noise @ information.factor.T
        sets = [program.users_values(point) for point in points]
    draws = {name: torch.stack([s[name] for s in sets])[None] for name in sets[0]}
    said = [reason for reason, found in information.missing.items() if found.numel()]
    but = f", but for those {' and '.join(said)}, which are held" if said else ""
    return replace(fit, posterior=Posterior(draws)), NORMAL + but


def _no_maximum(fit: Fit, data: Sequences) -> str:
    """Why there is no curvature at a maximum to go by, if there is none."""
    if fit.status is Status.GIVEN:
        return "they were given"
    if not fit.status.is_success:
        return fit.status.sentence
    if fit.labels.latents:
        return "the model has latents"
    components = Program.kind_of(fit.model).components_of(fit.model)
    if any(component.random_effects for component in components.values()):
        return "weights follow a law of which the fit is no joint maximum"
    if sum(value.numel() for value in fit.params.values()) > _MOST:
        return f"there are more than {_MOST}"
    if not math.isclose(fit.log_prob(data), fit.log_likelihood, rel_tol=_SAME):
        return "the data are not those fitted"
    return ""
