"""fit and Fit: starts, statuses, reproducibility, and what a fit can do."""

import dataclasses
import warnings

import numpy as np
import pytest
import torch
from families import (
    Gaussian,
    Poisson,
    hidden_markov,
    path_log_joints,
    random_data,
    with_sets,
)
from inference_cases import RIDGE, clear_data, penalised
from torch.distributions import Normal

import glmhmm_pyro as gh

QUICK = {"num_restarts": 2, "progress": False, "tol": 1e-6}
FEW_STEPS = {"num_restarts": 1, "progress": False, "num_iters": 3}

# A few steps do not converge, and the tests that take them do not mind.
pytestmark = pytest.mark.filterwarnings("ignore::glmhmm_pyro.ConvergenceWarning")


@pytest.fixture(scope="module")
def data():
    return clear_data("categorical", mask=True)


@pytest.fixture(scope="module")
def fitted(data):
    return gh.fit(penalised("categorical"), data, keep_weights=True, **QUICK)


def same_params(first, second):
    return all(torch.equal(first.params[n], second.params[n]) for n in first.params)


def test_the_same_seed_gives_the_same_fit_and_another_seed_another(data, fitted):
    again = gh.fit(penalised("categorical"), data, keep_weights=True, **QUICK)
    assert same_params(again, fitted)
    for restart, other in zip(again.restarts, fitted.restarts):
        np.testing.assert_array_equal(restart.log_joints, other.log_joints)
    other = gh.fit(penalised("categorical"), data, seed=1, **QUICK)
    assert other.restarts[0].log_joints[0] != fitted.restarts[0].log_joints[0]


def test_fits_leave_the_global_generators_alone(data, fitted):
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    gh.fit(penalised("categorical"), data, init="kmeans", **FEW_STEPS)
    fitted.simulate(data), fitted.sample_states(data, 2), fitted.decode(data)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()
    assert torch.get_default_dtype() is torch.float32


def test_fits_leave_the_users_model_and_data_unchanged(data):
    model = penalised("categorical")
    before = {k: v for k, v in data.__dict__.items()}
    copies = {k: v.clone() for k, v in before.items() if isinstance(v, torch.Tensor)}
    gh.fit(model, data, **FEW_STEPS)
    assert model.emissions.num_features is None and not list(model.parameters())
    assert data.__dict__.keys() == before.keys()
    assert all(torch.equal(data.__dict__[k], v) for k, v in copies.items())


def test_too_few_iterations_end_with_a_warning(data):
    with pytest.warns(gh.ConvergenceWarning, match="not yet converged.*num_iters"):
        fit = gh.fit(penalised("categorical"), data, num_iters=2, **{**QUICK, "tol": 0})
    assert fit.status is gh.Status.MAX_ITERS
    assert all(len(r.log_joints) == 3 for r in fit.restarts)


def test_separable_data_end_with_a_status_that_says_so():
    x = torch.linspace(-2, 2, 200).double()[torch.randperm(200, generator=_rng(0))]
    data = gh.Sequences((x > 0).long(), torch.stack([x, torch.ones_like(x)], -1))
    with pytest.warns(gh.ConvergenceWarning, match="no finite maximum.*without error"):
        fit = gh.fit(gh.GLMHMM(1, gh.Bernoulli()), data, num_iters=200, **QUICK)
    assert fit.status is gh.Status.UNBOUNDED and "state 0" in fit.unbounded[0]
    assert np.isfinite(fit.log_joint) and torch.isfinite(_weights(fit)).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ridge = gh.fit(gh.GLMHMM(1, gh.Bernoulli(prior=RIDGE)), data, **QUICK)
    assert ridge.status is gh.Status.CONVERGED and ridge.unbounded == ()


def test_a_class_never_seen_in_a_state_ends_with_a_status_that_says_so():
    data = clear_data("bernoulli", lengths=(200,))
    with pytest.warns(gh.ConvergenceWarning, match=r"state 0 never are \[2\]"):
        fit = gh.fit(gh.GLMHMM(1, gh.Categorical(3)), data, **QUICK)
    assert fit.status is gh.Status.UNBOUNDED


