"""Components that were told which covariates to read: ``covariates=[names]``."""

import numpy as np
import pytest
import torch
from families import enumerated_log_joint, hidden_markov, random_data, random_params

import glmhmm_pyro as gh
from glmhmm_pyro.components import Gamma, Lapsing, NegativeBinomial, StudentT

EXACT = {"rtol": 0, "atol": 1e-12}
NAMES = ("a", "b", "c")

FAMILIES = {
    "bernoulli": gh.Bernoulli,
    "categorical": lambda **options: gh.Categorical(3, **options),
    "normal": gh.Gaussian,
    "normals": lambda **options: gh.Gaussian(2, "full", **options),
    "counts": gh.Poisson,
    "overdispersed": NegativeBinomial,
    "positive": Gamma,
    "heavy-tailed": StudentT,
    "lapsing": lambda **options: Lapsing(gh.Bernoulli(**options)),
}
TRANSITIONS = {"input-driven": gh.InputDriven, "shared": gh.SharedInputDriven}


def named_data(family="bernoulli"):
    """Three covariates of each kind."""
    data = random_data(family, features=3)
    designs = {
        f"{name}covariates": torch.randn(
            len(data.lengths) if name == "initial_" else data.num_steps,
            3,
            generator=torch.Generator().manual_seed(seed),
            dtype=torch.float64,
        )
        for seed, name in enumerate(("", "transition_", "initial_"))
    }
    names = {f"{design[:-1]}_names": NAMES for design in designs}
    return data.replace(**designs, **names)


def of_these(data, names):
    """The data with these columns alone, in this order."""
    places = [NAMES.index(name) for name in names]
    designs = ("covariates", "transition_covariates", "initial_covariates")
    changes = {name: getattr(data, name)[:, places] for name in designs}
    return data.replace(**changes, **{f"{name[:-1]}_names": names for name in designs})


def bound(data, family, transitions, initial):
    """A model of two states that knows its data."""
    model = gh.GLMHMM(2, family, transitions, initial)
    model.bind(data)
    return model


@pytest.mark.parametrize(
    "family, transitions",
    [*((name, "input-driven") for name in FAMILIES), ("bernoulli", "shared")],
)
def test_columns_chosen_are_as_good_as_no_others(family, transitions):
    data, names = named_data(family), ("c", "a")
    own, move = FAMILIES[family], TRANSITIONS[transitions]
    chosen = bound(
        data,
        own(covariates=names),
        move(covariates=names),
        gh.InitialGLM(covariates=names),
    )
    few = of_these(data, names)
    plain = bound(few, own(), move(), gh.InitialGLM())
    params = random_params(plain, few)
    params = {name: value.requires_grad_() for name, value in params.items()}
    expected = hidden_markov(plain, few, params).log_prob(few.emissions)
    found = hidden_markov(chosen, data, params).log_prob(data.emissions)
    torch.testing.assert_close(found, expected, **EXACT)
    torch.testing.assert_close(
        enumerated_log_joint(chosen, data, params), expected, **EXACT
    )


def of_own_columns(ridge=None):
    """A model each of whose parts reads columns of its own."""
    return gh.GLMHMM(
        2,
        gh.Bernoulli(ridge, covariates=["b", "c"]),
        gh.InputDriven(ridge, covariates=["a"]),
        gh.InitialGLM(ridge, covariates=["c"]),
    )


def few_columns(data):
    """What those parts read, and nothing else."""
    return data.replace(
        covariates=data.covariates[:, 1:],
        covariate_names=["b", "c"],
        transition_covariates=data.transition_covariates[:, :1],
        transition_covariate_names=["a"],
        initial_covariates=data.initial_covariates[:, 2:],
        initial_covariate_names=["c"],
    )


