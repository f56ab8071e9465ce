"""What a fit says of weights that have no finite maximum, or hardly one."""

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from families import normals, seeded_generator

import glmhmm_pyro as gh
from glmhmm_pyro.components.log_gamma import NegativeBinomialByMean
from glmhmm_pyro.inference.kinds.unbounded import unbounded_weights

QUICK = {"num_restarts": 1, "progress": False}
NAMES = ["stimulus", "flag", "bias"]


def flagged(steps=300, unit=1.0):
    """Choices by a stimulus; in trials with a flag they are always 1."""
    x = normals(steps)
    uniform = torch.rand(steps, generator=seeded_generator(1), dtype=torch.float64)
    flag = (torch.arange(steps) % 10 == 0).double()
    y = (uniform < (2 * x).sigmoid()).double()
    y[flag > 0] = 1.0
    design = torch.stack([x, unit * flag, torch.ones(steps).double()], -1)
    return gh.Sequences(y, design, covariate_names=NAMES)


@pytest.mark.parametrize("unit", [1.0, 1e4, 1e-4])
def test_a_weight_that_the_data_hardly_bound_is_named_in_units_of_its_spread(unit):
    data = flagged(unit=unit)
    match = (
        r"state 0: the weight of 'flag' of class 1 is [\d.e+]+ in units of.*weak prior"
    )
    with pytest.warns(gh.ConvergenceWarning, match=match):
        fit = gh.fit(gh.GLMHMM(1, gh.Bernoulli()), data, **QUICK)
    assert fit.status is gh.Status.UNBOUNDED and len(fit.unbounded) == 1


def test_a_weak_prior_cures_it_as_is_advised():
    flat = gh.GLMHMM(1, gh.Bernoulli())
    with pytest.warns(gh.ConvergenceWarning):
        before = gh.fit(flat, flagged(), **QUICK).params["emissions.weights"][0]
    weak = gh.GLMHMM(1, gh.Bernoulli(prior=dist.Normal(0.0, 2.0)))
    fit = gh.fit(weak, flagged(), **QUICK)
    after = fit.params["emissions.weights"][0]
    assert fit.status is gh.Status.CONVERGED
    assert before[1] > 10 and 1 < after[1] < 6
    torch.testing.assert_close(after[[0, 2]], before[[0, 2]], rtol=0.15, atol=0.15)


def test_a_steep_curve_that_the_data_bound_is_no_cause_for_words():
    x = normals(3000)
    uniform = torch.rand(3000, generator=seeded_generator(1), dtype=torch.float64)
    data = gh.Sequences((uniform < (10 * x).sigmoid()).double(), x[:, None])
    fit = gh.fit(gh.GLMHMM(1, gh.Bernoulli()), data, **QUICK)
    assert fit.status is gh.Status.CONVERGED
    assert fit.params["emissions.weights"].item() == pytest.approx(10, rel=0.2)


def test_a_class_that_a_covariate_settles_is_named():
    data = flagged()
    data = data.replace(
        emissions=torch.where(data.emissions > 0, 2, torch.arange(300) % 2)
    )
    match = r"the weight of 'flag' of class [12] is"
    with pytest.warns(gh.ConvergenceWarning, match=match):
        gh.fit(gh.GLMHMM(1, gh.Categorical(3)), data, **QUICK)


def test_a_transition_that_a_covariate_settles_is_named():
    states = [0]
    rest = torch.rand(400, generator=seeded_generator(2)).tolist()
    cue = (np.arange(400) % 8 == 0).astype(float)
    for t in range(1, 400):
        leaves = cue[t] > 0 or rest[t] < 0.1
        states.append(1 - states[-1] if leaves else states[-1])
    y = 6.0 * np.array(states) + normals(400).numpy()
    u = np.c_[cue, np.ones(400)]
    data = gh.Sequences(
        y,
        transition_covariates=u,
        transition_covariate_names=["cue", "rest"],
    )
    model = gh.GLMHMM(2, gh.Gaussian(), gh.InputDriven())
    match = "transitions from state 0: the weight of 'cue' to state 1 is"
    with pytest.warns(gh.ConvergenceWarning, match=match):
        fit = gh.fit(model, data, **QUICK)
    assert fit.status is gh.Status.UNBOUNDED


