"""The embedded choices are the published ones, and the reference fit's columns."""

import gzip
from importlib import resources

import numpy as np
import pandas as pd
import pytest

from glmhmm_pyro.datasets import load_rat, load_rat_dataframe


@pytest.fixture(scope="module")
def df():
    return load_rat_dataframe()


@pytest.fixture(scope="module")
def rat():
    return load_rat()


def test_days_are_sessions_with_the_columns_of_the_reference_fit(rat):
    assert (rat.num_steps, rat.num_sessions) == (20_000, 80)
    assert rat.session_names == tuple(str(day) for day in range(1, 81))
    assert rat.class_names == ("left", "right")
    assert rat.covariate_names == (
        *("s1", "s2", "s_avg_prev", "prev_choice", "prev_answer", "intercept"),
    )
    assert rat.transition_covariate_names == ("prev_reward", "intercept")
    assert rat.mask is None


def test_one_logistic_regression_has_the_reference_log_likelihood(rat):
    design, choice = rat.covariates.numpy(), rat.emissions.numpy()
    weights = np.zeros(rat.num_features)
    for _ in range(20):
        probs = 1 / (1 + np.exp(-design @ weights))
        hessian = (design * (probs * (1 - probs))[:, None]).T @ design
        weights += np.linalg.solve(hessian, design.T @ (choice - probs))
    log_likelihood = np.log(np.where(choice, probs, 1 - probs)).sum()
    assert log_likelihood == pytest.approx(-12595.05420026, abs=1e-7)


def test_columns_mean_what_their_description_says(df):
    assert ((df.s1 > df.s2) == (df.answer_right == 1)).all()
    assert ((df.choice_right == df.answer_right) == (df.correct == 1)).all()
    valid = (df.prev_reward != 0) & (df.trial > 1)
    before = df.shift()[valid]
    assert (df.prev_choice[valid] == 2 * before.choice_right - 1).all()
    assert (df.prev_answer[valid] == 2 * before.answer_right - 1).all()
    assert (df.prev_reward[valid] == 2 * before.correct - 1).all()
    mean = (before.s1 + before.s2) / 2
    np.testing.assert_allclose(df.s_avg_prev[valid], mean, atol=1e-9)
    columns = ["prev_choice", "prev_answer", "prev_reward", "s_avg_prev"]
    assert (df.loc[df.prev_reward == 0, columns] == 0).all(axis=None)


def test_the_table_is_that_of_the_source(df, shared):
    source = pd.read_csv(shared / "data" / "psytrack_rat_W053.csv")
    pd.testing.assert_frame_equal(df, source)


def test_the_archive_is_small_and_bears_no_time_stamp():
    folder = resources.files("glmhmm_pyro.datasets")
    packed = folder.joinpath("rat_w053.csv.gz").read_bytes()
    assert len(packed) < 400_000
    # RFC 1952: bytes 4 to 7 of the header are the time of the last change.
    assert packed[4:8] == bytes(4)
    assert gzip.decompress(packed).startswith(b"day,trial,choice_right")


def test_provenance_and_licence_are_installed_beside_the_data():
    folder = resources.files("glmhmm_pyro.datasets")
    text = folder.joinpath("PROVENANCE.md").read_text(encoding="utf-8")
    assert "Copyright (c) 2019 Nicholas A. Roy" in text
    assert "psytrack-2.0.2" in text
