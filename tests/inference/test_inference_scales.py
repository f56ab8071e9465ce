"""Scales of laws: integrated out of the evidence, and said of where they run away."""

import math

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch.distributions import HalfNormal, MultivariateNormal
from varying_cases import drifting, sticking

import glmhmm_pyro as gh
from glmhmm_pyro.analysis import log_evidence
from glmhmm_pyro.components import Varying
from glmhmm_pyro.inference.curvature.curvature import hessian
from glmhmm_pyro.inference.draws.importance import pareto_k
from glmhmm_pyro.inference.marginal import ascent
from glmhmm_pyro.inference.marginal.law_evidence import NoModeError
from glmhmm_pyro.inference.program.program import Program

Walk = gh.priors.RandomWalk
QUICK = {"num_restarts": 1, "progress": False}


class KnownNoise(gh.GLMEmission):
    """A linear regression whose noise is standard normal: all is known of it."""

    def distribution(self, predictor):
        """A normal of standard deviation 1."""
        return dist.Normal(predictor, 1.0)


def by_definition(data, sessions, steps):
    """Log density of the data and of log(step scale), the weights integrated out."""
    x, number = data.covariates[:, 0], torch.arange(sessions).double()
    least = torch.minimum(number[:, None], number)

    def height(u):
        weights = 2.0**2 + least * math.exp(2 * u)
        own = weights.repeat_interleave(steps, 0).repeat_interleave(steps, 1)
        total = x[:, None] * own * x + torch.eye(len(x)).double()
        law = MultivariateNormal(torch.zeros(len(x)).double(), total)
        prior = HalfNormal(1.0).log_prob(torch.tensor(math.exp(u))) + u
        return float(law.log_prob(data.emissions) + prior)

    return height


def test_scales_are_integrated_out_around_the_maximum_of_their_evidence():
    rng, sessions, steps = np.random.default_rng(0), 12, 8
    weights = rng.normal(size=sessions).cumsum() * 0.7
    x = rng.normal(size=(sessions * steps, 1))
    y = x[:, 0] * weights.repeat(steps) + rng.normal(size=len(x))
    data = gh.Sequences(y, x, lengths=[steps] * sessions)
    model = gh.GLMHMM(1, Varying(KnownNoise(), law=Walk(HalfNormal(1.0), 2.0, per=())))
    found = log_evidence(gh.fit(model, data, "map", **QUICK), data)
    height = by_definition(data, sessions, steps)
    top = minimize_scalar(lambda u: -height(u), bounds=(-4, 2), method="bounded").x
    bend = (height(top + 1e-2) + height(top - 1e-2) - 2 * height(top)) / 1e-4
    laplace = height(top) + (math.log(2 * math.pi) - math.log(-bend)) / 2
    assert found == pytest.approx(laplace, abs=1e-3)
    grid = np.linspace(top - 6, top + 3, 400)
    heights = np.array([height(u) for u in grid])
    whole = heights.max() + math.log(
        np.exp(heights - heights.max()).sum() * (grid[1] - grid[0])
    )
    assert found == pytest.approx(whole, abs=0.1)


def test_scales_that_are_held_leave_the_evidence_of_the_fit():
    data = drifting(4, 25)
    model = gh.GLMHMM(1, Varying(gh.Bernoulli(), law=Walk(0.3, start_scale=2.0)))
    fit = gh.fit(model, data, "map", **QUICK)
    assert log_evidence(fit, data) == pytest.approx(fit.log_likelihood, abs=1e-8)


def test_a_flat_prior_of_scales_has_no_evidence_but_at_their_maximum():
    data = drifting(4, 25)
    fit = gh.fit(
        gh.GLMHMM(1, Varying(gh.Bernoulli(), law="walk")), data, "map", **QUICK
    )
    with pytest.raises(
        ValueError,
        match="flat ones of scales that are learnt, emissions.weights_step_scale; "
        "fit.log_likelihood is the evidence at the scales found, and a law that",
    ):
        log_evidence(fit, data)


def test_a_flat_scale_of_the_family_is_no_scale_of_a_law():
    family = Varying(gh.Gaussian(), law=Walk(HalfNormal(1.0)))
    fit = gh.fit(gh.GLMHMM(1, family), drifting(4, 25), "map", **QUICK)
    with pytest.raises(ValueError, match="flat ones of emissions.scale; give weights"):
        log_evidence(fit, drifting(4, 25))