def test_an_interrupt_returns_the_best_so_far(data, monkeypatch):
    from glmhmm_pyro.inference.steps.steps import ComponentSteps

    calls, expect = [], ComponentSteps.expect

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return expect(*arguments)

    monkeypatch.setattr(ComponentSteps, "expect", interrupted)
    with pytest.warns(gh.ConvergenceWarning, match="interrupted.*init=fit.params"):
        fit = gh.fit(penalised("categorical"), data, **QUICK)
    assert fit.status is gh.Status.INTERRUPTED
    assert all(len(restart.log_joints) == 3 for restart in fit.restarts)
    joints = [restart.log_joints[-1] for restart in fit.restarts]
    assert fit.log_joint == max(joints) == joints[fit.best]


def test_an_interrupt_before_the_first_e_step_is_not_swallowed(data, monkeypatch):
    from glmhmm_pyro.inference.steps.steps import ComponentSteps

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(ComponentSteps, "expect", interrupted)
    with pytest.raises(KeyboardInterrupt):
        gh.fit(penalised("categorical"), data, **QUICK)


def test_the_best_restart_is_kept_and_the_others_reported(data, fitted):
    ends = [restart.log_joints[-1] for restart in fitted.restarts]
    assert fitted.log_joint == max(ends) == ends[fitted.best]
    report = fitted.restart_report()
    assert report["log_joint"].is_monotonic_decreasing
    assert report.loc[0, "start"] == fitted.best and report.loc[0, "below_best"] == 0
    assert fitted.num_agreeing == report["agrees"].sum() >= 1
    history = fitted.history
    assert history["log_joint"].iloc[-1] == fitted.log_joint
    assert history["log_likelihood"].iloc[-1] == fitted.log_likelihood
    assert len(fitted.weights) == len(history)
    assert torch.equal(
        fitted.weights[-1]["emissions.weights"], fitted.params["emissions.weights"]
    )


def test_a_fit_is_frozen_and_says_what_it_is(fitted):
    with pytest.raises(dataclasses.FrozenInstanceError):
        fitted.log_likelihood = 0.0
    assert "2 states by em" in repr(fitted) and fitted.status.sentence in repr(fitted)


def test_parameters_are_named_and_have_their_reference_rows(data, fitted):
    parameters = fitted.parameters
    weights = parameters["emissions.weights"]
    assert weights.dims == ("state", "class", "covariate")
    assert list(weights["covariate"].values) == list(data.covariate_names)
    assert weights.shape == (2, 3, 2) and (weights.sel({"class": 0}) == 0).all()
    moves = parameters["transitions.weights"]
    assert moves.dims == ("origin", "destination", "covariate")
    assert list(moves["covariate"].values) == list(data.transition_covariate_names)
    assert (np.diagonal(moves.values) == 0).all()
    table = fitted.summary()
    row = table.query(
        "parameter == 'emissions.weights' and state == 1 and covariate == 'x0'"
    )
    found = row.set_index("class")["estimate"].loc[2]
    assert found == weights.sel({"state": 1, "class": 2, "covariate": "x0"}).item()
    assert len(table) == sum(array.size for array in parameters.values())


def test_classes_and_sessions_keep_the_names_of_the_data():
    data = clear_data(lengths=(60, 60))
    named = data.replace(class_names=["left", "right"], session_names=["mon", "tue"])
    model = gh.GLMHMM(
        2, gh.Bernoulli(prior=RIDGE), initial=gh.Initial(per_session=True)
    )
    fit = gh.fit(model, named, **QUICK)
    assert list(fit.parameters["initial.probs"]["session"].values) == ["mon", "tue"]
    predicted = fit.predict(named)
    assert list(predicted["class"].values) == ["left", "right"]
    assert list(fit.decode(named)["session"].values[[0, 60]]) == ["mon", "tue"]


