"""Importers: the likelihood is that of the other program, by its own formulas."""

from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from estimator_cases import make_estimator, make_trials
from scipy.io import savemat
from scipy.special import log_softmax, logsumexp

import glmhmm_pyro as gh

LENGTHS = (7, 1, 12)


def log_likelihood(log_start, log_moves, log_emissions, lengths):
    """By the forward algorithm, from tables of all steps.

    Args:
        log_start: (sessions, states).
        log_moves: INTO each step, (steps, origins, destinations).
        log_emissions: of what was observed, (steps, states).
        lengths: steps of every session.
    """
    total, step = 0.0, 0
    for session, length in enumerate(lengths):
        log_alpha = log_start[session] + log_emissions[step]
        for t in range(step + 1, step + length):
            log_alpha = logsumexp(log_alpha[:, None] + log_moves[t], axis=0)
            log_alpha = log_alpha + log_emissions[t]
        total += logsumexp(log_alpha)
        step += length
    return total


def data_of(inputs, classes, seed=0, **designs):
    labels = np.random.default_rng(seed).integers(classes, size=len(inputs))
    return labels, gh.Sequences(labels, inputs, lengths=LENGTHS, **designs)


def of_labels(logits, labels):
    """Log-probabilities of labels from logits (steps, states, classes)."""
    return log_softmax(logits, -1)[np.arange(len(labels)), :, labels]


def check(imported, data, expected, source):
    fit = imported.on(data)
    assert fit.log_likelihood == pytest.approx(expected, abs=1e-10)
    assert fit.log_joint == fit.log_likelihood and fit.method == source
    assert fit.status is gh.Status.GIVEN and "given" in repr(fit)
    return fit


# The original, and its translation


def by_the_original(entry, X, y):
    """Log-likelihood by the original's formulas, first states uniform."""
    emit_w, trans_w = entry["emit_w"], entry["trans_w"]
    states = len(emit_w)
    design, labels = np.hstack(X).T, np.concatenate(y).astype(int)
    logits = np.einsum("kcd,td->tkc", emit_w, design)
    logits = np.concatenate([np.zeros(logits.shape[:2] + (1,)), logits], -1)
    moves = np.einsum("ijd,td->tij", trans_w, design)
    moves[:, range(states), range(states)] = 0
    start = np.full((len(X), states), -np.log(states))
    lengths = [len(one) for one in y]
    log_moves = log_softmax(moves, -1)
    return log_likelihood(start, log_moves, of_labels(logits, labels), lengths)


def history_of(num_states=3, num_emissions=3, **options):
    X, y = make_trials(num_emissions=num_emissions)
    estimator = make_estimator(
        num_states=num_states, num_emissions=num_emissions, max_iter=2, tol=0, **options
    )
    with pytest.warns(gh.ConvergenceWarning):
        return X, y, estimator.fit(X, y)


def sequences(X, y):
    return gh.Sequences.from_lists(y, [trial.T for trial in X])


def test_outputs_of_the_predecessor_have_its_likelihood():
    X, y, history = history_of()
    imported = gh.importers.from_pyglmhmm(history)
    expected = by_the_original(history[-1], X, y)
    fit = check(imported, sequences(X, y), expected, "pyGLMHMM")
    first = gh.importers.from_pyglmhmm(history, iteration=0)
    check(first, sequences(X, y), by_the_original(history[0], X, y), "pyGLMHMM")
    one = gh.importers.from_pyglmhmm(history[0])
    assert one.on(sequences(X, y)).log_likelihood != fit.log_likelihood
    weights = fit.parameters["transitions.weights"]
    np.testing.assert_array_equal(weights.values[0, 1], history[-1]["trans_w"][0, 1])
    assert not weights.values[[0, 1, 2], [0, 1, 2]].any()


def structs(history):
    """MATLAB's outvars: one struct for every iteration."""
    names = ("emit_w", "trans_w", "loglik")
    outvars = np.empty(len(history), dtype=[(name, object) for name in names])
    for i, entry in enumerate(history):
        outvars[i] = tuple(np.asarray(entry[name]) for name in names)
    return {"outvars": outvars, "options": {"numstates": 3.0}}