def test_steps_that_run_to_infinity_are_named():
    """The evidence is as good as level long before the greatest scale."""
    data = gh.Sequences(
        np.repeat([1, 0, 1, 0, 1, 0], 30),
        np.ones((180, 1)),
        lengths=[30] * 6,
        covariate_names=["bias"],
    )
    model = gh.GLMHMM(1, Varying(gh.Bernoulli(), law="walk"))
    with pytest.warns(gh.ConvergenceWarning, match="step_scale of state 0, bias grows"):
        fit = gh.fit(model, data, "map", **QUICK)
    assert fit.status is gh.Status.UNBOUNDED
    # A law with a prior of its scale has an end.
    held = gh.GLMHMM(1, Varying(gh.Bernoulli(), law=Walk(HalfNormal(1.0), 4.0)))
    assert gh.fit(held, data, "map", **QUICK).status is gh.Status.CONVERGED


@pytest.mark.parametrize("scale, advice", [("learnt", True), (HalfNormal(1.0), False)])
def test_scales_stay_where_units_have_a_mode(scale, advice, monkeypatch):
    """A fit at given values stays there if there is no mode wherever it looks."""
    data = drifting(4, 25)
    model = gh.GLMHMM(1, Varying(gh.Bernoulli(), law=Walk(scale)))
    fit = gh.fit(model, data, "map", **QUICK)
    scales = "emissions.weights_step_scale"
    start = {**fit.params, scales: 3 * fit.params[scales]}
    expand, calls = ascent.expand_at_units_mode, []

    def expand_there(problem, v, *others):
        calls.append(v)
        if not torch.equal(v, calls[0]):
            raise NoModeError("none")
        return expand(problem, v, *others)

    monkeypatch.setattr(ascent, "expand_at_units_mode", expand_there)
    with pytest.warns(gh.ConvergenceWarning, match="no single mode a little further"):
        again = gh.fit(model, data, "map", init=start, **QUICK)
    torch.testing.assert_close(again.params[scales], start[scales])
    assert again.status is gh.Status.STALLED and len(calls) > 2
    said = f"give {scales} a prior, or fit by method='nuts'"
    assert (said in again.notes[-1]) is advice


def importance_weights(fit, data, number):
    """Of two states that stick it is near; of one state taken for two it is far."""
    program = Program.of(fit.model, data)
    mode = program.coordinates.pack(fit.params)
    root = torch.linalg.cholesky(torch.linalg.inv(-hessian(program, mode)))
    noise = torch.randn(number, len(mode), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        joints = [
            program.log_density(mode + root @ one, jacobian=False)
            for one in noise.double()
        ]
    return torch.stack(joints) + noise.double().square().sum(1) / 2


@pytest.mark.parametrize("trusted", [True, False])
def test_a_walk_whose_posterior_is_far_from_normal_has_nuts_named(trusted):
    """Of two states that stick it is near; of one that is taken for two it is not."""
    data = sticking(4, 100).replace(groups=None) if trusted else drifting(4, 300)
    law = Walk(0.05, start_scale=0.5) if trusted else Walk(0.3, start_scale=2.0)
    moves = gh.Stationary(gh.priors.Fixed([[0.9, 0.1], [0.1, 0.9]]))
    first = gh.Initial(gh.priors.Fixed([0.5, 0.5]))
    model = gh.GLMHMM(2, Varying(gh.Bernoulli(), law=law), moves, first)
    fit = gh.fit(model, data, "map", **QUICK)
    assert fit.status is gh.Status.CONVERGED
    assert (pareto_k(importance_weights(fit, data, 400)) < 0.7) is trusted
    said = "approximation of the weights is not to be trusted, for the Pareto shape of "
    assert any(said in note for note in fit.notes) is not trusted
    assert any("draws by method='nuts'" in note for note in fit.notes) is not trusted


@pytest.mark.parametrize("turned", [False, True])
def test_states_that_change_places_between_sessions_are_told_of(turned):
    """Large steps, and two states whose weights are swapped in the second half."""
    rng, steps, rows, choices = np.random.default_rng(1), 200, [], []
    start = np.empty((6, 2, 2))
    for session in range(6):
        weights = np.array([[3.0, 1.0], [-3.0, -1.0]])
        if turned and session > 2:
            weights = weights[::-1]
        start[session], state = weights, 0
        for _ in range(steps):
            state = state if rng.random() < 0.97 else 1 - state
            rows.append([rng.normal(), 1.0])
            odds = weights[state] @ rows[-1]
            choices.append(int(rng.random() < 1 / (1 + np.exp(-odds))))
    data = gh.Sequences(choices, np.array(rows), lengths=[steps] * 6)
    law = Walk(3.0, start_scale=4.0)
    init = {
        "emissions.weights": start,
        "transitions.probs": np.array([[0.97, 0.03], [0.03, 0.97]]),
        "initial.probs": np.array([0.5, 0.5]),
    }
    model = gh.GLMHMM(2, Varying(gh.Bernoulli(), law=law))
    fit = gh.fit(model, data, "map", init=init, progress=False)
    said = any("change places between units 2 and the next" in n for n in fit.notes)
    assert said is turned
