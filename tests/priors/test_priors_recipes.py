"""Recipes have the densities they name, for every shape, and refuse wrong numbers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from families import normals, seeded_generator
from oracles import finite_differences
from prior_cases import LAGS, ROWS, priors, walk_precision
from torch.distributions import Beta, HalfNormal, Normal, Uniform

from glmhmm_pyro.priors import Flat
from glmhmm_pyro.priors.answers import is_proper
from glmhmm_pyro.priors.filling import fill, recipe_of

REAL = torch.distributions.constraints.real
SMALL = Path(__file__).parents[1] / "golden" / "glmhmm_small.npz"


@pytest.mark.parametrize(
    "recipe, log_density", [(r, d) for r, d, _ in ROWS.values()], ids=ROWS
)
@pytest.mark.parametrize("outer", [(), (2,), (3, 2)])
def test_a_recipe_is_a_product_of_its_density_over_rows(recipe, log_density, outer):
    shape = torch.Size(outer + (LAGS,))
    filled = fill(recipe, shape, REAL)
    weights = normals(5, *shape, seed=1)
    rows = weights.reshape(-1, LAGS).numpy()
    expected = np.array([log_density(row) for row in rows]).reshape(5, -1).sum(1)
    assert (filled.batch_shape, filled.event_shape) == ((), shape)
    np.testing.assert_allclose(filled.log_prob(weights), expected, rtol=1e-10)
    is_product = recipe.event_dim < len(shape)
    assert is_product == (len(outer) + (recipe.event_dim == 0) > 0)
    assert is_proper(filled) and recipe.takes_sets


@pytest.mark.parametrize(
    "recipe, variance", [(r, v) for r, _, v in ROWS.values()], ids=ROWS
)
def test_draws_have_the_variance_of_the_density(recipe, variance):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        draws = fill(recipe, (LAGS,), REAL).sample((40_000,))
    assert draws.dtype == torch.float64
    # A variance of 40,000 draws is within 5 % in all but one of 1e6 cases; the heavy
    # tails of Laplace and Student-t need more.
    heavy = {"StudentT": 0.5}.get(type(recipe).__name__, 0.1)
    np.testing.assert_allclose(draws.var(0), variance, rtol=heavy)


def test_a_random_walk_is_the_smoothness_penalty_and_a_level():
    step, start = 0.3, 1.2
    filled = fill(priors.RandomWalk(step, start), (LAGS,), REAL)
    w = normals(LAGS, seed=3)
    precision = torch.from_numpy(walk_precision(step, start))
    penalty = filled.log_prob(torch.zeros(LAGS).double()) - filled.log_prob(w)
    torch.testing.assert_close(penalty, w @ precision @ w / 2)
    # Without the level, the penalty is (lambda / 2) w'Dw and its gradient lambda D w.
    differences = np.diff(np.eye(LAGS), axis=0)
    laplacian = torch.from_numpy(differences.T @ differences)

    def smoothness(weights):
        return -filled.log_prob(weights) - weights[0] ** 2 / (2 * start**2)

    slope = finite_differences(smoothness, w)
    torch.testing.assert_close(slope, laplacian @ w / step**2, rtol=1e-6, atol=1e-6)


def test_lambda_is_the_ridge_of_the_original_program():
    golden = np.load(SMALL)
    emit, trans = 0.02, 0.05
    for case, steps in (("A_l2", 500), ("B2_l2", 970)):
        penalty = golden[f"{case}/marginal_ll"] - golden[f"{case}/penalised_ll_l2"]
        ours = 0.0
        for name, lambda_ in (("emit_w", emit), ("trans_w", trans)):
            weights = torch.from_numpy(golden[f"{case}/{name}"])
            prior = fill(
                priors.prior_from_lambda(lambda_, steps), weights.shape[1:], REAL
            )
            ours = ours + prior.log_prob(0 * weights) - prior.log_prob(weights)
        np.testing.assert_allclose(ours, penalty, rtol=1e-9)


def test_lambda_is_the_random_walk_whose_gradient_the_original_has():
    lambda_, steps = 0.03, 700
    recipe = priors.prior_from_lambda(lambda_, steps, smooth=True, start_scale=1e6)
    filled = fill(recipe, (LAGS,), REAL)
    w = normals(LAGS, seed=5).requires_grad_()
    (slope,) = torch.autograd.grad(-filled.log_prob(w) / steps, w)
    differences = np.diff(np.eye(LAGS), axis=0)
    expected = lambda_ * differences.T @ differences @ w.detach().numpy()
    np.testing.assert_allclose(slope, expected, rtol=1e-8, atol=1e-9)
    assert priors.prior_from_lambda(0.0, steps) is None
    assert priors.prior_from_lambda(0.0, steps, smooth=True) is None


@pytest.mark.parametrize("states", [2, 3, 5])
def test_sticky_rows_are_dirichlet_with_a_larger_diagonal(states):
    filled = fill(priors.Sticky(7.0, 1.5), (states, states), REAL)
    generator = seeded_generator(states)
    matrix = torch.rand((states, states), generator=generator).double()
    matrix = matrix / matrix.sum(-1, keepdim=True)
    expected = 0.0
    for i in range(states):
        alpha = np.full(states, 1.5)
        alpha[i] = 7.0
        row = torch.distributions.Dirichlet(torch.from_numpy(alpha))
        expected = expected + row.log_prob(matrix[i])
    torch.testing.assert_close(filled.log_prob(matrix), expected)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (3, 2, 4)])
def test_a_sticky_prior_of_no_square_matrix_is_refused(shape):
    with pytest.raises(ValueError, match="Sticky prior must stand on a square matrix"):
        fill(priors.Sticky(), shape, REAL)


@pytest.mark.parametrize(
    "value", [0, -1.0, float("nan"), float("inf"), "1", None, True]
)
@pytest.mark.parametrize(
    "make, name",
    [
        (lambda v: priors.Ridge(v), "scale of Ridge"),
        (lambda v: priors.Lasso(v), "scale of Lasso"),
        (lambda v: priors.StudentT(v, 1.0), "df of StudentT"),
        (lambda v: priors.StudentT(1.0, v), "scale of StudentT"),
        (lambda v: priors.Sticky(v), "stay of Sticky"),
        (lambda v: priors.Sticky(2.0, v), "move of Sticky"),
        (lambda v: priors.RandomWalk(v), "step_scale of RandomWalk"),
        (lambda v: priors.RandomWalk(1.0, v), "start_scale of RandomWalk"),
        (lambda v: priors.GaussianProcess(v), "length_scale of GaussianProcess"),
        (lambda v: priors.GaussianProcess(1.0, v), "scale of GaussianProcess"),
        (lambda v: priors.GaussianProcess(1.0, 1.0, v), "jitter of GaussianProcess"),
    ],
)
def test_every_number_of_a_recipe_must_be_positive(make, name, value):
    with pytest.raises(ValueError, match=f"{name} must be a positive, finite number"):
        make(value)


@pytest.mark.parametrize(
    "arguments, match",
    [
        ((-0.1, 100), "lambda_ must be a finite number from 0, got -0.1"),
        ((float("inf"), 100), "lambda_ must be a finite number from 0"),
        ((0.1, 0), "num_steps must be a whole number from 1, got 0"),
        ((0.1, 10.5), "num_steps must be a whole number from 1, got 10.5"),
    ],
)
def test_a_wrong_strength_is_named(arguments, match):
    with pytest.raises(ValueError, match=match):
        priors.prior_from_lambda(*arguments)


def test_numbers_of_numpy_and_torch_are_numbers():
    assert priors.Ridge(np.float32(2.0)) == priors.Ridge(torch.tensor(2.0))
    assert type(priors.Ridge(np.int64(2)).scale) is float


def test_a_flat_prior_is_proper_where_its_support_is_bounded():
    simplex = torch.distributions.constraints.simplex
    assert is_proper(fill(None, (2, 3), simplex))
    assert Flat((2,), torch.distributions.constraints.unit_interval).is_proper
    for support in (REAL, torch.distributions.constraints.positive):
        assert not is_proper(fill(None, (2, 3), support))


def test_a_flat_prior_on_a_bounded_support_draws_uniformly():
    simplex = torch.distributions.constraints.simplex
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        rows = Flat((3,), simplex).sample((20_000,))
        between = Flat((1,), torch.distributions.constraints.interval(2.0, 5.0))
        numbers = between.sample((20_000,))[:, 0]
    torch.testing.assert_close(rows.sum(-1), torch.ones(20_000).double())
    # Kolmogorov-Smirnov: 0.0192 is exceeded in one of 1e6 cases.
    for draws, law in ((rows[:, 0], Beta(1.0, 2.0)), (numbers, Uniform(2.0, 5.0))):
        ordered = draws.sort().values
        cdf = law.cdf(ordered) if isinstance(law, Uniform) else 1 - (1 - ordered) ** 2
        place = torch.arange(1, len(ordered) + 1) / len(ordered)
        assert (cdf - place).abs().max() < 0.0192


def test_what_is_not_known_to_be_a_product_or_to_take_sets_says_so():
    own = recipe_of(lambda shape: Normal(0.0, 1.0).expand(shape))
    assert not own.takes_sets and not own.event_dim < 2
    assert recipe_of(HalfNormal(1.0)).event_dim < 1 and recipe_of(None).takes_sets