def save_hdf5(path, history):
    """The same in the form of version 7.3: references, axes reversed."""
    with h5py.File(path, "w", userblock_size=512) as file:
        references = file.create_group("#refs#")
        outvars = file.create_group("outvars")
        outvars.attrs["MATLAB_class"] = np.bytes_("struct")
        for name in ("emit_w", "trans_w"):
            column = outvars.create_dataset(
                name, (len(history), 1), dtype=h5py.ref_dtype
            )
            for i, entry in enumerate(history):
                one = references.create_dataset(f"{name}{i}", data=entry[name].T)
                column[i, 0] = one.ref
    write_header(path)


def write_header(path):
    """What stands before the HDF5 part of a file of MATLAB's version 7.3."""
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + (0x0200).to_bytes(2, "little"))
        file.write(b"IM")


@pytest.mark.parametrize("version", ["5", "7.3"])
@pytest.mark.parametrize("states, labels", [(3, 3), (2, 2), (1, 3)])
def test_files_of_the_original_have_its_likelihood(tmp_path, version, states, labels):
    X, y, history = history_of(states, labels)
    path = tmp_path / "outvars.mat"
    if version == "5":
        savemat(path, structs(history))
    else:
        save_hdf5(path, history)
    imported = gh.importers.from_matlab(path)
    check(imported, sequences(X, y), by_the_original(history[-1], X, y), "MATLAB")
    first = gh.importers.from_matlab(path, iteration=0)
    check(first, sequences(X, y), by_the_original(history[0], X, y), "MATLAB")


def test_axes_that_matlab_drops_are_put_back(tmp_path):
    X, y = [np.ones((1, 40))], [np.arange(40) % 2]
    entry = {
        "emit_w": np.array([[[0.3]], [[-1.0]]]),
        "trans_w": np.array([[[0.0], [-2.0]], [[-1.0], [0.0]]]),
        "loglik": 0.0,
    }
    dropped = {**entry, "emit_w": entry["emit_w"][..., 0]}
    dropped["trans_w"] = entry["trans_w"][..., 0]
    path = tmp_path / "outvars.mat"
    savemat(path, structs([dropped]))
    imported = gh.importers.from_matlab(path)
    check(imported, sequences(X, y), by_the_original(entry, X, y), "MATLAB")


def test_a_run_of_the_original_itself_has_its_likelihood(shared, tmp_path):
    with np.load(shared / "golden" / "glmhmm_B2.npz") as archive:
        run = dict(archive)
    X, y = ([run[f"{key}_{r}"] for r in range(3)] for key in ("X", "y"))
    path = tmp_path / "outvars.mat"
    names = ("emit_w", "trans_w", "loglik")
    savemat(path, structs([{n: run[n][i] for n in names} for i in range(36)]))
    imported = gh.importers.from_matlab(path)
    expected = run["marginal_ll_uniform_prior"][-1]
    check(imported, sequences(X, y), expected, "MATLAB")


def test_an_import_decodes_scores_simulates_and_goes_on(tmp_path):
    X, y, history = history_of()
    imported = gh.importers.from_pyglmhmm(history)
    data = sequences(X, y)
    fit = imported.on(data)
    decoded = fit.decode(data)
    np.testing.assert_allclose(decoded.smoothed_probs.sum("state"), 1)
    assert fit.score(data.subset([0])) < 0
    simulated, states = fit.simulate(data)
    assert simulated.num_steps == len(states) == data.num_steps
    fit.save(tmp_path / "imported.nc")
    again = gh.load(tmp_path / "imported.nc")
    assert again.status is gh.Status.GIVEN
    assert again.score(data) == pytest.approx(fit.score(data))
    options = {"num_restarts": 1, "init": fit.params, "tol": 1, "progress": False}
    better = gh.fit(imported.model, data, **options)
    assert better.log_likelihood > fit.log_likelihood
    other = data.replace(covariates=np.ones((data.num_steps, 2)))
    with pytest.raises(ValueError, match="params must have one value for every site"):
        imported.on(other)


# ssm


def ssm_model(states, classes, features, driven, seed=0):
    """Objects with the attributes that ssm's have."""
    rng = np.random.default_rng(seed)
    log_probs = rng.normal(size=(states, states))
    transitions = SimpleNamespace(log_Ps=log_probs)
    if driven:
        transitions.Ws = rng.normal(size=(states, features))
    log_start = rng.normal(size=states)
    return SimpleNamespace(
        init_state_distn=SimpleNamespace(log_pi0=log_start),
        transitions=transitions,
        observations=SimpleNamespace(
            Wk=rng.normal(size=(states, classes - 1, features))
        ),
    )


