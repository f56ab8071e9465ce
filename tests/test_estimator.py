"""GLMHMMEstimator: the predecessor's call, scikit-learn's conventions, its answers."""

import itertools
import warnings

import numpy as np
import pytest
import torch
from estimator_cases import LAYOUT, QUICK, RIDGE, make_estimator, make_trials
from oracles import finite_differences
from pyro import poutine
from pyro.nn import pyro_method
from scipy.ndimage import gaussian_filter
from scipy.special import logsumexp
from scipy.stats import gamma
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import KFold, cross_val_score

from glmhmm_pyro import (
    GLMHMM,
    Bernoulli,
    ConvergenceWarning,
    GLMHMMEstimator,
    Sequences,
    Status,
)
from glmhmm_pyro.estimator.original import SquareInputDriven


@pytest.fixture(scope="module")
def fitted():
    X, y = make_trials(num_emissions=3)
    estimator = make_estimator(num_emissions=3, max_iter=5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        history = estimator.fit(X, y)
    return estimator, history, X, y


# The predecessor's call


def predecessor_demo(num_samples, total_time, num_filter_bins=30, seed=0):
    """Stimuli and labels by the recipe of pyGLMHMM's demo: noise cues and their lags.

    All is thresholded, nothing drawn, so that the data are separable.
    """
    rng = np.random.default_rng(seed)
    shape = gamma.pdf(np.linspace(0, num_filter_bins), a=4)[:num_filter_bins]
    stimuli, labels = [], []
    for _ in range(num_samples):
        cues = rng.normal(size=(total_time + num_filter_bins - 1, 3))
        cues = gaussian_filter(cues, 1)
        lagged = np.stack([cues[i : i + total_time] for i in range(num_filter_bins)])
        lagged = lagged + 0.1 * rng.normal(size=lagged.shape)
        drive = np.einsum("itc,i->tc", lagged, shape)
        sign = np.where(drive[:, 2] > 0, -1, 1)
        labels.append(((drive[:, 0] - drive[:, 1]) * sign > 0).astype(float))
        rows = lagged.transpose(2, 0, 1).reshape(-1, total_time)
        stimuli.append(np.vstack([rows, np.ones((1, total_time))]))
    return stimuli, labels


def test_the_predecessors_call_works_as_written():
    output_stim, output_symb = predecessor_demo(num_samples=5, total_time=300)
    estimator = GLMHMMEstimator(
        num_samples=5,
        num_states=2,
        num_emissions=2,
        num_feedbacks=3,
        num_filter_bins=30,
        num_steps=1,
        filter_offset=1,
    )
    estimator.set_params(random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        output = estimator.fit(output_stim, output_symb, [])
    assert isinstance(output, list) and len(output) == estimator.n_iter_
    for entry in output:
        assert entry["emit_w"].shape == (2, 1, 91)
        assert entry["trans_w"].shape == (2, 2, 91)
        assert entry["prior"].shape == (5, 2)
        assert isinstance(entry["loglik"], float)
        assert all(np.isfinite(value).all() for value in entry.values())
    labels = estimator.predict(output_stim)
    assert [one.shape for one in labels] == [(300,)] * 5


def test_states_halve_the_errors_of_a_glm_on_the_predecessors_demo():
    # The third cue's sign turns the labels round, which no single GLM can follow.
    X, y = predecessor_demo(num_samples=5, total_time=300)
    layout = {"num_feedbacks": 3, "num_filter_bins": 30}
    errors = {}
    for num_states in (1, 2):
        estimator = GLMHMMEstimator(num_states=num_states, random_state=0, **layout)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            estimator.fit(X, y)
        predicted = np.concatenate(estimator.predict(X, y))
        errors[num_states] = np.sum(predicted != np.concatenate(y))
    assert errors[1] < np.sum(np.concatenate(y) == 0)
    assert errors[2] < errors[1] / 2


def test_separable_data_end_with_a_status_and_a_warning_that_says_so():
    X, _ = make_trials()
    y = [(trial[0] > 0).astype(int) for trial in X]
    estimator = make_estimator(num_states=1, emit_lambda=0, trans_lambda=0)
    with pytest.warns(ConvergenceWarning, match="predicted without error.*emit_lambda"):
        estimator.fit(X, y)
    assert estimator.status_ is Status.UNBOUNDED
    assert np.isfinite(estimator.emit_w_).all()


def test_history_arrays_belong_to_their_entry_alone():
    X, y = make_trials()
    start = {"emit_w_init": np.zeros((2, 1, 5)), "trans_w_init": np.zeros((2, 2, 5))}
    start["emit_w_init"][0] += 0.5
    estimator = make_estimator(max_iter=4, tol=0)
    with pytest.warns(ConvergenceWarning):
        history = estimator.fit(X, y, **start)
    arrays = list(start.values())
    for entry in history:
        arrays += [entry[name] for name in ("emit_w", "trans_w", "prior")]
    arrays += [estimator.emit_w_, estimator.trans_w_]
    arrays += [estimator.emit_w_init_, estimator.trans_w_init_]
    for one, other in itertools.combinations(arrays, 2):
        assert not np.shares_memory(one, other)
    assert np.ptp([entry["emit_w"][0, 0, 0] for entry in history]) > 1e-3
    np.testing.assert_array_equal(history[-1]["emit_w"], estimator.emit_w_)
    np.testing.assert_array_equal(estimator.emit_w_init_, start["emit_w_init"])


def test_history_arrays_belong_to_their_entry_alone_with_one_state():
    X, y = make_trials()
    estimator = make_estimator(num_states=1)
    history = estimator.fit(X, y)
    assert len(history) >= 3
    for one, other in itertools.combinations(history, 2):
        for name in ("emit_w", "trans_w", "prior"):
            assert not np.shares_memory(one[name], other[name])
    assert estimator.predict_states(X, y)[0].tolist() == [0] * 40


def test_figures_of_the_history_hang_together(fitted):
    estimator, history, X, y = fitted
    bins = sum(map(len, y))
    for entry in history:
        parts = ("initial", "symb", "trans")
        total = sum(entry[f"{part}_likelihood"] for part in parts)
        assert entry["loglik"] == pytest.approx(total)
        squares = np.square(entry["emit_w"]).sum() + np.square(entry["trans_w"]).sum()
        penalty = bins * 0.02 / 2 * squares
        assert entry["penalised_log_likelihood"] == pytest.approx(
            entry["marginal_log_likelihood"] - penalty
        )
    penalised = [entry["penalised_log_likelihood"] for entry in history]
    assert np.diff(penalised).min() > 0
    assert estimator.loglik_ == history[-1]["loglik"]
    assert estimator.marginal_log_likelihood_ == history[-1]["marginal_log_likelihood"]


def test_all_figures_of_the_last_iteration_are_attributes_of_their_own(fitted):
    estimator, history, _, _ = fitted
    for name, value in history[-1].items():
        kept = getattr(estimator, f"{name}_")
        np.testing.assert_array_equal(kept, value)
        assert not np.shares_memory(kept, value)


def test_a_fit_stops_after_two_stalled_iterations_in_a_row():
    X, y = make_trials()
    estimator = make_estimator(tol=1e-3)
    history = estimator.fit(X, y)
    loglik = np.array([-1e7] + [entry["loglik"] for entry in history])
    stalled = np.abs(np.diff(loglik)) / np.abs(loglik[:-1]) < 1e-3
    assert estimator.converged_ and estimator.status_ is Status.CONVERGED
    assert stalled[-2:].all()
    assert not (stalled[:-2] & stalled[1:-1]).any()


def test_emissions_that_are_not_fitted_stay_as_they_start():
    X, y = make_trials()
    estimator = make_estimator(fit_emissions=False)
    history = estimator.fit(X, y)
    for entry in history:
        np.testing.assert_array_equal(entry["emit_w"], estimator.emit_w_init_)
    assert np.abs(estimator.trans_w_ - estimator.trans_w_init_).max() > 0.1
    penalised = [entry["penalised_log_likelihood"] for entry in history]
    assert np.diff(penalised).min() > -1e-9


# What is accepted and what is refused


@pytest.mark.parametrize(
    "form",
    [
        lambda labels: labels.astype(float),
        lambda labels: labels.astype(bool),
        lambda labels: labels[None, :],
        lambda labels: labels[:, None],
        lambda labels: labels.tolist(),
        torch.tensor,
    ],
)
def test_labels_come_in_many_forms(form):
    X, y = make_trials()
    expected = make_estimator().fit(X, y)
    actual = make_estimator().fit(X, [form(labels) for labels in y])
    np.testing.assert_array_equal(actual[-1]["emit_w"], expected[-1]["emit_w"])


def test_trials_of_equal_length_may_come_as_one_array():
    X, y = make_trials(lengths=(30, 30, 30))
    expected = make_estimator().fit(X, y)
    actual = make_estimator().fit(np.array(X), np.array(y))
    np.testing.assert_array_equal(actual[-1]["trans_w"], expected[-1]["trans_w"])


@pytest.mark.parametrize("start", [{}, {"emit_w_init": np.ones((2, 1, 5))}])
def test_transposed_arrays_are_recognised(start):
    X, y = make_trials()
    with pytest.raises(ValueError, match=r"transposed.*pass X\[0\]\.T"):
        make_estimator().fit([trial.T for trial in X], y, **start)


def test_transposed_arrays_are_recognised_where_the_layout_is_wrong_too():
    X, y = make_trials()
    with pytest.raises(ValueError, match=r"\(91, bins\).*transposed.*X\[0\]\.T"):
        GLMHMMEstimator().fit([trial.T for trial in X], y)


def test_a_wrong_number_of_covariates_is_not_called_transposed():
    X, y = make_trials()
    with pytest.raises(ValueError, match=r"X\[0\] must have shape \(91, ") as error:
        GLMHMMEstimator().fit(X, y)
    assert "transposed" not in str(error.value)
    assert "num_feedbacks * num_filter_bins + filter_offset" in str(error.value)


def spoilt(X=None, y=None):
    """A change of good trials: what stands at a trial and place, or the trial."""

    def change(trials):
        new = [[trial.astype(float) for trial in part] for part in trials]
        for part, spoil in zip(new, (X, y)):
            if spoil is not None:
                spoil(part)
        return new

    return change


def put(trial, place, value):
    def spoil(part):
        part[trial][place] = value

    return spoil


def swap(trial, function):
    def spoil(part):
        part[trial] = function(part[trial])

    return spoil


@pytest.mark.parametrize(
    "change, error, message",
    [
        (spoilt(X=put(1, (2, 3), np.nan)), ValueError, r"X\[1\].*nan in row 2, bin 3"),
        (spoilt(X=put(0, (0, 0), np.inf)), ValueError, r"X\[0\] must be finite"),
        (spoilt(y=put(2, 7, 2)), ValueError, r"y\[2\].*labels 0 to 1.*2 at bin 7"),
        (spoilt(y=put(0, 0, -1)), ValueError, r"y\[0\].*got -1 at bin 0"),
        (spoilt(y=put(0, 4, 0.5)), ValueError, r"y\[0\].*got 0.5 at bin 4"),
        (spoilt(X=swap(1, lambda x: x[:4])), ValueError, r"X\[1\].*got \(4, 25\)"),
        (spoilt(X=swap(1, lambda x: x[0])), ValueError, r"X\[1\].*got \(25,\)"),
        (spoilt(X=swap(0, lambda x: x[:, :0])), ValueError, r"at least one bin"),
        (spoilt(y=swap(1, lambda y: y[1:])), ValueError, r"y\[1\] must have 25 labels"),
        (spoilt(y=swap(0, lambda y: y.reshape(2, -1))), ValueError, r"y\[0\].*\(2, 20"),
        (spoilt(X=list.pop), ValueError, "y must have 3 trials, as many as X, got 4"),
        (spoilt(X=list.clear), ValueError, "X must have at least one trial"),
        (spoilt(y=list.clear), ValueError, "y must have at least one trial"),
        (lambda trials: (trials[0][0], trials[1]), ValueError, r"X must be.*\[X\]"),
        (lambda trials: (trials[0], trials[1][0]), ValueError, r"y must be.*\[y\]"),
        (lambda trials: (trials[0], 1), TypeError, "y must be a list"),
        (lambda trials: (trials[0], None), ValueError, "y must be a list.*to fit"),
        (
            spoilt(y=swap(1, lambda y: np.where(y > 0, "song", "none"))),
            TypeError,
            r"y\[1\] must hold whole numbers from 0.*<U4; number the labels",
        ),
        (lambda trials: ("abc", trials[1]), TypeError, "X must be a list.*got str"),
        (
            lambda trials: (trials[0], [[np.nan] * len(y) for y in trials[1]]),
            ValueError,
            "y must have a label somewhere",
        ),
    ],
)
def test_bad_trials_are_refused_by_name(change, error, message):
    X, y = change(make_trials())
    with pytest.raises(error, match=message):
        make_estimator().fit(X, y)


@pytest.mark.parametrize(
    "start, message",
    [
        ({"emit_w_init": np.zeros((3, 1, 5))}, r"emit_w_init.*\(2, 1, 5\)"),
        ({"trans_w_init": np.zeros((2, 1, 5))}, r"trans_w_init.*\(2, 2, 5\)"),
        ({"emit_w_init": np.full((2, 1, 5), np.nan)}, "emit_w_init must be finite"),
        (
            {"emit_w_init": np.zeros((2, 1, 5)), "trans_w_init": np.zeros((2, 2, 4))},
            r"trans_w_init.*\(2, 2, 5\), got shape \(2, 2, 4\)",
        ),
    ],
)
def test_bad_starting_weights_are_refused_by_name(start, message):
    with pytest.raises(ValueError, match=message):
        make_estimator().fit(*make_trials(), **start)


def test_starting_weights_say_how_many_covariates_there_are():
    X, y = make_trials()
    start = {"emit_w_init": np.ones((2, 1, 3)), "trans_w_init": np.zeros((2, 2, 3))}
    estimator = GLMHMMEstimator(**RIDGE, **QUICK)
    history = estimator.fit([trial[2:] for trial in X], y, **start)
    assert history[-1]["emit_w"].shape == (2, 1, 3)
    with pytest.raises(ValueError, match=r"X\[0\].*\(3, bins\)"):
        estimator.fit(X, y, **start)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"num_steps": 2}, "num_steps must be 1.*no likelihood of anything"),
        ({"smooth_lambda": 0.1}, "smooth_lambda must be left out.*L2_smooth"),
        ({"L2_smooth": True}, "L2_smooth must be left out.*smooth_lambda or AR_lambda"),
        ({"add_filters": True}, "add_filters must be False where no starting weights"),
        ({"AR_lambda": 1.0, "AR_vec": []}, "AR_vec must name rows of X for AR_lambda"),
        ({"AR_vec": [0]}, "AR_vec must be left out.*AR_lambda or generate"),
        ({"stim_vec": [0]}, "stim_vec must be left out.*AR_lambda"),
        ({"auto_anneal_vec": [1.0]}, "auto_anneal_vec must be left out.*auto_anneal"),
        ({"auto_anneal_schedule": [1]}, "auto_anneal_schedule must be left out"),
        ({"auto_anneal": True, "anneal_lambda": True}, "auto_anneal must be False"),
        ({"CV_regularize": True, "auto_anneal": True}, "CV_regularize must be False"),
        ({"evaluate": True, "cross_validate": True}, "evaluate must be False"),
        ({"GLM_transitions": False, "train_bins": [0]}, "train_bins must be left out"),
        ({"AR_lambda": 1.0}, "AR_vec must hold numbers of rows of X.*below 5"),
        ({"AR_lambda": 1.0, "AR_vec": [0.5]}, "AR_vec must hold numbers of rows"),
        ({"AR_lambda": 1.0, "AR_vec": [1, 1]}, "AR_vec must hold.*each once"),
        (
            {"AR_lambda": 1.0, "AR_vec": [1], "stim_vec": [0, 1]},
            r"stim_vec must not share rows with AR_vec, got \[1\]",
        ),
        ({"train_bins": [5]}, r"train_bins must hold.*got \[5\]"),
        (
            {"auto_anneal": True, "auto_anneal_vec": [1.0, 0.1]},
            "auto_anneal_vec and auto_anneal_schedule must be given together",
        ),
        (
            {
                "anneal_lambda": True,
                "auto_anneal_vec": [1.0, 0.1],
                "auto_anneal_schedule": [2, 3],
            },
            "the first 1 and then rising",
        ),
        (
            {
                "anneal_lambda": True,
                "auto_anneal_vec": [1.0, -0.1],
                "auto_anneal_schedule": [1, 3],
            },
            "a strength from 0",
        ),
    ],
)
def test_parameters_that_do_nothing_or_contradict_each_other_are_refused(
    options, message
):
    with pytest.raises(ValueError, match=message):
        make_estimator(**options).fit(*make_trials())