def test_free_parameters_are_counted_without_references():
    model = penalised("categorical", "stationary", states=3)
    fit = gh.fit(model, clear_data("categorical"), **FEW_STEPS)
    assert fit.num_parameters == 3 * 2 * 2 + 3 * 2 + 2
    gaussian = gh.fit(gh.GLMHMM(2, Gaussian()), _gaussian(), **FEW_STEPS)
    assert gaussian.num_parameters == 2 * 2 + 2 + 2 * 1 + 1


def _gaussian():
    return clear_data("gaussian", lengths=(60, 60))


def _weights(fit):
    return fit.params["emissions.weights"]


def _rng(seed):
    return torch.Generator().manual_seed(seed)


def test_decoding_is_that_of_the_distribution(data, fitted):
    decoded = fitted.decode(data)
    hidden = hidden_markov(fitted.model, data, fitted.params)
    y = data.emissions
    for name in ("filtered_probs", "predicted_probs", "smoothed_probs"):
        np.testing.assert_allclose(decoded[name], getattr(hidden, name)(y))
        np.testing.assert_allclose(decoded[name].sum("state"), 1.0)
    np.testing.assert_array_equal(decoded["viterbi_states"], hidden.viterbi_states(y))
    total = decoded["log_prob_per_step"].sum().item()
    assert total == pytest.approx(fitted.log_likelihood)


def test_sampled_paths_are_those_of_the_posterior(data, fitted):
    paths = fitted.sample_states(data, num_samples=2000, seed=3)
    assert paths.shape == (2000, data.num_steps)
    smoothed = fitted.decode(data)["smoothed_probs"].values[:, 1]
    # The largest of 120 means of 2000 draws is 5 standard errors away once in 1e4.
    error = np.sqrt(smoothed * (1 - smoothed) / 2000) + 1e-3
    assert (np.abs(paths.mean(0) - smoothed) < 5.0 * error).all()
    assert (
        fitted.sample_states(data, 3, seed=3) == fitted.sample_states(data, 3, seed=3)
    ).all()
    with pytest.raises(ValueError, match="num_samples must be at least 1, got 0"):
        fitted.sample_states(data, 0)


@pytest.mark.parametrize("steps_ahead", [1, 2, 4, 9])
def test_predictions_are_sums_over_paths(steps_ahead):
    data = random_data(
        "categorical", mask=(True, True, False, True, True, False, True, True)
    )
    fit = gh.fit(penalised("categorical"), data, **FEW_STEPS)
    predicted = fit.predict(data, steps_ahead=steps_ahead)
    np.testing.assert_allclose(predicted.sum("class"), 1.0)
    for session in range(data.num_sessions):
        rows = data.session_rows(session)
        for t in range(rows.stop - rows.start):
            first = max(t - steps_ahead + 1, 0)
            keep = torch.ones(data.num_steps, dtype=torch.bool)
            keep[rows.start + first : rows.stop] = False
            log_joints = []
            for label in range(3):
                y = data.emissions.clone()
                y[rows.start + t] = label
                seen = keep.clone()
                seen[rows.start + t] = True
                if data.mask is not None:
                    seen &= data.mask | (torch.arange(data.num_steps) == rows.start + t)
                changed = data.replace(emissions=y, mask=None)._derive(mask=seen)
                _, paths = path_log_joints(fit.model, changed, fit.params, session)
                log_joints.append(paths.logsumexp(0))
            expected = torch.stack(log_joints).softmax(0)
            np.testing.assert_allclose(predicted[rows.start + t], expected, rtol=1e-9)


def test_predictions_are_of_a_whole_number_of_steps_ahead(data, fitted):
    for wrong in (0, -1, 1.5):
        with pytest.raises(ValueError, match=f"steps_ahead .* 1, got {wrong}"):
            fitted.predict(data, steps_ahead=wrong)


def test_predictions_of_numbers_are_their_expectations():
    data = _gaussian()
    fit = gh.fit(gh.GLMHMM(2, Gaussian()), data, **FEW_STEPS)
    predicted = fit.predict(data)
    assert predicted.dims == ("step",)
    states = fit.decode(data)["predicted_probs"].values
    means = (data.covariates @ _weights(fit).T).numpy()
    np.testing.assert_allclose(predicted, (states * means).sum(1))


