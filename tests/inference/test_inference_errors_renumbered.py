"""Standard errors of states that are numbered otherwise: the same ones."""

import itertools

import numpy as np
import pytest
import torch
from torch.distributions import Dirichlet

import glmhmm_pyro as gh
from glmhmm_pyro.components import Levels, Varying
from glmhmm_pyro.inference.curvature.information import Information
from glmhmm_pyro.inference.curvature.uncertainty import Uncertainty
from glmhmm_pyro.inference.program.program import Program

ONCE = {"num_restarts": 1, "progress": False}
APART = {"emissions.weights": 3.0 * torch.arange(4.0)[:, None]}
SHARES = [0.4, 0.3, 0.1, 0.2]


def binary(steps=60, number=6):
    """Choices of two states whose slopes have unlike signs."""
    rng = np.random.default_rng(1)
    seen = rng.normal(size=number * steps)
    states = np.logical_xor.accumulate(rng.uniform(size=len(seen)) < 0.1)
    odds = np.where(states, 2 * seen + 0.5, -1.5 * seen - 0.5)
    chosen = rng.uniform(size=len(seen)) < 1 / (1 + np.exp(-odds))
    design = np.stack([seen, np.ones_like(seen)], 1)
    names = ["seen", "bias"]
    return gh.Sequences(
        chosen * 1.0, design, lengths=[steps] * number, covariate_names=names
    )


def levels():
    """Two levels of states under a law that links sessions, its scale known."""
    law = gh.priors.RandomWalk(step_scale=0.3)
    return gh.GLMHMM(
        Levels(2, 2), Varying(gh.Bernoulli(gh.priors.Ridge(2.0)), "session", law)
    )


def unlike():
    """Sessions that begin in two of four states, the others hardly by their prior."""
    rng = np.random.default_rng(3)
    first = np.repeat([0, 1], 6)
    states = np.concatenate([(s + np.arange(12) // 3) % 4 for s in first])
    measured = 3.0 * states + 0.5 * rng.normal(size=len(states))
    return gh.Sequences(measured, lengths=[12] * len(first))


def few():
    """Of four states, with a prior of 15 thousandths of a session for each."""
    initial = gh.Initial(Dirichlet(torch.full((4,), 1.015).double()))
    moves = gh.Stationary(Dirichlet(torch.full((4, 4), 2.0).double()))
    return gh.GLMHMM(4, gh.Gaussian(), moves, initial)


CASES = {
    "a law of known scales": (
        levels,
        binary,
        "em",
        [[1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0]],
    ),
    "near the border": (few, unlike, "map", [*itertools.permutations(range(4))][1:]),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", CASES)
def test_errors_are_those_of_the_same_states_in_any_order(name):
    """Missing ones, at the border of their support, too."""
    make, table, method, orders = CASES[name]
    data = table()
    start = {"init": APART} if make is few else {}
    fit = gh.fit(make(), data, method, **start, **ONCE)
    plain = fit.standard_errors(data)
    for order in orders:
        found = fit.permuted(list(order)).standard_errors(data)
        expected = plain["initial.probs"].values[list(order)]
        np.testing.assert_allclose(found["initial.probs"].values, expected, 1e-5)
        for site in set(plain) - {"initial.probs"}:
            every = (np.sort(e[site].values, axis=None) for e in (found, plain))
            np.testing.assert_allclose(*every, 1e-5, 1e-8)


def test_short_of_a_maximum_errors_are_by_second_derivatives_of_log_odds():
    """Which are linear in one another, whichever state they are against."""
    data = unlike()
    program = Program.of(few(), data)
    fit = gh.fit(few(), data, "map", init=APART, **ONCE)
    names = list(fit.params)
    at = dict(fit.params) | {"initial.probs": torch.tensor(SHARES).double()}

    def values(*numbers):
        """Sites whose probabilities have such log-odds against the first."""
        parts = {n: x.reshape(at[n].shape[:-1] + (-1,)) for n, x in zip(names, numbers)}
        return {
            n: (
                torch.cat([torch.zeros_like(x[..., :1]), x], -1).softmax(-1)
                if n.endswith("probs")
                else x.exp() if n.endswith("scale") else x
            )
            for n, x in parts.items()
        }

    free = [
        (
            (x[..., 1:] / x[..., :1]).log()
            if n.endswith("probs")
            else x.log() if n.endswith("scale") else x
        )
        for n, x in at.items()
    ]
    sizes = [x.numel() for x in free]

    def density(whole):
        return sum(program.log_parts(values(*whole.split(sizes))))

    def first(whole):
        return values(*whole.split(sizes))["initial.probs"]

    whole = torch.cat([x.flatten() for x in free]).double()
    covariance = (-torch.autograd.functional.hessian(density, whole)).inverse()
    slopes = torch.autograd.functional.jacobian(first, whole)
    expected = (slopes @ covariance @ slopes.T).diagonal().sqrt()
    vector = program.packed(at)
    information = Information.of(program, vector, jacobian=False)
    assert information.is_complete
    found = Uncertainty.of(program, vector, information).errors["initial.probs"]
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=0)
