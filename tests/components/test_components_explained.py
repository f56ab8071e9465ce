"""What components and models say of themselves: their calls, and true equations."""

import re

import pytest
import torch
from torch.distributions import Beta, HalfNormal, Normal

import glmhmm_pyro as gh
from glmhmm_pyro.components import ByLevel, Lapsing, Levels, TwoLevels, Varying

RIDGE = gh.priors.Ridge(2.0)
WALK = gh.priors.RandomWalk(step_scale=0.1)


@pytest.mark.parametrize(
    "made, written",
    [
        (gh.Bernoulli(), "Bernoulli()"),
        (gh.Bernoulli(RIDGE), "Bernoulli(prior=Ridge(scale=2.0))"),
        (
            gh.Categorical(4, prior=Normal(0.0, torch.ones(3, 1, 9))),
            "Categorical(4, prior=Normal(loc=3 x 1 x 9 values, "
            "scale=3 x 1 x 9 values))",
        ),
        (
            gh.Bernoulli(gh.priors.Hierarchical(HalfNormal(0.5))),
            "Bernoulli(prior=Hierarchical(scale_prior=HalfNormal(scale=0.5), "
            "base=Ridge(scale=1.0)))",
        ),
        (gh.Bernoulli(covariates=["a"]), "Bernoulli(covariates=['a'])"),
        (
            gh.InputDriven(RIDGE, forbidden=[(0, 2)]),
            "InputDriven(prior=Ridge(scale=2.0), forbidden=[(0, 2)])",
        ),
        (gh.Initial(per_session=True), "Initial(per_session=True)"),
        (Lapsing(gh.Bernoulli()), "Lapsing(Bernoulli())"),
        (Varying(gh.Bernoulli()), "Varying(Bernoulli())"),
        (
            Varying(gh.Stationary(), "group", law=None, constant="a"),
            "Varying(Stationary(), over='group', law=None, constant=['a'])",
        ),
        (
            gh.Outputs(choice=gh.Bernoulli(), rt=gh.Gaussian(), columns={"rt": ["t"]}),
            "Outputs(columns={'rt': ['t']}, choice=Bernoulli(), rt=Gaussian())",
        ),
        (
            TwoLevels(gh.InputDriven(), clock="go"),
            "TwoLevels(slow=InputDriven(), fast=Stationary(), clock='go')",
        ),
        (
            gh.SemiMarkov(gh.dwell.NegativeBinomial(3, Beta(1.0, 2.0))),
            "SemiMarkov(dwell=NegativeBinomial(phases=3, "
            "prior=Beta(concentration1=1.0, concentration0=2.0)))",
        ),
        (gh.dwell.Categorical(5), "Categorical(5)"),
        (gh.dwell.Poisson(driven=True), "Poisson(driven=True)"),
    ],
)
def test_components_and_laws_show_the_call_that_makes_them(made, written):
    assert repr(made) == written


class Own(gh.Emission):
    """A family of a user's own, which keeps one of its arguments."""

    def __init__(self, width, lost=3):
        super().__init__()
        self.width = width


def test_a_component_of_ones_own_shows_the_arguments_that_it_keeps():
    assert repr(Own(2.5)) == "Own(2.5)"