def test_every_parameter_of_the_predecessor_is_there_with_its_default():
    predecessor = {
        "AR_lambda": -1,
        "AR_vec": np.arange(510, 630),
        "stim_vec": np.setdiff1d(np.arange(0, 631), np.arange(510, 630)),
        "auto_anneal_vec": np.array(
            [0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1]
        ),
        "auto_anneal_schedule": np.array([1, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]),
        "train_bins": np.array([]),
        "random_state": None,
        "tol": 1e-4,
        "max_iter": 1000,
        "init_loglik": -1e7,
    }
    options = predecessor | RIDGE | LAYOUT | QUICK | {"random_state": 0}
    again = GLMHMMEstimator(**options)
    assert again.fit(*make_trials(lengths=(20,)))
    other = {
        "num_states",
        "num_emissions",
        "num_samples",
        "num_steps",
        "smooth_lambda",
        "add_filters",
        "fit_emissions",
        "GLM_emissions",
        "GLM_transitions",
        "evaluate",
        "generate",
        "L2_smooth",
        "auto_anneal",
        "anneal_lambda",
        "get_error_bars",
        "CV_regularize",
        "cross_validate",
        "symb_exists",
        "use_ASD",
        "analog_flag",
    }
    known = set(predecessor) | set(RIDGE) | set(LAYOUT) | other
    assert set(GLMHMMEstimator().get_params()) == known
    assert len(known) == 35


