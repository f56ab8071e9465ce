"""Fits and priors in ArviZ: numbers by their definition, and ArviZ works on them."""

from dataclasses import replace

import matplotlib
import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from arviz_faces import (
    IS_TREE,
    check_pictures,
    forest_labels,
    group_of,
    groups_of,
    num_traces,
    pointwise,
)
from families import hidden_markov
from inference_cases import RIDGE, clear_data, penalised, two_animals
from made_fits import made_fit, with_posterior
from torch.distributions import Dirichlet

import glmhmm_pyro as gh
from glmhmm_pyro.inference import Posterior
from glmhmm_pyro.inference.draws import arviz_versions
from glmhmm_pyro.inference.fits.export import GROUPS

az = arviz_versions.load_arviz()
matplotlib.use("Agg")

QUICK = {"num_restarts": 1, "progress": False, "num_iters": 3}
EVEN = Dirichlet(torch.full((2,), 2.0))
pytestmark = pytest.mark.filterwarnings(
    "ignore::glmhmm_pyro.ConvergenceWarning",
    # ArviZ 0.23 with a newer pandas or matplotlib, and with reference rows (constant)
    "ignore:The inplace keyword in DataFrame.sort_values",
    "ignore:Passing a dict or None as alias_mapping",
    "ignore:Your data appears to have a single value",
    "ignore:invalid value encountered in scalar divide:RuntimeWarning",
)


@pytest.fixture(scope="module")
def data():
    return clear_data("categorical", lengths=(12, 1, 7), mask=True).replace(
        session_names=["mon", "tue", "wed"],
        class_names=["left", "middle", "right"],
        covariate_names=["contrast", "bias"],
    )


@pytest.fixture(scope="module")
def drawn(data):
    fit = gh.fit(penalised("categorical"), data, **QUICK)
    return with_posterior(fit, data, num_draws=6)


@pytest.fixture(scope="module")
def idata(data, drawn):
    return drawn.to_arviz(data, num_prior_draws=40)


@pytest.fixture(scope="module")
def long_data():
    return clear_data(lengths=(12,) * 20, seed=5)


@pytest.fixture(scope="module")
def long_fit(long_data):
    model = penalised("bernoulli", "stationary")
    fit = gh.fit(model, long_data, **(QUICK | {"num_iters": 50}))
    return with_posterior(fit, long_data, num_draws=100, scale=0.05)


@pytest.fixture(scope="module")
def long_idata(long_data, long_fit):
    return long_fit.to_arviz(long_data)


def draws_of(fit):
    """Chain, draw and parameters of every draw."""
    draws = fit.posterior.draws
    for chain, draw in np.ndindex(fit.posterior.num_chains, fit.posterior.num_draws):
        yield chain, draw, {name: value[chain, draw] for name, value in draws.items()}


def test_every_group_has_the_users_names_on_its_axes(idata):
    assert set(groups_of(idata)) == set(GROUPS)
    weights = idata.posterior["emissions.weights"]
    assert weights.dims == ("chain", "draw", "state", "class", "covariate")
    assert weights["class"].values.tolist() == ["left", "middle", "right"]
    assert weights["covariate"].values.tolist() == ["contrast", "bias"]
    moves = idata.posterior["transitions.weights"]
    # Its covariates are others than those of the emissions.
    assert moves.dims[2:] == ("origin", "destination", "transition_covariate")
    assert moves["transition_covariate"].values.tolist() == ["u0", "u1"]
    constant = idata.constant_data
    assert constant["transition_covariates"].dims == ("step", "transition_covariate")
    assert constant["initial_covariates"].dims == ("session", "initial_covariate")
    assert constant["num_steps"].sel(session="wed") == 7
    for group in ("log_likelihood", "posterior_predictive", "observed_data"):
        steps = idata[group]["session_of_step"]
        assert steps.values.tolist() == ["mon"] * 12 + ["tue"] + ["wed"] * 7
    assert idata.observed_data["y"].attrs["class_names"][2] == "right"


def test_covariates_that_are_the_same_share_an_axis(data):
    shared = data.replace(
        transition_covariates=data.covariates,
        transition_covariate_names=data.covariate_names,
    )
    fit = gh.fit(penalised("categorical"), shared, **QUICK)
    posterior = fit.to_arviz(shared, ["posterior"]).posterior
    assert posterior["transitions.weights"].dims[-1] == "covariate"


