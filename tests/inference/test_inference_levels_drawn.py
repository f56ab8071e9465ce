"""Draws of two-level models whose weights vary, and M-steps over all slow states."""

import pytest
import torch
from arviz_faces import group_of
from families import enumerated_log_joint
from level_cases import RIDGE, UNFINISHED, short_sessions
from pyro.distributions import Dirichlet, LogNormal, Normal

import glmhmm_pyro as gh
from glmhmm_pyro.components import Levels, TwoLevels, Varying

# Scales learnt beside weights, with a joint mode that is not at 0.
SCALE = LogNormal(0.0, 0.3)
LEARNT, BY_SLOW = (
    gh.priors.Hierarchical(SCALE, per=per) for per in (("covariate",), ("slow",))
)
KNOWN, WALK = gh.priors.Ridge(0.5), gh.priors.RandomWalk(0.5, start_scale=1.0)
NAMES = "emissions", "transitions.slow", "transitions.fast"
FIRST = gh.Initial(Dirichlet(torch.full((4,), 2.0)))


def short_data():
    """Sessions of a few steps in two groups."""
    lengths, ticks = (3, 2, 1, 2), torch.zeros(8, dtype=torch.float64)
    observed = [number != 1 for number in range(8)]
    return short_sessions(lengths, observed, ticks, groups=list("aaab"))


def driven(prior=RIDGE):
    """Moves by one column."""
    return gh.InputDriven(prior, covariates=["satiety"])


def all_varying(emission, slow, fast):
    """Emissions by group, slow moves by session, fast ones by group, by such laws."""
    moves = Varying(driven(), "session", slow), Varying(driven(), "group", fast)
    emissions = Varying(gh.Bernoulli(RIDGE, covariates=["x0"]), "group", emission)
    return gh.GLMHMM(Levels(2, 2), emissions, TwoLevels(*moves), FIRST)


# With the shapes of the scales learnt, of the parts in their order.
SAMPLED = {
    "known scales": (all_varying(KNOWN, WALK, KNOWN), ()),
    "learnt scales": (all_varying(LEARNT, LEARNT, BY_SLOW), ((1,), (1,), (2,))),
}
FEW_DRAWS = {
    "nuts": gh.NUTS(num_samples=2, num_warmup=2, max_tree_depth=2, num_chains=1),
    "svi": gh.SVI(num_steps=3, num_samples=2),
}


@UNFINISHED
@pytest.mark.parametrize("method", FEW_DRAWS)
@pytest.mark.parametrize("scales", SAMPLED)
def test_draws_are_of_every_unit_with_the_log_joint_of_all_paths(scales, method):
    """Most of the time goes to modes, from which NUTS sets out, and to compiling."""
    model, learnt = SAMPLED[scales]
    data = short_data()
    fit = gh.fit(model, data, FEW_DRAWS[method], num_restarts=1, progress=False)
    shapes = (2, 2, 1), (4, 2, 1, 1), (2, 2, 2, 1, 1)
    for name, shape in zip(NAMES, shapes):
        assert fit.draws[f"{name}.weights"].shape == (1, 2, *shape)
    for name, shape in zip(NAMES, learnt):
        assert fit.draws[f"{name}.weights_scale"].shape == (1, 2, *shape)
    assert all(draws.isfinite().all() for draws in fit.draws.values())
    noted = group_of(fit.to_arviz(data), "sample_stats")["lp"].values
    for number in range(2):
        values = {n: v[0, number].requires_grad_() for n, v in fit.draws.items()}
        expected = enumerated_log_joint(fit.model, data, values)
        assert noted[0, number] == pytest.approx(expected.item(), abs=1e-9)


def joint(shape):
    """A prior of all weights at once, by which M-steps are of all slow states."""
    return Normal(torch.zeros(shape).double(), 2.0).to_event(len(shape))


def test_fast_moves_under_one_prior_of_all_end_where_those_of_each_state_do():
    found = [
        gh.fit(
            gh.GLMHMM(
                Levels(2, 2),
                gh.Bernoulli(RIDGE),
                TwoLevels(fast=driven(prior)),
                FIRST,
            ),
            short_data(),
            num_restarts=1,
            progress=False,
        )
        for prior in (joint, RIDGE)
    ]
    assert found[0].log_joint == pytest.approx(found[1].log_joint, abs=1e-6)
