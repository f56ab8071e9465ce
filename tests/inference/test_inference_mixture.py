"""What draws say of data together, against every draw taken by itself."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from families import EMISSIONS, hidden_markov, random_data, random_params
from inference_cases import clear_data, penalised, two_animals
from made_fits import made_fit, with_posterior

import glmhmm_pyro as gh

EXACT = {"rtol": 0, "atol": 1e-9}
LENGTHS = (12, 1, 7)


@pytest.fixture(scope="module", params=[False, True], ids=["seen", "masked"])
def case(request):
    """A fit with 12 draws, the site at each of them, the data."""
    data = clear_data("categorical", lengths=LENGTHS, mask=request.param)
    model = penalised("categorical")
    model.bind(data)
    fit = made_fit(model, data, random_params(model, data))
    fit = with_posterior(fit, data, num_draws=6, scale=0.7)
    draws = fit.posterior.flattened()
    sites = [
        hidden_markov(fit.model, data, {n: v[i] for n, v in draws.items()})
        for i in range(12)
    ]
    return fit, sites, data


def by_draw(sites, data, name):
    """A quantity at every draw, shape (draws, steps, ...)."""
    return torch.stack([getattr(site, name)(data.emissions) for site in sites]).numpy()


def past_weights(sites, data, back):
    """Weights (draws, steps) by the past of the session up to ``back`` steps before."""
    each = by_draw(sites, data, "log_prob_per_step")
    weights = np.zeros_like(each)
    first = 0
    for length in LENGTHS:
        for t in range(length):
            past = each[:, first : first + max(t + 1 - back, 0)]
            weights[:, first + t] = np.exp(past.sum(1))
        first += length
    return weights / weights.sum(0)


def test_probabilities_of_states_are_averaged_over_draws(case):
    fit, sites, data = case
    decoded = fit.decode(data)
    for name, weights in (
        ("filtered_probs", past_weights(sites, data, back=0)),
        ("predicted_probs", past_weights(sites, data, back=1)),
        ("smoothed_probs", np.full((12, sum(LENGTHS)), 1 / 12)),
    ):
        expected = (weights[..., None] * by_draw(sites, data, name)).sum(0)
        np.testing.assert_allclose(decoded[name].values, expected, **EXACT)
    assert decoded["smoothed_probs"].attrs["parameters"] == "mean over 12 of 12 draws"
    assert "before the step" in decoded["predicted_probs"].attrs["parameters"]


def test_predictions_multiply_to_the_marginal_score(case):
    fit, sites, data = case
    log_probs = fit.decode(data).log_prob_per_step.values
    until = np.exp(by_draw(sites, data, "log_prob_per_session")).mean(0)
    sums = np.add.reduceat(log_probs, np.cumsum((0,) + LENGTHS[:-1]))
    np.testing.assert_allclose(sums, np.log(until), **EXACT)
    observed = len(log_probs) if data.mask is None else int(data.mask.sum())
    assert fit.score(data) == pytest.approx(log_probs.sum() / observed, abs=1e-12)


@pytest.mark.parametrize("steps_ahead", [1, 3, 30])
def test_emissions_are_predicted_by_the_draws_that_told_the_past(case, steps_ahead):
    fit, sites, data = case
    weights = past_weights(sites, data, back=steps_ahead)
    each = []
    for site in sites:
        ahead = site.predicted_probs(data.emissions, steps_ahead)
        each.append(site.expected_emission(ahead).numpy())
    expected = (weights[..., None] * np.stack(each)).sum(0)
    found = fit.predict(data, steps_ahead=steps_ahead)
    np.testing.assert_allclose(found.values, expected, **EXACT)
    assert f"{steps_ahead} steps before" in found.attrs["parameters"]
    np.testing.assert_allclose(found.sum("class"), 1.0, **EXACT)


def test_the_prediction_of_a_class_is_its_probability(case):
    fit, _, data = case
    if data.mask is not None:
        pytest.skip("the emissions must be seen")
    found = fit.predict(data).values[np.arange(sum(LENGTHS)), data.emissions.numpy()]
    log_probs = fit.decode(data).log_prob_per_step.values
    np.testing.assert_allclose(np.log(found), log_probs, **EXACT)


def test_draws_one_by_one_or_together_give_the_same(case, monkeypatch):
    fit, _, data = case
    together = fit.decode(data), fit.predict(data, steps_ahead=2)
    monkeypatch.setattr("glmhmm_pyro.inference.program.program._TABLE_BYTES", 1)
    alone = fit.decode(data), fit.predict(data, steps_ahead=2)
    for one, other in zip(together, alone):
        np.testing.assert_allclose(
            one.to_array() if one is together[0] else one,
            other.to_array() if other is alone[0] else other,
            **EXACT,
        )


def test_the_path_is_that_of_the_point_that_stands_for_the_draws(case):
    fit, _, data = case
    decoded = fit.decode(data)
    path = hidden_markov(fit.model, data, fit.params).viterbi_states(data.emissions)
    np.testing.assert_array_equal(decoded.viterbi_states, path)
    said = decoded.viterbi_states.attrs["parameters"]
    assert said == "fit.params, the mean of the draws"
    first = {name: value[0, 0] for name, value in fit.draws.items()}
    other = replace(fit, params=first).decode(data).viterbi_states
    assert other.attrs["parameters"].endswith("draw of the highest log-joint")


def test_draws_that_are_numbered_otherwise_are_averaged_by_label(case):
    fit, _, data = case
    turned = fit.permuted([1, 0])
    orders = torch.arange(2).repeat(2, 6, 1)
    orders[1] = orders[1].flip(-1)
    mixed = {n: v.clone() for n, v in fit.draws.items()}
    for name in mixed:
        mixed[name][1] = turned.draws[name][1]
    posterior = replace(fit.posterior, draws=mixed, by_label=orders)
    for name, values in replace(fit, posterior=posterior).decode(data).items():
        np.testing.assert_allclose(values, fit.decode(data)[name], **EXACT)
    # Two draws: every path is at one of them, and numbered as the other.
    paths = replace(fit, posterior=posterior).sample_states(data, 400)
    error = np.sqrt(0.25 / 400)
    means = fit.decode(data).smoothed_probs.values[:, 1]
    # 20 proportions, each 6 standard errors away once in 5e8.
    assert np.abs(paths.mean(0) - means).max() < 6 * error


def test_some_draws_are_spread_over_all(case):
    fit, sites, data = case
    few = fit.decode(data, num_draws=4)
    expected = by_draw([sites[i] for i in (0, 3, 6, 9)], data, "smoothed_probs").mean(0)
    np.testing.assert_allclose(few.smoothed_probs.values, expected, **EXACT)
    assert few.smoothed_probs.attrs["parameters"] == "mean over 4 of 12 draws"
    everything = fit.predict(data, num_draws=100).values
    np.testing.assert_allclose(everything, fit.predict(data).values, **EXACT)
    for wrong in (0, 1.5):
        with pytest.raises(ValueError, match="num_draws must be .* 1, got"):
            fit.decode(data, num_draws=wrong)


@pytest.mark.parametrize("family", ["normals", "counts", "gaussian"])
def test_families_are_averaged_with_the_axes_of_their_outputs(family):
    data = random_data(family)
    model = gh.GLMHMM(3, EMISSIONS[family]())
    model.bind(data)
    fit = made_fit(model, data, random_params(model, data))
    fit = with_posterior(fit, data, num_draws=3)
    draws, log_weights, means = fit.posterior.flattened(), [], []
    for i in range(6):
        site = hidden_markov(model, data, {n: v[i] for n, v in draws.items()})
        y = data.emissions.double()
        log_weights.append(site.log_prob_per_step(y).cumsum(0))
        means.append(site.expected_emission(site.predicted_probs(y)))
    length = int(data.lengths[0])
    before = torch.stack(log_weights)[:, : length - 1].softmax(0)
    first = torch.full((6, 1), 1 / 6, dtype=torch.float64)
    weights = torch.cat([first, before], 1)
    each = torch.stack(means)[:, :length]
    weights = weights.reshape(weights.shape + (1,) * (each.dim() - 2))
    found = np.asarray(fit.predict(data).values)[:length]
    np.testing.assert_allclose(found, (weights * each).sum(0), **EXACT)


def test_a_model_of_ones_own_is_averaged_at_every_site():
    animals = [clear_data(lengths=(9, 1), seed=1), clear_data(lengths=(8,), seed=2)]
    fit = gh.fit(two_animals, animals, "map", num_restarts=1, progress=False)
    fit = with_posterior(fit, animals, num_draws=4)
    draws, each = fit.posterior.flattened(), []
    for i in range(8):
        params = {name: value[i] for name, value in draws.items()}
        hidden = replace(fit, posterior=None, params=params).distribution(
            animals, site="bob"
        )
        each.append(hidden.smoothed_probs(animals[1].emissions.double()))
    found = fit.decode(animals, site="bob").smoothed_probs.values
    np.testing.assert_allclose(found, torch.stack(each).mean(0), **EXACT)


def test_draws_that_call_the_past_impossible_count_no_more():
    data = gh.Sequences([0, 1, 0, 0], torch.ones(4, 1), lengths=[2, 2])
    model = gh.GLMHMM(2, gh.Categorical(2), gh.Stationary(), gh.Initial())
    model.bind(data)
    params = {
        "initial.probs": [1.0, 0.0],
        "transitions.probs": [[1.0, 0.0], [0.0, 1.0]],
        "emissions.weights": [[[-1e4]], [[0.0]]],
    }
    fit = made_fit(model, data, params)
    draws = {n: v.expand((1, 3) + v.shape).clone() for n, v in fit.params.items()}
    draws["emissions.weights"][0, 1] = -0.5
    posterior = gh.inference.Posterior(draws, {"log_joint": np.zeros((1, 3))})
    decoded = replace(fit, posterior=posterior).decode(data)
    half = float(torch.tensor(-0.5, dtype=torch.float64).sigmoid())
    expected = [(2 + (1 - half)) / 3, half * (1 - half) / (2 + (1 - half))]
    np.testing.assert_allclose(
        np.exp(decoded.log_prob_per_step.values[:2]), expected, **EXACT
    )
    assert np.isfinite(decoded.log_prob_per_step.values).all()
