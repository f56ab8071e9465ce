"""Structural zeros: 0 times log 0 is 0, in value and gradient, for every method.

What is right is a sum of products of probabilities over all paths, without logarithms,
differentiated by finite differences.
"""

import itertools
import re

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from oracles import finite_differences
from torch.distributions import constraints

import glmhmm_pyro as gh
from glmhmm_pyro.components import InitialState
from glmhmm_pyro.inference.curvature.curvature import hessian
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.steps.m_step import MStep
from glmhmm_pyro.optim import value_and_grad
from glmhmm_pyro.zeros import StructuralZeros, log_or_zero_slope

QUICK = {"num_restarts": 2, "progress": False, "tol": 1e-11}
UNIT = constraints.unit_interval


def chain(leave):
    """Rows of a chain that goes from 0 to 1 to 2 and stays there."""
    stay, zero = 1 - leave, torch.zeros_like(leave[..., 0])
    rows = [
        [stay[..., 0], leave[..., 0], zero],
        [zero, stay[..., 1], leave[..., 1]],
        [zero, zero, zero + 1],
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


class ByProbs(gh.Transitions):
    """Left to right, by probabilities of which some are exactly 0."""

    def __init__(self):
        super().__init__()
        self.leave = gh.Site(("way", 2), support=UNIT)

    def bind(self, data):
        """No covariates are read."""

    def forward(self, state, covariates):
        rows = chain(self.leave)[..., state, :]
        return dist.Categorical(probs=rows + 0 * covariates[..., :1])


class ByLogs(ByProbs):
    """The same as a table of logarithms."""

    def logits(self, data):
        return chain(self.leave).log().unsqueeze(-3)


class First(InitialState):
    """Sessions begin in state 0 or 1, never in 2."""

    def __init__(self):
        super().__init__()
        self.early = gh.Site(support=UNIT)

    def logits(self, data):
        zero = torch.zeros_like(self.early)
        return torch.log(torch.stack([self.early, 1 - self.early, zero], -1))[None]


def shown(rate):
    """Probabilities of three labels in three states: none shows the one before it."""
    zero, rest = torch.zeros_like(rate), 1 - rate
    rows = [[rest, rate, zero], [zero, rest, rate], [rate, zero, rest]]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


class Shown(gh.Emission):
    """Labels, each of which one state never shows."""

    def __init__(self):
        super().__init__()
        self.rate = gh.Site(support=UNIT)

    def forward(self, state, covariates):
        logits = shown(self.rate)[..., state, :].log()
        shape = torch.broadcast_shapes(logits.shape[:-1], covariates.shape[:-1])
        return dist.Categorical(logits=logits.expand(shape + (3,)))


LABELS = [[0, 0, 1, 0, 1, 2, 2, 1, 2, 0], [1, 1, 2, 1, 2, 0, 0, 2, 0, 2, 0, 2]]


def made(transitions=ByLogs):
    data = gh.Sequences.from_lists([np.array(session) for session in LABELS])
    return gh.GLMHMM(3, Shown(), transitions(), First()), data


def likelihood(vector):
    """Log-likelihood at (early, leave, leave, rate), by all paths of states."""
    early, first, second, rate = (float(number) for number in vector)
    start = [early, 1 - early, 0.0]
    moves = [[1 - first, first, 0.0], [0.0, 1 - second, second], [0.0, 0.0, 1.0]]
    labels = [[1 - rate, rate, 0.0], [0.0, 1 - rate, rate], [rate, 0.0, 1 - rate]]
    total = 0.0
    for session in LABELS:
        # Paths that never go back: the steps at which states 1 and 2 begin.
        found, steps = 0.0, len(session)
        for one, two in itertools.combinations_with_replacement(range(steps + 1), 2):
            path = [0] * one + [1] * (two - one) + [2] * (steps - two)
            probability = start[path[0]] * labels[path[0]][session[0]]
            for t in range(1, steps):
                probability *= moves[path[t - 1]][path[t]] * labels[path[t]][session[t]]
            found += probability
        total += np.log(found)
    return torch.tensor(total, dtype=torch.float64)


def params_of(vector):
    return {
        "initial.early": vector[0],
        "transitions.leave": vector[1:3],
        "emissions.rate": vector[3],
    }


POINT = torch.tensor([0.6, 0.3, 0.2, 0.35], dtype=torch.float64)


@pytest.mark.parametrize("transitions", [ByProbs, ByLogs])
def test_value_gradient_and_hessian_with_structural_zeros_are_those_of_all_paths(
    transitions,
):
    model, data = made(transitions)
    program = Program.of(model, data)

    def ours(vector):
        return program.log_parts(params_of(vector))[0]

    leaf = POINT.clone().requires_grad_()
    value = ours(leaf)
    (gradient,) = torch.autograd.grad(value, leaf)
    torch.testing.assert_close(value.detach(), likelihood(POINT))
    expected = finite_differences(likelihood, POINT)
    torch.testing.assert_close(gradient, expected, rtol=1e-7, atol=1e-7)

    start = program.coordinates.pack(params_of(POINT))
    found = hessian(program, start, jacobian=False)

    def slope(vector):
        return value_and_grad(lambda v: program.log_density(v, False))(vector)[1]

    rows = [
        (slope(start + step) - slope(start - step)) / 2e-5
        for step in 1e-5 * torch.eye(4, dtype=torch.float64)
    ]
    torch.testing.assert_close(found, torch.stack(rows), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("method", ["em", "map"])
@pytest.mark.parametrize("transitions", [ByProbs, ByLogs])
def test_fits_with_structural_zeros_end_at_the_maximum_over_all_paths(
    transitions, method
):
    model, data = made(transitions)
    fit = gh.fit(model, data, method=method, **QUICK)
    assert fit.status is gh.Status.CONVERGED
    names = ["initial.early", "transitions.leave", "emissions.rate"]
    vector = torch.cat([fit.params[name].reshape(-1) for name in names])
    assert fit.log_likelihood == pytest.approx(float(likelihood(vector)), abs=1e-9)
    inside = (vector > 1e-6) & (vector < 1 - 1e-6)
    slope = finite_differences(likelihood, vector.clamp(1e-6, 1 - 1e-6))
    assert inside.sum() >= 2 and slope[inside].abs().max() < 1e-3
    decoded = fit.decode(data)
    for states in np.split(decoded.viterbi_states.values, [len(LABELS[0])]):
        assert (np.diff(states) >= 0).all() and states[0] < 2
    probs = decoded.smoothed_probs.values
    labels = np.concatenate(LABELS)
    never = [2, 0, 1]
    for state in range(3):
        assert probs[labels == never[state], state].max() == 0.0


def test_standard_errors_bear_structural_zeros():
    model, data = made()
    fit = gh.fit(model, data, num_restarts=1, progress=False)
    with pytest.warns(gh.ConvergenceWarning, match="initial.early is at the border"):
        errors = fit.standard_errors(data)["emissions.rate"]
    assert 0.01 < float(errors) < 1.0


def test_a_users_own_model_may_take_logarithms_of_structural_zeros():
    _, data = made()

    def model(data):
        half = torch.tensor(1.0, dtype=torch.float64)
        early = pyro.sample("initial.early", dist.Beta(half, half))
        leave = pyro.sample(
            "transitions.leave", dist.Beta(half, half).expand([2]).to_event(1)
        )
        rate = pyro.sample("emissions.rate", dist.Beta(half, half))
        start = torch.stack([early, 1 - early, torch.zeros_like(early)])
        table = dist.Categorical(logits=shown(rate).log().expand(data.num_steps, 3, 3))
        hidden = gh.HiddenMarkov(
            start.log()[None], chain(leave).log()[None], table, data.lengths
        )
        pyro.sample("y", hidden, obs=data.emissions)

    start = {"init": params_of(POINT), "num_restarts": 1, "progress": False}
    fits = [gh.fit(given, data, method="map", **start) for given in (made()[0], model)]
    assert fits[1].status is gh.Status.CONVERGED
    assert fits[1].log_likelihood == pytest.approx(fits[0].log_likelihood, abs=1e-6)


def test_the_logarithm_is_that_of_torch_but_for_its_slope_at_0():
    x = torch.tensor([0.0, 1e-300, 0.5, 3.0], dtype=torch.float64).requires_grad_()
    with StructuralZeros():
        values = [x.log(), torch.log(x), log_or_zero_slope(x)]
    for value in values:
        assert torch.equal(value, x.detach().log())
        (slope,) = torch.autograd.grad(value[1:].sum() + 0 * value[0], x)
        assert torch.equal(slope[1:], 1 / x.detach()[1:])
    (slope,) = torch.autograd.grad(log_or_zero_slope(x).sum(), x)
    assert slope[0] == 0


class NoSlope(gh.Transitions):
    """Right values whose gradient is no number."""

    def __init__(self):
        super().__init__()
        self.leave = gh.Site("origin", support=UNIT)

    def bind(self, data):
        """No covariates are read."""

    def forward(self, state, covariates):
        leave = self.leave[..., state]
        stay = 1 - leave + self.spoilt(leave)
        pair = torch.stack([stay, leave], -1)
        rows = torch.where(state[:, None] == 0, pair, pair.flip(-1))
        return dist.Categorical(probs=rows + 0 * covariates[..., :1])

    def spoilt(self, leave):
        return torch.sqrt(0 * leave)


class _Backwards(torch.autograd.Function):
    """The same numbers, with minus their gradient."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return -grad


class WrongSlope(NoSlope):
    """Right values whose gradient points the wrong way."""

    def forward(self, state, covariates):
        leave = _Backwards.apply(self.leave[..., state])
        pair = torch.stack([1 - leave, leave], -1)
        rows = torch.where(state[:, None] == 0, pair, pair.flip(-1))
        return dist.Categorical(probs=rows + 0 * covariates[..., :1])


class RightSlope(NoSlope):
    """What the advice of either asks for: the same values, with their gradient."""

    def spoilt(self, leave):
        return 0 * leave


FAILING = [
    (NoSlope, "em", gh.Status.M_STEP_FAILED, "the M-step of transitions"),
    (NoSlope, "map", gh.Status.NON_FINITE, "the gradient by transitions.leave"),
    (WrongSlope, "em", gh.Status.STALLED, "the M-step of transitions"),
]


@pytest.mark.parametrize("transitions, method, status, sentence", FAILING)
def test_an_m_step_that_failed_is_a_status_that_names_the_component(
    transitions, method, status, sentence
):
    states = np.repeat([0, 1, 0, 1], 15)
    data = gh.Sequences(3.0 * states + np.sin(np.arange(60.0)))
    model = gh.GLMHMM(2, gh.Gaussian(), transitions())
    with pytest.warns(gh.ConvergenceWarning, match=sentence):
        fit = gh.fit(model, data, method=method, num_restarts=1, progress=False)
    assert fit.status is status and sentence in fit.unbounded[0]
    assert np.isfinite(fit.log_joint)
    assert re.search("rite (it|the component) so that its .*gradient", status.advice)
    model = gh.GLMHMM(2, gh.Gaussian(), RightSlope())
    cured = gh.fit(model, data, method=method, num_restarts=1, progress=False)
    assert cured.status is gh.Status.CONVERGED and cured.log_joint > fit.log_joint


def test_an_m_step_that_failed_names_the_model_of_a_user():
    def model(data):
        half = torch.tensor(1.0, dtype=torch.float64)
        mean = pyro.sample("mean", dist.Normal(0 * half, 5 * half))
        means = torch.stack([mean + torch.sqrt(0 * mean), 0 * mean])
        normal = dist.Normal(means.expand(data.num_steps, 2), half)
        flat = torch.zeros(1, 2, dtype=torch.float64)
        stay = torch.eye(2, dtype=torch.float64)[None]
        hidden = gh.HiddenMarkov(flat, stay, normal, data.lengths)
        pyro.sample("y", hidden, obs=data.emissions)

    data = gh.Sequences(np.sin(np.arange(20.0)))
    with pytest.warns(gh.ConvergenceWarning, match="M-step of all parameters together"):
        fit = gh.fit(model, data, num_restarts=1, progress=False)
    assert fit.status is gh.Status.M_STEP_FAILED


def test_an_m_step_says_which_of_several_sets_it_failed_for():
    class Picky(gh.Gaussian):
        """Has no slope at a level of 0."""

        def distribution(self, predictor, scale):
            return dist.Normal(predictor.sqrt() ** 2, scale)

        def closed_form(self, counts, data, params):
            return None

    data = gh.Sequences(np.linspace(1.0, 3.0, 12))
    model = gh.GLMHMM(1, Picky())
    model.bind(data)
    step = MStep(model.emissions, data)
    counts = torch.ones(2, 12, 1, dtype=torch.float64)
    params = {
        "emissions.weights": torch.tensor([[[2.0]], [[0.0]]]).double(),
        "emissions.scale": torch.ones(2, 1).double(),
    }
    step(counts, params)
    assert step.failure(0) is None
    assert step.failure(1).status is gh.Status.M_STEP_FAILED


@pytest.mark.parametrize("library", [dist, torch.distributions])
@pytest.mark.parametrize("family", ["Bernoulli", "Categorical"])
def test_a_label_of_probability_0_is_impossible_in_its_state(library, family):
    """Against a sum of products over all paths, without logarithms."""
    p = torch.tensor([0.0, 0.3], dtype=torch.float64)
    rows = {"Bernoulli": p, "Categorical": torch.stack([1 - p, p], -1)}[family]
    start = torch.tensor([0.6, 0.4], dtype=torch.float64)
    moves = torch.tensor([[0.9, 0.1], [0.0, 1.0]], dtype=torch.float64)

    def hidden(first, y):
        probs = torch.cat([rows[:1], first[None]]) if first is not None else rows
        steps = probs.expand(len(y), *probs.shape)
        given = getattr(library, family)(probs=steps)
        chances = start.log()[None], moves.log()[None]
        return gh.HiddenMarkov(*chances, given, torch.tensor([len(y)]))

    def by_paths(y, chance):
        total = 0.0
        for path in itertools.product((0, 1), repeat=len(y)):
            product = float(start[path[0]])
            for before, now in itertools.pairwise(path):
                product *= float(moves[before, now])
            for state, label in zip(path, y):
                one = (0.0, chance)[state]
                product *= one if label else 1 - one
            total += product
        return total

    y = torch.tensor([0.0, 1.0, 0.0, 1.0], dtype=torch.float64)
    table = hidden(None, y).emission_log_probs(y)
    assert torch.isneginf(table[y == 1, 0]).all() and (table[y == 0, 0] == 0).all()
    found = float(hidden(None, y).log_prob(y))
    assert found == pytest.approx(np.log(by_paths(y.tolist(), 0.3)), abs=1e-12)
    free = rows[1].clone().requires_grad_()
    slope = torch.autograd.grad(hidden(free, y).log_prob(y), free)[0]
    assert torch.isfinite(slope).all()


def test_data_that_no_state_allows_have_no_likelihood():
    never = dist.Bernoulli(probs=torch.zeros(3, 2, dtype=torch.float64))
    flat = torch.zeros(1, 2, 2, dtype=torch.float64).log_softmax(-1)
    hidden = gh.HiddenMarkov(flat[:, 0], flat, never, torch.tensor([3]))
    assert float(hidden.log_prob(torch.tensor([0.0, 1.0, 0.0]))) == -np.inf
    # Certain, to within the rounding of logarithms of halves.
    certain = float(hidden.log_prob(torch.zeros(3, dtype=torch.float64)))
    assert certain == pytest.approx(0.0, abs=1e-15)
