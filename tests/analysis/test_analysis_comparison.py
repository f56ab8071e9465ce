"""compare_methods: what stands in its tables is what the fits say."""

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from inference_cases import RIDGE, clear_data, penalised, two_animals
from made_fits import with_posterior

import glmhmm_pyro as gh

QUICK = {"num_restarts": 1, "progress": False}
FLIP = torch.tensor([1, 0])


class Drawn(gh.MAP):
    """A method with draws around the mode."""

    name = "drawn"

    def fit(self, program, search):
        """MAP, and normal draws."""
        found = gh.Fit.of(program, super().fit(program, search))
        return with_posterior(found, program.data)


class Flipped(Drawn):
    """The same with the numbers of the two states exchanged."""

    name = "flipped"

    def fit(self, program, search):
        """Every axis of states turned round."""
        fit = super().fit(program, search)
        draws = {n: flipped(v, n) for n, v in fit.posterior.draws.items()}
        posterior = replace(fit.posterior, draws=draws)
        return replace(fit, params=posterior.mean(), posterior=posterior)


def flipped(values, name):
    """Values (chains, draws, *shape) of two states with the other numbers."""
    values = values[:, :, FLIP]
    return values[..., FLIP] if name == "transitions.probs" else values


class Broken(gh.MAP):
    """A method that gives no fit."""

    name = "broken"

    def fit(self, program, search):
        """An error."""
        raise ValueError("chains must move, none did")


class Stopped(gh.MAP):
    """A method that the user interrupts."""

    name = "stopped"

    def fit(self, program, search):
        """What was found so far."""
        fit = super().fit(program, search)
        return replace(fit, status=gh.Status.INTERRUPTED)


@pytest.fixture(scope="module")
def data():
    return clear_data(lengths=(30, 20, 25, 15, 30), seed=3)


@pytest.fixture(scope="module")
def model():
    return penalised("bernoulli", "stationary")


@pytest.fixture(scope="module")
def compared(model, data):
    methods = ["em", "map", Drawn(), Broken(), Flipped()]
    return gh.compare_methods(model, data, methods, held_out=0.4, seed=2, **QUICK)


def parts(data, compared):
    """The sessions fitted and those held out."""
    fitted = compared.fits["em"].labels.sessions
    others = [name for name in data.session_names if name not in fitted]
    return data.subset(list(fitted)), data.subset(others)


def frequent(train, test):
    """Nats per step of classes that come as often as in training."""
    share = train.emissions.double().mean()
    y = test.emissions.double()
    return float((y * share.log() + (1 - y) * (1 - share).log()).mean())


def test_the_table_says_what_each_fit_says(data, compared):
    train, test = parts(data, compared)
    assert (train.num_sessions, test.num_sessions) == (3, 2)
    table = compared.table
    assert table.index.tolist() == ["em", "map", "drawn", "broken", "flipped"]
    assert compared.train.session_names == train.session_names
    assert compared.test.session_names == test.session_names
    for label, fit in compared.fits.items():
        row = table.loc[label]
        assert row["seconds"] > 0 and row["status"] == "CONVERGED"
        assert row["log_likelihood"] == fit.log_likelihood
        score = fit.score(test, marginal=True)
        assert row["held_out_nats_per_step"] == pytest.approx(score, rel=1e-9)
        bits = (score - frequent(train, test)) / math.log(2)
        assert row["held_out_bits_per_step"] == pytest.approx(bits, rel=1e-9)
    assert table["num_draws"].tolist()[:3] == [0, 0, 60]
    alone = gh.fit(penalised("bernoulli", "stationary"), train, "em", seed=2, **QUICK)
    assert table.loc["em", "log_likelihood"] == alone.log_likelihood
    score = alone.score(test, units="bits")
    assert table.loc["em", "held_out_bits_per_step"] == pytest.approx(score)


def test_a_method_that_fails_is_a_row_with_its_sentence(compared):
    row = compared.table.loc["broken"]
    assert row["status"] == "FAILED" and math.isnan(row["seconds"])
    assert row["message"] == "ValueError: chains must move, none did"
    assert list(compared.fits) == ["em", "map", "drawn", "flipped"]
    assert "broken" in repr(compared) and "chains" not in repr(compared)


def test_estimates_stand_side_by_side_with_their_intervals(data, compared):
    train, _ = parts(data, compared)
    estimates = compared.estimates
    place = ("emissions.weights", 1, "", "", "x0")
    assert estimates.index.names == [
        "parameter",
        "state",
        "origin",
        "destination",
        "covariate",
    ]
    fit = compared.fits["drawn"]
    draws = fit.posterior.draws["emissions.weights"][..., 1, 0].flatten().numpy()
    found = estimates.loc[place, "drawn"]
    expected = [draws.mean(), *np.quantile(draws, [0.025, 0.975])]
    np.testing.assert_allclose(found[["estimate", "lower", "upper"]], expected)
    fit = compared.fits["map"]
    mode = fit.params["emissions.weights"][1, 0].item()
    error = fit.standard_errors(train)["emissions.weights"].values[1, 0]
    found = estimates.loc[place, "map"]
    expected = [mode, mode - 1.959964 * error, mode + 1.959964 * error]
    np.testing.assert_allclose(found[["estimate", "lower", "upper"]], expected)