@pytest.mark.parametrize(
    "name, value, error",
    [
        ("num_states", 0, ValueError),
        ("num_states", 2.0, TypeError),
        ("num_emissions", 1, ValueError),
        ("max_iter", 0, ValueError),
        ("max_iter", True, TypeError),
        ("num_samples", 0, ValueError),
        ("num_filter_bins", 0, ValueError),
        ("tol", -1.0, ValueError),
        ("tol", "small", TypeError),
        ("emit_lambda", -0.1, ValueError),
        ("trans_lambda", np.nan, ValueError),
        ("init_loglik", 0, ValueError),
        ("fit_emissions", "yes", TypeError),
        ("evaluate", 1, TypeError),
        ("num_steps", 0, ValueError),
        ("smooth_lambda", -0.1, ValueError),
        ("AR_lambda", -2, ValueError),
        ("random_state", "seed", TypeError),
        ("random_state", -1, ValueError),
        ("emit_lambda", np.array([0.5]), TypeError),
        ("AR_vec", [[1], [2, 3]], TypeError),
        ("stim_vec", "all", TypeError),
        ("train_bins", [[0, 1]], TypeError),
        ("auto_anneal_vec", [1.0, "weak"], TypeError),
    ],
)
def test_bad_parameters_are_refused_by_name(name, value, error):
    with pytest.raises(error, match=f"^{name} must "):
        make_estimator(**{name: value}).fit(*make_trials())


