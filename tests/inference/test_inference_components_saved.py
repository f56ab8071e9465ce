"""Every component of the package comes back from a file without the model."""

import numpy as np
import pytest
import torch

import glmhmm_pyro as gh
from glmhmm_pyro.components import (
    ByLevel,
    Gamma,
    KnownStates,
    Lapsing,
    Levels,
    NegativeBinomial,
    OnlyInitial,
    OnlyState,
    SemiMarkov,
    SharedInputDriven,
    StationaryInitial,
    StudentT,
    TwoLevels,
    TwoLevelsInitial,
    Varying,
    dwell,
)
from glmhmm_pyro.inference.fits import descriptions
from glmhmm_pyro.inference.fits.given import fit_at
from glmhmm_pyro.inference.program.program import Program

RIDGE = gh.priors.Ridge(2.0)
NUMBERS = np.random.default_rng(0)
LENGTHS = (9, 8, 7)
BASES = {
    *("Component", "Emission", "GLMEmission", "InitialState", "Site", "Transitions"),
    *("dwell.DwellLaw", "dwell.SemiMarkov"),
}


def semi_markov(law, **options):
    return gh.GLMHMM(3, gh.Bernoulli(RIDGE), SemiMarkov(law, **options))


def on_levels(family, moves=None, initial=None):
    return gh.GLMHMM(Levels(2, 2), family, moves, initial)


# By what they are about: the model, and of what kind its emissions are.
MODELS = {
    "Bernoulli": (lambda: gh.GLMHMM(2, gh.Bernoulli(RIDGE, ["x"])), "label"),
    "Categorical": (lambda: gh.GLMHMM(2, gh.Categorical(2, RIDGE)), "label"),
    "Poisson": (lambda: gh.GLMHMM(2, gh.Poisson(RIDGE, offset="log_time")), "count"),
    "NegativeBinomial": (
        lambda: gh.GLMHMM(2, NegativeBinomial(offset="log_time")),
        "count",
    ),
    "Gaussian": (
        lambda: gh.GLMHMM(2, gh.Gaussian(covariance="diagonal", shared_scale=True)),
        "real",
    ),
    "Gamma": (lambda: gh.GLMHMM(2, Gamma(RIDGE)), "positive"),
    "StudentT": (lambda: gh.GLMHMM(2, StudentT(RIDGE)), "real"),
    "Lapsing": (
        lambda: gh.GLMHMM(
            2,
            Lapsing(
                gh.Bernoulli(RIDGE),
                torch.distributions.Dirichlet(torch.full((3,), 2.0)),
            ),
        ),
        "label",
    ),
    "Outputs": (
        lambda: gh.GLMHMM(
            2,
            gh.Outputs(
                covariates={"y": ["x"]}, y=Lapsing(gh.Bernoulli(RIDGE)), z=gh.Poisson()
            ),
        ),
        "two",
    ),
    "KnownStates": (
        lambda: gh.GLMHMM(
            2,
            gh.Outputs(y=gh.Bernoulli(RIDGE), z=KnownStates()),
            initial=gh.Initial(gh.priors.Fixed(0.5)),
        ),
        "two",
    ),
    "ByLevel": (
        lambda: on_levels(ByLevel(Lapsing(gh.Bernoulli(RIDGE)), "slow")),
        "label",
    ),
    "Levels": (lambda: on_levels(gh.Outputs(y=gh.Bernoulli())), "label"),
    "TwoLevels": (
        lambda: on_levels(
            gh.Bernoulli(),
            TwoLevels(
                gh.InputDriven(RIDGE),
                clock="tick",
                entry=gh.InitialGLM(RIDGE, ["x"]),
                fast_depends_on_slow=False,
                slow_depends_on_fast=True,
            ),
        ),
        "label",
    ),
    "TwoLevelsInitial": (
        lambda: on_levels(
            gh.Bernoulli(),
            TwoLevels(across_sessions=True),
            TwoLevelsInitial(gh.InitialGLM(RIDGE)),
        ),
        "label",
    ),
    "InputDriven": (
        lambda: gh.GLMHMM(
            3, gh.Bernoulli(), gh.InputDriven(RIDGE, ["x"], forbidden=[(0, 2), (2, 1)])
        ),
        "label",
    ),
    "SharedInputDriven": (
        lambda: gh.GLMHMM(2, gh.Bernoulli(), SharedInputDriven(RIDGE)),
        "label",
    ),
    "Stationary": (
        lambda: gh.GLMHMM(2, gh.Bernoulli(), gh.Stationary(gh.priors.Sticky(2.0, 5.0))),
        "label",
    ),
    "StationaryInitial": (
        lambda: gh.GLMHMM(2, gh.Bernoulli(), initial=StationaryInitial()),
        "label",
    ),
    "Initial": (
        lambda: gh.GLMHMM(2, gh.Bernoulli(), initial=gh.Initial(per_session=True)),
        "label",
    ),
    "InitialGLM": (
        lambda: gh.GLMHMM(2, gh.Bernoulli(), initial=gh.InitialGLM(RIDGE)),
        "label",
    ),
    "OnlyState": (lambda: gh.GLMHMM(1, gh.Bernoulli(), OnlyState()), "label"),
    "OnlyInitial": (
        lambda: gh.GLMHMM(1, gh.Bernoulli(), initial=OnlyInitial()),
        "label",
    ),
    "VaryingEmission": (
        lambda: gh.GLMHMM(2, Varying(gh.Poisson(RIDGE, offset="log_time"))),
        "count",
    ),
    "VaryingOverSlow": (
        lambda: gh.GLMHMM(
            gh.levels.Levels(2, 2),
            Varying(gh.Poisson(RIDGE, offset="log_time"), "slow", "pooled"),
        ),
        "count",
    ),
    "VaryingTransitions": (
        lambda: gh.GLMHMM(
            2, gh.Bernoulli(), Varying(gh.InputDriven(RIDGE), constant=["x"])
        ),
        "label",
    ),
    "VaryingInitial": (
        lambda: gh.GLMHMM(
            2,
            gh.Bernoulli(),
            initial=Varying(
                gh.InitialGLM(RIDGE),
                law=gh.priors.Hierarchical(torch.distributions.HalfNormal(1.0)),
            ),
        ),
        "label",
    ),
    "SemiMarkov": (lambda: semi_markov(None, first="stationary"), "label"),
    "dwell.NegativeBinomial": (
        lambda: semi_markov(
            dwell.NegativeBinomial(3, RIDGE, driven=True),
            jumps="driven",
            jump_prior=RIDGE,
            covariates=["x"],
        ),
        "label",
    ),
    "dwell.Poisson": (
        lambda: semi_markov(dwell.Poisson(4, torch.distributions.Gamma(2.0, 1.0))),
        "label",
    ),
    "dwell.Categorical": (lambda: semi_markov(dwell.Categorical(4)), "label"),
}


