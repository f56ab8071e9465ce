"""Sessions and checks of models on two levels, whichever way their slow states go."""

import numpy as np
import pytest
import torch
from families import (
    constrained,
    enumerated_log_joint,
    hidden_markov,
    random_free,
    random_params,
    seeded_generator,
)

import glmhmm_pyro as gh
from glmhmm_pyro.inference.kinds.diverse_starts import DiverseStarts
from glmhmm_pyro.inference.kinds.starts import StartMaker
from glmhmm_pyro.inference.program.program import Program

EXACT = {"rtol": 0, "atol": 1e-12}
UNFINISHED = pytest.mark.filterwarnings("ignore::glmhmm_pyro.ConvergenceWarning")
RIDGE = gh.priors.Ridge(2.0)


def short_sessions(lengths, observed, ticks, **options):
    """Sessions of a few steps, and a clock among the columns."""
    generator = seeded_generator(4)
    x, u = torch.randn(2, sum(lengths), 2, generator=generator, dtype=torch.float64)
    return gh.Sequences(
        torch.randint(2, (sum(lengths),), generator=generator),
        x,
        lengths=list(lengths),
        mask=torch.tensor(observed),
        transition_covariates=torch.cat([ticks[:, None], u], 1),
        transition_covariate_names=["poke", "satiety", "reward"],
        **options,
    )


def two_way(weight, u):
    """Log-probabilities (2, 2) of staying and leaving, by one weight an origin."""
    sigmoid = torch.nn.functional.logsigmoid
    away = [weight[i, 0] @ u for i in range(2)]
    return [
        [sigmoid(-away[0]), sigmoid(away[0])],
        [sigmoid(away[1]), sigmoid(-away[1])],
    ]


def drawn(model, blank, params):
    """The model, data with emissions drawn at these values, and the states."""
    model.bind(blank)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        y, states = hidden_markov(model, blank, params).sample_with_states()
    return model, blank.replace(emissions=y.long()), states


def check_posterior(hidden, y, posteriors):
    """States and moves have the probabilities of all paths; those of moves."""
    smoothed = torch.cat([p.smoothed for p in posteriors])
    torch.testing.assert_close(hidden.smoothed_probs(y), smoothed, **EXACT)
    pairwise = torch.cat([p.pairwise for p in posteriors])
    torch.testing.assert_close(hidden.pairwise_probs(y), pairwise, **EXACT)
    return pairwise


def check_enumeration(model, data):
    """Pyro's enumeration has the same value and slopes."""
    leaves = {n: v.requires_grad_() for n, v in random_params(model, data).items()}
    values = (
        enumerated_log_joint(model, data, leaves),
        hidden_markov(model, data, leaves).log_prob(data.emissions),
    )
    torch.testing.assert_close(*values, **EXACT)
    slopes = [torch.autograd.grad(value, list(leaves.values())) for value in values]
    torch.testing.assert_close(*slopes, rtol=0, atol=1e-10)


def check_derivatives(model, data):
    """First and second derivatives are those of differences."""
    free = random_free(model, data)

    def log_likelihood(*values):
        params = constrained(model, data, dict(zip(free, values)))
        return hidden_markov(model, data, params).log_prob(data.emissions)

    assert torch.autograd.gradcheck(log_likelihood, tuple(free.values()))
    assert torch.autograd.gradgradcheck(log_likelihood, tuple(free.values()))


def check_start(kind, model, data):
    """A start has values of every site."""
    program = Program.of(model, data)
    maker = StartMaker(program.model, program.data, seeded_generator(0))
    start = kind(DiverseStarts(maker, 0.5, np.random.default_rng(0)))
    assert {n: v.shape for n, v in start.items()} == {
        name: prior.shape() for name, prior in program.priors.items()
    }
    program.check_finite(start)


def check_mode(fit, data):
    """EM rose, and MAP that begins where it ended stays there."""
    assert fit.status is gh.Status.CONVERGED
    assert (np.diff(fit.history.log_joint) > -1e-9).all()
    start = {name: value.numpy() for name, value in fit.params.items()}
    found = gh.fit(fit.model, data, "map", num_restarts=1, init=start, progress=False)
    assert fit.log_joint == pytest.approx(found.log_joint, abs=1e-5)