def test_the_posterior_holds_all_draws_with_reference_rows(drawn, idata):
    for chain, draw, params in draws_of(drawn):
        at_draw = replace(drawn, params=params).parameters
        assert set(idata.posterior.data_vars) == set(at_draw)
        for name, array in at_draw.items():
            found = idata.posterior[name].sel(chain=chain, draw=draw)
            np.testing.assert_array_equal(found.values, array.values)
    assert (idata.posterior["emissions.weights"].sel({"class": "left"}) == 0).all()


def test_log_likelihoods_are_those_of_each_step_given_the_earlier_ones(
    data, drawn, idata
):
    per_step = idata.log_likelihood["per_step"]
    for chain, draw, params in draws_of(drawn):
        expected = []
        for session in data:
            until = [0.0]
            for t in range(session.num_steps):
                # What comes later is summed out by a mask.
                seen = torch.arange(session.num_steps) <= t
                part = session.with_mask(seen)
                hidden = hidden_markov(drawn.model, part, params)
                until.append(hidden.log_prob(part.emissions).item())
            expected += np.diff(until).tolist()
        found = per_step.sel(chain=chain, draw=draw)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert abs(per_step[..., ~data.mask.numpy()]).max() < 1e-12


def test_log_likelihoods_of_sessions_are_those_of_the_sessions_alone(
    data, drawn, idata
):
    for chain, draw, params in draws_of(drawn):
        for session in data:
            hidden = hidden_markov(drawn.model, session, params)
            found = idata.log_likelihood["per_session"].sel(
                chain=chain, draw=draw, session=session.session_names[0]
            )
            expected = hidden.log_prob(session.emissions).item()
            assert found.item() == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_replicates_have_the_distribution_of_behaviour_not_yet_seen():
    data = clear_data("categorical", lengths=(3, 2))
    params = {
        "initial.probs": [0.9, 0.1],
        "transitions.probs": [[0.7, 0.3], [0.1, 0.9]],
        "emissions.weights": [[[2.0, 1.0], [0.0, -1.0]], [[-1.0, 0.0], [1.0, 2.0]]],
    }
    fit = made_fit(gh.GLMHMM(2, gh.Categorical(3)), data, params)
    same = {n: v.expand(2, 4000, *v.shape) for n, v in fit.params.items()}
    repeated = replace(fit, posterior=Posterior(same))
    samples = repeated.to_arviz(data, ["posterior_predictive"]).posterior_predictive
    unseen = data._derive(mask=torch.zeros(5, dtype=torch.bool))
    probs = fit.predict(unseen).values
    counts = (samples["y"].values[..., None] == np.arange(3)).mean((0, 1))
    error = np.sqrt(probs * (1 - probs) / 8000)
    # The largest of 15 shares is 4.5 standard errors away once in 1e4.
    assert (np.abs(counts - probs) < 4.5 * error).all()
    pair = samples["y"].values.reshape(-1, 5)
    # Two neighbouring steps go together, as their states do.
    joint = (pair[:, 0] == 1) & (pair[:, 1] == 1)
    hidden = fit.distribution(data)
    first = hidden.initial_logits.exp()[0]
    emission = hidden.emission_dist.probs[:2, :, 1]
    both = (first * emission[0]) @ hidden.transition_logits.exp()[0] @ emission[1]
    sd = float((both * (1 - both) / 8000).sqrt())
    assert abs(joint.mean() - float(both)) < 4.5 * sd


def test_draws_are_the_same_for_a_seed_and_the_global_generator_rests(data, drawn):
    state = torch.get_rng_state()
    groups = ["posterior_predictive", "prior", "prior_predictive"]
    first, again, other = (
        drawn.to_arviz(data, groups, num_prior_draws=5, seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), state)
    for group in groups:
        found = group_of(first, group)
        assert found.identical(group_of(again, group))
        assert not found.equals(group_of(other, group))


def test_thinned_draws_are_evenly_spaced_in_every_group(data, drawn, idata):
    thin = drawn.to_arviz(data, num_draws=4, num_prior_draws=1)
    assert thin.posterior["draw"].values.tolist() == [0, 2, 3, 5]
    for group in ("posterior", "log_likelihood", "sample_stats"):
        expected = group_of(idata, group).sel(draw=[0, 2, 3, 5])
        assert group_of(thin, group).identical(expected)
    assert thin.posterior_predictive["draw"].values.tolist() == [0, 2, 3, 5]
    for wrong in (0, 7):
        with pytest.raises(ValueError, match=f"num_draws must be .* 1.*{wrong}"):
            drawn.to_arviz(data, num_draws=wrong)


