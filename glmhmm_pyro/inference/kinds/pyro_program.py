"""The program of a model of the user's own: any function or PyroModule."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from glmhmm_pyro.callers import warn_caller
from glmhmm_pyro.distributions import HiddenMarkov
from glmhmm_pyro.inference.kinds.own_starts import own_starts
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.densities import is_variable, trace_at
from glmhmm_pyro.inference.program.program import Data, Init, Observed, Program
from glmhmm_pyro.inference.steps.joint_steps import JointSteps
from glmhmm_pyro.optim import LBFGSOptions
from glmhmm_pyro.sequences import MatchingWarning
from glmhmm_pyro.sequences.layout import Layout


class PyroProgram(Program[Callable[[Data], Any], Data], reads=object):
    """Any Pyro model conditioned on whatever it takes.

    Nothing is known of it but its sites, each run of it costs Pyro's handlers, and one
    parameter set comes at a time. Its arguments are those of :class:`Program`.
    """

    @staticmethod
    def laid_out(
        model: Callable[[Data], Any], data: Data, layout: Layout | None
    ) -> Data:
        """Data laid out by names as those fitted; the model may read everything."""
        if layout is None:
            return data
        read: Any = data
        read, notes = layout.lay_out(read)
        for note in notes:
            warn_caller(note, MatchingWarning)
        return read

    @staticmethod
    def observed_sites(
        model: Callable[[Data], Any], data: Data, params: Params
    ) -> dict[str, Observed]:
        """Every ``HiddenMarkov`` site at these values, by one run of the model."""
        nodes = trace_at(model, data, params).nodes
        variables = [name for name, site in nodes.items() if is_variable(site)]
        drawn = [name for name in variables if not nodes[name]["is_observed"]]
        if drawn:
            raise ValueError(
                f"model must be the one that was fitted, with the sites "
                f"{', '.join(params)}, got one that draws {', '.join(drawn)} anew; "
                "give the model of the fit"
            )
        return {
            name: Observed(nodes[name]["fn"], nodes[name]["value"])
            for name in variables
            if isinstance(nodes[name]["fn"], HiddenMarkov)
        }

    def log_parts(self, params: Params) -> tuple[Tensor, Tensor]:
        """Log-likelihood of all that is observed, and log density of the priors."""
        densities = self.densities(params)
        return densities.of_the_rest, densities.of_parameters

    def log_prior(self, params: Params) -> Tensor:
        """Log density of the priors, for which the whole model is run."""
        return self.densities(params).of_parameters

    def starts(
        self, number: int, init: Init, noise: float, generator: torch.Generator
    ) -> Sequence[Params]:
        """Start values by noise on unconstrained numbers; see :func:`own_starts`."""
        return own_starts(self, number, init, noise, generator)

    def em_steps(self, options: LBFGSOptions | None) -> JointSteps:
        """One joint M-step of all parameters."""
        return JointSteps(self, options)
