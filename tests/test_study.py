"""A study from a table of trials to a paper's figures, as the documentation has it."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import glmhmm_pyro as gh
from glmhmm_pyro.covariates import Design, Intercept, PreviousChoice, WinStayLoseSwitch

pytestmark = pytest.mark.filterwarnings("ignore::glmhmm_pyro.ConvergenceWarning")
STATES = ["engaged", "biased left", "biased right"]


def trials(num_animals=2, num_sessions=4, num_steps=150):
    """Raw trials of several animals, and the states that they were in."""
    tables, states = [], []
    for number in range(num_animals):
        made = gh.datasets.simulate_choices(num_sessions, num_steps, seed=number)
        table = made.data.to_dataframe()
        # Whether a trial was rewarded shows in the next one's win-stay-lose-switch.
        after = table["wsls"].shift(-1).fillna(0) * table["prev_choice"].shift(-1)
        table["reward"] = np.where(after < 0, 0, 1)
        tables.append(table.assign(animal=f"m{number}"))
        states.append(made.states)
    frame = pd.concat(tables, ignore_index=True).rename(columns={"stimulus": "stim"})
    columns = ["animal", "session", "stim", "choice", "reward"]
    return frame[columns], np.concatenate(states)


@pytest.fixture(scope="module")
def study():
    """All of it; what each call returns."""
    df, states = trials()
    design = Design(
        "stim",
        PreviousChoice("choice"),
        WinStayLoseSwitch("choice", reward="reward"),
        Intercept(name="bias"),
    )
    data = gh.Sequences.from_dataframe(
        df, session="session", group="animal", emissions="choice", covariates=design
    )
    study = gh.analysis.choose_num_states(
        lambda K: gh.GLMHMM(K, gh.Bernoulli(prior=gh.priors.Ridge(2))),
        data,
        range(1, 4),
        folds=2,
        num_restarts=4,
        num_jobs=2,
        progress=False,
    )
    best = study.fits[3].named(
        {
            "engaged": ("stim", "largest"),
            "biased left": ("bias", "smallest"),
            "biased right": ("bias", "largest"),
        }
    )
    each = gh.analysis.fit_groups(best, data, progress=False)
    return {"data": data, "states": states, "study": study, "best": best, "each": each}


def test_states_predict_sessions_that_were_held_out(study):
    bits = study["study"].table["held_out_bits_per_step"]
    assert bits[2] > bits[1] > 0 and study["study"].best > 1


def test_states_bear_the_names_of_those_that_made_the_data(study):
    best, data = study["best"], study["data"]
    decoded = best.decode(data)
    assert decoded["state"].values.tolist() == STATES
    truth = decoded["smoothed_probs"].values[np.arange(data.num_steps), study["states"]]
    # Of a state that is known at random this would be a third.
    assert truth.mean() > 0.7
    weights = best.parameters["emissions.weights"].sel(covariate="bias")
    assert weights.sel(state="biased left") < weights.sel(state="biased right")


def test_every_animal_has_the_states_of_all(study):
    table = study["each"].table()
    assert table.index.tolist() == [(a, s) for a in ("m0", "m1") for s in STATES]
    for fit in study["each"].fits.values():
        assert list(fit.state_names) == STATES


def test_the_study_is_checked_and_drawn(study):
    report = study["best"].check(study["data"])
    assert {finding.severity for finding in report} <= {"note", "warning", "error"}
    plt.switch_backend("Agg")
    figure = gh.plotting.overview(study["best"], study["data"], num_samples=10)
    assert len(figure.axes) >= 6
    plt.close("all")
