"""The optimiser face: a closure over parameters, minimised as one vector."""

import copy

import pyro
import pytest
import torch
from pyro import distributions as dist
from pyro.infer import Trace_ELBO
from pyro.infer.autoguide import AutoDelta

from glmhmm_pyro.optim import LBFGS, LBFGSOptions, Termination, minimize, value_and_grad


def make_regression(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(50, 3, generator=generator, dtype=dtype)
    targets = inputs @ torch.tensor([1.0, -2.0, 0.5], dtype=dtype) + 3
    model = torch.nn.Linear(3, 1).to(dtype)
    with torch.no_grad():
        model.weight.fill_(0.1)
        model.bias.zero_()
    return model, inputs, targets


def make_closure(optimizer, model, inputs, targets):
    def closure():
        optimizer.zero_grad()
        loss = torch.log(torch.cosh(model(inputs)[:, 0] - targets)).mean()
        loss.backward()
        return loss

    return closure


def test_one_step_is_a_whole_minimisation():
    model, inputs, targets = make_regression()
    optimizer = LBFGS(model.parameters(), gradient_tol=1e-8, progress_tol=1e-14)
    closure = make_closure(optimizer, model, inputs, targets)
    start = closure().item()
    assert optimizer.step(closure).item() == start
    expected = torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64)
    torch.testing.assert_close(model.weight.detach(), expected, atol=1e-5, rtol=0)
    assert model.bias.item() == pytest.approx(3, abs=1e-5)
    assert optimizer.result.converged


def test_step_is_minimize_over_one_vector():
    model, inputs, targets = make_regression()

    def loss(vector):
        rest = inputs @ vector[:3] + vector[3] - targets
        return torch.log(torch.cosh(rest)).mean()

    x0 = torch.tensor([0.1, 0.1, 0.1, 0.0], dtype=torch.float64)
    expected = minimize(value_and_grad(loss), x0, max_iters=5)
    optimizer = LBFGS(model.parameters(), LBFGSOptions(max_iters=5))
    optimizer.step(make_closure(optimizer, model, inputs, targets))
    assert optimizer.result.num_evals == expected.num_evals
    assert optimizer.result.status is Termination.MAX_ITERS
    torch.testing.assert_close(optimizer.result.x, expected.x, rtol=1e-9, atol=0)
    torch.testing.assert_close(model.weight.detach()[0], expected.x[:3])


def test_steps_go_on_from_the_parameters_with_a_fresh_history():
    model, inputs, targets = make_regression()
    optimizer = LBFGS(model.parameters(), max_iters=2)
    closure = make_closure(optimizer, model, inputs, targets)
    losses = [optimizer.step(closure).item() for _ in range(5)]
    assert losses == sorted(losses, reverse=True) and losses[-1] < losses[0]


def test_single_precision_parameters_are_minimised_in_float64():
    model, inputs, targets = make_regression(torch.float32)
    optimizer = LBFGS(model.parameters())
    optimizer.step(make_closure(optimizer, model, inputs, targets))
    assert model.weight.dtype == torch.float32
    assert optimizer.result.x.dtype == torch.float64
    assert model.bias.item() == pytest.approx(3, abs=1e-2)


def test_options_live_in_the_group_and_survive_a_state_dict():
    model, inputs, targets = make_regression()
    optimizer = LBFGS(model.parameters(), max_iters=3)
    state = copy.deepcopy(optimizer.state_dict())
    other = LBFGS(model.parameters())
    other.load_state_dict(state)
    other.step(make_closure(other, model, inputs, targets))
    assert other.result.num_iters == 3
    other.param_groups[0]["max_iters"] = 1
    model.reset_parameters()
    other.step(make_closure(other, model, inputs, targets))
    assert other.result.num_iters == 1


def test_parameters_without_a_gradient_stay():
    used, unused = (torch.ones(2, requires_grad=True) for _ in range(2))
    optimizer = LBFGS([used, unused])

    def closure():
        optimizer.zero_grad()
        loss = (used**2).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert torch.equal(unused.detach(), torch.ones(2))
    torch.testing.assert_close(used.detach(), torch.zeros(2), atol=1e-5, rtol=0)


def test_parameters_are_those_of_the_start_when_the_closure_raises():
    weights = torch.ones(2, requires_grad=True)
    optimizer = LBFGS([weights])
    calls = []

    def closure():
        optimizer.zero_grad()
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        loss = (weights**4).sum()
        loss.backward()
        return loss

    with pytest.raises(KeyboardInterrupt):
        optimizer.step(closure)
    assert torch.equal(weights.detach(), torch.ones(2))


def test_wrong_use_is_refused():
    weights = torch.ones(2, requires_grad=True)
    with pytest.raises(ValueError, match="closure must be given"):
        LBFGS([weights]).step()
    with pytest.raises(ValueError, match="one group"):
        LBFGS([{"params": [weights]}, {"params": [torch.nn.Parameter(weights)]}])
    with pytest.raises(TypeError, match="options must be among"):
        LBFGS([weights], lr=1.0)


def test_a_pyro_user_finds_the_maximum_a_posteriori():
    data = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    one = torch.ones((), dtype=torch.float64)

    def model():
        mean = pyro.sample("mean", dist.Normal(0 * one, one))
        with pyro.plate("data", 3):
            pyro.sample("y", dist.Normal(mean, one), obs=data)

    guide = AutoDelta(model)
    elbo = Trace_ELBO()(model, guide)
    elbo()
    optimizer = LBFGS(elbo.parameters(), gradient_tol=1e-10)

    def closure():
        optimizer.zero_grad()
        loss = elbo()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert guide.median()["mean"].item() == pytest.approx(7 / 4)