@pytest.fixture(scope="module")
def fitted():
    data, ridge = named_data(), gh.priors.Ridge(1.0)
    data = data.replace(
        transition_covariates=data.covariates, transition_covariate_names=NAMES
    )
    plain = gh.GLMHMM(
        2, gh.Bernoulli(ridge), gh.InputDriven(ridge), gh.InitialGLM(ridge)
    )
    options = {"num_restarts": 1, "progress": False}
    fit = gh.fit(of_own_columns(ridge), data, **options)
    return fit, data, gh.fit(plain, few_columns(data), **options)


def test_every_part_is_fitted_to_its_own_columns(fitted):
    fit, _, other = fitted
    assert fit.log_joint == pytest.approx(other.log_joint, abs=1e-9)
    columns = {"initial": ["c"], "transitions": ["a"], "emissions": ["b", "c"]}
    for part, names in columns.items():
        found = fit.parameters[f"{part}.weights"]
        assert found["covariate"].values.tolist() == names
    assert "Bernoulli(z[t], b, c of x[t])" in fit.model.explain()


def test_columns_chosen_are_those_of_a_simulation_with_a_history(fitted):
    fit, data, other = fitted
    few = few_columns(data)
    history = {"b": lambda past, rows: torch.zeros(len(rows)) + past[:, -1:].sum(1)}
    drawn, states = fit.simulate(data, history=history, seed=3)[:2]
    again, others = other.simulate(few, history=history, seed=3)[:2]
    assert torch.equal(drawn.emissions, again.emissions)
    np.testing.assert_array_equal(states, others)


def test_columns_chosen_are_kept_in_a_file(fitted, tmp_path):
    fit, data, _ = fitted
    fit.save(tmp_path / "fit.nc")
    loaded = gh.load(tmp_path / "fit.nc")
    assert loaded.model.emissions.covariates == ("b", "c")
    assert loaded.score(data) == fit.score(data)


def test_an_output_may_choose_its_columns_itself():
    x = np.random.default_rng(0).normal(size=(6, 3))
    y = np.stack([[0, 1, 0, 1, 1, 0], x[:, 1]], 1)
    data = gh.Sequences(
        y, x, emission_names=["choice", "rt"], covariate_names=list(NAMES)
    )
    own = gh.Outputs(choice=gh.Bernoulli(covariates=["c"]), rt=gh.Gaussian())
    told = gh.Outputs(
        choice=gh.Bernoulli(), rt=gh.Gaussian(), covariates={"choice": ["c"]}
    )
    models = [gh.GLMHMM(2, family) for family in (own, told)]
    for model in models:
        model.bind(data)
    params = random_params(models[0], data)
    logs = [
        hidden_markov(model, data, params).log_prob(data.emissions) for model in models
    ]
    assert logs[0] == logs[1]
    assert params["emissions.choice.weights"].shape == (2, 1)


@pytest.mark.parametrize(
    "covariates, error, words",
    [
        ("a", TypeError, r"must be a list of names, got 'a'; write \['a'\]"),
        ([], ValueError, "must name a column at least, got none"),
        (["a", "a"], ValueError, "must name every column once, got 'a' twice"),
        ([1], TypeError, "must be a list of names, got 1 in it"),
    ],
)
def test_what_is_no_list_of_names_is_refused(covariates, error, words):
    for part in (gh.Bernoulli, gh.InputDriven, gh.InitialGLM):
        with pytest.raises(error, match=f"covariates {words}"):
            part(covariates=covariates)


def test_a_column_that_is_not_there_is_named():
    model = gh.GLMHMM(2, gh.Bernoulli(), gh.InputDriven(covariates=["satiety"]))
    sentence = (
        "transition_covariates must have the columns that InputDriven was told to "
        "read, satiety, got a, b, c; add 'satiety', or name others by covariates="
    )
    with pytest.raises(ValueError, match=sentence):
        model.bind(named_data())


def test_columns_are_named_once():
    with pytest.raises(ValueError, match="covariates must be named once"):
        gh.Outputs(choice=gh.Bernoulli(covariates=["a"]), covariates={"choice": ["a"]})
