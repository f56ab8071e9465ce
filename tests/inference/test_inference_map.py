"""MAP reaches the mode of the density as the user wrote it, from any model."""

from itertools import cycle

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from families import EMISSIONS, INITIALS, TRANSITIONS, log_joint
from inference_cases import RIDGE, clear_data, penalised
from scipy.optimize import minimize

import glmhmm_pyro as gh
from glmhmm_pyro.inference.kinds.glmhmm_program import GLMHMMProgram
from glmhmm_pyro.inference.program.coordinates import Coordinates
from glmhmm_pyro.inference.program.program import Program

ONCE = {"num_restarts": 1, "progress": False}
QUIET = pytest.mark.filterwarnings("ignore::glmhmm_pyro.ConvergenceWarning")


def climbed(model, data, **options):
    """MAP without any EM before it."""
    return gh.fit(model, data, method=gh.MAP(em_iters=0, **options), **ONCE)


@pytest.mark.parametrize("transitions", ["stationary", "input-driven"])
def test_em_and_map_reach_one_optimum(transitions):
    data, model = clear_data(mask=True), penalised(transitions=transitions)
    em = gh.fit(model, data, tol=1e-10, **ONCE)
    found = climbed(model, data, tol=1e-9)
    assert found.status is gh.Status.CONVERGED and found.method == "map"
    assert found.log_joint == pytest.approx(em.log_joint, abs=1e-6)
    for name, value in em.params.items():
        torch.testing.assert_close(found.params[name], value, rtol=0, atol=2e-3)


def test_the_default_begins_with_em_and_ends_no_lower():
    data, model = clear_data("categorical"), penalised("categorical")
    direct = climbed(model, data, tol=1e-9)
    found = gh.fit(model, data, method="map", **ONCE)
    assert found.log_joint == pytest.approx(direct.log_joint, abs=1e-5)
    joints = found.restarts[0].log_joints
    assert np.diff(joints).min() > -1e-9 and len(joints) > 2


def test_the_mode_is_that_of_the_density_without_the_volume_of_a_transform():
    # A single positive number: the mode of Gamma(3, 2) is 1, that of its log is 1.5.
    def model(data):
        shape, rate = torch.tensor([3.0, 2.0], dtype=torch.float64)
        rate = pyro.sample("rate", dist.Gamma(shape, rate))
        pyro.sample("y", _certain(data), obs=data.emissions)
        return rate

    found = climbed(model, clear_data(), tol=1e-10)
    assert found.params["rate"].item() == pytest.approx(1.0, abs=1e-5)


def _certain(data):
    """A chain of one state whose emissions do not depend on any parameter."""
    steps = (data.num_steps, 1)
    logits = torch.zeros(steps, dtype=torch.float64)
    one = torch.zeros(1, 1, 1, dtype=torch.float64)
    emissions = dist.Bernoulli(logits=logits)
    return gh.HiddenMarkov(one[0], one, emissions, data.lengths)


FAMILIES = list(zip(EMISSIONS, cycle(INITIALS)))


@QUIET
@pytest.mark.parametrize("family, initial", FAMILIES)
def test_the_gradient_at_a_mode_vanishes_for_every_family(family, initial):
    data = clear_data(family)
    parts = EMISSIONS[family](), TRANSITIONS["input-driven"](), INITIALS[initial]()
    if family in ("bernoulli", "categorical"):
        parts[0].sites["weights"].prior = RIDGE
    parts[1].sites["weights"].prior = RIDGE
    found = climbed(gh.GLMHMM(2, *parts), data, tol=1e-7)
    program = Program.of(found.model, data)
    vector = program.coordinates.pack(found.params).requires_grad_()
    value = program.log_density(vector, jacobian=False)
    (gradient,) = torch.autograd.grad(value, vector)
    assert gradient.abs().max() < 1e-3 * data.num_steps


def test_scipy_finds_no_higher_point():
    data, model = clear_data(mask=True), penalised()
    found = climbed(model, data, tol=1e-9)
    program = Program.of(found.model, data)

    def minus(vector):
        leaf = torch.tensor(vector).requires_grad_()
        value = -program.log_density(leaf, jacobian=False)
        return value.item(), torch.autograd.grad(value, leaf)[0].numpy()

    start = program.coordinates.pack(found.params).numpy()
    better = minimize(minus, start, jac=True, method="BFGS", options={"gtol": 1e-8})
    assert -better.fun == pytest.approx(found.log_joint, abs=1e-7)
    assert log_joint(found.model, data, found.params).item() == pytest.approx(
        found.log_joint, abs=1e-9
    )


def test_the_log_joint_of_a_program_is_that_of_the_traced_model():
    data, model = clear_data("categorical", mask=True), penalised("categorical")
    program = Program.of(model, data)
    size = program.coordinates.size
    vector = torch.linspace(-1.0, 1.0, size, dtype=torch.float64)
    params = program.coordinates.unpack(vector)
    expected = program.trace(params).log_prob_sum()
    torch.testing.assert_close(program.log_joint(params), expected)


SUPPORTS = {
    "weights": dist.Normal(0.0, 1.0).expand([2, 3]).to_event(2),
    "scale": dist.HalfNormal(1.0),
    "probs": dist.Dirichlet(torch.ones(2, 3)).to_event(1),
    "share": dist.Beta(1.0, 1.0).expand([2]).to_event(1),
}


def test_coordinates_pack_and_unpack_with_leading_axes():
    coordinates = Coordinates(SUPPORTS)
    assert coordinates.size == 6 + 1 + 4 + 2
    vectors = torch.randn(5, 13, generator=torch.Generator().manual_seed(0)).double()
    params = coordinates.unpack(vectors)
    assert params["probs"].shape == (5, 2, 3) and (params["scale"] > 0).all()
    torch.testing.assert_close(coordinates.pack(params), vectors)
    one = {name: value[2] for name, value in params.items()}
    torch.testing.assert_close(coordinates.pack(one), vectors[2])


