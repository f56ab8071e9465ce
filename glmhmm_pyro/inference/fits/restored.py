"""Findings in the user's units, from those of a program in units of its own."""

from dataclasses import replace

import torch

from glmhmm_pyro.inference.draws.posterior import Posterior
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.search.runs import Findings, Restart, Solution


def in_users_units(program: Program, found: Findings) -> Findings:
    """Findings with the user's parameters, draws and densities.

    Args:
        program: what was fitted.
        found: by a method, of the program's own model.
    """
    units = program.units
    if not units.maps:
        return found
    posterior = found.posterior and _posterior(program, found.posterior)
    return replace(
        found,
        params=_params(program, found, posterior),
        weights=tuple(units.outward(params) for params in found.weights),
        log_likelihood=found.log_likelihood + units.log_likelihood,
        log_joint=found.log_joint + units.log_joint,
        restarts=tuple(_restart(program, one) for one in found.restarts),
        solutions=tuple(_solution(program, one) for one in found.solutions),
        posterior=posterior,
    )


def _params(program: Program, found: Findings, posterior: Posterior | None) -> Params:
    """The estimate; where it is the mean of the draws, that to the last bit."""
    if posterior is not None and found.posterior is not None:
        mean = found.posterior.mean()
        if all(torch.equal(mean[n], value) for n, value in found.params.items()):
            return posterior.mean()
    return program.units.outward(found.params)


def _restart(program: Program, restart: Restart) -> Restart:
    return replace(
        restart,
        log_likelihoods=restart.log_likelihoods + program.units.log_likelihood,
        log_joints=restart.log_joints + program.units.log_joint,
    )


def _solution(program: Program, solution: Solution) -> Solution:
    return replace(
        solution,
        params=program.units.outward(solution.params),
        log_likelihood=solution.log_likelihood + program.units.log_likelihood,
        log_joint=solution.log_joint + program.units.log_joint,
    )


def _posterior(program: Program, posterior: Posterior) -> Posterior:
    """Draws of the user's values, and densities of these.

    That of a guide is one of the values; a bound and an importance weight compare it
    with the log-joint, so that volumes cancel unless a prior is flat.
    """
    units = program.units
    gains = {
        "log_joint": units.log_joint,
        "log_guide": -units.log_volume,
        "log_weight": units.bound,
    }
    stats = {n: v + gains[n] if n in gains else v for n, v in posterior.stats.items()}
    bound = None if posterior.elbo is None else posterior.elbo + units.bound
    draws = units.outward(posterior.draws)
    return replace(posterior, draws=draws, stats=stats, elbo=bound)