def sessions_by(first, steps=12):
    """Sessions of two known states, of which the first are these; a cue moves them.

    Where the cue is on they go to state 1 from either state; else seldom anywhere.
    """
    rest = torch.rand(len(first), steps, generator=seeded_generator(3)).numpy()
    cue = (np.arange(steps) % 6 == 3).astype(float)
    states = np.tile(np.asarray(first)[:, None], steps)
    for t in range(1, steps):
        moved = np.where(rest[:, t] < 0.3, 1 - states[:, t - 1], states[:, t - 1])
        states[:, t] = np.where(cue[t] > 0, 1, moved)
    y = 8.0 * states.ravel() + normals(states.size).numpy()
    return y, np.tile(cue, len(first)), [steps] * len(first)


def right_states(model, data):
    """A fit from levels that tell the two states apart, 0 the lower one."""
    params = {"emissions.weights": [[0.0], [8.0]]}
    return gh.fit(model, data, init=params, **QUICK)


def test_a_shared_weight_that_a_cue_settles_is_named_and_a_weak_prior_cures_it():
    y, cue, lengths = sessions_by([0, 1] * 15)
    data = gh.Sequences(
        y,
        transition_covariates=cue[:, None],
        transition_covariate_names=["cue"],
        lengths=lengths,
    )
    model = gh.GLMHMM(2, gh.Gaussian(), gh.SharedInputDriven())
    with pytest.warns(gh.ConvergenceWarning, match="weak prior"):
        fit = right_states(model, data)
    (said,) = fit.unbounded
    assert said.startswith("transitions: the weight of 'cue' to state 1 is")
    weak = gh.GLMHMM(2, gh.Gaussian(), gh.SharedInputDriven(gh.priors.Ridge(3.0)))
    assert right_states(weak, data).status is gh.Status.CONVERGED


def test_a_baseline_that_a_prior_holds_is_not_said_to_be_without_a_maximum():
    # The state is left at no step but the last, so its free baseline would run away.
    y = np.r_[normals(30).numpy(), 8 + normals(30).numpy()]
    u = normals(60, seed=4).numpy()[:, None]
    data = gh.Sequences(y, transition_covariates=u)
    held = gh.priors.Ridge(2.0)
    with pytest.warns(gh.ConvergenceWarning, match="from state 1 are predicted"):
        right_states(gh.GLMHMM(2, gh.Gaussian(), gh.SharedInputDriven(held)), data)
    both = gh.SharedInputDriven(held, baseline_prior=held)
    fit = right_states(gh.GLMHMM(2, gh.Gaussian(), both), data)
    assert fit.status is gh.Status.CONVERGED and not fit.unbounded


@pytest.mark.parametrize(
    "first, said",
    [
        ([0, 1] * 10, "first states are predicted without error"),
        ([1] * 20, "first states (are predicted without error|never are)"),
        ([1, 1, 0, 1] * 5, "first states: the weight of 'after rest' of state 1 is"),
    ],
    ids=["separable", "one of them alone", "nearly"],
)
def test_first_states_that_a_covariate_settles_are_named(first, said):
    y, _, lengths = sessions_by(first)
    after_rest = np.arange(20) % 2
    options = {
        "initial_covariates": np.c_[after_rest, np.ones(20)],
        "initial_covariate_names": ["after rest", "bias"],
        "lengths": lengths,
    }
    data = gh.Sequences(y, **options)
    with pytest.warns(gh.ConvergenceWarning, match=said):
        right_states(gh.GLMHMM(2, gh.Gaussian(), initial=gh.InitialGLM()), data)
    weak = gh.InitialGLM(prior=gh.priors.Ridge(2.0))
    fit = right_states(gh.GLMHMM(2, gh.Gaussian(), initial=weak), data)
    assert fit.status is gh.Status.CONVERGED


def test_first_states_that_the_data_bind_are_no_cause_for_words():
    first = (normals(60, seed=2) + normals(60, seed=3) > 0).long().tolist()
    y, _, lengths = sessions_by(first)
    x = np.c_[normals(60, seed=2).numpy(), np.ones(60)]
    data = gh.Sequences(y, initial_covariates=x, lengths=lengths)
    fit = right_states(gh.GLMHMM(2, gh.Gaussian(), initial=gh.InitialGLM()), data)
    assert fit.status is gh.Status.CONVERGED and not fit.unbounded


@pytest.mark.parametrize("family", [gh.Poisson, gh.components.NegativeBinomial])
def test_a_rate_that_runs_to_0_where_a_covariate_says_so_is_named(family):
    rng = np.random.default_rng(0)
    silent = (np.arange(300) % 10 == 0).astype(float)
    rate = 4.0 * (1 - silent) * rng.gamma(4.0, 0.25, 300)
    x = np.c_[silent, np.ones(300)]
    data = gh.Sequences(rng.poisson(rate), x, covariate_names=["silent", "bias"])
    match = r"emissions in state 0: the weight of 'silent' is -[\d.]+ in units"
    with pytest.warns(gh.ConvergenceWarning, match=match):
        fit = gh.fit(gh.GLMHMM(1, family()), data, **QUICK)
    assert fit.status is gh.Status.UNBOUNDED
    weak = family(prior=gh.priors.Ridge(3.0))
    assert gh.fit(gh.GLMHMM(1, weak), data, **QUICK).status is gh.Status.CONVERGED


