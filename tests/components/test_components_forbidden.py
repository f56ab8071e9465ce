"""Moves that cannot be where covariates drive transitions, by all paths of states."""

import itertools
import math

import numpy as np
import pytest
import torch

import glmhmm_pyro as gh
from glmhmm_pyro.inference.curvature.curvature import hessian
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.optim import value_and_grad
from glmhmm_pyro.priors import Fixed, Ridge

STATES, NEVER = 3, ((0, 2), (1, 0), (2, 1))
QUICK = {"num_restarts": 1, "progress": False}
CYCLE = [[math.nan, math.nan, 0], [0, math.nan, math.nan], [math.nan, 0, math.nan]]


def made_data(lengths=(5, 4), seed=0):
    """Numbers that tell their state, in a circle, and two covariates of its moves."""
    rng = np.random.default_rng(seed)
    steps = sum(lengths)
    z = np.arange(steps) // 3 % STATES
    y = np.array([-3.0, 0.0, 3.0])[z] + rng.normal(size=steps)
    x = rng.normal(size=(steps, 2))
    options = {"lengths": list(lengths), "transition_covariates": x}
    return gh.Sequences(y, np.ones((steps, 1)), **options)


def made_model(shared, prior=1.0):
    prior = prior and Ridge(prior)
    if shared:
        transitions = gh.SharedInputDriven(prior, prior, forbidden=NEVER)
    else:
        transitions = gh.InputDriven(prior, forbidden=NEVER)
    return gh.GLMHMM(STATES, family(), transitions, held_first())


def family():
    return gh.Gaussian(prior=Ridge(3.0), scale_prior=Fixed(1.0))


def held_first():
    return gh.Initial(prior=Fixed(1 / STATES))


def matrices(params, inputs):
    """Transition matrices of all steps, written out with loops."""
    found = []
    for row in np.asarray(inputs):
        moves = np.zeros((STATES, STATES))
        for i, j in itertools.product(range(STATES), repeat=2):
            if (i, j) in NEVER:
                continue
            weights, free = np.asarray(params["transitions.weights"]), j - (j > i)
            if "transitions.baseline" in params:
                score = weights[j - 1] @ row if j else 0.0
                baseline = np.asarray(params["transitions.baseline"])
                score += baseline[i, free] if i != j else 0.0
            else:
                score = weights[i, free] @ row if i != j else 0.0
            moves[i, j] = math.exp(score)
        found.append(moves / moves.sum(1, keepdims=True))
    return np.array(found)


def by_all_paths(params, data):
    """Log-likelihood as a sum over all paths, session by session."""
    total = 0.0
    means = np.asarray(params["emissions.weights"])[:, 0]
    for session in data:
        y = session.emissions.numpy()
        seen = np.exp(-0.5 * (y[:, None] - means) ** 2) / math.sqrt(2 * math.pi)
        moves = matrices(params, session.transition_covariates)
        found = 0.0
        for path in itertools.product(range(STATES), repeat=len(y)):
            p = seen[0, path[0]] / STATES
            for t in range(1, len(y)):
                p *= moves[t, path[t - 1], path[t]] * seen[t, path[t]]
            found += p
        total += math.log(found)
    return total


def bound(shared, seed=1, data=None):
    """A model with data, its program, and a point away from 0."""
    data = made_data() if data is None else data
    model = made_model(shared)
    model.bind(data)
    program = Program.of(model, data)
    size = program.coordinates.size
    vector = torch.from_numpy(np.random.default_rng(seed).normal(size=size))
    return data, program, vector


both = pytest.mark.parametrize("shared", [False, True], ids=["driven", "shared"])


@both
def test_the_likelihood_is_that_of_all_paths_that_can_be(shared):
    data, program, vector = bound(shared)
    params = program.coordinates.unpack(vector)
    likelihood, _ = program.log_parts(params)
    assert float(likelihood) == pytest.approx(by_all_paths(params, data), abs=1e-10)
    # Two destinations of each origin less the forbidden one.
    assert program.coordinates.size == STATES + (4 + 3 if shared else 3 * 2)