def test_a_fit_without_draws_is_one_chain_of_one_draw(data):
    fit = gh.fit(penalised("categorical"), data, **QUICK)
    idata = fit.to_arviz(data, num_prior_draws=2)
    assert idata.posterior["emissions.weights"].shape == (1, 1, 2, 3, 2)
    assert idata.sample_stats["lp"].item() == fit.log_joint
    total = idata.log_likelihood["per_session"].sum().item()
    assert total == pytest.approx(fit.log_likelihood)


def test_statistics_of_draws_have_the_names_that_arviz_knows(drawn, idata):
    stats = drawn.posterior.stats
    np.testing.assert_array_equal(idata.sample_stats["lp"], stats["log_joint"])
    assert idata.sample_stats["diverging"].dtype == bool
    assert idata.sample_stats["diverging"].sum() == 1


def test_observations_are_the_emissions_and_nothing_where_masked(data, drawn, idata):
    seen = data.mask.numpy()
    found = idata.observed_data["y"].values
    np.testing.assert_array_equal(found[seen], data.emissions[seen])
    assert np.isnan(found[~seen]).all()
    changed = data._derive(emissions=torch.where(data.mask, data.emissions, 2))
    again = drawn.to_arviz(changed, num_prior_draws=40)
    for group in GROUPS:
        assert group_of(again, group).identical(group_of(idata, group))


def test_priors_are_drawn_with_their_hyperparameters():
    def shrunk(shape):
        scale = pyro.sample("scale", dist.HalfNormal(torch.ones(()).double()))
        return dist.Normal(0.0, scale).expand(shape)

    model = gh.GLMHMM(2, gh.Bernoulli(shrunk), gh.Stationary(EVEN), gh.Initial(EVEN))
    data = clear_data(lengths=(4,))
    prior = gh.prior_predictive(model, data, num_samples=4000, seed=3).prior
    assert (
        prior["emissions.scale"].dims == ("chain", "draw")
        and prior.sizes["draw"] == 4000
    )
    weights = prior["emissions.weights"]
    # Weights over their own scale are 16000 standard normals, the scales 4000 half
    # normals of mean square 1: 4.5 standard errors are passed once in 1e5.
    unit = (weights / prior["emissions.scale"]).values
    assert abs(unit.mean()) < 4.5 / np.sqrt(16000)
    assert abs((unit**2).mean() - 1) < 4.5 * np.sqrt(2 / 16000)
    assert abs((prior["emissions.scale"].values ** 2).mean() - 1) < 4.5 * np.sqrt(
        2 / 4000
    )
    probs = prior["initial.probs"].values[0, :, 0]
    # A Beta(2, 2) has mean 1/2 and variance 1/20.
    assert abs(probs.mean() - 0.5) < 4.5 * np.sqrt(0.05 / 4000)


def test_prior_predictive_draws_behaviour_at_the_draws_of_the_prior():
    half = Dirichlet(torch.full((2,), 1e6))
    strong = dist.Normal(torch.tensor([[-9.0, -30.0], [9.0, 30.0]]), 1e-3)
    model = gh.GLMHMM(2, gh.Bernoulli(strong), gh.Stationary(half), gh.Initial(half))
    data = clear_data(lengths=(6, 3))
    idata = gh.prior_predictive(model, data, num_samples=1000)
    assert groups_of(idata) == ["prior", "prior_predictive", *GROUPS[-2:]]
    y = idata.prior_predictive["y"]
    assert y.shape == (1, 1000, 9) and y.dtype == np.int64
    # A state's behaviour is all but certain, its states are fair coins.
    assert abs(y.values.mean() - 0.5) < 4.5 * 0.5 / np.sqrt(9000)
    assert model.emissions.num_features is None


def test_a_flat_prior_has_no_draws_and_the_site_is_named(data):
    # A flat prior of probabilities is uniform, and so is proper.
    model = gh.GLMHMM(2, gh.Categorical(3, prior=RIDGE), gh.InputDriven())
    sentence = r"proper priors.*flat.*transitions\.weights.*give it a prior"
    with pytest.raises(ValueError, match=sentence):
        gh.prior_predictive(model, data)
    fit = gh.fit(model, data, **QUICK)
    for group in ("prior", "prior_predictive"):
        with pytest.raises(ValueError, match=sentence):
            fit.to_arviz(data, [group])
    assert set(groups_of(fit.to_arviz(data))) == set(GROUPS) - {
        "prior",
        "prior_predictive",
    }
    flat = gh.GLMHMM(2, gh.Categorical(3), gh.InputDriven())
    with pytest.raises(ValueError, match="transitions.weights, emissions.weights"):
        gh.prior_predictive(flat, data)
    with pytest.raises(ValueError, match="must be at least 1, got 0"):
        gh.prior_predictive(penalised("categorical"), data, num_samples=0)