def test_values_at_the_border_get_finite_coordinates():
    coordinates = Coordinates({"probs": dist.Dirichlet(torch.ones(3))})
    params = {"probs": torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)}
    vector = coordinates.pack(params)
    assert torch.isfinite(vector).all()
    torch.testing.assert_close(coordinates.unpack(vector), params)


def test_the_log_jacobian_is_the_log_determinant_of_the_map():
    coordinates = Coordinates(SUPPORTS)
    generator = torch.Generator().manual_seed(1)
    vector = torch.randn(13, generator=generator, dtype=torch.float64)

    def free_values(vector):
        values = coordinates.unpack(vector)
        # The last probability of a row follows from the others.
        values["probs"] = values["probs"][:, :-1]
        return torch.cat([value.reshape(-1) for value in values.values()])

    jacobian = torch.autograd.functional.jacobian(free_values, vector)
    expected = torch.linalg.slogdet(jacobian).logabsdet
    torch.testing.assert_close(coordinates.log_jacobian(vector), expected)


def test_every_number_of_the_vector_has_a_name():
    names = Coordinates(SUPPORTS).names()
    assert names[:2] == ["weights[0, 0]", "weights[0, 1]"] and names[6] == "scale"
    assert len(names) == 13 and names[-1] == "share[1]"


def test_the_mode_of_the_vectors_density_is_inside_where_that_of_values_is_not():
    data = clear_data(lengths=(20, 10))
    program = Program.of(gh.GLMHMM(2, gh.Bernoulli(prior=RIDGE)), data)
    size = program.coordinates.size
    start = program.coordinates.unpack(torch.zeros(size, dtype=torch.float64))
    border = start | {"initial.probs": torch.tensor([1.0, 0.0]).double()}
    inside, status = gh.MAP(tol=1e-8).density_mode(program, border)
    assert status is gh.Status.CONVERGED
    assert (program.coordinates.unpack(inside)["initial.probs"] > 0.02).all()
    vector = inside.requires_grad_()
    value = program.log_density(vector, jacobian=True)
    (gradient,) = torch.autograd.grad(value, vector)
    assert gradient.abs().max() < 1e-4


def test_too_few_iterations_end_with_a_warning():
    with pytest.warns(gh.ConvergenceWarning, match="largest number of iterations"):
        found = climbed(penalised(), clear_data(), num_iters=2)
    assert found.status is gh.Status.MAX_ITERS


def test_a_log_joint_that_is_not_a_number_ends_with_the_last_finite_parameters():
    data = clear_data()

    def model(data):
        weight = pyro.sample("weight", dist.Normal(0.0, 1.0))
        # The likelihood rises with the weight, and is not a number from 1 on.
        logits = 2.0 * weight + 0.0 * (1.0 - weight).sqrt()
        one = torch.zeros(1, 1, 1, dtype=torch.float64)
        logits = logits.double().expand(data.num_steps, 1)
        emissions = dist.Bernoulli(logits=logits, validate_args=False)
        hidden = gh.HiddenMarkov(one[0], one, emissions, data.lengths)
        pyro.sample("y", hidden, obs=torch.ones_like(data.emissions))

    with pyro.validation_enabled(False):
        with pytest.warns(gh.ConvergenceWarning) as warned:
            found = gh.fit(model, data, method="map", init={"weight": 0.9}, **ONCE)
    assert found.status is gh.Status.NON_FINITE
    assert len(warned) == 1
    assert np.isfinite(found.log_joint) and found.params["weight"] < 1.0


def test_where_a_distribution_refuses_its_parameters_the_search_turns_back():
    data = clear_data()

    def model(data):
        weight = pyro.sample("weight", dist.Normal(0.0, 0.1))
        # Refused from 1 on, and without bound just before.
        pyro.sample("other", dist.Normal(0.0, 1.0 - weight.double()))
        pyro.sample("y", _certain(data), obs=data.emissions)

    start = {"weight": 0.99, "other": 0.0}
    with pytest.warns(gh.ConvergenceWarning, match="not finite"):
        found = gh.fit(model, data, method="map", init=start, **ONCE)
    assert found.params["weight"] < 1.0 and np.isfinite(found.log_joint)
    with pytest.raises(ValueError, match="scale"):
        gh.fit(model, data, method="map", init={"weight": 2.0}, **ONCE)


def test_an_interrupt_keeps_the_best_so_far(monkeypatch):
    data, model = clear_data(), penalised()
    calls, evaluated = [], GLMHMMProgram.evaluated

    def interrupted(self, vector, jacobian):
        calls.append(None)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return evaluated(self, vector, jacobian)

    monkeypatch.setattr(GLMHMMProgram, "evaluated", interrupted)
    with pytest.warns(gh.ConvergenceWarning, match="interrupted"):
        found = climbed(model, data)
    assert found.status is gh.Status.INTERRUPTED
    joints = found.restarts[0].log_joints
    assert 1 < len(joints) < 8 and found.log_joint == joints.max()


@pytest.mark.parametrize(
    "options, match",
    [
        ({"num_iters": 0}, "num_iters must be at least 1"),
        ({"tol": -1.0}, "tol must be at least 0"),
        ({"em_iters": -1}, "em_iters must be at least 0"),
    ],
)
def test_a_wrong_option_of_map_is_named(options, match):
    with pytest.raises(ValueError, match=match):
        gh.MAP(**options)
