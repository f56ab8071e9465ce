"""Fits with draws of the parameters: their summary, their score, their files."""

import math
from dataclasses import replace

import numpy as np
import pyro
import pytest
import torch
from families import Gaussian, hidden_markov
from inference_cases import clear_data, penalised, two_animals
from made_fits import made_fit, with_posterior

import glmhmm_pyro as gh

QUICK = {"num_restarts": 1, "progress": False, "num_iters": 3}
pytestmark = pytest.mark.filterwarnings("ignore::glmhmm_pyro.ConvergenceWarning")


@pytest.fixture(scope="module")
def data():
    return clear_data("categorical", lengths=(30, 1, 19), mask=True)


@pytest.fixture(scope="module")
def drawn(data):
    return with_posterior(gh.fit(penalised("categorical"), data, **QUICK), data)


@pytest.fixture(scope="module")
def animals():
    return [clear_data(lengths=(9, 1), seed=1), clear_data(lengths=(8,), seed=2)]


@pytest.fixture(scope="module")
def drawn_animals(animals):
    fit = gh.fit(two_animals, animals, "map", num_restarts=1, progress=False)
    return with_posterior(fit, animals, num_draws=4)


def test_a_summary_of_draws_has_their_means_spreads_and_quantiles(drawn):
    table = drawn.summary()
    assert list(table.columns[-4:]) == ["estimate", "standard_error", "lower", "upper"]
    assert table.attrs["level"] == 0.95
    row = table.query(
        "parameter == 'emissions.weights' and state == 1 and covariate == 'x0'"
    ).set_index("class")
    # Transitions have no state, and leave the numbers of states whole all the same.
    assert type(row["state"].iloc[0]) is int
    # Class 0 is the reference and has no free weights.
    values = drawn.posterior.draws["emissions.weights"][:, :, 1, 1, 0].flatten().numpy()
    assert row.loc[2, "estimate"] == pytest.approx(values.mean(), rel=1e-12)
    assert row.loc[2, "standard_error"] == pytest.approx(values.std(ddof=1), rel=1e-12)
    low, high = np.quantile(values, [0.025, 0.975])
    assert row.loc[2, "lower"] == pytest.approx(low, rel=1e-12)
    assert row.loc[2, "upper"] == pytest.approx(high, rel=1e-12)
    assert (row.loc[0, ["estimate", "standard_error", "lower", "upper"]] == 0).all()


def test_a_summary_without_draws_has_no_spreads(data):
    fit = gh.fit(penalised("categorical"), data, **QUICK)
    assert fit.summary().columns[-1] == "estimate"
    assert fit.draws["initial.probs"].shape == (1, 1, 2)
    assert torch.equal(fit.draws["initial.probs"][0, 0], fit.params["initial.probs"])


def test_the_marginal_score_averages_likelihoods_of_sessions_over_draws(data, drawn):
    total = 0.0
    draws = drawn.posterior.flattened()
    for session in data:
        likelihoods = [
            hidden_markov(drawn.model, session, {n: v[i] for n, v in draws.items()})
            .log_prob(session.emissions)
            .exp()
            .item()
            for i in range(60)
        ]
        total += math.log(np.mean(likelihoods))
    assert drawn.score(data, marginal=True) == pytest.approx(
        total / int(data.mask.sum()), rel=1e-12
    )
    assert drawn.score(data) == drawn.score(data, marginal=True)
    at_mean = hidden_markov(drawn.model, data, drawn.params).log_prob(data.emissions)
    assert drawn.score(data, marginal=False) == pytest.approx(
        at_mean.item() / int(data.mask.sum())
    )


def test_the_marginal_score_of_an_estimate_is_its_score(data):
    fit = gh.fit(penalised("categorical"), data, **QUICK)
    assert fit.score(data, marginal=True) == pytest.approx(fit.score(data), rel=1e-13)


def test_draws_are_evaluated_alike_together_and_one_by_one(data, drawn, monkeypatch):
    together = drawn.score(data, marginal=True)
    for table_bytes in (1, 1 << 18):
        monkeypatch.setattr(
            "glmhmm_pyro.inference.program.program._TABLE_BYTES", table_bytes
        )
        assert drawn.score(data, marginal=True) == pytest.approx(together, rel=1e-13)