def test_unknown_groups_are_refused(data, drawn):
    with pytest.raises(ValueError, match="groups must be one of posterior.*'loglik'"):
        drawn.to_arviz(data, ["loglik"])


def test_several_sites_have_their_sessions_in_one_table_for_loo():
    animals = [clear_data(lengths=(9, 1), seed=1), clear_data(lengths=(8,), seed=2)]
    fit = gh.fit(two_animals, animals, "map", num_restarts=1, progress=False)
    fit = with_posterior(fit, animals, num_draws=4)
    idata = fit.to_arviz(animals, num_prior_draws=3)
    per_session = idata.log_likelihood["per_session"]
    assert per_session["session"].values.tolist() == ["ann 0", "ann 1", "bob 0"]
    at_mean = fit.distribution(animals, "bob").log_prob_per_step(
        animals[1].emissions.double()
    )
    assert idata.log_likelihood["per_step"].shape == (2, 4, 18)
    assert idata.observed_data["bob"].dims == ("bob_step",)
    assert idata.prior_predictive["ann"].dims == ("chain", "draw", "ann_step")
    assert idata.posterior["ann.weights"].dims[2:] == ("ann.weights_dim_0",)
    one = replace(fit, posterior=None).to_arviz(animals, ["log_likelihood"])
    found = one.log_likelihood["per_step"].values[0, 0, 10:]
    np.testing.assert_allclose(found, at_mean, rtol=1e-12)


def test_arviz_summarises_parameters_by_their_names(long_fit, long_idata):
    table = az.summary(long_idata, var_names=["emissions.weights"])
    draws = long_fit.posterior.draws["emissions.weights"]
    assert table.loc["emissions.weights[1, x0]", "mean"] == pytest.approx(
        draws[..., 1, 0].mean().item(), abs=5e-4
    )
    # Draws that are independent: no R-hat of 200 of them is 1.1.
    assert (az.summary(long_idata)["r_hat"] < 1.1).all()


def test_one_chain_is_summarised_without_a_warning_by_its_statistics(data, caplog):
    options = {"num_samples": 60, "num_restarts": 1, "progress": False}
    fit = gh.fit(penalised("categorical"), data, "laplace", **options)
    idata = fit.to_arviz(data, ["posterior"])
    table = az.summary(idata, var_names=["emissions.weights"], kind="stats")
    assert table.notna().all(axis=None) and not caplog.records
    draws = group_of(idata, "posterior")["emissions.weights"].values
    found = table["mean"].to_numpy(dtype=float)
    np.testing.assert_allclose(found, draws.mean((0, 1)).ravel(), atol=6e-3)


def test_arviz_draws_traces_and_forests(long_idata):
    traces = num_traces(long_idata, var_names=["emissions.weights"])
    assert traces == (4 if IS_TREE else 1)
    matplotlib.pyplot.close("all")
    labels = forest_labels(long_idata, var_names=["transitions.probs"])
    if IS_TREE:
        assert {"transitions.probs", "0", "1"} <= set(labels)
    else:
        assert labels[-1] == "transitions.probs[0, 0]"
    matplotlib.pyplot.close("all")


def test_arviz_draws_reference_rows_too(idata):
    # Weights (2, 3, 2) and (2, 2, 2), and two first probabilities.
    assert num_traces(idata) == (22 if IS_TREE else 3)
    table = az.summary(idata)
    assert table.loc["emissions.weights[0, left, bias]", "sd"] == 0
    matplotlib.pyplot.close("all")


def test_loo_over_sessions_is_that_of_the_sessions_left_out(long_data, long_idata):
    loo = az.loo(long_idata, var_name="per_session", pointwise=True)
    assert loo.n_data_points == 20
    # By importance: 1 / mean(1 / p), which Pareto smoothing changes but little here.
    logs = long_idata.log_likelihood["per_session"].values.reshape(200, 20)
    expected = -np.log(np.exp(-logs).mean(0))
    np.testing.assert_allclose(pointwise(loo), expected, atol=0.05)
    assert float(loo.pareto_k.max()) < 0.7