# The conventions of scikit-learn


def test_parameters_are_read_set_and_cloned():
    estimator = GLMHMMEstimator(num_states=3, emit_lambda=0.1, random_state=7)
    copy = clone(estimator)
    assert copy is not estimator and copy.get_params() == estimator.get_params()
    assert copy.set_params(num_states=4, tol=0.1) is copy
    assert (copy.num_states, copy.tol, estimator.num_states) == (4, 0.1, 3)
    again = GLMHMMEstimator(**copy.get_params())
    assert again.get_params() == copy.get_params()
    with pytest.raises(ValueError, match="num_stats"):
        copy.set_params(num_stats=2)
    assert "num_states=3" in repr(estimator)


def test_a_clone_of_a_fitted_estimator_is_not_fitted(fitted):
    estimator, _, X, y = fitted
    parameters = estimator.get_params()
    copy = clone(estimator)
    with pytest.raises(NotFittedError):
        copy.predict(X, y)
    assert copy.get_params() == parameters == estimator.get_params()


def test_cross_val_score_holds_sessions_out():
    X, y = make_trials(lengths=(40, 25, 60, 30, 1))
    folds = KFold(3)
    scores = cross_val_score(make_estimator(num_samples=5), X, y, cv=folds)
    for score, (train, test) in zip(scores, folds.split(X)):
        estimator = make_estimator()
        estimator.fit([X[i] for i in train], [y[i] for i in train])
        assert score == estimator.score([X[i] for i in test], [y[i] for i in test])


