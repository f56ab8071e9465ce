"""Pictures of studies: what they draw is what the tables say."""

import matplotlib
import numpy as np
import pandas as pd
import pytest

import glmhmm_pyro as gh
from glmhmm_pyro.analysis.held_out import compared, score_frame

matplotlib.use("Agg")


def made_study(labels, name):
    """A study of made-up scores of four sessions in two folds."""
    rng, rows = np.random.default_rng(0), []
    hard = rng.normal(-60, 15, size=4)
    for place, label in enumerate(labels):
        for fold in range(2):
            own = hard[2 * fold : 2 * fold + 2] + 4 * place + rng.normal(size=2)
            scores = {
                "log_likelihood": own,
                "baseline": np.full(2, -80.0),
                "num_observed": np.array([100.0, 120.0]),
                "num_correct": np.array([70.0, 80.0]),
            }
            rows.append((label, fold, [f"s{2 * fold}", f"s{2 * fold + 1}"], scores))
    frame = score_frame(rows, name, {f"s{i}": f"s{i}" for i in range(4)})
    table = compared(frame, labels)
    return gh.analysis.Study(table, frame, {}, labels[-2], "best")


@pytest.mark.parametrize(
    "labels, name",
    [([1, 2, 3], "num_states"), (["one", "lapses", "two"], "model")],
)
def test_a_study_is_drawn_with_paired_errors_and_all_sessions(labels, name):
    study = made_study(labels, name)
    ax = gh.plotting.model_selection(study)
    said = [text.get_text() for text in ax.get_legend().get_texts()]
    assert sorted(said) == ["chosen", "mean, paired error", "sessions, centred"]
    means = study.table["held_out_bits_per_step"]
    *sessions, line, best, ring = ax.lines
    curve = ax.containers[0].lines[0]
    np.testing.assert_allclose(curve.get_ydata(), means)
    segments = ax.containers[0].lines[2][0].get_segments()
    heights = np.array([s[1, 1] - s[0, 1] for s in segments])
    np.testing.assert_allclose(heights, 2 * study.table["difference_error"])
    drawn = [line for line in ax.lines if line.get_color() == "#999999"]
    assert len(drawn) == 4
    gains = study.folds["log_likelihood"] - study.folds["baseline"]
    bits = (gains / study.folds["num_observed"] / np.log(2)).unstack("session")
    bits = bits.droplevel("fold").groupby(level=0).sum().loc[labels]
    for number, session in enumerate(drawn):
        own = bits[f"s{number}"].to_numpy()
        expected = own - own.mean() + means.mean()
        np.testing.assert_allclose(session.get_ydata(), expected)
        joined = session.get_linestyle() != "None"
        assert joined == (name == "num_states")
    assert ring.get_xdata() == [1]
    assert [text.get_text() for text in ax.get_xticklabels()] == list(map(str, labels))
    assert pd.notna(means).all()
    matplotlib.pyplot.close("all")


def test_what_is_no_study_is_refused():
    with pytest.raises(TypeError, match="study must be a Study, got an int; take what"):
        gh.plotting.model_selection(3)