def test_a_label_that_never_happens_needs_no_weight_where_the_covariate_is_balanced():
    # The slope of 0 is the best there is, and gives a half to the label never seen.
    x = np.tile([-1.0, 1.0], 50)[:, None]
    fit = gh.fit(gh.GLMHMM(1, gh.Bernoulli()), gh.Sequences(np.zeros(100), x), **QUICK)
    assert fit.params["emissions.weights"].item() == pytest.approx(0.0, abs=1e-6)
    assert fit.status is gh.Status.CONVERGED and not fit.unbounded


def test_the_variance_of_negative_binomial_counts_is_that_of_their_probabilities():
    mean, dispersion = torch.tensor([0.5, 3.0]).double(), torch.tensor([0.2, 1.5])
    counts = NegativeBinomialByMean(mean.log(), dispersion.double())
    value = torch.arange(2000).double()[:, None]
    probs = counts.log_prob(value).exp()
    variance = (probs * (value - mean) ** 2).sum(0)
    torch.testing.assert_close(counts.variance, variance, rtol=1e-9, atol=0)


def said_of(initial, moves, labels=(0, 1, 1, 0, 1, 1, 0, 1)):
    """Sentences about a model whose states are known, from its parameters."""
    lengths = [len(labels) // 2] * 2
    names = {"emission_names": ["seen", "rare"]}
    values = np.c_[labels, np.zeros(len(labels))]
    data = gh.Sequences(values, lengths=lengths, **names)
    model = gh.GLMHMM(
        2, gh.Outputs(seen=gh.Bernoulli(), rare=gh.Bernoulli()), gh.InputDriven()
    )
    model.bind(data)
    rows = torch.tensor(moves, dtype=torch.float64)
    params = {
        "initial.probs": torch.tensor(initial, dtype=torch.float64),
        "transitions.weights": rows.reshape(2, 1, 1),
        "emissions.seen.weights": torch.tensor([[-0.5], [0.7]], dtype=torch.float64),
        "emissions.rare.weights": torch.zeros(2, 1, dtype=torch.float64),
    }
    return unbounded_weights(model, data, model.hidden_markov_at(params, data), params)


def test_a_state_that_is_never_visited_is_told_from_one_that_is():
    never = said_of([1.0, 0.0], [-60.0, 0.0])
    for what in ("emissions.seen in", "emissions.rare in", "transitions from"):
        assert f"{what} state 1: it is never visited" in never
    both = said_of([0.5, 0.5], [0.0, 0.0])
    assert not any("visited" in sentence for sentence in both)


def test_a_state_visited_only_at_the_last_step_is_said_to_be():
    data = gh.Sequences([0, 0, 1], transition_covariates=[[0.0], [0.0], [1.0]])
    model = gh.GLMHMM(2, gh.Bernoulli(gh.priors.Ridge(1.0)), gh.InputDriven())
    model.bind(data)
    params = {
        "initial.probs": torch.tensor([1.0, 0.0], dtype=torch.float64),
        "transitions.weights": torch.full((2, 1, 1), 1e3, dtype=torch.float64),
        "emissions.weights": torch.tensor([[-50.0], [50.0]], dtype=torch.float64),
    }
    hidden = model.hidden_markov_at(params, data)
    said = unbounded_weights(model, data, hidden)
    unseen = "it is visited only at the last step of a session"
    assert f"transitions from state 1: {unseen}" in said


def test_a_state_in_which_an_output_was_not_observed_is_said_to_be():
    states = np.repeat([0, 1, 0, 1], 25)
    seen = 6.0 * states + normals(100).numpy()
    rare = np.where(states == 0, np.arange(100) % 2, np.nan)
    data = gh.Sequences(np.c_[seen, rare], emission_names=["seen", "rare"])
    model = gh.GLMHMM(2, gh.Outputs(seen=gh.Gaussian(), rare=gh.Bernoulli()))
    match = r"emissions.rare in state \d: it is visited only where the output was not"
    with pytest.warns(gh.ConvergenceWarning, match=match):
        fit = gh.fit(model, data, **QUICK)
    assert not any("never visited" in sentence for sentence in fit.unbounded)