def test_a_second_fit_starts_afresh():
    X, y = make_trials()
    estimator = make_estimator()
    first = estimator.fit(X, y)
    estimator.fit(*make_trials(seed=1))
    second = estimator.fit(X, y)
    np.testing.assert_array_equal(first[-1]["emit_w"], second[-1]["emit_w"])


def test_a_seed_makes_a_fit_reproducible_and_nothing_global_is_drawn_from():
    X, y = make_trials()
    before, torch_before = np.random.get_state()[1].copy(), torch.get_rng_state()

    def end(random_state):
        return make_estimator(random_state=random_state).fit(X, y)[-1]["trans_w"]

    np.testing.assert_array_equal(end(3), end(3))
    np.testing.assert_array_equal(end(3), end(np.random.default_rng(3)))
    legacy = [end(np.random.RandomState(3)) for _ in range(2)]
    np.testing.assert_array_equal(*legacy)
    starts = []
    # None draws from the system: only the starts, all of which differ, are looked at.
    for random_state in (3, 4, None, None):
        estimator = make_estimator(random_state=random_state, max_iter=1)
        with pytest.warns(ConvergenceWarning):
            estimator.fit(X, y)
        starts.append(estimator.emit_w_init_)
    for one, other in itertools.combinations(starts, 2):
        assert np.abs(one - other).max() > 1e-6
    np.testing.assert_array_equal(before, np.random.get_state()[1])
    assert torch.equal(torch_before, torch.get_rng_state())


