"""The exact Hessian: against differences of the gradient, for every kind of model."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from families import EMISSIONS, MASK, TRANSITIONS, Gaussian, normals, random_data
from torch.autograd.function import once_differentiable
from torch.distributions import Gamma, Normal

import glmhmm_pyro as gh
from glmhmm_pyro.distributions import HiddenMarkov
from glmhmm_pyro.inference.curvature import curvature
from glmhmm_pyro.inference.curvature.curvature import (
    NonFiniteCurvatureError,
    OnceDifferentiableError,
    hessian,
)
from glmhmm_pyro.inference.program.program import Program


def differences(program, vector, jacobian, step=1e-5):
    """Central differences of the gradient of Pyro's own trace of the model."""

    def gradient(point):
        point = point.clone().requires_grad_()
        params = program.coordinates.unpack(point)
        value = program.trace(params).log_prob_sum()
        if jacobian:
            value = value + program.coordinates.log_jacobian(point)
        return torch.autograd.grad(value, point)[0]

    units = torch.eye(len(vector), dtype=vector.dtype)
    moved = [gradient(vector + step * u) - gradient(vector - step * u) for u in units]
    return torch.stack(moved) / (2 * step)


@pytest.fixture
def mapped(monkeypatch):
    """All directions must go together, also those of what sees no data."""

    def refused(along, directions):
        raise AssertionError("one direction at a time")

    monkeypatch.setattr(curvature, "one_by_one", refused)
    monkeypatch.setattr(curvature, "_FEW", 0)


def check(program, jacobian=True, seed=0):
    """The Hessian at a random point is the differences', and symmetric."""
    vector = 0.7 * normals(program.coordinates.size, seed=seed)
    found = hessian(program, vector, jacobian)
    expected = differences(program, vector, jacobian)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert torch.equal(found, found.T) and not vector.requires_grad
    return found


@pytest.mark.parametrize("mask", [None, MASK], ids=["observed", "masked"])
@pytest.mark.parametrize("transitions", TRANSITIONS)
@pytest.mark.parametrize("family", EMISSIONS)
def test_the_hessian_is_that_of_differences_of_the_gradient(
    family, transitions, mask, mapped
):
    data = random_data(family, mask=mask)
    model = gh.GLMHMM(2, EMISSIONS[family](), TRANSITIONS[transitions]())
    program = Program.of(model, data)
    with_volume = check(program)
    without = check(program, jacobian=False)
    has_simplex = (with_volume - without).abs().max() > 1e-3
    assert has_simplex


@pytest.mark.parametrize("jacobian", [False, True])
def test_so_it_is_for_priors_on_all_reals_and_on_positive_numbers(jacobian, mapped):
    emissions = Gaussian(prior=Normal(0.0, 2.0))
    emissions.scale = gh.Site(
        "state", prior=Gamma(2.0, 1.0), support=torch.distributions.constraints.positive
    )
    model = gh.GLMHMM(3, emissions, gh.InputDriven(prior=Normal(0.0, 1.0)))
    check(Program.of(model, random_data("gaussian")), jacobian)


def pooled(animals):
    """A user's model: animals whose weights have a common mean and spread."""
    spread = pyro.sample("spread", dist.HalfNormal(torch.tensor(1.0).double()))
    stay = dist.Dirichlet(torch.tensor([[4.0, 1.0], [1.0, 4.0]]).double()).to_event(1)
    moves = pyro.sample("moves", stay).log()[None]
    zeros = torch.zeros(2, 2, dtype=torch.float64)
    for number, data in enumerate(animals):
        offsets = pyro.sample(f"offsets_{number}", dist.Normal(zeros, 1.0).to_event(2))
        scores = data.covariates @ (spread * offsets).T
        table = dist.Bernoulli(logits=scores, validate_args=False)
        hidden = HiddenMarkov(zeros[:1], moves, table, data.lengths, data.mask)
        pyro.sample(f"y_{number}", hidden, obs=data.emissions)


def test_so_it_is_for_a_users_model_with_two_sites(mapped):
    animals = [random_data(seed=1), random_data(seed=2, mask=MASK)]
    check(Program.of(pooled, animals))
    check(Program.of(pooled, animals), jacobian=False)


