"""Probabilities as functions of covariates: against softmax written out, and slopes."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from drawn import overlapping_texts
from torch.distributions import Dirichlet, Normal

import glmhmm_pyro as gh
from glmhmm_pyro.analysis.driven.bands import band
from glmhmm_pyro.analysis.driven.counterfactual import ModelPart
from glmhmm_pyro.analysis.driven.quantities import (
    PROBABILITY,
    REAL,
    part_names,
    transition_quantities,
    with_summed_effects,
)
from glmhmm_pyro.covariates import Columns, Design, Intercept, Standardised
from glmhmm_pyro.inference.fits.given import fit_at
from glmhmm_pyro.inference.program.program import Program

PRIOR = Normal(0.0, 1.0)
EVEN = gh.Initial(Dirichlet(torch.tensor([2.0, 2.0])))
QUICK = {"num_restarts": 1, "progress": False}


def table():
    """Two sessions of choices that a column and a switch drive."""
    rng = np.random.default_rng(0)
    drive, go = rng.normal(size=160), rng.integers(0, 2, 160)
    side = np.repeat([1, -1, 1, -1], 40)
    choice = rng.uniform(size=160) < 1 / (1 + np.exp(-2 * side * drive))
    return pd.DataFrame(
        {"day": np.repeat([1, 2], 80), "drive": drive, "go": go, "choice": choice * 1}
    )


@pytest.fixture(scope="module")
def data():
    return gh.Sequences.from_dataframe(
        table(),
        session="day",
        emissions="choice",
        covariates=["drive", "go"],
        intercept=True,
        initial_covariates=["drive"],
    )


@pytest.fixture(scope="module")
def fit(data):
    first = gh.InitialGLM(PRIOR)
    model = gh.GLMHMM(2, gh.Bernoulli(PRIOR), gh.InputDriven(PRIOR), first)
    return gh.fit(model, data, tol=1e-12, **QUICK)


def matrices(fit, design):
    """Softmax of the weights, all of them, shape (steps, origins, destinations)."""
    weights = fit.parameters["transitions.weights"].values
    scores = np.exp(np.einsum("ijd,td->tij", weights, design))
    return scores / scores.sum(-1, keepdims=True)


def moved(data, value):
    """The design with the first column at a value, steps that are led INTO."""
    design = data.covariates.numpy().copy()
    design[:, 0] = value
    return np.delete(design, data.starts.numpy(), axis=0)


def test_curves_of_transitions_are_means_of_the_softmax(fit, data):
    found = gh.analysis.response_curve(fit, data, "drive", [-1.0, 0.5], num_rows=999)
    smoothed = fit.decode(data).smoothed_probs.values.mean(0)
    for value in (-1.0, 0.5):
        mean = matrices(fit, moved(data, value)).mean(0)
        at = found.xs(value, level="drive")["estimate"]
        for i, j in np.ndindex(2, 2):
            assert at["moving", str(i), str(j)] == pytest.approx(mean[i, j])
        for i in range(2):
            assert at["leaving", str(i), ""] == pytest.approx(1 - mean[i, i])
            assert at["dwell", str(i), ""] == pytest.approx(1 / (1 - mean[i, i]))
            assert at["entering", str(i), ""] == pytest.approx(mean[1 - i, i])
        share = mean[1, 0] / (mean[0, 1] + mean[1, 0])
        assert at["occupancy", "0", ""] == pytest.approx(share)
    assert 0 < smoothed.min()
    inside = (found["lower"] <= found["estimate"]) & (
        found["estimate"] <= found["upper"]
    )
    assert inside.all()


def test_other_columns_stand_where_they_are_asked_to(fit, data):
    found = gh.analysis.response_curve(
        fit, data, "drive", [0.3], at={"go": 1, "intercept": 1}
    )
    expected = matrices(fit, np.array([[0.3, 1.0, 1.0]]))[0]
    assert found["estimate"]["moving", "0", "1", 0.3] == pytest.approx(expected[0, 1])


def test_first_states_and_emissions_have_curves_too(fit, data):
    first = gh.analysis.response_curve(fit, data, "drive", [0.7], part="initial")
    weights = fit.parameters["initial.weights"].values
    scores = np.exp(weights @ [0.7, 1.0])
    expected = scores / scores.sum()
    np.testing.assert_allclose(first["estimate"], expected)
    emitted = gh.analysis.response_curve(
        fit, data, "drive", [0.7], part="emissions", at={"go": 0}
    )
    w = fit.params["emissions.weights"].numpy()
    right = 1 / (1 + np.exp(-(0.7 * w[:, 0] + w[:, 2])))
    found = emitted["estimate"].xs("1", level="destination")
    np.testing.assert_allclose(found, right)


def test_a_raw_column_moves_all_that_a_design_makes_of_it():
    design = Design(Standardised("drive"), Columns(["go"]), Intercept())
    made = gh.Sequences.from_dataframe(
        table(), session="day", emissions="choice", covariates=design
    )
    model = gh.GLMHMM(2, gh.Bernoulli(PRIOR), gh.InputDriven(PRIOR), EVEN)
    fit = gh.fit(model, made, **QUICK)
    found = gh.analysis.response_curve(fit, made, "drive", [2.0], at={"go": 0})
    raw = table()["drive"]
    own = (2.0 - raw.mean()) / raw.std(ddof=0)
    expected = matrices(fit, np.array([[own, 0.0, 1.0]]))[0]
    assert found["estimate"]["moving", "1", "0", 2.0] == pytest.approx(expected[1, 0])
    # Beside a column that the design made of none, raw ones still move all of theirs.
    both = gh.analysis.response_curve(
        fit, made, "drive", [2.0], at={"go": 0, "intercept": 1}
    )
    np.testing.assert_allclose(both["estimate"], found["estimate"])


def test_effects_are_slopes_weighted_by_where_the_animal_was(fit, data):
    found = gh.analysis.marginal_effects(fit, data, "drive")
    assert found.attrs["change"] == "by 1"
    weights = np.delete(fit.decode(data).smoothed_probs.values[:-1], 79, axis=0)
    design = np.delete(data.covariates.numpy(), data.starts.numpy(), axis=0)
    w = fit.parameters["transitions.weights"].values[..., 0]
    probs = matrices(fit, design)
    # The derivative of a softmax, written out.
    slopes = probs * (w - (probs * w).sum(-1, keepdims=True))
    expected = np.einsum("ti,tij->ij", weights, slopes) / weights.sum(0)[:, None]
    estimate = found["estimate"]
    np.testing.assert_allclose(estimate["moving"], expected.ravel(), atol=1e-8)
    leaving = [expected[0, 1], expected[1, 0]]
    np.testing.assert_allclose(estimate["leaving"], leaving, atol=1e-8)
    np.testing.assert_allclose(estimate["entering"], leaving[::-1], atol=1e-8)


def test_effects_on_entering_are_means_over_the_states_that_are_left():
    rng = np.random.default_rng(0)
    effects, shares = rng.normal(size=(3, 3)), np.array([5.0, 2.0, 1.0])
    found = with_summed_effects(torch.tensor(effects), torch.tensor(shares)).numpy()
    np.testing.assert_array_equal(found[:9], effects.ravel())
    np.testing.assert_array_equal(found[9:12], -np.diag(effects))
    for j in range(3):
        others = [i for i in range(3) if i != j]
        mean = np.average(effects[others, j], weights=shares[others])
        assert found[12 + j] == pytest.approx(mean)


def test_the_effect_of_a_switch_is_a_difference(fit, data):
    found = gh.analysis.marginal_effects(fit, data, "go", part="emissions")
    assert found.attrs["change"] == "from 0 to 1"
    weights = fit.decode(data).smoothed_probs.values
    w = fit.params["emissions.weights"].numpy()
    x = data.covariates.numpy().copy()
    ends = []
    for value in (0.0, 1.0):
        x[:, 1] = value
        ends.append(1 / (1 + np.exp(-x @ w.T)))
    expected = (weights * (ends[1] - ends[0])).sum(0) / weights.sum(0)
    np.testing.assert_allclose(found["estimate"].xs("1", level=2), expected, rtol=1e-7)


def test_errors_of_a_parameter_are_those_that_the_fit_gives(fit, data):
    found = band(fit, data, lambda p: p["transitions.weights"], REAL, 10)
    errors = fit.standard_errors(data)["transitions.weights"].values
    expected = errors[~np.eye(2, dtype=bool)].reshape(found.estimate.shape)
    np.testing.assert_allclose(found.standard_error, expected, rtol=1e-5)


def test_weights_of_effects_move_with_the_parameters(fit, data):
    """Standard errors are those of effects whose weights are decoded anew."""
    found = gh.analysis.marginal_effects(fit, data, "drive")
    kept = np.delete(data.covariates.numpy(), data.starts.numpy(), axis=0)

    def leaving(params):
        decoded = replace(fit, params=params).decode(data)
        before = np.delete(decoded.smoothed_probs.values[:-1], 79, axis=0)
        weights, free = torch.as_tensor(before), params["transitions.weights"][:, 0]
        probs = (torch.as_tensor(kept) @ free.T).sigmoid()
        slopes = probs * (1 - probs) * free[:, 0]
        return (weights * slopes).sum(0) / weights.sum(0)

    own = band(fit, data, leaving, REAL, 10)
    moves = found.iloc[[1, 2]]
    np.testing.assert_allclose(moves["estimate"], own.estimate, rtol=1e-6)
    np.testing.assert_allclose(moves["standard_error"], own.standard_error, rtol=1e-5)


def test_bands_of_draws_are_their_quantiles(data):
    model = gh.GLMHMM(2, gh.Bernoulli(PRIOR), gh.InputDriven(PRIOR), EVEN)
    drawn = gh.fit(model, data, method="laplace", num_samples=40, **QUICK)
    found = gh.analysis.response_curve(
        drawn, data, "drive", [0.5], at={"go": 1.0, "intercept": 1.0}
    )
    free = drawn.draws["transitions.weights"].flatten(0, 1)[:, :, 0]
    leaving = (free @ torch.tensor([0.5, 1.0, 1.0]).double()).sigmoid().numpy()
    row = found.xs("leaving", level="kind")
    np.testing.assert_allclose(row["estimate"], leaving.mean(0))
    np.testing.assert_allclose(row["lower"], np.quantile(leaving, 0.025, axis=0))


def test_draws_are_numbered_by_what_their_states_do(data):
    model = gh.GLMHMM(2, gh.Bernoulli(PRIOR), gh.InputDriven(PRIOR), EVEN)
    drawn = gh.fit(model, data, method="laplace", num_samples=20, **QUICK)
    swapped = drawn.permuted([1, 0]).draws
    odd = torch.arange(20) % 2 == 1
    mixed = {
        name: torch.where(odd.reshape(1, -1, *[1] * (v.dim() - 2)), swapped[name], v)
        for name, v in drawn.draws.items()
    }
    orders = torch.where(odd[:, None], torch.tensor([1, 0]), torch.tensor([0, 1]))[None]
    posterior = replace(drawn.posterior, draws=mixed, by_label=orders)
    other = replace(drawn, posterior=posterior)
    one, two = (
        band(f, data, lambda p: p["transitions.weights"], REAL, 20)
        for f in (drawn, other)
    )
    np.testing.assert_allclose(one.lower, two.lower)
    np.testing.assert_allclose(one.estimate, two.estimate)


def test_what_the_data_do_not_determine_has_no_interval(data):
    flat = gh.GLMHMM(2, gh.Bernoulli(PRIOR), gh.Stationary(), gh.Initial())
    fit = gh.fit(flat, data, tol=1e-12, **QUICK)
    found = band(fit, data, lambda p: p["initial.probs"], PROBABILITY, 10)
    at_border = (fit.params["initial.probs"].numpy() < 1e-6).any()
    assert at_border and np.isnan(found.standard_error).all()


def test_two_ends_have_no_share_of_time_in_the_long_run():
    matrices = torch.eye(2).double().expand(3, 2, 2)
    told = transition_quantities(matrices, torch.tensor([0.5, 0.5]).double())
    assert told[:, -2:].isnan().all() and told[:, :-4].isfinite().all()


def test_means_of_counts_are_positive_and_those_of_measurements_any(data):
    counts = data.replace(emissions=(data.emissions * 0 + torch.arange(160) % 3 // 2))
    for family, is_positive in ((gh.Poisson(PRIOR), True), (gh.Gaussian(), False)):
        model = gh.GLMHMM(1, family)
        start = Program.of(model, counts)
        params = start.users_values(torch.zeros(start.coordinates.size).double())
        params["emissions.weights"] = params["emissions.weights"] - 4.0
        fit = fit_at(model, counts, params, "given")
        part = ModelPart(fit, "emissions", None, [counts], torch.arange(3))
        lower, upper = part_names(fit, part).borders
        assert upper == np.inf
        assert lower == (0.0 if is_positive else -np.inf)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        ({"covariate": "drvie"}, "did you mean 'drive'"),
        ({"covariate": "drive", "part": "moves"}, "part must be one of"),
        ({"covariate": "drive", "values": ["a"]}, "list of finite numbers"),
        ({"covariate": "drive", "at": {"og": 1}}, "at must be one of"),
    ],
)
def test_wrong_arguments_are_named(fit, data, call, sentence):
    with pytest.raises(ValueError, match=sentence):
        gh.analysis.response_curve(fit, data, **call)
    with pytest.raises(ValueError, match="must vary"):
        gh.analysis.marginal_effects(fit, data, "intercept")


def test_curves_are_drawn_with_a_band_for_every_state(fit, data):
    curve = gh.analysis.response_curve(
        fit, data, "drive", [-1.0, 0.0, 1.0], num_rows=20
    )
    ax = gh.plotting.response_curve(curve)
    assert len(ax.lines) == len(ax.collections) == 2
    np.testing.assert_allclose(
        ax.lines[1].get_ydata(), curve["estimate"].loc["leaving", "1", ""]
    )
    assert ax.get_xlabel() == "drive" and ax.get_ylabel() == "p(leaving)"
    assert len(gh.plotting.response_curve(curve, "moving").lines) == 4
    made = {"covariate": "drive", "values": [-1.0, 0.0, 1.0], "num_rows": 20}
    same = gh.plotting.response_curve(fit, data, kind="moving", **made)
    for one, other in zip(
        same.lines, gh.plotting.response_curve(curve, "moving").lines
    ):
        np.testing.assert_array_equal(one.get_ydata(), other.get_ydata())
    with pytest.raises(TypeError, match="curve must be what analysis.response_curve"):
        gh.plotting.response_curve(data)
    with pytest.raises(ValueError, match="kind must be one of"):
        gh.plotting.response_curve(curve, "leave")
    plt.close("all")


def test_effects_are_drawn_by_state_with_their_intervals(fit, data):
    named = fit.named(["steady", "restless"])
    tables = {n: gh.analysis.marginal_effects(named, data, n) for n in ("drive", "go")}
    ax = gh.plotting.marginal_effects(tables["drive"])
    rows = tables["drive"].loc["leaving"]
    points = [line for line in ax.lines if line.get_marker() != "None"]
    assert [line.get_label() for line in points] == ["steady", "restless"]
    drawn = np.ravel([line.get_xdata() for line in points])
    np.testing.assert_allclose(drawn, rows["estimate"])
    ends = [bars.get_segments()[0][:, 0] for bars in ax.collections]
    np.testing.assert_allclose(ends, rows[["lower", "upper"]])
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["drive"]
    assert ax.get_xlabel() == "change of p(leaving), by a unit"
    go = gh.plotting.marginal_effects(named, data, covariate="go", kind="moving")
    assert go.get_xlabel() == "change of p(next state), from 0 to 1"
    labels = [tick.get_text() for tick in go.get_yticklabels()]
    assert labels == ["go: steady", "go: restless"]
    both = gh.plotting.marginal_effects(pd.concat(tables, names=["covariate"]))
    assert [tick.get_text() for tick in both.get_yticklabels()] == ["drive", "go"]
    assert both.get_xlabel() == "change of p(leaving)"
    assert overlapping_texts(both) == []
    with pytest.raises(TypeError, match="effects must be what analysis.marginal_eff"):
        gh.plotting.marginal_effects(data)
    with pytest.raises(ValueError, match="kind must be one of"):
        gh.plotting.marginal_effects(tables["go"], kind="staying")
    curve = gh.analysis.response_curve(fit, data, "drive", [0.0], num_rows=9)
    with pytest.raises(ValueError, match="effects must have an index of kind"):
        gh.plotting.marginal_effects(curve)
    plt.close("all")


@pytest.mark.parametrize("name", ["response_curve", "marginal_effects"])
def test_moves_of_sessions_of_one_step_are_refused(fit, data, name):
    asked = getattr(gh.analysis, name)
    single = data.replace(
        lengths=[1] * data.num_steps,
        initial_covariates=data.covariates,
        session_names=None,
    )
    with pytest.raises(ValueError, match="data must have a session of at least 2"):
        asked(fit, single, "drive")


def test_a_single_draw_has_no_band(fit, data):
    with pytest.raises(ValueError, match="num_draws must be at least 2, got 1"):
        gh.analysis.response_curve(fit, data, "drive", [0.5], num_draws=1)