def test_states_of_all_fits_are_numbered_as_in_the_first(compared):
    drawn, other = compared.fits["drawn"], compared.fits["flipped"]
    for name, value in drawn.params.items():
        torch.testing.assert_close(other.params[name], value)
        torch.testing.assert_close(
            other.posterior.draws[name], drawn.posterior.draws[name]
        )
    estimates = compared.estimates
    np.testing.assert_allclose(estimates["flipped"], estimates["drawn"])
    np.testing.assert_allclose(
        estimates["drawn"]["estimate"], estimates["map"]["estimate"], atol=0.1
    )


def test_reference_rows_are_no_parameters():
    data = clear_data("categorical", lengths=(40, 30))
    found = gh.compare_methods(penalised("categorical"), data, ["map"], **QUICK)
    # Two free classes of two covariates, one move of two: each for two states.
    assert len(found.estimates) == 2 * 2 * 2 + 2 * 2 + 2
    assert found.estimates.loc["emissions.weights"].index.unique("class").tolist() == [
        1,
        2,
    ]
    assert found.table["held_out_bits_per_step"].isna().all()


def test_the_split_is_the_same_for_a_seed_and_of_whole_sessions(model, data):
    options = {"held_out": 0.4, **QUICK}
    sessions = [
        gh.compare_methods(model, data, ["em"], seed=seed, **options)
        .fits["em"]
        .labels.sessions
        for seed in (2, 2, 5)
    ]
    assert sessions[0] == sessions[1] != sessions[2]
    assert list(sessions[0]) == sorted(sessions[0])


def test_data_may_be_given_to_be_held_out(model, data):
    train, test = data.subset([0, 2]), data.subset([1])
    found = gh.compare_methods(model, train, ["em"], held_out=test, **QUICK)
    assert found.train is train and found.test is test
    expected = found.fits["em"].score(test)
    row = found.table.loc["em"]
    assert row["held_out_nats_per_step"] == pytest.approx(expected)
    bits = (expected - frequent(train, test)) / math.log(2)
    assert row["held_out_bits_per_step"] == pytest.approx(bits)


def test_what_cannot_be_scored_is_a_note(data):
    model = gh.GLMHMM(2, gh.Bernoulli(RIDGE), initial=gh.Initial(per_session=True))
    row = gh.compare_methods(model, data, ["em"], held_out=0.4, **QUICK).table.loc["em"]
    assert math.isnan(row["held_out_bits_per_step"]) and row["seconds"] > 0
    assert "held out cannot be scored: data must hold sessions" in row["message"]


def test_methods_have_labels_of_their_own(model, data):
    short = gh.EM(num_iters=2, tol=0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = gh.compare_methods(model, data, [short, "em"], **QUICK)
    assert found.table.index.tolist() == ["em", "em (2)"]
    assert found.table["status"].tolist() == ["MAX_ITERS", "CONVERGED"]
    found = gh.compare_methods(model, data, {"one step": short}, **QUICK)
    assert list(found.fits) == ["one step"]
    assert found.estimates.columns.unique("method").tolist() == ["one step"]


def test_after_an_interrupt_no_method_is_begun(model, data):
    found = gh.compare_methods(model, data, [Stopped(), "em"], **QUICK)
    assert found.table["status"].tolist() == ["INTERRUPTED"]


def test_a_model_of_the_users_own_is_compared_too():
    animals = [clear_data(lengths=(9, 1), seed=1), clear_data(lengths=(8,), seed=2)]
    found = gh.compare_methods(two_animals, animals, ["map"], held_out=animals, **QUICK)
    fit = found.fits["map"]
    row = found.table.loc["map"]
    assert row["held_out_nats_per_step"] == pytest.approx(fit.score(animals))
    assert math.isnan(row["held_out_bits_per_step"])
    assert "user's own tells no family" in row["message"]
    assert len(found.estimates) == 6


@pytest.mark.parametrize(
    "change, error, sentence",
    [
        ({"methods": ["en"]}, ValueError, "methods must be one of em, map.*'en'"),
        ({"methods": "em"}, ValueError, "methods must be a list.*'em'"),
        ({"held_out": 1.5}, ValueError, "share between 0 and 1.*1.5 of 5"),
        ({"held_out": 1}, ValueError, "share between 0 and 1.*1 of 5"),
        ({"model": two_animals, "data": [], "held_out": 0.5}, TypeError, "its own"),
        (
            {"model": gh.GLMHMM(2, gh.Categorical(3, RIDGE)), "data": 3},
            TypeError,
            "Seq",
        ),
    ],
)
def test_wrong_arguments_are_refused_before_any_fit(
    model, data, change, error, sentence
):
    arguments = {"model": model, "data": data, **QUICK, **change}
    with pytest.raises(error, match=sentence):
        gh.compare_methods(**arguments)
