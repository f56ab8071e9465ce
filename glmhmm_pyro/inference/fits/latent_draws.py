"""A fit carried to data that have latents of their own.

Latents are sites whose shape follows the data, such as weights by session or a path of
weights: ``Site(..., latent=True)``, or ``infer={"latent": True}`` in a model of the
user's own. What is fitted of them speaks of the sessions fitted. At any others they are
drawn from their law given the parameters, so that what a fit says there is a mixture
over what they may be.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from glmhmm_pyro.components.base import Component
from glmhmm_pyro.concurrency import seeded
from glmhmm_pyro.inference.draws.posterior import Posterior
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.densities import trace_at
from glmhmm_pyro.inference.program.program import Data, Program
from glmhmm_pyro.sequences.members import Members

if TYPE_CHECKING:
    from glmhmm_pyro.inference.fits.fit import Fit

# Draws of the latents of a fit that has no draws of its own.
NUM_DRAWS = 400


def with_latents_for(fit: "Fit[Data]", data: Data) -> "Fit[Data]":
    """The fit with latents of these data, if they are not of the sessions fitted.

    Every draw of the parameters gets a draw of the latents, the same ones in every
    call; ``params`` has their mean. A fit without draws gets 400, its parameters being
    the same in all.

    Args:
        fit: any fit; it is returned as it is where it has no latents.
        data: laid out as those fitted.
    """
    if not fit.labels.lack_latents(data):
        return fit
    names = fit.labels.latents
    posterior = fit.posterior
    if posterior is None:
        same = {n: v.expand(1, NUM_DRAWS, *v.shape) for n, v in fit.params.items()}
        posterior = Posterior(same)
    others = {n: v for n, v in posterior.flattened().items() if n not in names}
    number = posterior.num_chains * posterior.num_draws
    drawn: dict[str, list[torch.Tensor]] = {name: [] for name in names}
    layout = fit.labels.layout
    whole, fitted = posterior.flattened(), Members(layout.sessions if layout else ())
    components = Program.kind_of(fit.model).components_of(fit.model)
    with seeded(0), torch.no_grad():
        for draw in range(number):
            params = {name: value[draw] for name, value in others.items()}
            at_draw = {name: value[draw] for name, value in whole.items()}
            params |= _continued_latents(components, data, fitted, at_draw)
            nodes = trace_at(fit.model, data, params).nodes
            for name in names:
                drawn[name].append(nodes[name]["value"])
    shape = (posterior.num_chains, posterior.num_draws)
    latents = {n: torch.stack(found).unflatten(0, shape) for n, found in drawn.items()}
    means = {name: values.mean((0, 1)) for name, values in latents.items()}
    posterior = replace(posterior, draws={**posterior.draws, **latents})
    params = {**fit.params, **means}
    return replace(fit, params=params, posterior=posterior)


def _continued_latents(
    components: dict[str, Component], data: Any, fitted: Members, params: Params
) -> Params:
    """Latents that go on from those fitted, as their components say."""
    found: Params = {}
    for prefix, component in components.items():
        own = {
            name.removeprefix(f"{prefix}."): value
            for name, value in params.items()
            if name.startswith(f"{prefix}.")
        }
        latents = component.carry(component.view(data), fitted, own)
        found |= {f"{prefix}.{name}": value for name, value in latents.items()}
    return found
