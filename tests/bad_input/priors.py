"""Priors that cannot be any, named by the argument that they were given for."""

import pyro.distributions as dist
import torch
from torch.distributions import Independent, Normal, Poisson

import glmhmm_pyro as gh
from glmhmm_pyro.components import Gamma, NegativeBinomial, Site, StudentT
from glmhmm_pyro.priors import Flat, Grouped, Hierarchical, Ridge

from .row import Row

ONE = torch.ones((), dtype=torch.float64)
POINT = dist.Delta(ONE)
PLAIN = "must be a distribution, a recipe of gh.priors"
DENSITY = "must have a density"


def fitted(emissions, **parts):
    """A fit of real outputs, in which priors are first asked for their shape."""
    data = gh.Sequences([0.3, -1.2, 0.7, 1.9, -0.4])
    return gh.fit(gh.GLMHMM(2, emissions, **parts), data, progress=False)


NUMBERS = {
    f"{kind.__name__}: {name}": Row(
        lambda kind=kind, name=name: kind(**{name: 3}),
        *(name, PLAIN, "got 3", "Normal(0, 3) is a penalty"),
        TypeError,
    )
    for kind, name in (
        (gh.Gaussian, "scale_prior"),
        (Gamma, "concentration_prior"),
        (NegativeBinomial, "dispersion_prior"),
        (StudentT, "df_prior"),
        (gh.SharedInputDriven, "baseline_prior"),
        (gh.Bernoulli, "prior"),
    )
}
POINTS = {
    f"a point of mass, {name}": Row(
        lambda prior=prior: gh.Gaussian(scale_prior=prior),
        *("scale_prior", DENSITY, "got Delta, which fixes", "give a narrow one"),
    )
    for name, prior in {
        "alone": POINT,
        "of Pyro's events": POINT.expand([2]).to_event(1),
        "of torch's events": Independent(POINT.expand([2]), 1),
        "masked": POINT.mask(torch.tensor(True)),
    }.items()
}
ROWS = {
    **NUMBERS,
    **POINTS,
    "a point of mass, Initial": Row(
        lambda: gh.Initial(dist.Delta(ONE.expand(2) / 2, event_dim=1)),
        *("prior", DENSITY, "got Delta", "Dirichlet(1e6 * value)"),
    ),
    "a point of mass, Site": Row(
        lambda: Site("state", prior=POINT), "prior", DENSITY, "got Delta", "narrow one"
    ),
    "a point of mass, made by a function": Row(
        lambda: fitted(gh.Gaussian(scale_prior=lambda shape: POINT.expand(shape))),
        *("scale_prior of emissions.scale", DENSITY, "got Delta", "LogNormal"),
    ),
    "a point of mass, Hierarchical": Row(
        lambda: Hierarchical(POINT),
        *("scale_prior of Hierarchical", DENSITY, "got Delta", "give a narrow one"),
    ),
    "a point of mass, Grouped": Row(
        lambda: Grouped({"x": POINT}), "groups[('x',)]", DENSITY, "Delta", "narrow one"
    ),
    "whole numbers": Row(
        lambda: gh.Gaussian(scale_prior=Poisson(1.0)),
        *("scale_prior", "over real numbers", "got Poisson", "give such as Normal"),
    ),
    "Grouped: a number for a prior": Row(
        lambda: Grouped({"x": 3}),
        "groups[('x',)]",
        PLAIN,
        "got 3",
        "Normal(0, 3)",
        TypeError,
    ),
    "Grouped: a number for the rest": Row(
        lambda: Grouped({"x": Ridge()}, rest=3),
        "rest",
        PLAIN,
        "3",
        "Normal(0, 3)",
        TypeError,
    ),
    "Grouped: a number": Row(
        lambda: Grouped(3),
        *("groups", "must be a mapping from columns", "got 3", "write Grouped({"),
    ),
    "of other values": Row(
        lambda: fitted(gh.Gaussian(scale_prior=Normal(0.0, 1.0))),
        *("scale_prior of emissions.scale", "must be of values in positive"),
        *("got Normal", "give a LogNormal"),
    ),
    "of another shape": Row(
        lambda: fitted(gh.Gaussian(scale_prior=dist.HalfNormal(torch.ones(7)))),
        *("scale_prior of emissions.scale", "must have the shape of the parameter"),
        *("(2,) (state: 2)", "give HalfNormal of single numbers, or of arrays of sha"),
    ),
    "three concentrations for two states": Row(
        lambda: fitted(
            gh.Gaussian(), initial=gh.Initial(dist.Dirichlet(torch.ones(3)))
        ),
        *("prior of initial.probs", "must have the shape of the parameter"),
        *("Dirichlet of shape (3,)", "give 2 concentrations"),
    ),
    "weights for too few covariates": Row(
        lambda: fitted(gh.Gaussian(prior=Normal(torch.zeros(9), 1.0))),
        *("prior of emissions.weights", "(2, 1) (state: 2, covariate: 1), got"),
        *("Normal of shape (9,)", "arrays of shape (2, 1)"),
    ),
    "weights that sum to 1": Row(
        lambda: fitted(gh.Gaussian(prior=dist.Dirichlet(torch.ones(1)))),
        *(
            "prior of emissions.weights",
            "one of real weights",
            "got Dirichlet",
            "Normal(",
        ),
    ),
    "a function that makes none": Row(
        lambda: fitted(gh.Gaussian(scale_prior=lambda shape: 3)),
        *("scale_prior of emissions.scale", "must return a distribution", "got int"),
        *("return one", TypeError),
    ),
    "Flat: a number for a shape": Row(
        lambda: Flat(3), "shape", "must be a tuple of sizes", "got 3", "such as (2, 3)"
    ),
    "Flat: too few axes for its support": Row(
        lambda: Flat((), torch.distributions.constraints.simplex),
        *("shape", "1 at least on this support", "got ()", "give such as"),
    ),
    "Flat: no support": Row(
        lambda: Flat((2,), "real"),
        *("support", "must be a constraint", "got 'real'", "constraints.positive"),
        TypeError,
    ),
    "Site: no support": Row(
        lambda: Site("state", support="positive"),
        *("support", "must be a constraint", "'positive'", "constraints.positive"),
        TypeError,
    ),
    "Hierarchical: an array without axes": Row(
        lambda: Hierarchical(dist.HalfNormal(ONE), per=torch.tensor(2)),
        *("per of Hierarchical", "names of axes", "got tensor(2)", "'covariate'"),
        TypeError,
    ),
    "a function of nothing": Row(
        lambda: gh.Bernoulli(lambda: Normal(0.0, 1.0)),
        *("prior", "must be a function of a shape", "function of ()", "lambda shape"),
        TypeError,
    ),
}
