"""The baseline of scores in bits: the family alone, without covariates or states.

An offset stays, for it is no covariate but how much there was to count.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from glmhmm_pyro.components.emissions import Emission
from glmhmm_pyro.components.marginal_laws import CONSTANT
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.optim import LBFGSOptions, minimize
from glmhmm_pyro.sequences import Sequences


@dataclass(frozen=True)
class Baseline:
    """A single state of a model's family at a constant column, fitted to its data.

    Attributes:
        params: values by site; empty where there is no baseline.
        notes: sentences: what was smoothed, or why there is no baseline.
    """

    params: dict[str, Tensor]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, program: Program) -> "Baseline":
        """That of a model with its data, in the user's units.

        Labels have the frequencies of their classes; where one was never observed,
        half a count is added to every class. Other families are at their maximum of
        the likelihood.
        """
        if not program.components:
            return cls({}, ("a model of the user's own tells no family",))
        try:
            model = _model(program.model)
            return cls(*_fitted(Program.of(model, _at_constant(program.data, model))))
        except Exception as error:  # Whatever a family of the user's own does.
            why = f"{type(error).__name__}: {error}"
            return cls({}, (f"its family has no baseline: {why}",))

    def log_probs(self, model: GLMHMM, data: Sequences) -> Tensor:
        """Log-likelihood of every session, nats, shape (sessions,).

        Args:
            model: of the fit that the baseline belongs to.
            data: laid out as those fitted.
        """
        weights = [v for n, v in self.params.items() if n.endswith("weights")]
        # Those of older files have no offsets.
        own = _model(model, any(value.shape[-1] > 1 for value in weights))
        data = _at_constant(data, own)
        with torch.no_grad():
            sites = Program.kind_of(own).observed_sites(own, data, self.params)
            (site,) = sites.values()
            return site.hidden.log_prob_per_session(site.value)


def _model(model: GLMHMM, with_offsets: bool = True) -> GLMHMM:
    """A single state of the model's family, without covariates."""
    whole = model.emissions
    if not with_offsets:
        whole = copy.deepcopy(whole)
        for part in whole.parts.values():
            setattr(getattr(part, "family", part), "offset", None)
    family = whole.covariate_free()
    sites = [site for part in family.parts.values() for site in part.sites.values()]
    if any(site.latent for site in sites):
        raise ValueError("its emissions have latents")
    return GLMHMM(1, family)


def _at_constant(data: Sequences, model: GLMHMM) -> Sequences:
    """The same emissions, with a column of ones for all covariates but offsets."""
    columns = torch.ones(data.num_steps, 1, dtype=data.dtype, device=data.device)
    read = [
        n for part in model.emissions.parts.values() for n in part.columns_read or ()
    ]
    offsets = tuple(dict.fromkeys(name for name in read if name != CONSTANT))
    names = (CONSTANT, *offsets)
    if offsets:
        places = [data.covariate_names.index(name) for name in offsets]
        design = data.operator("covariates").columns(places)
        eye = torch.eye(len(places)).to(columns)
        columns = torch.cat([columns, design @ eye], 1)
    given: dict[str, frozenset[str]] = {
        "covariate_names": frozenset(),
        "transition_covariate_names": frozenset(),
    }
    return data._derive(
        covariates=columns,
        transition_covariates=columns,
        initial_covariates=None,
        covariate_names=names,
        transition_covariate_names=names,
        initial_covariate_names=None,
        generated_names={**data.generated_names, **given},
        design_source=None,
    )


def _fitted(program: Program) -> tuple[Params, tuple[str, ...]]:
    """Values of all sites by formulas where there are any, and what was smoothed."""
    params: Params = {}
    notes = []
    for name, family in program.components.items():
        known = None
        if isinstance(family, Emission):
            known = family.marginal(family.view(program.data))
        if known is not None:
            params |= {f"{name}.{site}": value for site, value in known[0].items()}
            notes += [known[1]] if known[1] else []
    if not program.priors.keys() <= params.keys():
        params = _maximised(program.in_own_units()) | params
    device = program.data.device
    return {n: value.to(device) for n, value in params.items()}, tuple(notes)


def _maximised(program: Program) -> Params:
    """Values at a maximum of the likelihood near the usual start, in users' units."""
    generator = torch.Generator().manual_seed(0)
    (start,) = program.starts(1, "glm", 0.0, generator)
    steps = program.ranks.total(program.data.num_steps)

    def loss(vector: Tensor) -> tuple[Tensor, Tensor]:
        return program.loss(vector, False, steps)

    # A dozen rounds do, but where tails grow normal: their freedom has no maximum.
    options = LBFGSOptions(max_iters=60, gradient_tol=1e-7, progress_tol=1e-12)
    found = minimize(loss, program.coordinates.pack(start), options)
    return program.users_values(found.x)
