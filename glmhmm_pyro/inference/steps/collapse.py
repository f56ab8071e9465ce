"""Unbounded densities: states that collapse onto a few emissions.

Where a state predicts its emissions without error, the density grows without bound as
its scale goes to 0 (Day 1969): there is no maximum. Scales whose unit is known have a
lower bound, at which a fit goes on; any other collapse ends the run.
"""

from collections.abc import Mapping

import torch

from glmhmm_pyro.components.base import Component
from glmhmm_pyro.components.emissions import entry_of
from glmhmm_pyro.components.rescaling import is_as_defined
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.steps.m_step import MStep
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.sequences import Sequences


class Collapse:
    """Finds the states of a model that have collapsed.

    A scale is small relative to the components' own start values; a start given by the
    user may be small already.

    Args:
        model: bound to the data.
        data: the data set.
        m_steps: those of its components, by name; made here by default.

    Attributes:
        continuous: names of the components whose emissions have densities.
    """

    def __init__(
        self, model: GLMHMM, data: Sequences, m_steps: Mapping[str, MStep] | None = None
    ):
        self.components = model.components
        m_steps = m_steps or {
            name: MStep(component, component.view(data))
            for name, component in self.components.items()
        }
        self.start: Params = {}
        for step in m_steps.values():
            self.start |= {n: v.squeeze(0) for n, v in step.start().items()}
        data = telling(model, data)
        with torch.no_grad():
            hidden = model.hidden_markov_at(self.start, data)
        self.continuous = [
            f"emissions.{name}" if name else "emissions"
            for name, output in hidden.outputs(data.emissions).items()
            if not output.is_discrete
        ]

    def __call__(self, params: Params) -> tuple[str, ...]:
        """A sentence for every parameter near an end with an infinite density."""
        sentences: list[str] = []
        for prefix in self.continuous:
            component = self.components[prefix]
            now, start = (
                {name: values[f"{prefix}.{name}"] for name in component.sites}
                for values in (params, self.start)
            )
            found = component.collapsed(now, start)
            sentences += [f"{prefix}.{sentence}" for sentence in found]
        return tuple(sentences)


def telling(model: GLMHMM, data: Sequences) -> Sequences:
    """What tells the sites of a model, and what its emissions are, as all data do.

    That is one session, where all predictors are alike in all of them.
    """
    sites = (s for c in model.components.values() for s in c.sites.values())
    alike = all(component.is_plain for component in model.components.values())
    whole = ("forward", "hidden_markov", "_hidden_markov")
    if not (alike and is_as_defined(model, GLMHMM, *whole)):
        return data
    return data if any(site.latent for site in sites) else data.subset([0])


def at_bounds(components: Mapping[str, Component], params: Params) -> tuple[str, ...]:
    """A sentence for every parameter of a model that has reached its bound.

    Args:
        components: of the model, by name.
        params: values of all sites.
    """
    sentences = []
    for prefix, component in components.items():
        for name, bounds in component.bounds.items():
            reached = bounds.reached(params[f"{prefix}.{name}"])
            if reached.any():
                where = entry_of(component.sites[name], (~reached).double())
                sentences.append(
                    f"{prefix}.{name} {bounds.end}{where}: kept at {bounds.meaning}"
                )
    return tuple(sentences)
