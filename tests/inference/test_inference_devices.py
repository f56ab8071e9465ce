"""How often a device and the host wait for each other, counted without a device."""

import numpy as np
import pytest
import torch
from torch.distributions import Normal
from torch.utils._python_dispatch import TorchDispatchMode

import glmhmm_pyro as gh
from glmhmm_pyro.chain import marginals
from glmhmm_pyro.inference.program.program import Program

# Operations for which a device sends numbers to the host, or is made to wait for it.
WAITING = {"aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero"}


class Counted(TorchDispatchMode):
    """Counts the operations that make a device and the host wait for each other."""

    def __init__(self):
        super().__init__()
        self.waits = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.waits += function._schema.name in WAITING
        return function(*args, **(kwargs or {}))


def program_of(steps):
    rng = np.random.default_rng(0)
    ridge = Normal(0.0, 1.0)
    data = gh.Sequences(
        rng.integers(2, size=steps),
        rng.normal(size=(steps, 2)),
        lengths=[steps // 2] * 2,
    )
    model = gh.GLMHMM(2, gh.Bernoulli(prior=ridge), gh.InputDriven(prior=ridge))
    return Program.of(model, data)


def slope(steps):
    """One value and gradient, as MAP, SVI and NUTS ask for it."""
    program = program_of(steps)
    at = torch.zeros(program.coordinates.size, dtype=torch.float64, requires_grad=True)
    with Counted() as counted:
        torch.autograd.grad(program.log_density(at, jacobian=True), at)
    return counted


def expectation(steps):
    """The expected counts of one E-step."""
    rng = np.random.default_rng(1)
    shapes = (2, 2), (steps, 2, 2), (steps, 2)
    potentials = [torch.from_numpy(rng.normal(size=shape)) for shape in shapes]
    lengths = torch.tensor([steps // 2] * 2)
    with Counted() as counted:
        marginals.expected_counts(*potentials, lengths, engine="torch")
    return counted


@pytest.mark.parametrize("work", (slope, expectation))
def test_the_host_is_asked_no_more_often_for_more_steps(work, monkeypatch):
    monkeypatch.setattr(marginals, "pick", lambda engine, potentials: "torch")
    few, many = work(20), work(60)
    assert few.waits == many.waits