class _Cube(torch.autograd.Function):
    """x ** 3, whose second derivative asks for the value of a number."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return _CubeSlope.apply(x, grad)


class _CubeSlope(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, grad):
        ctx.save_for_backward(x, grad)
        return 3 * x**2 * grad

    @staticmethod
    def backward(ctx, moved):
        x, grad = ctx.saved_tensors
        if float(moved.sum()) == 0:
            return torch.zeros_like(x), torch.zeros_like(x)
        return 6 * x * grad * moved, 3 * x**2 * moved


def with_factor(factor):
    """A user's model of one state with a term of its own."""

    def model(data):
        zeros = torch.zeros(1, 1, dtype=torch.float64)
        prior = dist.Normal(torch.zeros(2, dtype=torch.float64), 1.0).to_event(1)
        weights, rest = pyro.sample("weights", prior), pyro.sample("rest", prior)
        scores = (data.covariates @ (weights + rest))[:, None]
        table = dist.Bernoulli(logits=scores, validate_args=False)
        hidden = HiddenMarkov(zeros, zeros[None], table, data.lengths)
        pyro.sample("y", hidden, obs=data.emissions)
        pyro.factor("term", factor(weights))

    return model


def test_a_model_that_cannot_be_mapped_over_takes_one_direction_at_a_time(monkeypatch):
    taken, one_by_one = [], curvature.one_by_one

    def recorded(along, directions):
        taken.append(len(directions))
        return one_by_one(along, directions)

    monkeypatch.setattr(curvature, "one_by_one", recorded)
    check(Program.of(with_factor(lambda w: -_Cube.apply(w).sum()), random_data()))
    assert taken == [4]


class _Broken(torch.autograd.Function):
    """x whose slope cannot be differentiated."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        raise RuntimeError("no second derivative")


def test_an_error_of_a_model_is_not_taken_for_one_of_mapping():
    class Slope(torch.autograd.Function):
        """x ** 2 / 2."""

        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**2 / 2

        @staticmethod
        def backward(ctx, grad):
            return _Broken.apply(ctx.saved_tensors[0]) * grad

    program = Program.of(with_factor(lambda w: Slope.apply(w).sum()), random_data())
    with pytest.raises(RuntimeError, match="no second derivative"):
        hessian(program, normals(4))


class _Forgetful(torch.autograd.Function):
    """-4 x ** 2, whose slope is kept as a number: its own slope is 0 to torch."""

    @staticmethod
    def forward(ctx, x):
        ctx.slope = -8 * x.detach()
        return -4 * x**2

    @staticmethod
    def backward(ctx, grad):
        return ctx.slope * grad


class _Once(_Forgetful):
    """The same, declared."""

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        return ctx.slope * grad


ONCE = {
    "forgetful": lambda w: _Forgetful.apply(w).sum(),
    "declared": lambda w: _Once.apply(w).sum(),
    # Here torch raises an error of its own.
    "declared, then squared": lambda w: -_Once.apply(w).square().sum(),
    "a hundredth": lambda w: 0.01 * _Forgetful.apply(w).sum(),
    "of one number": lambda w: _Forgetful.apply(w[:1]).sum(),
    "of tiny numbers": lambda w: _Forgetful.apply(1e-3 * w).sum() * 1e6,
}


@pytest.mark.parametrize("jacobian", [False, True])
@pytest.mark.parametrize("part", ONCE)
def test_a_part_that_can_be_differentiated_once_is_refused(part, jacobian):
    program = Program.of(with_factor(ONCE[part]), random_data())
    names = "" if "squared" in part else ".*slopes of its gradient in weights;"
    with pytest.raises(OnceDifferentiableError, match="differentiate.*twice" + names):
        hessian(program, normals(4), jacobian)


def test_all_that_goes_by_the_curvature_says_so():
    """Errors, summary and evidence refuse; Laplace keeps MAP's values; NUTS runs."""
    model, data = with_factor(ONCE["forgetful"]), random_data()
    options = {"num_restarts": 1, "progress": False}
    mode = gh.fit(model, data, "map", **options)
    for refused in (mode.standard_errors, mode.summary):
        with pytest.raises(ValueError, match="twice, .* in weights; write"):
            refused(data)
    with pytest.raises(ValueError, match="twice, .* in weights; write"):
        gh.analysis.log_evidence(mode, data)
    with pytest.warns(gh.ConvergenceWarning, match="MAP, without draws.* in weights"):
        found = gh.fit(model, data, "laplace", **options)
    assert found.status is gh.Status.NO_CURVATURE and found.posterior is None
    assert found.log_joint == pytest.approx(mode.log_joint, abs=1e-9)
    few = gh.NUTS(3, 3, num_chains=1, max_tree_depth=2, parallel=False)
    with pytest.warns(gh.ConvergenceWarning, match="not whitened, for .* curvature"):
        gh.fit(model, data, few, **options)


