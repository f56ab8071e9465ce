"""Columns that hold the emission of their own step are found, and no others named."""

import numpy as np
import pytest

import glmhmm_pyro as gh
from glmhmm_pyro.inference.checks.followed import follows

RIDGE = gh.priors.Ridge(2.0)
DRIVEN = gh.GLMHMM(2, gh.Bernoulli(RIDGE), gh.InputDriven(RIDGE))
STEPS, LENGTHS = 800, [200] * 4
CONTRASTS = [-1, -0.25, -0.125, -0.0625, 0, 0.0625, 0.125, 0.25, 1]
MANY_WITHOUT = [0.1, 0.05, 0.05, 0.1, 0.4, 0.1, 0.05, 0.05, 0.1]
KINDS = ["numbers", "contrasts", "sides", "many without"]


def trials(seed, kind):
    """Columns of a task of two choices, by name, with two states of the animal."""
    rng = np.random.default_rng(seed)
    stim = {
        "numbers": rng.normal(size=STEPS),
        "contrasts": rng.choice(CONTRASTS, STEPS),
        "sides": rng.choice([-1.0, 1.0], STEPS),
        "many without": rng.choice(CONTRASTS, STEPS, p=MANY_WITHOUT),
    }[kind]
    # Sides of trials without a stimulus are drawn, as those of the others are shown.
    side = np.where(stim == 0, rng.uniform(size=STEPS) < 0.5, stim > 0)
    state = np.cumsum(rng.uniform(size=STEPS) < 0.02) % 2
    odds = np.where(state == 0, 2.0 * stim + 0.2, 0.7 * stim - 1.0)
    choice = (rng.uniform(size=STEPS) < 1 / (1 + np.exp(-odds))).astype(float)
    correct = 1.0 * (choice == side)
    return {
        "stim": stim,
        "choice": choice,
        "correct": correct,
        "hit": correct * choice,
        "volume": correct * (1 + 3.0 * (np.abs(stim) > 0.5)),
        "previous": before(2 * choice - 1),
        "win": before((2 * choice - 1) * correct),
        "rewarded": before(correct),
        "easy": 1.0 * (np.abs(stim) > 0.5),
        "block": np.arange(STEPS) // 100 % 2.0,
        "as block": 1.0 * (np.arange(STEPS) // 100 % 2 == side),
        "rare": 1.0 * (rng.uniform(size=STEPS) < 0.03),
        "time": np.arange(STEPS) / STEPS,
        "one": np.ones(STEPS),
    }


def before(column):
    """The column of the step before, 0 at the first."""
    return np.concatenate([[0.0], column[:-1]])


def data_of(table, covariates, driving, mask=None):
    """Choices with these columns."""
    return gh.Sequences(
        table["choice"],
        np.column_stack([table[name] for name in covariates]),
        lengths=LENGTHS,
        covariate_names=covariates,
        transition_covariates=np.column_stack([table[name] for name in driving]),
        transition_covariate_names=driving,
        mask=mask,
    )


def leaks(model, data):
    """Sentences of the findings."""
    found = [finding for finding in gh.check(model, data) if finding.code == "leak"]
    assert all(finding.severity == "warning" for finding in found)
    return [finding.sentence for finding in found]


SEEN = ["stim", "previous", "win", "one"]
KNOWN = ["rewarded", "easy", "block", "as block", "rare", "time", "one"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["correct", "hit", "volume", "choice"])
def test_what_became_of_a_step_must_not_drive_the_step(kind, name):
    for seed in range(2):
        data = data_of(trials(seed, kind), SEEN, [*KNOWN, name])
        (sentence,) = leaks(DRIVEN, data)
        assert sentence.startswith(
            f"transition_covariates must not hold what became of their own step, got "
            f"{name!r}: with the other covariates it follows without a mistake from"
        )
        assert f"covariates.Lags({name!r}, 1, first_lag=1), or leave" in sentence


@pytest.mark.parametrize("kind", KINDS)
def test_nor_may_it_be_a_covariate_of_the_choice(kind):
    data = data_of(trials(0, kind), [*SEEN, "correct"], KNOWN)
    (sentence,) = leaks(DRIVEN, data)
    assert sentence.startswith("covariates must not") and "got 'correct'" in sentence
    # A column that the model does not read is its own affair.
    without = gh.GLMHMM(2, gh.Bernoulli(RIDGE, covariates=SEEN), DRIVEN.transitions)
    assert leaks(without, data) == []


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_known_before_is_not_named(kind):
    for seed in range(3):
        data = data_of(trials(seed, kind), SEEN, KNOWN)
        assert leaks(DRIVEN, data) == [] and leaks(DRIVEN, data[:2]) == []


def test_a_reward_is_named_rather_than_one_of_two_stimuli_that_make_it():
    # The rat is right where its choice is s1 > s2, in 57 of 100 trials of these days.
    days = gh.datasets.load_rat().subset(range(10))
    assert leaks(DRIVEN, days) == []
    right = (days.covariates[:, 0] > days.covariates[:, 1]) == days.emissions
    columns = np.column_stack([days.transition_covariates, right])
    names = [*days.transition_covariate_names, "right"]
    data = days.replace(transition_covariates=columns, transition_covariate_names=names)
    (sentence,) = leaks(DRIVEN, data)
    assert "got 'right': with" in sentence


def test_a_mistake_on_its_own_side_is_no_rule():
    table = trials(0, "numbers")
    odd = np.flatnonzero(np.abs(table["stim"]) > 1)[:5]
    table["correct"][odd] = 1 - table["correct"][odd]
    assert leaks(DRIVEN, data_of(table, SEEN, [*KNOWN, "correct"])) == []
    # Where the choices at these steps are missing, all others are without a mistake.
    mask = ~np.isin(np.arange(STEPS), odd)
    data = data_of(table, SEEN, [*KNOWN, "correct"], mask)
    assert len(leaks(DRIVEN, data)) == 1


def test_first_states_and_outputs_are_looked_at_by_themselves():
    rng = np.random.default_rng(0)
    choice, stim = rng.integers(0, 2, 300), rng.normal(size=300)
    slow = 0.3 * choice + rng.normal(size=300)
    options = {"lengths": [5] * 60, "emission_names": ["choice", "time"]}
    data = gh.Sequences(
        np.column_stack([choice, slow]),
        np.column_stack([stim, choice]),
        covariate_names=["stim", "chosen"],
        transition_covariates=np.ones(300),
        initial_covariates=choice[::5],
        initial_covariate_names=["begins"],
        **options,
    )
    # The time that a choice takes may be told by the choice.
    families = gh.Outputs(
        choice=gh.Bernoulli(RIDGE, covariates=["stim"]), time=gh.Gaussian()
    )
    model = gh.GLMHMM(2, families, initial=gh.InitialGLM(RIDGE))
    (sentence,) = leaks(model, data)
    assert sentence.startswith("initial_covariates must not") and "'begins'" in sentence
    assert sentence.split("; ")[1] == "take what was known before the session"


@pytest.mark.filterwarnings("ignore::glmhmm_pyro.sequences.LeakageWarning")
def test_a_choice_before_that_begins_with_its_own_is_a_finding():
    table = trials(0, "numbers")
    starts = np.arange(0, STEPS, 200)
    table["choice"][starts] = [0, 1, 1, 0]
    table["ready"] = before(table["choice"])
    table["ready"][starts] = table["choice"][starts]
    data = data_of(table, ["stim", "ready"], ["one"])
    (sentence,) = leaks(DRIVEN, data)
    assert "'ready'" in sentence and "PreviousChoice('choice')" not in sentence
    assert "PreviousChoice('y')" in sentence
    model = gh.GLMHMM(1, gh.Bernoulli(RIDGE))
    fit = gh.fit(model, data, progress=False)
    assert fit.check(data).codes.count("leak") == 1


def test_many_columns_are_left_out_in_words():
    wide = np.random.default_rng(0).normal(size=(200, 60))
    data = gh.Sequences(np.arange(200) % 2, wide)
    report = gh.check(gh.GLMHMM(1, gh.Bernoulli(RIDGE)), data)
    assert "more than 100 columns" in report.left_out["leaks of outcomes"]


def test_a_table_decides_what_follows_where_all_columns_are_of_two_values():
    # By counting: a column follows where every pair of label and context has one value
    # of it, and some context has both. Contexts of two values are always told apart.
    rng = np.random.default_rng(1)
    found = []
    for kind in ("xor", "and", "noise", "context", "label"):
        label, context = rng.integers(0, 2, (2, 200))
        column = {
            "xor": label ^ context,
            "and": label & context,
            "noise": rng.integers(0, 2, 200),
            "context": 1 - context,
            "label": label,
        }[kind]
        pairs = {(a, b): set(column[(label == a) & (context == b)]) for a, b in PAIRS}
        contexts = [set(column[context == b]) for b in (0, 1)]
        by_table = (
            all(len(s) == 1 for s in pairs.values()) and max(map(len, contexts)) == 2
        )
        told = follows(1.0 * column, 1.0 * context[:, None], label)
        assert told == by_table, kind
        found.append(told)
    assert found == [True, True, False, False, True]


PAIRS = [(a, b) for a in (0, 1) for b in (0, 1)]


def test_parts_of_a_model_that_no_step_informs_have_no_leak():
    columns = np.random.default_rng(0).normal(size=(20, 2))
    driving = {"transition_covariates": columns, "initial_covariates": columns}
    data = gh.Sequences(np.arange(20) % 2, columns, lengths=[1] * 20, **driving)
    assert leaks(DRIVEN, data) == []
    model = gh.GLMHMM(2, gh.Bernoulli(RIDGE), initial=gh.InitialGLM(RIDGE))
    mask, options = np.arange(20) % 10 != 0, {"initial_covariates": columns[:2]}
    sessions = gh.Sequences(
        np.arange(20) % 2, columns, lengths=[10, 10], mask=mask, **options
    )
    assert leaks(model, sessions) == []


def test_a_stimulus_that_was_always_followed_is_told_from_a_reward_in_words():
    table = trials(0, "sides")
    table["choice"] = 1.0 * (table["stim"] > 0)
    (sentence,) = leaks(DRIVEN, data_of(table, ["one"], ["stim", "one"]))
    assert "in the 796 rows looked at" in sentence
    assert "if it was known before, as a stimulus" in sentence
