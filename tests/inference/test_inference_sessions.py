"""Probabilities of a session's own: found by name, in any order, in copies, or not."""

import numpy as np
import pytest
import torch
from made_fits import made_fit, sticky

import glmhmm_pyro as gh
from glmhmm_pyro.sequences import MatchingWarning

FIRST = [[0.9, 0.1], [0.2, 0.8], [0.5, 0.5], [0.35, 0.65]]
NAMES = ["a", "a (2)", "b", "c"]
CHOICES = [[0, 0, 1], [1], [1, 0], [0, 1, 1, 1]]


def fit_of(data):
    params = {
        "initial.probs": FIRST[: data.num_sessions],
        "transitions.probs": sticky(2, 0.8),
        "emissions.weights": [[-1.0], [2.0]],
    }
    model = gh.GLMHMM(2, gh.Bernoulli(), initial=gh.Initial(per_session=True))
    return made_fit(model, data, params)


def sequences(names=None):
    return gh.Sequences.from_lists(CHOICES, session_names=names)


def by_hand(choices, first):
    """Log-likelihood of one session, by the forward recursion."""
    emission = 1 / (1 + np.exp(-np.array([-1.0, 2.0])))
    state = np.array(first)
    total = 0.0
    for number, choice in enumerate(choices):
        state = state if not number else state @ sticky(2, 0.8)
        state = state * (emission if choice else 1 - emission)
        total += np.log(state.sum())
        state = state / state.sum()
    return total


def log_likelihoods(fit, data):
    hidden = fit.distribution(data)
    return hidden.log_prob_per_session(data.emissions).tolist()


def expected(order):
    return [by_hand(CHOICES[s], FIRST[s]) for s in order]


@pytest.mark.parametrize("names", [NAMES, None], ids=["named", "unnamed"])
@pytest.mark.parametrize(
    "order", [[0, 1, 2, 3], [3, 1, 0, 2], [2], [1, 3], [0, 0, 1, 0, 3], [3, 3, 3, 3, 2]]
)
def test_sessions_in_any_order_subset_and_number_find_their_own(names, order):
    data = sequences(names)
    fit = fit_of(data)
    some = data.subset(order)
    assert log_likelihoods(fit, some) == pytest.approx(expected(order), rel=1e-12)
    steps = sum(len(CHOICES[s]) for s in order)
    assert fit.score(some) == pytest.approx(sum(expected(order)) / steps, rel=1e-12)
    # As in the original order, session by session.
    whole = data.split(fit.decode(data).smoothed_probs.values)
    found = some.split(fit.decode(some).smoothed_probs.values)
    for session, probs in zip(order, found):
        np.testing.assert_allclose(probs, whole[session], rtol=1e-12)


@pytest.mark.parametrize("names", [NAMES, None], ids=["named", "unnamed"])
def test_a_session_of_changed_data_is_still_that_session(names):
    data = sequences(names)
    fit = fit_of(data)
    other = data.subset([2, 0, 0])
    other = other.replace(emissions=1 - other.emissions).subset([1, 0, 2])
    other = other.to(dtype=torch.float32).to(dtype=torch.float64)
    wanted = [by_hand([1 - y for y in CHOICES[s]], FIRST[s]) for s in [0, 2, 0]]
    assert log_likelihoods(fit, other) == pytest.approx(wanted, rel=1e-6)
    simulated, states = fit.simulate(data, num_samples=3)
    firsts = torch.tensor(FIRST).double().log()
    model = fit.model
    with model.at(fit.params):
        logits = model.initial.log_probs(simulated)
    torch.testing.assert_close(logits, firsts.repeat(3, 1))


def test_copies_are_those_of_their_session_and_a_true_name_is_itself():
    data = sequences(NAMES)
    fit = fit_of(data)
    copies = data.subset([0, 0, 1, 1])
    assert copies.session_names == ("a", "a (3)", "a (2)", "a (2) (2)")
    assert [origin.name for origin in copies.session_origins] == ["a"] * 2 + [
        "a (2)"
    ] * 2
    wanted = expected([0, 0, 1, 1])
    assert log_likelihoods(fit, copies) == pytest.approx(wanted, rel=1e-12)
    # In data without a true 'a (2)' that name is a copy's.
    apart = data.subset([0, 2, 3]).subset([0, 0])
    assert apart.session_names == ("a", "a (2)")
    assert log_likelihoods(fit, apart) == pytest.approx(expected([0, 0]), rel=1e-12)