def test_default_start_is_one_exponential_filter_for_every_cue():
    X, y = make_trials(num_emissions=3)
    X = [trial * np.array([[1.0], [1.0], [100.0], [100.0], [1.0]]) for trial in X]
    estimator = make_estimator(num_states=3, num_emissions=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator.fit(X, y)
    emit_w, trans_w = estimator.emit_w_init_, estimator.trans_w_init_
    assert emit_w.shape == (3, 2, 5) and trans_w.shape == (3, 3, 5)
    leaving = trans_w[~np.eye(3, dtype=bool)]
    rows = np.concatenate([emit_w.reshape(-1, 5), leaving])
    np.testing.assert_allclose(rows[:, 1], rows[:, 0] * np.exp(-1 / 2))
    np.testing.assert_allclose(rows[:, 3], rows[:, 2] * np.exp(-1 / 2))
    assert not rows[:, 4].any() and not trans_w[[0, 1, 2], [0, 1, 2]].any()
    design = np.hstack(X)
    for cue in (slice(0, 2), slice(2, 4)):
        size = np.sqrt(np.square(rows[:, cue] @ design[cue]).mean(1))
        assert 0.5 <= size.min() < size.max() <= 1.0
        assert (rows[:, cue] > 0).any() and (rows[:, cue] < 0).any()
    assert len(np.unique(rows[:, 0])) == len(rows)


# Its answers, by the sum over all paths


def paths_of(estimator, X, y):
    """Every path of states, and log p(path, y_0..t) at every t, one trial."""
    emit_w, trans_w = estimator.emit_w_, estimator.trans_w_
    states, bins = len(emit_w), X.shape[1]
    paths = np.array(list(itertools.product(range(states), repeat=bins)))
    log_joint = np.zeros((len(paths), bins))
    for row, path in enumerate(paths):
        total = -np.log(states)
        for t in range(bins):
            if t > 0:
                scores = trans_w[path[t - 1]] @ X[:, t]
                scores[path[t - 1]] = 0.0
                total += scores[path[t]] - logsumexp(scores)
            if not np.isnan(y[t]):
                scores = np.append(0.0, emit_w[path[t]] @ X[:, t])
                total += scores[int(y[t])] - logsumexp(scores)
            log_joint[row, t] = total
    return paths, log_joint


def short_trials(X, y):
    X, y = [X[0][:, :5], X[1][:, 3:7]], [
        y[0][:5].astype(float),
        y[1][3:7].astype(float),
    ]
    y[0][2] = np.nan
    return X, y


def test_score_is_the_sum_over_all_paths(fitted):
    estimator, _, X, y = fitted
    X, y = short_trials(X, y)
    total = sum(logsumexp(paths_of(estimator, *t)[1][:, -1]) for t in zip(X, y))
    assert estimator.score(X, y) == pytest.approx(total / 8, abs=1e-12)


@pytest.mark.parametrize("known", [True, False])
def test_states_are_those_of_all_paths(fitted, known):
    estimator, _, X, y = fitted
    X, y = short_trials(X, y)
    labels = y if known else [np.full(len(one), np.nan) for one in y]
    given = y if known else None
    smoothed = estimator.predict_states_proba(X, given)
    best = estimator.predict_states(X, given)
    for i in range(2):
        paths, log_joint = paths_of(estimator, X[i], labels[i])
        probs = np.exp(log_joint[:, -1] - logsumexp(log_joint[:, -1]))
        expected = [probs @ (paths == state) for state in range(2)]
        np.testing.assert_allclose(smoothed[i], np.stack(expected, -1), atol=1e-12)
        np.testing.assert_array_equal(best[i], paths[probs.argmax()])


@pytest.mark.parametrize("known", [True, False])
def test_labels_are_predicted_from_the_earlier_ones_by_all_paths(fitted, known):
    estimator, _, X, y = fitted
    X, y = short_trials(X, y)
    given = y if known else None
    probs, labels = estimator.predict_proba(X, given), estimator.predict(X, given)
    for i, trial in enumerate(X):
        for t in range(trial.shape[1]):
            expected = [
                logsumexp(paths_of(estimator, trial[:, : t + 1], seen)[1][:, -1])
                for seen in continued(y[i][:t] if known else np.full(t, np.nan))
            ]
            expected = np.exp(expected - logsumexp(expected))
            np.testing.assert_allclose(probs[i][t], expected, atol=1e-12)
            assert labels[i][t] == expected.argmax()


def continued(past):
    return [np.append(past, label) for label in range(3)]


def test_none_is_a_missing_label_as_nan_is(fitted):
    estimator, _, X, y = fitted
    gaps = [np.where(np.arange(len(labels)) % 3, labels, np.nan) for labels in y]
    nones = [[None if np.isnan(label) else label for label in one] for one in gaps]
    assert estimator.score(X, nones) == estimator.score(X, gaps)
    whole = [[None] * len(y[0]), *y[1:]]
    assert estimator.score(X, whole) == estimator.score(X, [gaps[0] * np.nan, *y[1:]])


def test_a_missing_label_changes_nothing_whatever_stood_there():
    X, y = make_trials()
    y = [labels.astype(float) for labels in y]
    y[0][3:6] = np.nan
    y[2][0] = np.nan
    start = {"emit_w_init": np.ones((2, 1, 5)), "trans_w_init": np.zeros((2, 2, 5))}
    start["emit_w_init"][1] = -0.5
    estimator = make_estimator(max_iter=1)
    with pytest.warns(ConvergenceWarning):
        history = estimator.fit(X, y, **start)
    # The M-step of the emissions weighs observed bins alone: its slope there is 0.
    before = make_estimator()
    before.emit_w_, before.trans_w_ = start.values()
    weights = before.predict_states_proba(X, y)
    for state in range(2):
        slope = np.zeros(5)
        for trial, labels, weight in zip(X, y, weights):
            seen = ~np.isnan(labels)
            scores = history[0]["emit_w"][state, 0] @ trial[:, seen]
            residual = labels[seen] - 1 / (1 + np.exp(-scores))
            slope += trial[:, seen] @ (weight[seen, state] * residual)
        penalty = 0.02 * sum(map(len, y)) * history[0]["emit_w"][state, 0]
        assert np.abs(slope - penalty).max() < 2e-5 * sum(map(len, y))


def test_predictions_need_a_fit_and_trials_like_those_of_the_fit(fitted):
    estimator, _, X, y = fitted
    with pytest.raises(NotFittedError):
        make_estimator().score(X, y)
    with pytest.raises(ValueError, match=r"X\[0\].*\(5, bins\).*as in fit"):
        estimator.predict([X[0][:3]])
    with pytest.raises(ValueError, match="transposed"):
        estimator.predict([X[0].T])
    with pytest.raises(ValueError, match="y must be a list of labels"):
        estimator.score(X, None)


# The component with rows of staying


def square_model(prior=None):
    rng = np.random.default_rng(0)
    design = rng.normal(size=(6, 2))
    data = Sequences([0, 1, 1, 0, 1, 0], design, lengths=[4, 2])
    model = GLMHMM(3, Bernoulli(), SquareInputDriven(prior))
    model.bind(data)
    return model, data, torch.tensor(rng.normal(size=(3, 3, 2)))


def test_transitions_with_rows_of_staying_have_one_definition():
    model, data, weights = square_model()

    @pyro_method
    def tables(transitions):
        covariates = data.covariates.unsqueeze(-2)
        by_definition = transitions(torch.arange(3), covariates).logits
        return by_definition, transitions.log_probs(data)

    values = {"transitions.weights": weights}
    by_definition, table = poutine.condition(tables, data=values)(model.transitions)
    scores = torch.einsum("ijd,td->tij", weights, data.covariates)
    scores[:, range(3), range(3)] = 0.0
    torch.testing.assert_close(by_definition, scores.log_softmax(-1))
    torch.testing.assert_close(table, scores.log_softmax(-1))


def test_objective_of_rows_of_staying_has_its_own_slope():
    model, data, weights = square_model()
    objective = model.transitions.block_objective(data)
    counts = torch.rand(1, 6, 3, 3, generator=torch.Generator().manual_seed(0)).double()
    prepared = objective.prepare(counts)
    which = np.array([2, 0])
    points = weights.reshape(3, -1).numpy()[which]
    values, slopes = objective(points, which, prepared)
    scores = torch.einsum("ijd,td->tij", weights, data.covariates)
    scores[:, range(3), range(3)] = 0.0
    expected = (counts[0] * scores.log_softmax(-1)).sum((0, 2))
    np.testing.assert_allclose(values, expected.numpy()[which])

    def value(flat):
        found, _ = objective(flat.reshape(points.shape).numpy(), which, prepared)
        return torch.tensor(found).sum()

    differences = finite_differences(value, torch.tensor(points).flatten())
    np.testing.assert_allclose(slopes.ravel(), differences.numpy(), atol=1e-7)