def by_ssm(hmm, inputs, labels):
    """The last class is the reference; a row of Ws for every destination."""
    logits = np.einsum("kcm,tm->tkc", hmm.observations.Wk, inputs)
    logits = np.concatenate([logits, np.zeros(logits.shape[:2] + (1,))], -1)
    moves = np.repeat(hmm.transitions.log_Ps[None], len(inputs), axis=0)
    if hasattr(hmm.transitions, "Ws"):
        moves = moves + (inputs @ hmm.transitions.Ws.T)[:, None, :]
    start = log_softmax(hmm.init_state_distn.log_pi0)
    start = np.repeat(start[None], len(LENGTHS), axis=0)
    log_moves = log_softmax(moves, -1)
    return log_likelihood(start, log_moves, of_labels(logits, labels), LENGTHS)


@pytest.mark.parametrize("states, classes", [(3, 4), (2, 2), (1, 3)])
@pytest.mark.parametrize("driven", [True, False])
def test_models_of_ssm_have_its_likelihood(states, classes, driven):
    hmm = ssm_model(states, classes, 2, driven)
    inputs = np.random.default_rng(1).normal(size=(20, 2))
    labels, data = data_of(inputs, classes)
    imported = gh.importers.from_ssm(hmm)
    check(imported, data, by_ssm(hmm, inputs, labels), "ssm")


def test_driven_transitions_of_ssm_with_an_intercept_have_its_likelihood():
    hmm = ssm_model(3, 3, 4, driven=True)
    inputs = np.random.default_rng(1).normal(size=(20, 4))
    inputs[:, 2] = 1.0
    labels, data = data_of(inputs, 3)
    imported = gh.importers.from_ssm(hmm, intercept=2)
    check(imported, data, by_ssm(hmm, inputs, labels), "ssm")
    assert isinstance(imported.model.transitions, gh.InputDriven)


def test_weights_of_two_classes_change_their_sign():
    hmm = ssm_model(2, 2, 3, driven=False)
    found = gh.importers.from_ssm(hmm).params["emissions.weights"]
    np.testing.assert_array_equal(found.numpy(), -hmm.observations.Wk)


def test_a_transition_that_never_happens_stays_impossible():
    hmm = ssm_model(2, 2, 3, driven=False)
    hmm.transitions.log_Ps[0] = [0.0, -np.inf]
    inputs = np.random.default_rng(1).normal(size=(20, 3))
    labels, data = data_of(inputs, 2)
    expected = by_ssm(hmm, inputs, labels)
    fit = check(gh.importers.from_ssm(hmm), data, expected, "ssm")
    assert fit.params["transitions.probs"][0].tolist() == [1.0, 0.0]
    hmm.transitions.Ws = np.zeros((2, 3))
    with pytest.raises(ValueError, match="log_Ps must be finite"):
        gh.importers.from_ssm(hmm)


# dynamax


def dynamax_params(states, classes, features, logistic=False):
    rng = np.random.default_rng(0)
    rows = (states,) if logistic else (states, classes)
    return SimpleNamespace(
        initial=SimpleNamespace(probs=rng.dirichlet(np.ones(states))),
        transitions=SimpleNamespace(
            transition_matrix=rng.dirichlet(np.ones(states), size=states)
        ),
        emissions=SimpleNamespace(
            weights=rng.normal(size=(*rows, features)), biases=rng.normal(size=rows)
        ),
    )


def by_dynamax(params, inputs, labels):
    weights, biases = params.emissions.weights, params.emissions.biases
    if weights.ndim == 2:
        odds = inputs @ weights.T + biases
        logits = np.stack([np.zeros(odds.shape), odds], -1)
    else:
        logits = np.einsum("kcm,tm->tkc", weights, inputs) + biases
    with np.errstate(divide="ignore"):
        start = np.repeat(np.log(params.initial.probs)[None], len(LENGTHS), axis=0)
        moves = np.log(params.transitions.transition_matrix)
    moves = np.repeat(moves[None], len(inputs), axis=0)
    return log_likelihood(start, moves, of_labels(logits, labels), LENGTHS)


