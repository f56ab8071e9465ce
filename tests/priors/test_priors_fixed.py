"""Parameters that are held: not fitted, not counted, kept by methods and files."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch.distributions import Beta, Dirichlet, Normal, biject_to, constraints

import glmhmm_pyro as gh
from glmhmm_pyro.priors import Fixed, Ridge, Sticky
from glmhmm_pyro.priors.filling import fill

FREE = math.nan
CYCLE = [[FREE, FREE, 0], [0, FREE, FREE], [FREE, 0, FREE]]


def chain(num_steps=240, seed=0):
    """Three states that follow one another in a circle, each with a mean of its own."""
    rng = np.random.default_rng(seed)
    state, states = 0, []
    for _ in range(num_steps):
        state = (state + (rng.random() < 0.2)) % 3
        states.append(state)
    y = np.array([-2.0, 0.0, 2.0])[states] + rng.normal(size=num_steps)
    return gh.Sequences(y, lengths=[num_steps // 2, num_steps - num_steps // 2])


def circular():
    return gh.GLMHMM(
        3,
        gh.Gaussian(prior=Normal(0.0, 3.0), scale_prior=Fixed(1.0)),
        gh.Stationary(prior=Fixed(CYCLE, rest=Sticky(3.0, 2.0))),
        gh.Initial(prior=Fixed([1, 0, 0])),
    )


@pytest.fixture(scope="module")
def fits():
    data = chain()
    options = {"num_restarts": 1, "progress": False}
    found = {m: gh.fit(circular(), data, m, **options) for m in ("em", "map")}
    found["laplace"] = gh.fit(circular(), data, "laplace", **options)
    return data, found


@pytest.mark.parametrize("method", ["em", "map", "laplace"])
def test_what_is_held_stays_and_is_not_counted(fits, method):
    fit = fits[1][method]
    # Three means, and of every row one probability.
    assert fit.num_parameters == 6
    params = fit.params
    assert (params["emissions.scale"] == 1).all()
    assert params["initial.probs"].tolist() == [1, 0, 0]
    zero = torch.tensor(CYCLE) == 0
    assert (params["transitions.probs"][zero] == 0).all()
    torch.testing.assert_close(params["transitions.probs"].sum(-1).tolist(), [1.0] * 3)
    if fit.posterior is not None:
        assert (fit.draws["transitions.probs"][..., zero] == 0).all()
        assert (fit.draws["transitions.probs"][..., ~zero] > 0).all()


def test_the_likelihood_is_that_of_all_paths_without_forbidden_steps(fits):
    data, found = fits
    part = gh.Sequences(data.emissions[:6])
    params = found["em"].params
    weights, moves = params["emissions.weights"][:, 0], params["transitions.probs"]
    total = 0.0
    for path in itertools.product(range(3), repeat=6):
        steps = list(zip(path[:-1], path[1:]))
        if path[0] != 0 or any((j - i) % 3 == 2 for i, j in steps):
            continue
        logs = Normal(weights[list(path)], 1.0).log_prob(part.emissions).sum()
        logs = logs + sum(moves[i, j].log() for i, j in steps)
        total += math.exp(float(logs))
    hidden = found["em"].distribution(part)
    assert float(hidden.log_prob(part.emissions)) == pytest.approx(math.log(total))


def test_methods_agree_on_the_maximum_over_what_is_free(fits):
    _, found = fits
    assert found["em"].log_joint == pytest.approx(found["map"].log_joint, abs=1e-6)
    for name, value in found["em"].params.items():
        torch.testing.assert_close(value, found["map"].params[name], atol=1e-3, rtol=0)


def test_errors_of_what_is_held_are_zero(fits):
    data, found = fits
    errors = found["map"].standard_errors(data)
    assert (errors["emissions.scale"] == 0).all()
    zero = np.array(CYCLE) == 0
    assert (errors["transitions.probs"].values[zero] == 0).all()
    assert (errors["transitions.probs"].values[~zero] > 0).all()


def test_files_keep_what_is_held(fits, tmp_path):
    data, found = fits
    found["map"].save(tmp_path / "fit.nc")
    again = gh.load(tmp_path / "fit.nc")
    assert again.num_parameters == 6
    assert again.model.transitions.prior == Fixed(CYCLE, rest=Sticky(3.0, 2.0))
    assert again.score(data) == found["map"].score(data)
    errors = again.standard_errors(data)["emissions.weights"]
    np.testing.assert_array_equal(
        errors, found["map"].standard_errors(data)["emissions.weights"]
    )


def choices():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(80, 2))
    y = rng.random(80) < 1 / (1 + np.exp(-x[:, 0]))
    return gh.Sequences(y.astype(int), np.column_stack([x, np.ones(80)]))


@pytest.mark.parametrize("method", ["em", "map"])
def test_a_weight_held_at_0_is_a_covariate_left_out(method):
    data, options = choices(), {"num_restarts": 1, "progress": False}
    held = Fixed([[FREE, 0.0, FREE]], rest=Ridge(2.0))
    one = gh.fit(gh.GLMHMM(1, gh.Bernoulli(prior=held)), data, method, **options)
    less = data.replace(
        covariates=data.covariates[:, [0, 2]], covariate_names=["x0", "x2"]
    )
    other = gh.fit(
        gh.GLMHMM(1, gh.Bernoulli(prior=Ridge(2.0))), less, method, **options
    )
    assert one.num_parameters == other.num_parameters == 2
    assert one.log_joint == pytest.approx(other.log_joint, abs=1e-7)
    errors = [f.standard_errors(d) for f, d in ((one, data), (other, less))]
    one_, other_ = (e["emissions.weights"].values[0] for e in errors)
    np.testing.assert_allclose(one_[[0, 2]], other_, rtol=1e-4)
    assert one_[1] == 0


def test_a_parameter_that_is_held_whole_leaves_the_others_to_be_fitted():
    data = choices()
    model = gh.GLMHMM(1, gh.Bernoulli(prior=Fixed([[1.0, 0.0, 0.5]])))
    for method in ("em", "map"):
        fit = gh.fit(model, data, method, num_restarts=1, progress=False)
        assert fit.num_parameters == 0
        logits = data.covariates @ torch.tensor([1.0, 0.0, 0.5]).double()
        signs = 2.0 * data.emissions - 1
        expected = torch.nn.functional.logsigmoid(signs * logits).sum()
        assert fit.log_likelihood == pytest.approx(float(expected))


def test_nuts_draws_what_is_free_alone():
    options = {"num_samples": 10, "num_warmup": 10, "num_chains": 1}
    with pytest.warns(gh.ConvergenceWarning) as told:
        fit = gh.fit(
            circular(), chain(30), "nuts", num_restarts=1, progress=False, **options
        )
    # Ten draws are too few to have mixed, but none is said of what is held.
    assert not any("initial" in str(w.message).partition(";")[0] for w in told)
    assert not any("scale has 0" in str(w.message) for w in told)
    assert (fit.draws["emissions.scale"] == 1).all()
    assert (fit.draws["transitions.probs"][..., torch.tensor(CYCLE) == 0] == 0).all()


@pytest.mark.parametrize(
    "value, support",
    [
        ([[1.0, FREE], [FREE, FREE]], constraints.real),
        ([FREE, 2.0, FREE], constraints.positive),
        ([[0.2, FREE, FREE], [FREE, FREE, 0.0], [0.0, 1.0, 0.0]], constraints.simplex),
        ([[FREE, 0.0, 0.0], [FREE, FREE, FREE]], constraints.simplex),
    ],
)
def test_the_map_to_values_is_inverted_and_has_its_volume(value, support):
    prior = fill(Fixed(value), torch.tensor(value).shape, support)
    transform = biject_to(prior.support)
    free = transform.inverse_shape(prior.shape())
    torch.manual_seed(0)
    x = torch.randn(4, *free, dtype=torch.float64)
    y = transform(x)
    assert prior.support.check(y).all() and support.check(y).all()
    torch.testing.assert_close(transform.inv(y), x)
    whole = torch.tensor(value, dtype=torch.float64)
    known = ~whole.isnan()
    assert (y[:, known] == whole[known]).all()
    jacobian = torch.autograd.functional.jacobian(transform, x[0])
    rows = jacobian.reshape(-1, len(x[0]))
    if support is constraints.simplex:
        # Of the free probabilities of a row the last one follows from the others.
        flat = [
            i * len(value[0]) + int(j)
            for i, row in enumerate(torch.tensor(value))
            for j in row.isnan().nonzero()[:-1, 0]
        ]
    else:
        flat = (~known).flatten().nonzero()[:, 0].tolist()
    expected = rows[flat].det().abs().log()
    found = transform.log_abs_det_jacobian(x, y)
    assert found.shape == (4,)
    torch.testing.assert_close(found[0], expected)
    assert (prior.log_prob(y) == 0).all()
    assert (prior.log_prob(y + known) == -math.inf).all()


def test_priors_of_the_rest_are_those_of_the_free_numbers():
    row = fill(
        Fixed([0.25, FREE, FREE], Dirichlet(torch.tensor([9.0, 2.0, 3.0]))),
        (3,),
        constraints.simplex,
    )
    # What is left, 3/4, is shared by a beta distribution.
    share = torch.tensor(0.3, dtype=torch.float64)
    value = torch.tensor([0.25, 0.75 * 0.3, 0.75 * 0.7], dtype=torch.float64)
    expected = Beta(2.0, 3.0).log_prob(share) - math.log(0.75)
    torch.testing.assert_close(row.log_prob(value), expected.double())
    whole = fill(
        Fixed([FREE, FREE, FREE], Dirichlet(torch.tensor([9.0, 2.0, 3.0]))),
        (3,),
        constraints.simplex,
    )
    torch.testing.assert_close(
        whole.log_prob(value),
        Dirichlet(torch.tensor([9.0, 2.0, 3.0]).double()).log_prob(value),
    )
    weights = fill(Fixed([[FREE, 1.0]], Ridge(2.0)), (1, 2), constraints.real)
    value = torch.tensor([[0.5, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(
        weights.log_prob(value), Normal(0.0, 2.0).log_prob(torch.tensor(0.5)).double()
    )


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Fixed("one"), "value must be numbers.*'one'"),
        (lambda: Fixed([math.inf]), "finite, or NaN where it is free"),
        (lambda: gh.Stationary(prior=Fixed([0.5, 0.2])), "each row can sum to 1"),
        (lambda: gh.Stationary(prior=Fixed([[1.2, FREE], [0, 1]])), "can sum to 1"),
        (lambda: gh.Stationary(prior=Fixed(np.ones((3, 3)))), r"broadcast to \(2, 2\)"),
        (
            lambda: gh.Stationary(prior=Fixed([FREE, FREE], rest=Ridge(1))),
            "product over the free numbers, got Normal; give a Dirichlet",
        ),
    ],
)
def test_what_cannot_be_held_is_refused_in_a_sentence(make, words):
    data = chain(10)
    with pytest.raises((ValueError, TypeError), match=words):
        model = gh.GLMHMM(2, gh.Gaussian(), make())
        gh.fit(model, data, num_restarts=1, progress=False)


def test_a_scale_cannot_be_held_below_0():
    model = gh.GLMHMM(2, gh.Gaussian(scale_prior=Fixed(-1.0)))
    with pytest.raises(ValueError, match="scale_prior of emissions.scale.*fixed at"):
        gh.fit(model, chain(10), num_restarts=1, progress=False)


def test_states_that_are_told_apart_are_not_renumbered_where_it_matters(fits):
    data, found = fits
    turned = found["map"].permuted([2, 0, 1])
    assert turned.score(data) == pytest.approx(found["map"].score(data))
    assert turned.log_joint == -math.inf
    with pytest.raises(ValueError, match="that gh.priors.Fixed holds"):
        turned.standard_errors(data)


@pytest.mark.parametrize("method", ["map", "laplace"])
def test_states_come_back_from_numbers_that_are_impossible(fits, method):
    fit = fits[1][method]
    turned = fit.permuted([2, 0, 1])
    for other in (turned, turned.permuted([1, 0, 2])):
        assert other.log_joint == -math.inf
    back = turned.permuted([1, 2, 0])
    assert back.log_joint == pytest.approx(fit.log_joint, abs=1e-9)
    if fit.posterior is None:
        return
    stats = [f.posterior.stats["log_joint"] for f in (fit, turned, back)]
    assert (stats[1] == -math.inf).all()
    np.testing.assert_allclose(stats[2], stats[0], atol=1e-9)
    # What they are drawn from has none of them, so that they have no weights in it.
    assert "log_weight" not in turned.posterior.stats
