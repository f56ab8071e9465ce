r"""The sandwich: standard errors that hold where sessions of a group are alike.

Curvature takes all sessions for independent draws of one law. Where animals differ it
says too little; how much the slopes of the log-likelihood differ between groups says
what it should have said (Huber 1967; Liang & Zeger 1986),

.. math:: V = A^{-1} B A^{-1}, \quad B = \frac{G}{G - 1}
    \sum_g (s_g - \bar s)(s_g - \bar s)^\top,

A being minus the Hessian of the log-joint and s_g the gradient of the log-likelihood of
group g. Slopes are taken from their mean, which is minus that of the log prior over G.
"""

import torch
from torch import Tensor

from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.program.refusals import check_kept_together
from glmhmm_pyro.sequences import Sequences

ROBUST = ("group", "session")

# Fewer groups than these say little of how much groups differ (Cameron & Miller 2015).
_FEW = 10


def robust_factor(
    program: Program, vector: Tensor, factor: Tensor, robust: str
) -> Tensor:
    """What times its transpose is the sandwich, shape (size, groups).

    Args:
        program: the model with its data.
        vector: the maximum of its log-joint, shape (size,).
        factor: what times its transpose is the inverse of minus the Hessian.
        robust: ``"group"`` or ``"session"``: what is independent of the others.
    """
    slopes = slopes_by(program, vector, robust)
    centred = slopes - slopes.mean(0)
    number = len(slopes)
    return factor @ (factor.T @ centred.T) * (number / (number - 1)) ** 0.5


def slopes_by(program: Program, vector: Tensor, robust: str) -> Tensor:
    """Gradients of the log-likelihoods of all groups, or sessions, (groups, size)."""
    data, found = program.data, []
    names = data.group_names if robust == "group" else range(data.num_sessions)
    for name in names:
        part = data.subset(groups=name) if robust == "group" else data.subset([name])
        point = vector.detach().requires_grad_()
        params = program.coordinates.unpack(point)
        sites = program.observed_sites(program.model, part, params).values()
        totals = [site.hidden.log_prob(site.value) for site in sites]
        found.append(torch.autograd.grad(torch.stack(totals).sum(), point)[0])
    return torch.stack(found)


def few_units_note(number: int, robust: str) -> tuple[str, ...]:
    """A sentence if there are few independent groups or sessions."""
    if number >= _FEW:
        return ()
    return (f"they are of {number} {robust}s alone, which say little of others",)


def check_independent_units(program: Program, robust: str) -> None:
    """Raise a ValueError without several groups, or with parameters of single ones.

    Args:
        program: the model with its data.
        robust: as for :func:`robust_factor`.
    """
    data = program.data
    known = isinstance(data, Sequences)
    if not known or (robust == "group" and data.groups is None):
        raise ValueError(
            "robust must be None for data without groups, got 'group'; give groups to "
            "Sequences, or write robust='session'"
            if known
            else "robust must be None for data that are no Sequences; leave it out"
        )
    if robust == "session":
        fix = "write robust='group'"
        check_kept_together(program.model, "robust", "'session'", fix)
    number = len(data.group_names) if robust == "group" else data.num_sessions
    if number < 2:
        raise ValueError(
            f"robust must be None for data of a single {robust}, got {robust!r}; "
            "leave it out"
        )
    own = [c.varying for c in program.components.values() if c.varies_over]
    own += list(program.latents)
    if own:
        raise ValueError(
            f"robust must be None where every session or group has {', '.join(own)} of "
            f"its own, got {robust!r}; no others tell how they vary"
        )
    if program.random_effects:
        names = ", ".join(program.random_effects)
        raise ValueError(
            f"robust must be None where {names} follow a law, which scores of sessions "
            f"say nothing of, got {robust!r}; leave it out"
        )