FORBIDDING = gh.InputDriven(RIDGE, covariates=["a"], forbidden=[(0, 2), (2, 0)])
DRIVEN = gh.SemiMarkov(gh.dwell.Poisson(7, driven=True), jumps="driven")
EQUATIONS = {
    "one state": (
        (1, gh.Gaussian()),
        ["z[0] = 0", "z[t] = 0", "y[t] ~ Gaussian(z[t], x[t])"],
    ),
    "forbidden moves, lapses": (
        (3, Lapsing(gh.Categorical(3)), FORBIDDING, gh.InitialGLM()),
        [
            "z[0] ~ InitialGLM(v)",
            "z[t] ~ InputDriven(z[t-1], a of u[t]), never from 0 to 2 or 2 to 0",
            "y[t] ~ Categorical(z[t], x[t]), or a guess at rates by z[t]",
        ],
    ),
    "driven dwell times": (
        (3, gh.Poisson(), DRIVEN),
        [
            "z[0] ~ Initial",
            "z lasts for d steps, d ~ Poisson(longest=7, driven=True), driven by u[t]",
            "then another state follows, driven by u[t]",
            "y[t] ~ Poisson(z[t], x[t])",
        ],
    ),
    "dwell times of two states": (
        (2, gh.Poisson(), gh.SemiMarkov(first="stationary")),
        [
            "z[0] ~ Initial",
            "z lasts for d steps, d ~ NegativeBinomial()",
            "then the other state follows",
            "a session may begin amid a stay",
            "y[t] ~ Poisson(z[t], x[t])",
        ],
    ),
    "two levels": (
        (Levels(2, 3), gh.Bernoulli(), TwoLevels(gh.InputDriven(), clock="go")),
        [
            "z[0] ~ Initial",
            "s[t] ~ InputDriven(s[t-1], u[t]) where go[t] = 1, else s[t-1]",
            "f[t] ~ Stationary(f[t-1]), one for every s[t]",
            "y[t] ~ Bernoulli(f[t], x[t])",
        ],
    ),
    "slow states that go on from session to session": (
        (Levels(2, 3), gh.Bernoulli(), TwoLevels(gh.InputDriven(), clock="session")),
        [
            "s[0] ~ Initial, in the first session of a group",
            "f[0] ~ Initial, one for every s[0], in every session",
            "s[t] ~ InputDriven(s[t-1], u[t]) at the first step of a session, else "
            "s[t-1]",
            "f[t] ~ Stationary(f[t-1]), one for every s[t]",
            "y[t] ~ Bernoulli(f[t], x[t])",
        ],
    ),
    "emissions of slow states, and of pairs": (
        (Levels(2, 2), ByLevel(gh.Outputs(a=gh.Bernoulli(), b=gh.Poisson()), "slow")),
        [
            "z[0] ~ Initial",
            "s[t] ~ Stationary(s[t-1])",
            "f[t] ~ Stationary(f[t-1]), one for every s[t]",
            "a[t] ~ Bernoulli(s[t], x[t])",
            "b[t] ~ Poisson(s[t], x[t])",
        ],
    ),
    "weights that vary": (
        (
            2,
            Varying(gh.Bernoulli(), law=WALK, constant=["bias"]),
            Varying(gh.Stationary(), "group", "pooled"),
            gh.Initial(per_session=True),
        ),
        [
            "z[0] ~ Initial, of its own in every session",
            "z[t] ~ Stationary(z[t-1]), weights by group, pooled",
            "y[t] ~ Bernoulli(z[t], x[t]), weights by session, "
            "RandomWalk(step_scale=0.1, start_scale=2.0), those of bias excepted",
        ],
    ),
    "the stationary first state": (
        (2, gh.Bernoulli(), None, gh.components.StationaryInitial()),
        [
            "z[0] ~ the stationary distribution of the transitions",
            "z[t] ~ Stationary(z[t-1])",
            "y[t] ~ Bernoulli(z[t], x[t])",
        ],
    ),
}


@pytest.mark.parametrize("case", EQUATIONS)
def test_every_component_explains_itself(case):
    arguments, said = EQUATIONS[case]
    lines = gh.GLMHMM(*arguments).explain().splitlines()
    found = [line[28:] for line in lines[1 : len(said) + 1]]
    assert found == said
    assert not lines[len(said) + 1].startswith(" ")


def test_the_states_are_counted_in_english():
    def first(states):
        return gh.GLMHMM(states, gh.Bernoulli()).explain().splitlines()[0]

    assert first(1) == "GLM-HMM with 1 hidden state z, numbered from 0."
    assert first(Levels(2, 3)) == (
        "GLM-HMM with 2 x 3 hidden states z = (s, f), a slow and a fast one, "
        "z = 3 s + f, numbered from 0."
    )


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ((2, gh.Gaussian()), None),
        ((2, gh.Bernoulli()), "in emissions class 0."),
        (
            (2, gh.Bernoulli(), gh.InputDriven(), gh.InitialGLM()),
            "in first states state 0, in transitions staying, in emissions class 0.",
        ),
        (
            (2, gh.Gaussian(), gh.SharedInputDriven()),
            "in transitions staying (baseline) and state 0.",
        ),
        ((2, gh.Gaussian(), Varying(gh.Stationary())), "in transitions staying."),
        ((3, gh.Gaussian(), DRIVEN), "in transitions the first other state."),
    ],
)
def test_references_are_named_where_there_are_some(arguments, sentence):
    found = re.findall("References have weights of 0: (.*)", _told(arguments))
    assert found == ([] if sentence is None else [sentence])


@pytest.mark.parametrize(
    "transitions, are_read",
    [
        (gh.Stationary(), False),
        (gh.InputDriven(), True),
        (gh.SemiMarkov(), False),
        (DRIVEN, True),
        (Varying(gh.Stationary()), False),
    ],
)
def test_rows_of_covariates_are_spoken_of_where_transitions_read_them(
    transitions, are_read
):
    told = _told((3, gh.Gaussian(), transitions))
    assert ("from t-1 INTO t" in told) is are_read is ("u[t]" in told)


def test_the_prior_of_allowed_moves_is_told_with_its_numbers():
    last = _told((3, gh.Gaussian(), FORBIDDING)).splitlines()[-1]
    assert last == (
        "Prior of transitions.weights: Ridge(scale=2.0), of the moves that can be."
    )


def _told(arguments):
    return gh.GLMHMM(*arguments).explain()