def test_compare_prefers_the_model_that_made_the_data(long_data, long_idata):
    single = gh.GLMHMM(1, gh.Bernoulli(prior=RIDGE))
    fit = with_posterior(
        gh.fit(single, long_data, **QUICK), long_data, num_draws=100, scale=0.05
    )
    models = {"two": long_idata, "one": fit.to_arviz(long_data)}
    table = az.compare(models, var_name="per_session")
    assert table.index.tolist() == ["two", "one"]
    # 1.0 and newer give the difference its other sign.
    assert abs(table.loc["one", "elpd_diff"]) > 2 * table.loc["one", "dse"]


def test_without_arviz_0_the_groups_are_a_tree_of_xarrays(
    data, drawn, idata, monkeypatch
):
    monkeypatch.setattr(az, "__version__", "1.0.0")
    tree = drawn.to_arviz(data, num_prior_draws=40)
    assert isinstance(tree, xr.DataTree) and set(tree.children) == set(GROUPS)
    for group in GROUPS:
        assert tree[group].to_dataset().identical(group_of(idata, group))


def test_groups_come_back_from_a_file(tmp_path, idata):
    idata.to_netcdf(tmp_path / "idata.nc", engine="h5netcdf")
    loaded = az.from_netcdf(tmp_path / "idata.nc", engine="h5netcdf")
    for group in GROUPS:
        assert group_of(loaded, group).equals(group_of(idata, group))
    loaded.close()


@pytest.fixture(scope="module")
def named_data():
    """Choices with a name, some of them not observed."""
    rng = np.random.default_rng(2)
    choice = rng.integers(0, 2, 12).astype(float)
    choice[[3, 9]] = np.nan
    frame = pd.DataFrame({"day": [1] * 7 + [2] * 5, "side": choice})
    return gh.Sequences.from_dataframe(
        frame, session="day", emissions="side", covariates=[], intercept=True
    )


@pytest.fixture(scope="module")
def named_fit(named_data):
    fit = gh.fit(gh.GLMHMM(2, gh.Bernoulli(prior=RIDGE)), named_data, **QUICK)
    return with_posterior(fit, named_data, num_draws=60, scale=0.05)


def test_steps_are_left_out_of_all_others(named_data, named_fit):
    exported = named_fit.to_arviz(named_data, unit="step")
    found = group_of(exported, "log_likelihood")
    assert list(found) == ["side"]
    assert found["step"].values.tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 10, 11]
    hidden = named_fit.distribution(named_data)
    for chain, draw, params in list(draws_of(named_fit))[:3]:
        hidden = hidden_markov(named_fit.model, named_data, params)
        whole = hidden.log_prob(named_data.emissions)
        for number, step in enumerate(found["step"].values):
            seen = named_data.mask.clone()
            seen[step] = False
            part = named_data.with_mask(seen)
            without = hidden_markov(named_fit.model, part, params)
            expected = whole - without.log_prob(part.emissions)
            value = found["side"].sel(chain=chain, draw=draw)[number]
            assert value.item() == pytest.approx(expected.item(), abs=1e-10)


@pytest.mark.parametrize("unit", ["session", "step"])
def test_arviz_finds_the_one_log_likelihood_by_itself(named_data, named_fit, unit):
    exported = named_fit.to_arviz(named_data, unit=unit)
    loo = az.loo(exported)
    assert loo.n_data_points == (2 if unit == "session" else 10)
    table = az.compare({"one": exported, "other": exported})
    assert len(table) == 2
    for group in ("posterior_predictive", "observed_data"):
        assert list(group_of(exported, group)) == ["side"]
    if unit == "step":
        shapes = {
            name: group_of(exported, name)["side"].shape[-1:]
            for name in ("posterior_predictive", "observed_data", "log_likelihood")
        }
        assert set(shapes.values()) == {(10,)}


def test_an_unknown_unit_is_named(named_data, named_fit):
    with pytest.raises(ValueError, match="unit must be one of session, step"):
        named_fit.to_arviz(named_data, unit="trial")


def test_arviz_checks_a_fit_in_pictures():
    # Of numbers: of labels ArviZ 1.x warns that it has other pictures.
    speed = np.random.default_rng(0).normal(size=100)
    data = gh.Sequences(speed, lengths=[20] * 5, emission_names=["speed"])
    family = gh.Gaussian(prior=RIDGE, scale_prior=dist.LogNormal(0.0, 1.0))
    model = gh.GLMHMM(1, family)
    sampler = gh.NUTS(num_samples=40, num_warmup=40, num_chains=2, parallel=False)
    fit = gh.fit(model, data, sampler, num_restarts=1, progress=False)
    drawn = check_pictures(fit.to_arviz(data, unit="step"), "speed")
    assert len(drawn) == 3 and all(drawn.values())
