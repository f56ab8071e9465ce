"""Log-likelihoods that other programs published, on data that are not ours to ship.

The speed-accuracy data and figures are those of depmixS4 (Visser & Speekenbrink 2010),
which takes the covariate of row t for the step from t to t + 1: here it is shifted by
one row within every series to compare. The rates of the Federal Reserve and their
figure are Stata's and statsmodels'.
"""

import numpy as np
import pandas as pd
import pytest
import torch

import glmhmm_pyro as gh

LENGTHS = [168, 134, 137]
QUICK = {"num_restarts": 3, "progress": False, "method": "map"}


def speed(shared, outputs, covariates, transition_covariates, source):
    """The three series, in depmixS4's convention or INTO t."""
    table = np.genfromtxt(shared / "data" / "speed.csv", delimiter=",", names=True)
    named = {name: table[name] for name in ("rt", "Pacc", "prev")}
    named |= {"corr": table["corr"], "one": np.ones(len(table))}
    named["scaled"] = (named["Pacc"] - 0.36467177469455375) / 0.23341403882609593
    driving = np.stack([named[name] for name in transition_covariates], 1)
    if source:
        # Rows at the starts of series drive nothing, whatever stands there.
        driving = np.roll(driving, 1, axis=0)
    return gh.Sequences(
        np.stack([named[name] for name in outputs], 1),
        np.stack([named[name] for name in covariates], 1),
        lengths=LENGTHS,
        transition_covariates=driving,
        covariate_names=covariates,
        emission_names=outputs,
    )


def read(*values):
    return torch.tensor(values, dtype=torch.float64)


def mice(shared):
    """All trials of the 37 mice, violations as missing choices, correct answers."""
    trials = pd.DataFrame(dict(np.load(shared / "data" / "ibl37_trials.npz")))
    sessions = pd.read_csv(shared / "data" / "ibl37_sessions.csv")["session"]
    trials["session"] = sessions.values[trials["session_index"]]
    trials["choice"] = trials["choice"].astype(float).where(trials["choice"] >= 0)
    rewarded = np.where(trials["rewarded"] > 0, trials["choice"], 1 - trials["choice"])
    # Of a violation the reward tells nothing.
    sides = (trials["contrast"] > 0).astype(float)
    trials["answer"] = np.where(np.isnan(rewarded), sides, rewarded).astype(int)
    return trials


P1 = {
    "initial.probs": read(0.0, 0.5).softmax(0),
    # Staying is the reference: to state 0 from 1 with the opposite sign.
    "transitions.weights": read([[-1.5, 1.25, 0.5]], [[-2.5, -2.0, 0.75]]),
    "emissions.rt.weights": read([5.5, -0.1], [6.35, 0.1]),
    "emissions.rt.scale": read(0.2, 0.25),
    "emissions.corr.weights": read([0.1, -0.5, 0.3], [1.2, 2.0, -0.4]),
}


@pytest.mark.parametrize(
    "source, figure", [(True, -257.190416011036), (False, -260.0125493948)]
)
def test_outputs_at_fixed_parameters_have_the_likelihood_of_depmixs4(
    shared, source, figure
):
    data = speed(
        shared,
        ["rt", "corr"],
        ["one", "Pacc", "prev"],
        ["one", "scaled", "prev"],
        source,
    )
    family = gh.Outputs(
        rt=gh.Gaussian(), corr=gh.Bernoulli(), covariates={"rt": ["one", "Pacc"]}
    )
    model = gh.GLMHMM(2, family, gh.InputDriven())
    found = model.hidden_markov_at(P1, data).log_prob(data.emissions)
    assert found.item() == pytest.approx(figure, abs=1e-8)


MAXIMA = {
    "rt": (gh.Gaussian(), ["rt"], ["one"], False, -84.3417142835, -84.3417142835),
    "driven": (gh.Gaussian(), ["rt"], ["one"], True, -38.1218979763, -36.9781010435),
    "both": (None, ["rt", "corr"], ["one"], True, -248.9722015333, -247.8915139204),
    "GLM-HMM": (
        None,
        ["rt", "corr"],
        ["one", "Pacc"],
        True,
        -246.6512972126,
        -245.8337848113,
    ),
}


@pytest.mark.parametrize("source", [True, False], ids=["source", "INTO t"])
@pytest.mark.parametrize("case", MAXIMA.values(), ids=MAXIMA)
def test_maxima_on_the_speed_data_are_those_of_depmixs4(shared, case, source):
    family, outputs, covariates, driven, of_source, into = case
    family = family or gh.Outputs(rt=gh.Gaussian(), corr=gh.Bernoulli())
    data = speed(shared, outputs, covariates, ["one", "scaled"], source)
    moves = gh.InputDriven() if driven else gh.Stationary()
    fit = gh.fit(gh.GLMHMM(2, family, moves), data, **QUICK)
    figure = of_source if source else into
    assert fit.log_likelihood == pytest.approx(figure, abs=1e-5)


def test_interest_rates_with_a_stationary_start_have_the_likelihood_of_stata(shared):
    table = np.genfromtxt(shared / "data" / "fedfunds.csv", delimiter=",", names=True)
    rate = table["fedfunds"]
    x = [np.ones(len(rate) - 4), rate[3:-1], table["ogap"][4:], table["inf"][4:]]
    model = gh.GLMHMM(2, gh.Gaussian(shared_scale=True), initial=gh.StationaryInitial())
    data = gh.Sequences(rate[4:], np.stack(x, 1))
    fit = gh.fit(model, data, **QUICK)
    assert fit.log_likelihood == pytest.approx(-229.25614, abs=1e-5)


def test_the_fit_to_37_mice_is_found_to_forget_what_they_remember(shared):
    # Ashwood et al. 2022: the choices of one animal are alike over far more trials
    # than those of a model that all animals share.
    trials = mice(shared)
    design = gh.covariates.Design(
        gh.covariates.Columns(["contrast"]),
        gh.covariates.PreviousChoice("choice"),
        gh.covariates.WinStayLoseSwitch("choice", answer="answer"),
        gh.covariates.Intercept(),
    )
    data = gh.Sequences.from_dataframe(
        trials, session="session", emissions="choice", covariates=design
    )
    assert (data.num_steps, data.num_sessions) == (181_530, 2_017)
    model = gh.GLMHMM(3, gh.Bernoulli(gh.priors.Ridge(2.0)))
    fit = gh.fit(model, data, num_restarts=2, progress=False)
    check = gh.analysis.predictive_check(fit, data, num_samples=20)
    row = check.table.loc["autocorrelation"].loc[40]
    assert row["observed"] == pytest.approx(0.076, abs=0.001)
    assert row["upper"] < 0.03