@both
def test_slopes_and_curvature_are_those_of_all_paths(shared):
    data, program, vector = bound(shared)
    precision = np.ones(len(vector))
    precision[program.coordinates.slices["emissions.weights"]] = 1 / 9

    def value(point):
        params = program.coordinates.unpack(torch.as_tensor(point))
        return by_all_paths(params, data) - 0.5 * float((precision * point**2).sum())

    centre, step = vector.numpy(), 1e-5
    with_slopes = value_and_grad(lambda v: program.log_density(v, False))

    def slopes_of(point):
        return with_slopes(torch.as_tensor(point))[1].numpy()

    basis = step * np.eye(len(centre))
    slopes = [(value(centre + b) - value(centre - b)) / (2 * step) for b in basis]
    np.testing.assert_allclose(slopes_of(centre), slopes, atol=1e-6)

    rows = [(slopes_of(centre + b) - slopes_of(centre - b)) / (2 * step) for b in basis]
    exact = hessian(program, vector, False)
    np.testing.assert_allclose(exact.numpy(), rows, atol=1e-6)


@pytest.fixture(scope="module", params=[False, True], ids=["driven", "shared"])
def fitted(request):
    data = made_data((60, 50))
    model = made_model(request.param)
    methods = {"em": "em", "map": "map", "laplace": gh.Laplace(num_samples=20)}
    return data, {n: gh.fit(model, data, m, **QUICK) for n, m in methods.items()}


def test_methods_end_in_the_same_maximum(fitted):
    _, fits = fitted
    assert fits["em"].log_joint == pytest.approx(fits["map"].log_joint, abs=1e-6)
    assert fits["em"].num_parameters == fits["laplace"].num_parameters


def test_nothing_goes_where_it_cannot(fitted):
    data, fits = fitted
    origins, ends = zip(*NEVER)
    for fit in fits.values():
        hidden = fit.distribution(data)
        assert (hidden.transition_probs()[:, origins, ends] == 0).all()
        free = [e - (e > o) for o, e in NEVER]
        shared = "transitions.baseline" in fit.draws
        name = "transitions.baseline" if shared else "transitions.weights"
        by_pair = fit.draws[name].movedim(2, 0).movedim(3, 1)
        assert (by_pair[origins, free] == 0).all()
    _, simulated = fits["map"].simulate(data, seed=0)
    paths = [fits["laplace"].decode(data).viterbi_states.values]
    paths += list(fits["laplace"].sample_states(data, 5, seed=0))
    paths.append(simulated)
    starts = set(data.starts.tolist())
    for path in paths:
        steps = [t for t in range(1, len(path)) if t not in starts]
        moved = {(int(path[t - 1]), int(path[t])) for t in steps}
        assert not moved & set(NEVER)


def test_errors_are_those_of_the_free_weights(fitted):
    data, fits = fitted
    fit = fits["map"]
    program = Program.of(fit.model, data)
    vector = program.coordinates.pack(fit.params)
    covariance = np.linalg.inv(-hessian(program, vector, False).numpy())
    named = program.coordinates.slices
    errors = fit.standard_errors(data)
    for name in (n for n in named if n.startswith("transitions.")):
        wanted = np.sqrt(np.diag(covariance))[named[name]]
        shown = errors[name].values
        np.testing.assert_allclose(
            np.sort(shown[shown > 0]), np.sort(wanted), rtol=1e-4
        )


def test_forbidden_moves_have_no_numbers(fitted):
    data, fits = fitted
    for fit in (fits["map"], fits["laplace"]):
        tables = [fit.parameters]
        if fit.posterior is None:
            tables.append(fit.standard_errors(data))
        for table in tables:
            for name in ("transitions.weights", "transitions.baseline"):
                array = table.get(name)
                if array is None or "origin" not in array.dims:
                    continue
                cannot = np.zeros((STATES, STATES), dtype=bool)
                cannot[tuple(zip(*NEVER))] = True
                absent = np.isnan(array.values).reshape(STATES, STATES, -1)
                assert (absent == cannot[:, :, None]).all()
        rows = fit.summary(data)
        rows = rows[rows["estimate"].isna()]
        assert len(rows) and rows[["lower", "upper"]].isna().all(axis=None)


