"""Chains with more states than the model: a law of dwell times of a user's own.

A state is left after r phases, each of which ends with the same probability, so that it
lasts for a negative-binomial number of steps of at least r.
"""

import itertools
import math

import matplotlib
import numpy as np
import pyro
import pytest
import torch
from families import enumerated_log_joint, hidden_markov, seeded_generator
from oracles import path_log_probs, path_posterior
from pyro.distributions import Categorical
from scipy.stats import chisquare, nbinom
from torch.distributions import constraints

import glmhmm_pyro as gh
from glmhmm_pyro.chain import Expansion
from glmhmm_pyro.inference.fits.given import fit_at

matplotlib.use("Agg")

EXACT = {"rtol": 0, "atol": 1e-10}


class NegativeBinomialDwell(gh.components.Transitions):
    """Two states in turn, each for ``num_phases`` phases of the same mean length."""

    def __init__(self, num_phases):
        super().__init__()
        self.num_phases = num_phases
        self.leave = gh.Site("state", support=constraints.unit_interval)

    @property
    def emits(self):
        """Phases of state 0, then those of state 1."""
        return torch.arange(self.num_states).repeat_interleave(self.num_phases)

    def bind(self, data):
        """No covariates are read."""

    def forward(self, state, covariates):
        """The same phase, or the next one; the last one's next is the other state's."""
        leave = self.leave[..., state // self.num_phases].unsqueeze(-1)
        phases, state = torch.arange(2 * self.num_phases), state.unsqueeze(-1)
        ahead = phases == (state + 1) % len(phases)
        return Categorical(probs=(phases == state) * (1 - leave) + ahead * leave)


LENGTHS = (4, 1, 3)
OBSERVED = torch.tensor([True] * 2 + [False] + [True] * 5)
VALUES = {
    "initial.probs": torch.tensor([0.3, 0.7]).double(),
    "transitions.leave": torch.tensor([0.6, 0.35]).double(),
    "emissions.weights": torch.tensor([[1.2, -0.4], [-0.9, 0.3]]).double(),
}


def make_model(num_phases=3):
    return gh.GLMHMM(2, gh.Bernoulli(), NegativeBinomialDwell(num_phases))


def short_data():
    generator = seeded_generator(3)
    x = torch.randn(sum(LENGTHS), 2, generator=generator, dtype=torch.float64)
    y = torch.randint(2, (sum(LENGTHS),), generator=generator)
    return gh.Sequences(y, x, lengths=list(LENGTHS), mask=OBSERVED)


@pytest.fixture
def model():
    made = make_model()
    made.bind(short_data())
    return made


def log_dwell(steps, phases, leave, is_over):
    """Log probability that a dwell takes these steps, or at least these."""
    last = math.log(math.comb(steps - 1, phases - 1)) if steps >= phases else -math.inf
    if is_over:
        return last + phases * leave.log() + (steps - phases) * (1 - leave).log()
    # Fewer than all phases are over within the steps before the last one.
    return torch.stack(
        [
            math.log(math.comb(steps - 1, k))
            + k * leave.log()
            + (steps - 1 - k) * (1 - leave).log()
            for k in range(min(phases, steps))
        ]
    ).logsumexp(0)


def log_likelihood_by_segments(data, params, phases):
    """Sum over all ways to cut sessions into dwells, the last of which is not over."""
    logits = data.covariates @ params["emissions.weights"].T
    y = data.emissions.double().unsqueeze(-1)
    emission = y * logits - torch.nn.functional.softplus(logits)
    emission = emission * data.mask[:, None]
    first_log_probs = params["initial.probs"].log().log_softmax(0)
    total = 0.0
    for rows in emission.split(data.lengths.tolist()):
        ways = []
        cuts = itertools.product((False, True), repeat=len(rows) - 1)
        for cut, first in itertools.product(cuts, (0, 1)):
            ends = [t + 1 for t, over in enumerate(cut) if over] + [len(rows)]
            log_prob, begin, state = first_log_probs[first], 0, first
            for end in ends:
                leave = params["transitions.leave"][state]
                over = end < len(rows)
                log_prob = log_prob + log_dwell(end - begin, phases, leave, over)
                log_prob = log_prob + rows[begin:end, state].sum()
                begin, state = end, 1 - state
            ways.append(log_prob)
        total = total + torch.stack([w for w in ways if w > -math.inf]).logsumexp(0)
    return total


@pytest.mark.parametrize("phases", [1, 2, 3])
def test_the_likelihood_is_a_sum_over_all_segmentations(phases):
    data, model = short_data(), make_model(phases)
    model.bind(data)
    slopes, values = [], []
    for of in (log_likelihood_by_segments, None):
        leaves = {n: v.clone().requires_grad_() for n, v in VALUES.items()}
        if of is None:
            value = hidden_markov(model, data, leaves).log_prob(data.emissions)
        else:
            value = of(data, leaves, phases)
        values.append(value.detach())
        slopes.append(torch.autograd.grad(value, list(leaves.values())))
    torch.testing.assert_close(*values, **EXACT)
    torch.testing.assert_close(*slopes, **EXACT)


def chain_by_hand(model, data):
    """Potentials of the six phases, written out, by session."""
    stay, leave = 1 - VALUES["transitions.leave"], VALUES["transitions.leave"]
    matrix = torch.zeros(6, 6).double()
    for phase in range(6):
        matrix[phase, phase] = stay[phase // 3]
        matrix[phase, (phase + 1) % 6] = leave[phase // 3]
    initial = torch.zeros(6).double()
    initial[[0, 3]] = VALUES["initial.probs"]
    hidden = hidden_markov(model, data, VALUES)
    emission = hidden.emission_log_probs(data.emissions).repeat_interleave(3, -1)
    for rows in emission.split(list(LENGTHS)):
        moves = matrix.log().expand(len(rows), 6, 6)
        yield initial.log(), moves, rows


def by_state(probs):
    return probs.reshape(*probs.shape[:-1], 2, 3).sum(-1)


def test_probabilities_of_states_are_sums_over_all_paths_of_phases(model):
    data = short_data()
    hidden, y = hidden_markov(model, data, VALUES), data.emissions
    smoothed, pairs, ahead = [], [], {0: [], 1: [], 2: []}
    for initial, moves, rows in chain_by_hand(model, data):
        whole = path_posterior(initial, moves, rows)
        smoothed.append(by_state(whole.smoothed))
        pairs.append(by_state(by_state(whole.pairwise).mT).mT)
        for back, found in ahead.items():
            for t in range(len(rows)):
                seen = rows[: t + 1].clone()
                seen[len(seen) - min(back, len(seen)) :] = 0.0
                past = path_posterior(initial, moves[: t + 1], seen)
                found.append(by_state(past.smoothed)[-1:])
    for found, expected in (
        (hidden.smoothed_probs(y), smoothed),
        (hidden.pairwise_probs(y), pairs),
        (hidden.filtered_probs(y), ahead[0]),
        (hidden.predicted_probs(y), ahead[1]),
        (hidden.predicted_probs(y, 2), ahead[2]),
    ):
        torch.testing.assert_close(found, torch.cat(expected), **EXACT)


def test_moves_of_states_are_those_of_a_chain_that_nothing_is_seen_of(model):
    data, expected = short_data(), []
    for initial, moves, rows in chain_by_hand(model, data):
        pairs = path_posterior(initial, moves, 0 * rows).pairwise
        folded = by_state(by_state(pairs).mT).mT
        expected.append(folded / folded.sum(-1, keepdim=True))
    found = hidden_markov(model, data, VALUES).transition_probs()
    torch.testing.assert_close(found, torch.cat(expected), equal_nan=True, **EXACT)
    assert torch.isfinite(found[1:4]).all() and found[0].isnan().all()


def test_paths_are_those_of_phases(model):
    data = short_data()
    hidden, y = hidden_markov(model, data, VALUES), data.emissions
    best = []
    for session in chain_by_hand(model, data):
        paths, log_probs = path_log_probs(*session)
        best.append(paths[log_probs.argmax()] // 3)
    assert torch.equal(hidden.viterbi_states(y), torch.cat(best))
    drawn = hidden.sample_states(y, 4000, seeded_generator()).double()
    # 8 means of 4000 draws: beyond 5 standard deviations once in 200,000 runs.
    off = (drawn.mean(0) - hidden.smoothed_probs(y)[:, 1]).abs()
    assert (off < 5 * 0.5 / 4000**0.5).all()


def test_counts_have_the_shapes_of_what_was_given(model):
    data = short_data()
    hidden, y = hidden_markov(model, data, VALUES), data.emissions
    counts = hidden.expected_counts(y, out=hidden.expected_counts(y))
    sessions = list(chain_by_hand(model, data))
    posteriors = [path_posterior(*session) for session in sessions]
    pairs = sum(p.pairwise.sum(0) for p in posteriors)
    firsts = sum(by_state(p.smoothed)[0] for p in posteriors)
    smoothed = torch.cat([by_state(p.smoothed) for p in posteriors])
    torch.testing.assert_close(counts.transition[0], pairs, **EXACT)
    torch.testing.assert_close(counts.initial[0], firsts, **EXACT)
    torch.testing.assert_close(counts.emission, smoothed * OBSERVED[:, None], **EXACT)
    expected = sum(
        (p.probs * torch.where(p.probs > 0, path_log_probs(*session)[1], 0.0)).sum()
        for p, session in zip(posteriors, sessions)
    )
    torch.testing.assert_close(hidden.expected_log_prob(y, counts), expected, **EXACT)


def test_logits_of_all_chain_states_begin_sessions_anywhere(model):
    data = short_data()
    given = hidden_markov(model, data, VALUES)
    anywhere = torch.tensor([0.1, 0.2, 0.1, 0.3, 0.1, 0.2], dtype=torch.float64)
    hidden = gh.HiddenMarkov(
        anywhere.log()[None],
        given.transition_logits,
        given.emission_dist,
        data.lengths,
        data.mask,
        model.transitions.emits,
    )
    sessions = list(chain_by_hand(model, data))
    expected = torch.stack(
        [path_log_probs(anywhere.log(), *rest)[1].logsumexp(0) for _, *rest in sessions]
    )
    found = hidden.log_prob_per_session(data.emissions)
    torch.testing.assert_close(found, expected, **EXACT)
    assert hidden.expected_counts(data.emissions).initial.shape == (1, 6)


def test_enumeration_by_pyro_agrees(model):
    data = short_data()
    leaves = {n: v.clone().requires_grad_() for n, v in VALUES.items()}
    found = enumerated_log_joint(model, data, leaves)
    summed = hidden_markov(model, data, leaves).log_prob(data.emissions)
    torch.testing.assert_close(found, summed, **EXACT)


def test_one_phase_is_the_chain_itself():
    data, dwell = short_data(), make_model(1)
    plain = gh.GLMHMM(2, gh.Bernoulli())
    leave = VALUES["transitions.leave"]
    probs = torch.stack([1 - leave, leave], 1)
    probs[1] = probs[1].flip(0)
    same = {k: v for k, v in VALUES.items() if k != "transitions.leave"}
    for made in (dwell, plain):
        made.bind(data)
    found = hidden_markov(dwell, data, VALUES)
    expected = hidden_markov(plain, data, same | {"transitions.probs": probs})
    assert torch.equal(
        found.log_prob_per_session(data.emissions),
        expected.log_prob_per_session(data.emissions),
    )
    assert torch.equal(
        found.smoothed_probs(data.emissions), expected.smoothed_probs(data.emissions)
    )


TRUE = {
    "initial.probs": torch.tensor([0.5, 0.5]).double(),
    "transitions.leave": torch.tensor([0.25, 0.4]).double(),
    "emissions.weights": torch.tensor([[2.5, 1.5], [-2.5, -1.0]]).double(),
}


def simulated(steps, sessions=8):
    """Sessions drawn at the true values, with the states."""
    lengths, generator = [steps] * sessions, seeded_generator(1)
    x = torch.randn(steps * sessions, 1, generator=generator, dtype=torch.float64)
    x = torch.cat([x, torch.ones_like(x)], 1)
    data = gh.Sequences(
        torch.zeros(len(x), dtype=torch.int64),
        x,
        lengths=lengths,
        covariate_names=["cue", "bias"],
    )
    model = make_model()
    model.bind(data)
    return model, data


@pytest.fixture(scope="module")
def fitted():
    model, blank = simulated(100)
    hidden = hidden_markov(model, blank, TRUE)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        data = blank.replace(emissions=hidden.sample().long())
    return gh.fit(make_model(), data, num_restarts=2, progress=False), data


def test_em_rises_to_where_map_ends(fitted):
    fit, data = fitted
    assert fit.status is gh.Status.CONVERGED
    assert (np.diff(fit.history.log_joint) > -1e-9).all()
    start = {name: value.numpy() for name, value in fit.params.items()}
    found = gh.fit(make_model(), data, "map", num_restarts=1, init=start)
    assert fit.log_joint == pytest.approx(found.log_joint, abs=1e-3)
    for name, value in fit.params.items():
        torch.testing.assert_close(value, found.params[name], rtol=0, atol=0.02)
    assert fit.log_likelihood > float(
        hidden_markov(fit.model, data, TRUE).log_prob(data.emissions)
    )


def test_a_fit_has_two_states_everywhere(fitted):
    fit, data = fitted
    decoded = fit.decode(data)
    for name in ("filtered_probs", "predicted_probs", "smoothed_probs"):
        assert decoded[name].shape == (800, 2)
        np.testing.assert_allclose(decoded[name].sum("state"), 1.0, atol=1e-9)
    assert set(np.unique(decoded.viterbi_states)) == {0, 1}
    assert set(np.unique(fit.sample_states(data, 2))) == {0, 1}
    assert fit.parameters["transitions.leave"].dims == ("state",)
    assert fit.num_parameters == 1 + 2 + 4
    summary = fit.summary(data)
    assert len(summary) == 2 + 2 + 4 and np.isfinite(summary["estimate"]).all()
    exported = fit.to_arviz(data, ["posterior", "log_likelihood"])
    assert exported["posterior"].sizes["state"] == 2
    assert fit.predict(data, steps_ahead=3).shape == (800, 2)
    history = {"cue": lambda past, rows: torch.zeros(len(rows))}
    for options in ({}, {"history": history}):
        assert set(np.unique(fit.simulate(data, **options)[1])) == {0, 1}


def test_pictures_show_two_states(fitted):
    fit, data = fitted
    ax = gh.plotting.transitions(fit, data=data)
    image = ax.images[0].get_array()
    assert image.shape == (2, 2)
    np.testing.assert_allclose(image.sum(1), 1.0, atol=1e-9)
    with pytest.raises(ValueError, match="data must be given"):
        gh.plotting.transitions(fit)
    gh.plotting.timeline(fit, data)
    gh.plotting.weights(fit)
    matplotlib.pyplot.close("all")


def test_renumbered_states_take_their_phases_along(fitted):
    fit, data = fitted
    turned = fit.permuted([1, 0])
    assert turned.score(data) == pytest.approx(fit.score(data), abs=1e-12)
    one, other = (f.decode(data).smoothed_probs.values for f in (fit, turned))
    np.testing.assert_allclose(one, other[:, ::-1], atol=1e-10)
    back = turned.aligned(fit, data)
    torch.testing.assert_close(back.params, fit.params)


def test_a_fit_is_saved_and_loaded(fitted, tmp_path):
    fit, data = fitted
    fit.save(tmp_path / "fit.nc")
    loaded = gh.load(tmp_path / "fit.nc", model=make_model())
    assert loaded.score(data) == fit.score(data)


def test_a_model_of_ones_own_has_chain_states_too(fitted):
    fit, data = fitted

    def own(data):
        weights = pyro.sample("w", gh.priors.Flat((2, 2)))
        given = hidden_markov(
            fit.model, data, fit.params | {"emissions.weights": weights}
        )
        pyro.sample("y", given, obs=data.emissions)

    start = {"w": fit.params["emissions.weights"].numpy()}
    found = gh.fit(own, data, num_restarts=1, init=start, progress=False)
    assert found.log_likelihood == pytest.approx(fit.log_likelihood, abs=1e-3)
    assert found.decode(data).smoothed_probs.shape == (800, 2)


@pytest.mark.parametrize("closed", [False, True])
def test_simulated_dwells_follow_the_law(closed):
    # The first dwells of sessions. Four tests: a false alarm in 25,000 runs.
    model, data = simulated(60, sessions=1)
    fit = fit_at(model, data, TRUE, "given")
    history = {"cue": lambda past, rows: torch.zeros(len(rows))} if closed else None
    states = fit.simulate(data, 4, history=history, num_samples=3000)[1]
    states = states.reshape(3000, 60)
    dwells = np.argmax(states != states[:, :1], axis=1)
    for state, leave in enumerate(TRUE["transitions.leave"].tolist()):
        law = nbinom.pmf(np.arange(10), 3, leave)
        law = np.append(law, 1 - law.sum())
        own = dwells[states[:, 0] == state]
        assert len(own) > 1000 and own.min() == 3
        seen = np.bincount(np.minimum(own, 13), minlength=14)[3:]
        assert chisquare(seen, law * len(own)).pvalue > 1e-5


def test_moves_are_spread_over_the_moves_that_there_are():
    expansion = Expansion(torch.tensor([0, 0, 0, 1, 1, 1]), 2)
    model = make_model()
    hidden = hidden_markov(model, short_data(), VALUES)
    probs = hidden.transition_logits.exp()
    moves = torch.tensor([[8.0, 2.0], [1.0, 5.0]]).double()
    spread = expansion.spread(moves, probs)
    torch.testing.assert_close(expansion.fold_pairs(spread)[0], moves, **EXACT)
    assert (spread[probs == 0] == 0).all()
    assert Expansion(None, 2).spread(moves, moves) is moves


class DrivenDwell(NegativeBinomialDwell):
    """Covariates hasten the phases of every state."""

    def __init__(self, num_phases):
        gh.components.Transitions.__init__(self)
        self.num_phases = num_phases
        self.weights = gh.Site("state", "covariate")

    def bind(self, data):
        """Record how many covariates there are."""
        gh.components.Transitions.bind(self, data)

    def forward(self, state, covariates):
        """The same with log-odds of leaving that are linear in the covariates."""
        weights = self.weights[state // self.num_phases]
        leave = (weights * covariates).sum(-1, keepdim=True).sigmoid()
        phases, state = torch.arange(2 * self.num_phases), state.unsqueeze(-1)
        ahead = phases == (state + 1) % len(phases)
        return Categorical(probs=(phases == state) * (1 - leave) + ahead * leave)


def test_covariates_may_drive_phases(fitted):
    fit, data = fitted
    leave = fit.params["transitions.leave"]
    bias = torch.stack([torch.zeros(2).double(), leave.logit()], 1)
    start = {**fit.params, "transitions.weights": bias}
    start = {n: start[n].numpy() for n in start if n != "transitions.leave"}
    model = gh.GLMHMM(2, gh.Bernoulli(), DrivenDwell(3))
    given = fit_at(model, data, {n: torch.tensor(v) for n, v in start.items()}, "given")
    assert given.log_likelihood == pytest.approx(fit.log_likelihood, abs=1e-9)
    found = gh.fit(model, data, num_restarts=2, init=start, progress=False)
    assert (np.diff(found.history.log_joint) > -1e-9).all()
    assert found.log_joint > fit.log_joint and found.num_parameters == 1 + 4 + 4
    assert set(np.unique(found.decode(data).viterbi_states)) == {0, 1}


class Uneven(NegativeBinomialDwell):
    """Two phases of state 0 and one of state 1."""

    @property
    def emits(self):
        return torch.tensor([0, 0, 1])

    def forward(self, state, covariates):
        leave = self.leave[..., self.emits[state]].unsqueeze(-1)
        phases, state = torch.arange(3), state.unsqueeze(-1)
        ahead = phases == (state + 1) % 3
        return Categorical(probs=(phases == state) * (1 - leave) + ahead * leave)


def test_states_of_unlike_numbers_of_phases_are_told_apart(fitted):
    _, data = fitted
    fit = gh.fit(
        gh.GLMHMM(2, gh.Bernoulli(), Uneven(1)), data, num_restarts=1, progress=False
    )
    assert fit.decode(data).smoothed_probs.shape == (800, 2)
    with pytest.raises(ValueError, match="name all states equally often"):
        fit.permuted([1, 0])


@pytest.mark.parametrize(
    "emits, said",
    [
        (torch.tensor([0, 2]), r"every state from 0 to 1 occurs, got \[0, 2\]"),
        (torch.tensor([0, 0, 0]), "every state from 0 to 1 occurs"),
        (torch.tensor([0.0, 1.0]), "whole numbers"),
        (torch.tensor([[0, 1]]), "whole numbers"),
        (torch.tensor([1, 0]), "must not only renumber the 2 states"),
    ],
)
def test_what_is_no_map_onto_all_states_is_refused(emits, said):
    with pytest.raises(ValueError, match=said):
        Expansion(emits, 2)