def test_simulations_keep_lengths_covariates_and_types(data, fitted):
    simulated, states = fitted.simulate(data, seed=2)
    assert torch.equal(simulated.lengths, data.lengths) and states.shape == (120,)
    assert torch.equal(simulated.covariates, data.covariates)
    assert simulated.emissions.dtype == data.emissions.dtype
    assert simulated.mask is None
    assert set(np.unique(states)) <= {0, 1}
    again, _ = fitted.simulate(data, seed=2)
    other, _ = fitted.simulate(data, seed=3)
    assert torch.equal(simulated.emissions, again.emissions)
    assert not torch.equal(simulated.emissions, other.emissions)


def test_the_score_is_the_log_likelihood_per_observed_step(data, fitted):
    observed = int(data.mask.sum())
    assert fitted.score(data) == pytest.approx(fitted.log_likelihood / observed)
    assert fitted.log_likelihood_per_step == pytest.approx(fitted.score(data))
    part = data.subset([1, 3])
    expected = hidden_markov(fitted.model, part, fitted.params).log_prob(part.emissions)
    assert fitted.score(part) == pytest.approx(expected.item() / int(part.mask.sum()))


@pytest.mark.parametrize("filler", [0, 2, 9])
def test_values_at_masked_steps_change_nothing_a_fit_gives(data, fitted, filler):
    values = torch.where(data.mask, data.emissions, filler)
    changed = data._derive(emissions=values)
    fit = gh.fit(penalised("categorical"), changed, keep_weights=True, **QUICK)
    assert same_params(fit, fitted) and fit.log_joint == fitted.log_joint
    assert fit.score(changed) == fitted.score(data)
    assert fit.decode(changed).equals(fitted.decode(data))
    assert fit.predict(changed).equals(fitted.predict(data))


def test_a_wholly_masked_session_is_legal():
    data = clear_data(lengths=(80, 20, 60))
    mask = torch.ones(160, dtype=torch.bool)
    mask[80:100] = False
    masked = data.with_mask(mask)
    fit = gh.fit(gh.GLMHMM(2, gh.Bernoulli(prior=RIDGE)), masked, **QUICK)
    assert fit.decode(masked)["log_prob_per_step"][80:100].sum() == pytest.approx(0)
    without = fit.distribution(masked.subset([0, 2]))
    expected = without.log_prob(masked.subset([0, 2]).emissions).item()
    assert fit.log_likelihood == pytest.approx(expected)


@pytest.mark.parametrize("family", [Poisson, Gaussian])
def test_a_users_family_is_fitted_like_any_other(family):
    name = family.__name__.lower()
    data = clear_data(name, lengths=(70, 50))
    fit = gh.fit(gh.GLMHMM(2, family()), data, num_iters=30, **QUICK)
    assert fit.status is gh.Status.CONVERGED
    assert np.diff(fit.history["log_joint"]).min() > -1e-9
    simulated, _ = fit.simulate(data)
    assert simulated.num_steps == data.num_steps
    assert with_sets([fit.params])["emissions.weights"].shape == (1, 2, 2)


def test_an_informative_prior_moves_the_fit_towards_it():
    data = clear_data(lengths=(100,))
    weights = [
        _weights(
            gh.fit(gh.GLMHMM(1, gh.Bernoulli(prior=Normal(0.0, s))), data, **QUICK)
        )
        for s in (0.01, 1.0)
    ]
    assert weights[0].abs().max() < 0.05 < weights[1].abs().max()


def test_single_precision_data_are_fitted_to_single_precision(data):
    single = data.to(dtype=torch.float32)
    fit, fitted = (
        gh.fit(penalised("categorical"), d, **QUICK | {"tol": 1e-9})
        for d in (single, data)
    )
    assert fit.log_joint == pytest.approx(fitted.log_joint, rel=1e-5)
    assert fit.params["emissions.weights"].dtype == torch.float64
    assert fit.score(single) == pytest.approx(fitted.score(data), rel=1e-5)