def test_files_and_renumbered_states_forbid_the_same(fitted, tmp_path):
    data, fits = fitted
    for fit in (fits["map"], fits["laplace"]):
        fit.save(tmp_path / "fit.nc")
        assert gh.load(tmp_path / "fit.nc").model.transitions.forbidden == NEVER
        turned = fit.permuted([1, 0, 2])
        assert turned.model.transitions.forbidden == ((0, 1), (1, 2), (2, 0))
        assert fit.model.transitions.forbidden == NEVER
        for kept in (turned, gh.load(tmp_path / "fit.nc"), turned.permuted([1, 0, 2])):
            assert kept.score(data) == pytest.approx(fit.score(data), abs=1e-12)
            # Shared weights have a prior relative to state 0: another order moves it.
            is_shared = "transitions.baseline" in fit.params
            if kept is not turned or not is_shared:
                assert kept.log_joint == pytest.approx(fit.log_joint, abs=1e-9)
        probs = fit.decode(data).smoothed_probs.values[:, [1, 0, 2]]
        np.testing.assert_allclose(turned.decode(data).smoothed_probs.values, probs)


def test_a_fit_that_follows_along_heeds_them(fitted):
    data, fits = fitted
    fit = fits["map"]
    wanted = fit.decode(data)
    live, x = fit.online(), data.transition_covariates.numpy()
    for t in range(20):
        y = data.emissions[t].item()
        found = live.update(np.ones(1), y, transition_covariates=x[t])
        np.testing.assert_allclose(found, wanted.filtered_probs.values[t])


def test_of_a_constant_alone_it_is_a_matrix_with_zeros():
    data = made_data((80, 70)).replace(transition_covariates=np.ones((150, 1)))
    driven = gh.GLMHMM(3, family(), gh.InputDriven(forbidden=NEVER), held_first())
    matrix = gh.GLMHMM(3, family(), gh.Stationary(Fixed(CYCLE)), held_first())
    one, other = (gh.fit(m, data, "map", **QUICK) for m in (driven, matrix))
    assert one.log_joint == pytest.approx(other.log_joint, abs=1e-5)
    assert one.num_parameters == other.num_parameters


@both
def test_nuts_draws_what_can_be(shared):
    options = {"num_samples": 8, "num_warmup": 8, "num_chains": 1}
    with pytest.warns(gh.ConvergenceWarning):
        fit = gh.fit(
            made_model(shared), made_data((20, 10)), "nuts", **QUICK, **options
        )
    origins, ends = zip(*NEVER)
    data = made_data((20, 10))
    assert (fit.distribution(data).transition_probs()[:, origins, ends] == 0).all()
    assert np.isfinite(fit.decode(data).smoothed_probs.values).all()


def test_pictures_leave_out_moves_that_cannot_be(fitted):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    data, fits = fitted
    ax = gh.plotting.transitions(fits["map"])
    if "transitions.baseline" not in fits["map"].params:
        names = [t.get_text() for t in ax.get_yticklabels()]
        assert names == ["0 → 1", "1 → 2", "2 → 0"]
    shown = gh.plotting.transitions(fits["map"], data=data).images[0].get_array()
    assert all(shown[pair] == 0 for pair in NEVER)


@pytest.mark.parametrize("pairs", [[(0, 0)], [(0,)], 3, [(0, 1.5)], [(0, 1, 2)], "02"])
def test_what_are_no_pairs_is_refused(pairs):
    with pytest.raises(ValueError, match="forbidden must be pairs of different states"):
        gh.InputDriven(forbidden=pairs)


def test_moves_between_states_that_there_are_not_are_refused():
    with pytest.raises(ValueError, match="states below 2.*got 2; number"):
        gh.GLMHMM(2, gh.Bernoulli(), gh.InputDriven(forbidden=[(0, 2)]))
    for make in (
        lambda t: gh.components.Varying(t),
        lambda t: gh.components.TwoLevels(fast=t),
    ):
        with pytest.raises(ValueError, match="all moves can be"):
            make(gh.InputDriven(forbidden=[(0, 1)]))
