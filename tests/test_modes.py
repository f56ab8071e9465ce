"""What a caller tells torch before a call, or names, changes no number or picture."""

import io

import matplotlib
import numpy as np
import pytest
import torch
from inference_cases import clear_data

import glmhmm_pyro as gh

QUICK = {"num_restarts": 1, "num_iters": 3, "progress": False}
RIDGE = gh.priors.Ridge(1.0)


def numbers(y, x):
    """Numbers of a fit, and of what is asked of it."""
    data = gh.Sequences(y, x, lengths=[30, 31])
    model = gh.GLMHMM(2, gh.Bernoulli(RIDGE))
    fit = gh.fit(model, data, "map", **QUICK)
    errors = fit.standard_errors(data)["emissions.weights"].values
    smoothed = fit.decode(data).smoothed_probs.values
    drawn = fit.simulate(data, seed=1)[0].emissions.numpy()
    predicted = fit.predict(data).values
    return [fit.log_joint, fit.score(data), errors, smoothed, drawn, predicted]


def ridge(strength):
    return gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(strength)))


def analyses(data):
    """Numbers of everything that fits again and again."""
    fit, quick = gh.fit(ridge(1.0), data, "map", **QUICK), {"progress": False}
    once = {"num_restarts": 1, **quick}
    replicates = gh.analysis.bootstrap(fit, data, 3, **quick).replicates
    parametric = gh.analysis.bootstrap(fit, data, 3, kind="parametric", **quick)
    scores = gh.analysis.cross_validate(ridge, data, [1.0, 2.0], folds=2, **once).table
    ranks = gh.analysis.simulation_based_calibration(
        ridge(1.0), data, "laplace", num_simulations=3, num_draws=7, **quick
    ).ranks
    best = gh.analysis.maximise_evidence(
        lambda scale: ridge(scale), {"scale": 1.0}, data, max_evals=3, **once
    )
    compared = gh.compare_methods(ridge(1.0), data, ["em", "map"], **once).table
    return [
        *(replicates["emissions.weights"], parametric.replicates["emissions.weights"]),
        *(scores.to_numpy(), ranks, best.log_evidence, compared["log_likelihood"]),
        gh.analysis.log_evidence(fit, data),
    ]


MODES = pytest.mark.parametrize(
    "mode", [torch.no_grad, torch.inference_mode, lambda: torch.device("meta")]
)


@pytest.mark.filterwarnings("ignore::glmhmm_pyro.ConvergenceWarning")
@MODES
def test_modes_outside_change_no_analysis(mode):
    data = clear_data(lengths=(30, 31))
    expected = analyses(data)
    with mode():
        found = analyses(data)
    for one, other in zip(found, expected):
        np.testing.assert_array_equal(one, other)


@pytest.mark.filterwarnings("ignore::glmhmm_pyro.ConvergenceWarning")
@MODES
def test_modes_outside_change_no_number(mode):
    data = clear_data(lengths=(30, 31))
    arrays = data.emissions.numpy(), data.covariates.numpy()
    expected = numbers(*arrays)
    with mode():
        found = numbers(*arrays)
    for one, other in zip(found, expected):
        np.testing.assert_array_equal(one, other)


@pytest.mark.filterwarnings("ignore::glmhmm_pyro.ConvergenceWarning")
def test_names_with_tex_in_them_are_drawn_as_they_are_written():
    matplotlib.use("Agg")
    y = np.where(clear_data(lengths=(30, 31)).emissions == 1, "a$_{", "b$x$")
    data = gh.Sequences(
        y,
        clear_data(lengths=(30, 31)).covariates,
        covariate_names=["co$t_{", r"$\frac{"],
        lengths=[30, 31],
        session_names=["s$1", "s^2$"],
        emission_names=["y$"],
    )
    model = gh.GLMHMM(2, gh.Bernoulli(RIDGE), gh.InputDriven(RIDGE))
    fit = gh.fit(model, data, **QUICK)
    plots = gh.plotting
    for ax in (
        plots.weights(fit),
        plots.transitions(fit),
        plots.timeline(fit, data, "s^2$"),
        plots.predictions(fit, data),
        plots.generated({"re$al{": data}),
    ):
        ax.figure.savefig(io.BytesIO())
        matplotlib.pyplot.close(ax.figure)
    ax = plots.weights(fit)
    ax.figure.canvas.draw()
    shown = [text for text in ax.get_xticklabels() if r"\frac" in text.get_text()]
    # Drawn as text: no dollar opens a formula.
    assert shown and all(
        not text._preprocess_math(text.get_text())[1] for text in shown
    )
    assert shown[0]._preprocess_math(shown[0].get_text())[0] == r"$\frac{"
    matplotlib.pyplot.close("all")


@pytest.mark.filterwarnings("ignore::glmhmm_pyro.ConvergenceWarning")
def test_decoded_states_are_named():
    fit = gh.fit(gh.GLMHMM(2, gh.Bernoulli(RIDGE)), clear_data(), **QUICK)
    found = fit.decode(clear_data())
    assert found.coords["state"].values.tolist() == [0, 1]
    assert found.smoothed_probs.sel(state=1).dims == ("step",)