def test_a_model_whose_prior_is_wide_or_flat_is_refused_too():
    for width in (1e8, None):

        def model(data):
            zeros = torch.zeros(1, 1, dtype=torch.float64)
            prior = dist.Normal(torch.zeros(2).double(), width or 1.0).to_event(1)
            flat = gh.priors.Flat((2,))
            weights = pyro.sample("weights", prior if width else flat)
            table = dist.Normal(data.covariates[:, :1], 1.0)
            hidden = HiddenMarkov(zeros, zeros[None], table, data.lengths)
            pyro.sample("y", hidden, obs=data.emissions.double())
            pyro.factor("term", _Forgetful.apply((weights - 0.3).tanh()).sum())

        program = Program.of(model, random_data())
        with pytest.raises(OnceDifferentiableError, match="slopes .* in weights;"):
            hessian(program, 0.3 + 0.1 * normals(2))


def test_a_kink_is_not_taken_for_such_a_part():
    """A Lasso's mode lies at its kink, where differences of gradients mean nothing."""
    for place in (0.0, 1e-9, 1e-5):
        program = Program.of(with_factor(lambda w: -9 * w.abs().sum()), random_data())
        vector = torch.tensor([place, -place, 0.4, 0.3], dtype=torch.float64)
        smooth = Program.of(with_factor(lambda w: 0 * w.sum()), random_data())
        found = hessian(program, vector)
        torch.testing.assert_close(found, hessian(smooth, vector), atol=1e-12, rtol=0)


def test_directions_go_together_as_memory_allows(monkeypatch):
    program = Program.of(gh.GLMHMM(2, gh.Bernoulli()), random_data())
    whole, sizes, along = check(program), [], curvature.derivatives_along

    def recorded(gradient, point, directions, mapped):
        sizes.append(len(directions))
        return along(gradient, point, directions, mapped)

    monkeypatch.setattr(curvature, "derivatives_along", recorded)
    program.num_together = 3
    torch.testing.assert_close(check(program), whole)
    assert sizes == [3, 3, 1]
    long = random_data(lengths=(3000,) * 60)
    assert Program.of(gh.GLMHMM(9, gh.Bernoulli()), long).num_together == 1


def test_a_density_without_curvature_has_a_hessian_of_zeros():
    data = random_data().replace(covariates=torch.zeros(8, 2))
    program = Program.of(gh.GLMHMM(1, gh.Bernoulli()), data)
    assert (hessian(program, normals(2)) == 0).all()


def test_a_hessian_that_is_not_finite_names_the_site():
    program = Program.of(with_factor(lambda w: w.abs().sqrt().sum()), random_data())
    vector = torch.tensor([0.0, 0.0, 1.0, 1.0], dtype=torch.float64)
    with pytest.raises(NonFiniteCurvatureError, match="in those of weights; give"):
        hessian(program, vector)


@pytest.mark.parametrize("nothing", [0.0, 5e-324, 1e-100])
def test_values_at_a_border_keep_a_finite_curvature_and_weights_their_size(nothing):
    program = Program.of(gh.GLMHMM(2, gh.Bernoulli()), random_data())
    weights = torch.tensor([[90.0, -2000.0], [0.0, 1.0]], dtype=torch.float64)
    params = {
        "initial.probs": torch.tensor([1.0, nothing], dtype=torch.float64),
        "transitions.probs": torch.tensor([[nothing, 1.0], [0.5, 0.5]]).double(),
        "emissions.weights": weights,
    }
    vector = program.coordinates.pack(params)
    assert torch.equal(vector[-4:], weights.flatten())
    assert vector[:2].abs().max() == 35.0
    assert hessian(program, vector).isfinite().all()
    again = program.coordinates.unpack(vector)
    for name, value in params.items():
        torch.testing.assert_close(again[name], value, rtol=0, atol=1e-15)