@pytest.mark.parametrize("logistic", [True, False])
@pytest.mark.parametrize("states, classes", [(3, 4), (2, 2), (1, 3)])
def test_parameters_of_dynamax_have_its_likelihood(states, classes, logistic):
    params = dynamax_params(states, classes, 2, logistic)
    classes = 2 if logistic else classes
    inputs = np.random.default_rng(1).normal(size=(20, 2))
    labels, data = data_of(inputs, classes)
    data = data.add_intercept(["covariates"])
    imported = gh.importers.from_dynamax(params)
    check(imported, data, by_dynamax(params, inputs, labels), "dynamax")


def test_single_precision_of_dynamax_is_divided_out():
    params = dynamax_params(3, 3, 2)
    matrix = params.transitions.transition_matrix.astype(np.float32)
    params.transitions.transition_matrix = matrix
    found = gh.importers.from_dynamax(params).params["transitions.probs"]
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-15)
    np.testing.assert_allclose(found, matrix, rtol=1e-6)


# What is refused


def ssm_without(attribute):
    hmm = ssm_model(2, 2, 3, driven=True)
    delattr(hmm, attribute)
    return hmm


def changed(make, change):
    whole = make()
    change(whole)
    return whole


@pytest.mark.parametrize(
    "call, error, message",
    [
        (
            lambda: gh.importers.from_pyglmhmm([{"emit_w": np.ones((2, 1, 3))}]),
            ValueError,
            "output must have emit_w and trans_w, got emit_w",
        ),
        (lambda: gh.importers.from_pyglmhmm([]), ValueError, "among the 0 of output"),
        (
            lambda: gh.importers.from_pyglmhmm(
                {"emit_w": np.ones((2, 1, 3)), "trans_w": np.ones((2, 2, 4))}
            ),
            ValueError,
            r"trans_w must be finite, of shape \(2, 2, 3\), got shape \(2, 2, 4\)",
        ),
        (
            lambda: gh.importers.from_pyglmhmm(
                {
                    "emit_w": np.ones((2, 1, 3)),
                    "trans_w": np.ones((2, 2, 3)),
                    "analog_emit_w": np.ones((2, 1, 3)),
                }
            ),
            ValueError,
            "analog_emit_w must be empty",
        ),
        (
            lambda: gh.importers.from_ssm(ssm_without("observations")),
            ValueError,
            "hmm must have 'observations'",
        ),
        (
            lambda: gh.importers.from_ssm(ssm_model(2, 2, 3, True), intercept=3),
            ValueError,
            "intercept must be the number of a column of Ws",
        ),
        (
            lambda: gh.importers.from_ssm(ssm_model(2, 2, 3, False), intercept=0),
            ValueError,
            "intercept must be None",
        ),
        (
            lambda: gh.importers.from_ssm(
                changed(
                    lambda: ssm_model(2, 2, 3, True),
                    lambda hmm: setattr(hmm.transitions, "Rs", np.ones((2, 1))),
                )
            ),
            ValueError,
            "transitions must have no 'Rs', got one, which recurrent transitions have",
        ),
        (
            lambda: gh.importers.from_dynamax(
                changed(
                    lambda: dynamax_params(2, 2, 3),
                    lambda p: setattr(p.emissions, "covs", np.ones((2, 2, 2))),
                )
            ),
            ValueError,
            "emissions must have no 'covs', got one, which a linear regression has",
        ),
        (
            lambda: gh.importers.from_dynamax(
                {"emissions": {"weights": "many", "biases": 0}}
            ),
            TypeError,
            "emissions.weights must be an array of numbers, got str",
        ),
        (
            lambda: gh.importers.from_dynamax(
                changed(
                    lambda: dynamax_params(2, 2, 3),
                    lambda p: setattr(p.initial, "probs", np.array([0.5, 0.6])),
                )
            ),
            ValueError,
            "initial.probs must be probabilities",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_name(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_a_file_without_outvars_is_refused(tmp_path, version):
    path = tmp_path / "other.mat"
    if version == "5":
        savemat(path, {"x": 1.0})
    else:
        with h5py.File(path, "w", userblock_size=512) as file:
            file["x"] = 1.0
        write_header(path)
    with pytest.raises(ValueError, match="must hold the struct outvars"):
        gh.importers.from_matlab(path)