def test_copies_that_were_fitted_have_probabilities_of_their_own():
    data = sequences(NAMES).subset([0, 0, 2])
    fit = fit_of(data)
    order = [1, 2, 0]
    wanted = [by_hand(CHOICES[[0, 0, 2][s]], FIRST[s]) for s in order]
    assert log_likelihoods(fit, data.subset(order)) == pytest.approx(wanted, rel=1e-12)


def test_data_end_to_end_keep_their_sessions():
    data = sequences(NAMES)
    fit = fit_of(data)
    parts = [data.subset([3, 0]), data.subset([0, 2])]
    joined = gh.Sequences.concatenate(parts)
    wanted = expected([3, 0, 0, 2])
    assert log_likelihoods(fit, joined) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("known", [NAMES, None], ids=["named", "unnamed"])
def test_sessions_that_were_not_fitted_are_refused(known):
    fit = fit_of(sequences(known))
    for lists, names, unknown in [
        (CHOICES, ["a", "b", "c", "d"], "got d"),
        ([[1, 1]], ["x"], "got x"),
        ([[1, 1]], None, "got 0"),
        (CHOICES + [[1]], None, "got 0, 1, 2, 3, 4"),
    ]:
        if known is None and names and len(names) == 4:
            continue
        other = gh.Sequences.from_lists(lists, session_names=names)
        for use in (fit.score, fit.decode, fit.predict, fit.simulate):
            with pytest.raises(
                ValueError, match=f"initial probab.*{unknown}; use Init"
            ):
                use(other)


@pytest.mark.parametrize("known, later", [(NAMES, None), (None, NAMES), (None, None)])
def test_sessions_without_names_are_taken_by_their_place_with_a_note(known, later):
    fit = fit_of(sequences(known))
    other = gh.Sequences.from_lists([[1], [0, 0], [1], [1]], session_names=later)
    with pytest.warns(MatchingWarning, match="sessions are matched by place"):
        found = log_likelihoods(fit, other)
    wanted = [by_hand(y, p) for y, p in zip([[1], [0, 0], [1], [1]], FIRST)]
    assert found == pytest.approx(wanted, rel=1e-12)


def test_the_same_data_read_again_are_the_same_sessions():
    fit = fit_of(sequences())
    assert log_likelihoods(fit, sequences().subset([2])) == pytest.approx(expected([2]))


def test_a_saved_fit_keeps_its_sessions(tmp_path):
    for names in (NAMES, None):
        data = sequences(names)
        fit_of(data).save(tmp_path / "fit.nc")
        loaded = gh.load(tmp_path / "fit.nc")
        found = log_likelihoods(loaded, data.subset([3, 0, 0]))
        assert found == pytest.approx(expected([3, 0, 0]), rel=1e-12)
        with pytest.raises(ValueError, match="got x; use"):
            loaded.score(gh.Sequences([1, 1], session_names=["x"]))


def test_em_of_a_bound_model_on_other_sessions_counts_for_each_its_own():
    """A session that is not among the data keeps even odds, for nothing is known."""
    data = sequences(NAMES)
    model = fit_of(data).model
    options = {"num_restarts": 1, "num_iters": 1, "progress": False}
    with pytest.warns(gh.ConvergenceWarning):
        fit = gh.fit(model, data.subset([3, 0]), **options)
    assert fit.parameters["initial.probs"].session.values.tolist() == NAMES
    assert fit.params["initial.probs"].shape == (4, 2)
    torch.testing.assert_close(
        fit.params["initial.probs"][[1, 2]], torch.full((2, 2), 0.5).double()
    )
    with fit.model.at(fit.params):
        probs = fit.model.initial.log_probs(data.subset([3, 0])).exp()
    torch.testing.assert_close(probs, fit.params["initial.probs"][[3, 0]])
