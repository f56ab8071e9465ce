"""Draws of parameters from their priors, and of emissions at draws of parameters."""

import numpy as np
import torch
from pyro import poutine

from glmhmm_pyro.concurrency import seeded
from glmhmm_pyro.distributions import typed_by_support
from glmhmm_pyro.inference.program.batches import sites_at_draws
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Program


def prior_draws(program: Program, num_draws: int, seed: int) -> Params:
    """Values (1, num_draws, *shape) of all sites, drawn from their priors.

    Raises:
        ValueError: there is no draw, for the prior of a site is improper.
    """
    if program.improper:
        names, several = ", ".join(program.improper), len(program.improper) > 1
        raise ValueError(
            f"model must have proper priors to be drawn from, got flat ones "
            f"(prior=None) for {names}, which cannot be normalised; give "
            f"{'them priors' if several else 'it a prior'}, such as Normal(0, 2) for "
            "weights or a Dirichlet for probabilities"
        )
    if program.unnormalised:
        raise ValueError(
            "model must have priors that can be drawn from, got one known up to a "
            f"constant of {', '.join(program.unnormalised)}, as a Contrast is; look at "
            "draws of its base alone"
        )
    draws = []
    with seeded(seed), torch.no_grad():
        for _ in range(num_draws):
            nodes = poutine.trace(program.visit_priors).get_trace().nodes
            draws.append({name: nodes[name]["value"] for name in program.priors})
    return {
        name: torch.stack([draw[name] for draw in draws])[None]
        for name in program.priors
    }


def replicated(program: Program, draws: Params, seed: int) -> dict[str, np.ndarray]:
    """Emissions of every ``HiddenMarkov`` site, drawn anew at draws of the parameters.

    States are drawn too, from the start of every session on, and no emission of the
    data is used: replicates for predictive checks, prior or posterior.

    Args:
        program: the model with its data.
        draws: values (chains, draws, *shape) by site.
        seed: makes the replicates reproducible.

    Returns:
        By site (chains, draws, steps, *emission event).
    """
    shape = next(iter(draws.values())).shape[:2]
    flat = {name: value.flatten(0, 1) for name, value in draws.items()}
    found: dict[str, list[np.ndarray]] = {}
    with seeded(seed):
        for sites in sites_at_draws(program.model, program.data, flat):
            for name, site in sites.items():
                emissions = site.hidden.sample_with_states()[0]
                emissions = typed_by_support(emissions, site.hidden.emission_dist)
                emissions = emissions.reshape((-1,) + site.hidden.event_shape)
                found.setdefault(name, []).append(emissions.cpu().numpy())
    return {
        name: np.concatenate(parts).reshape(tuple(shape) + parts[0].shape[1:])
        for name, parts in found.items()
    }