def test_a_family_that_knows_no_parameter_sets_is_evaluated_draw_by_draw():
    data = clear_data("gaussian", lengths=(20, 10))
    params = {
        "initial.probs": [0.5, 0.5],
        "transitions.probs": [[0.9, 0.1], [0.2, 0.8]],
        "emissions.weights": [[1.0, 0.5], [-1.0, 0.0]],
        "emissions.scale": [1.0, 0.7],
    }
    fit = with_posterior(made_fit(gh.GLMHMM(2, Gaussian()), data, params), data)
    draws = fit.posterior.flattened()
    by_session = torch.stack(
        [
            hidden_markov(
                fit.model, data, {n: v[i] for n, v in draws.items()}
            ).log_prob_per_session(data.emissions)
            for i in range(60)
        ]
    )
    expected = by_session.exp().mean(0).log().sum().item() / data.num_steps
    assert fit.score(data, marginal=True) == pytest.approx(expected, rel=1e-12)


def test_the_marginal_score_of_several_sites_takes_all_their_sessions(
    animals, drawn_animals
):
    draws = drawn_animals.posterior.flattened()
    total = 0.0
    for name, data in zip(("ann", "bob"), animals):
        per_draw = []
        for i in range(8):
            values = {n: v[i] for n, v in draws.items()}
            model = pyro.poutine.condition(two_animals, data=values)
            site = pyro.poutine.trace(model).get_trace(animals).nodes[name]
            per_draw.append(site["fn"].log_prob_per_session(site["value"]))
        total += torch.stack(per_draw).exp().mean(0).log().sum().item()
    found = drawn_animals.score(animals, marginal=True)
    assert found == pytest.approx(total / 18, rel=1e-12)


def same_posterior(first, second):
    assert first.draws.keys() == second.draws.keys()
    assert all(torch.equal(first.draws[n], second.draws[n]) for n in first.draws)
    assert first.stats.keys() == second.stats.keys()
    for name, values in first.stats.items():
        assert values.dtype == second.stats[name].dtype
        np.testing.assert_array_equal(values, second.stats[name])
    assert first.num_relabelled == second.num_relabelled


def test_a_loaded_fit_has_the_same_draws(tmp_path, data, drawn):
    drawn.save(tmp_path / "fit.nc")
    loaded = gh.load(tmp_path / "fit.nc")
    same_posterior(loaded.posterior, drawn.posterior)
    assert loaded.posterior.elbo is None
    assert loaded.summary().equals(drawn.summary())
    assert loaded.score(data, marginal=True) == drawn.score(data, marginal=True)


def test_a_loaded_fit_has_the_same_bound(tmp_path, data):
    fit = gh.fit(penalised("categorical"), data, **QUICK)
    draws = {name: value[None, None] for name, value in fit.params.items()}
    bound = np.array([-3.0, -2.5])
    fit = replace(fit, posterior=gh.inference.Posterior(draws, elbo=bound))
    fit.save(tmp_path / "fit.nc")
    loaded = gh.load(tmp_path / "fit.nc")
    same_posterior(loaded.posterior, fit.posterior)
    np.testing.assert_array_equal(loaded.posterior.elbo, bound)


def test_a_fit_of_a_users_own_model_needs_the_model(tmp_path, animals, drawn_animals):
    drawn_animals.save(tmp_path / "fit.nc")
    for model in (None, gh.GLMHMM(2, gh.Bernoulli())):
        with pytest.raises(ValueError, match="'two_animals'"):
            gh.load(tmp_path / "fit.nc", model=model)
    loaded = gh.load(tmp_path / "fit.nc", model=two_animals)
    same_posterior(loaded.posterior, drawn_animals.posterior)
    assert loaded.score(animals) == drawn_animals.score(animals)
    with pytest.raises(ValueError, match="model must be a GLMHMM.*two_animals"):
        fit = gh.fit(gh.GLMHMM(2, gh.Bernoulli()), animals[0], **QUICK)
        fit.save(tmp_path / "other.nc")
        gh.load(tmp_path / "other.nc", model=two_animals)