def data_of(kind):
    steps = sum(LENGTHS)
    label = NUMBERS.integers(2, size=steps)
    emissions = {
        "label": label,
        "count": NUMBERS.poisson(3.0, size=steps),
        "real": NUMBERS.normal(size=steps),
        "positive": NUMBERS.gamma(2.0, size=steps),
        "two": np.stack([label, NUMBERS.integers(2, size=steps)], 1),
    }[kind]
    tick = np.arange(steps) % 3 == 0
    columns = NUMBERS.normal(size=(2, steps))
    return gh.Sequences(
        emissions,
        np.stack([np.ones(steps), *columns], 1),
        lengths=LENGTHS,
        transition_covariates=np.stack([*columns, tick], 1),
        initial_covariates=np.ones((len(LENGTHS), 1)),
        covariate_names=["bias", "x", "log_time"],
        transition_covariate_names=["x", "log_time", "tick"],
        emission_names=["y", "z"] if kind == "two" else None,
    )


def test_every_component_is_among_the_models():
    saved = descriptions._CLASSES.keys() - BASES
    assert saved - MODELS.keys() == set(), "give each a model with it in MODELS"
    assert MODELS.keys() - saved == set(), "MODELS names what is no component"


@pytest.mark.parametrize("name", MODELS)
def test_every_component_comes_back_without_a_model(tmp_path, name):
    made, kind = MODELS[name]
    data = data_of(kind)
    program = Program.of(made(), data)
    at_zero = program.users_values(torch.zeros(program.coordinates.size))
    fit = fit_at(program.model, data, at_zero, "given")
    fit.save(tmp_path / "fit.nc")
    loaded = gh.load(tmp_path / "fit.nc")
    wanted = descriptions.describe(fit.model)
    assert name in str(wanted)
    assert descriptions.own_parts(wanted) == []
    assert loaded.score(data) == fit.score(data)
    assert gh.load(tmp_path / "fit.nc", made()).score(data) == fit.score(data)


@pytest.mark.parametrize(
    "parts",
    [
        {"transitions": gh.Stationary()},
        {"initial": gh.Initial()},
        {"emissions": gh.Bernoulli(RIDGE)},
    ],
    ids=lambda parts: next(iter(parts)),
)
@pytest.mark.parametrize(("over", "law"), [("group", "pooled"), ("session", "walk")])
def test_what_varies_has_its_own_sizes_again_not_those_of_its_family(
    tmp_path, parts, over, law
):
    # Log-odds have a constant for their covariate, which probabilities have not.
    varying = {name: Varying(family, over, law) for name, family in parts.items()}
    data = data_of("label").replace(groups=["ann", "bob", "bob"])
    program = Program.of(
        gh.GLMHMM(2, **({"emissions": gh.Bernoulli()} | varying)), data
    )
    at_zero = program.users_values(torch.zeros(program.coordinates.size))
    fit = fit_at(program.model, data, at_zero, "given")
    fit.save(tmp_path / "fit.nc")
    loaded = gh.load(tmp_path / "fit.nc")
    wanted, found = (
        descriptions.describe(f.model)["components"] for f in (fit, loaded)
    )
    for name in wanted:
        assert found[name]["bound"] == wanted[name]["bound"]
    assert loaded.score(data) == fit.score(data)


def test_a_file_that_knew_no_law_of_dwell_times_loads_with_the_model():
    saved = descriptions.describe(semi_markov(dwell.Poisson(4)))
    law = {"foreign": "Poisson(longest=4, driven=False)", "kind": "Poisson"}
    saved["components"]["transitions"]["arguments"]["dwell"] = law
    assert descriptions.own_parts(saved)
    descriptions.bound_copy(semi_markov(dwell.Poisson(4)), saved)
    with pytest.raises(ValueError, match="model must have transitions with dwell"):
        descriptions.bound_copy(semi_markov(dwell.Categorical(4)), saved)


def test_another_law_of_dwell_times_is_refused():
    saved = descriptions.describe(semi_markov(dwell.Poisson(4)))
    for law, says in (
        (dwell.Poisson(5), "transitions.dwell with longest = 4, .*got 5"),
        (dwell.Categorical(4), "have Poisson transitions.dwell, .*got Categorical"),
    ):
        with pytest.raises(ValueError, match=says):
            descriptions.bound_copy(semi_markov(law), saved)
