"""Where searches of the evidence begin.

They begin at a fit of the model in which all units are alike. Where weights alone tell
units apart, as they may slow states, that fit knows nothing of these: there they begin
at fits in which no law links the units, too.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch

from glmhmm_pyro.components.base import Component
from glmhmm_pyro.inference.kinds.starts import given_values, sites_of_priors
from glmhmm_pyro.inference.marginal.ascent import Ascent, Scales
from glmhmm_pyro.inference.marginal.problem import MarginalProblem
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.search.runs import Findings
from glmhmm_pyro.inference.search.search import Search
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.priors.answers import held

Fitting = Callable[[Program, Search], Findings]

# Scales that a search begins with, in units of one over the size of a covariate: of
# steps over trials, with those across borders, and of anything else.
_OF_STEPS = ((2.0**-6, 2.0**-2), (2.0**-4, 2.0**-2), (2.0**-8, 2.0**-4))
_OF_UNITS = (0.1, 0.4, 0.02)

# The scale where no law has linked the units, the fewest starts of such a fit, and the
# most of its solutions that a search begins at.
_OF_APART, _FEWEST, _MOST = 0.5, 4, 3

_PARTS = ("emissions", "transitions", "initial")


def evidence_starts(
    problem: MarginalProblem, search: Search, fit_nested: Fitting
) -> list[Params]:
    """Values of all sites for every start, first those where all units are alike.

    Args:
        problem: a program, its latents and their law.
        search: how starts are made, or one that is given.
        fit_nested: fits a program without latents.
    """
    given, sites = search.init, sites_of_priors(problem.program.priors)
    if isinstance(given, Mapping) and set(sites) <= set(given):
        return [given_values(given, sites)]
    params = _nested(problem, search, fit_nested)
    others = _unlinked(problem, search, fit_nested, params)
    if isinstance(given, Mapping):
        params |= given_values(given, sites)
        others = [other | given_values(given, sites) for other in others]
    scales = Ascent(problem).scales
    w, v = problem.packed(params)
    if not scales.any or any(is_site_of_scale(problem, scales, n) for n in given or ()):
        return [params, *others]
    found = []
    for number, size in enumerate(_OF_UNITS):
        step, border = _OF_STEPS[number]
        is_step = "step" in problem.over.values()
        sizes = {"scale": size, "step_scale": step if is_step else size}
        sizes["border_scale"] = border
        found.append(problem.params(w, scales.at(v, sizes)))
    # Where every evaluation runs through the chain, one start has to do.
    found = found if problem.curvature.is_cheap else found[:1]
    for other in others:
        w, v = problem.packed(other)
        found.append(problem.params(w, scales.at(v, {"scale": _OF_APART})))
    return found


def _nested(problem: MarginalProblem, search: Search, fit_nested: Fitting) -> Params:
    """Values at which all units are as one fit of the model without latents."""
    model: GLMHMM = problem.program.model
    parts = {name: getattr(model, name).nested() for name in _PARTS}
    if isinstance(search.init, Mapping):
        search = Search(1, None, 0.0, search.seed, False)
    return _values_of_fits(problem, search, fit_nested, parts)[0]


def _unlinked(
    problem: MarginalProblem, search: Search, fit_nested: Fitting, alike: Params
) -> list[Params]:
    """Values of a fit in which no law links the units, if there is one to make.

    Those at which units are ``alike`` say where to look. What is best under a penalty
    need not have the largest evidence, so that there are several.
    """
    model, data = problem.program.model, problem.program.data
    own = {
        name: getattr(model, name).unlinked(data, _of_component(alike, name))
        for name in _PARTS
    }
    if not any(own.values()):
        return []
    parts = {n: part or getattr(model, n).nested() for n, part in own.items()}
    # A single start would have all units alike.
    init = None if isinstance(search.init, Mapping) else search.init
    number = max(search.num_restarts, _FEWEST)
    search = replace(search, num_restarts=number, init=init)
    found = _values_of_fits(problem, search, fit_nested, parts)[:_MOST]
    return [_with_held(problem.program, params, alike) for params in found]


def _with_held(program: Program, params: Params, alike: Params) -> Params:
    """The values, with those that priors hold as they are where units are alike."""
    known = {name: held(prior) for name, prior in program.priors.items()}
    return {
        name: value if mask is None else torch.where(mask, alike[name], value)
        for (name, value), mask in zip(params.items(), map(known.get, params))
    }


def _values_of_fits(
    problem: MarginalProblem,
    search: Search,
    fit_nested: Fitting,
    parts: Mapping[str, Component],
) -> list[Params]:
    """Values of all sites at the solutions for other components, the best first."""
    program = problem.program
    model: GLMHMM = program.model
    states = model.levels or model.num_states
    nested = Program.of(GLMHMM(states, **parts), program.data)
    solutions: list[Params] = [{}]
    if nested.coordinates.size:
        own = nested.in_own_units()
        found = fit_nested(own, search)
        others = [s.params for s in found.solutions if s.params is not found.params]
        solutions = [own.units.outward(params) for params in (found.params, *others)]
    return [_spread_out(program, values) for values in solutions]


def _spread_out(program: Program, values: Params) -> Params:
    """Values of all sites from those of other components."""
    params: Params = {
        name: torch.ones(prior.shape(), dtype=torch.float64)
        for name, prior in program.priors.items()
    }
    for prefix, component in program.components.items():
        spread = component.spread_out(_of_component(values, prefix))
        params |= {f"{prefix}.{name}": value for name, value in spread.items()}
    return params


def _of_component(params: Params, prefix: str) -> Params:
    """Values of the sites of one component, by attribute."""
    return {
        name.removeprefix(f"{prefix}."): value
        for name, value in params.items()
        if name.startswith(f"{prefix}.")
    }


def is_site_of_scale(problem: MarginalProblem, scales: Scales, name: str) -> bool:
    """Whether a site has scales of a law.

    Args:
        problem: a program, its latents and their law.
        scales: of the problem.
        name: of the site.
    """
    place = problem.theta.slices.get(name)
    return place is not None and bool((scales.counts[place] > 0).any())
