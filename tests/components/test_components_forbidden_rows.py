"""Moves that cannot be in a matrix of transitions, by all paths and by Fixed zeros."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch.distributions import Dirichlet

import glmhmm_pyro as gh
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.priors import Fixed, Ridge, Sticky

STATES, NEVER = 3, ((0, 2), (1, 0), (2, 1))
QUICK = {"num_restarts": 1, "progress": False}
FREE = math.nan
CYCLE = [[FREE, FREE, 0], [0, FREE, FREE], [FREE, 0, FREE]]
ROWS = Dirichlet(torch.tensor([2.0, 3.0, 4.0], dtype=torch.float64))
PRIORS = {"flat": None, "sticky": Sticky(5.0, 2.0), "dirichlet": ROWS}


def made_data(lengths=(5, 4)):
    rng = np.random.default_rng(0)
    steps = sum(lengths)
    z = np.arange(steps) // 3 % STATES
    y = np.array([-3.0, 0.0, 3.0])[z] + rng.normal(size=steps)
    return gh.Sequences(y, lengths=list(lengths))


def made_model(transitions):
    family = gh.Gaussian(prior=Ridge(3.0), scale_prior=Fixed(1.0))
    initial = gh.Initial(prior=Fixed(1 / STATES))
    return gh.GLMHMM(STATES, family, transitions, initial)


def paths_of(params, session):
    """Every path that can be with its probability, written out."""
    moves = np.asarray(params["transitions.probs"])
    means = np.asarray(params["emissions.weights"])[:, 0]
    y = session.emissions.numpy()
    seen = np.exp(-0.5 * (y[:, None] - means) ** 2) / math.sqrt(2 * math.pi)
    for path in itertools.product(range(STATES), repeat=len(y)):
        if set(zip(path, path[1:])) & set(NEVER):
            continue
        steps = math.prod(moves[i, j] for i, j in zip(path, path[1:]))
        yield path, steps * math.prod(seen[range(len(y)), path]) / STATES


def some_params():
    """Values with a density."""
    rows = [[0.7, 0.3, 0.0], [0.0, 0.6, 0.4], [0.2, 0.0, 0.8]]
    return {
        "initial.probs": torch.full((STATES,), 1 / STATES, dtype=torch.float64),
        "transitions.probs": torch.tensor(rows, dtype=torch.float64),
        "emissions.weights": torch.tensor([[-2.0], [0.3], [2.5]]).double(),
        "emissions.scale": torch.ones(STATES, dtype=torch.float64),
    }


def test_the_likelihood_is_that_of_all_paths_that_can_be():
    data, model = made_data(), made_model(gh.Stationary(forbidden=NEVER))
    model.bind(data)
    likelihood, _ = Program.of(model, data).log_parts(some_params())
    wanted = sum(
        math.log(sum(p for _, p in paths_of(some_params(), session)))
        for session in data
    )
    assert float(likelihood) == pytest.approx(wanted, abs=1e-10)


@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_an_m_step_is_the_mode_of_moves_that_can_be(prior):
    """Expected moves by all paths, plus the concentrations less 1 of free moves."""
    data, counts = made_data(), np.zeros((STATES, STATES))
    for session in data:
        found = list(paths_of(some_params(), session))
        total = sum(p for _, p in found)
        for path, p in found:
            np.add.at(counts, (path[:-1], path[1:]), p / total)
    if prior is not None:
        filled = prior((STATES, STATES)) if prior is PRIORS["sticky"] else prior
        counts = counts + filled.concentration.expand(STATES, STATES).numpy() - 1
    counts[tuple(zip(*NEVER))] = 0.0
    model = made_model(gh.Stationary(prior, forbidden=NEVER))
    with pytest.warns(gh.ConvergenceWarning):
        fit = gh.fit(
            model,
            data,
            init=some_params(),
            init_noise=0.0,
            num_iters=1,
            accelerate=False,
            **QUICK,
        )
    wanted = counts / counts.sum(1, keepdims=True)
    np.testing.assert_allclose(fit.params["transitions.probs"], wanted, atol=1e-9)


@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_methods_end_where_a_matrix_with_zeros_does(prior):
    data = made_data((60, 50))
    options = {"init": some_params(), **QUICK}
    model = made_model(gh.Stationary(prior, forbidden=NEVER))
    other = made_model(gh.Stationary(Fixed(CYCLE, rest=prior)))
    em, by_map, fixed = (
        gh.fit(m, data, method, **options)
        for m, method in ((model, "em"), (model, "map"), (other, "em"))
    )
    assert em.log_joint == pytest.approx(fixed.log_joint, abs=1e-8)
    assert by_map.log_joint == pytest.approx(em.log_joint, abs=1e-7)
    assert em.num_parameters == fixed.num_parameters == 3 + 3
    errors = em.standard_errors(data)["transitions.probs"].values
    wanted = fixed.standard_errors(data)["transitions.probs"].values
    np.testing.assert_allclose(errors, wanted, atol=1e-8)
    assert (errors[tuple(zip(*NEVER))] == 0).all()


def test_renumbered_and_saved_states_forbid_the_same(tmp_path):
    data = made_data((60, 50))
    model = made_model(gh.Stationary(Sticky(5.0, 2.0), forbidden=NEVER))
    for method in ("map", gh.Laplace(num_samples=20)):
        fit = gh.fit(model, data, method, **QUICK)
        fit.save(tmp_path / "fit.nc")
        again = gh.load(tmp_path / "fit.nc")
        assert again.model.transitions.forbidden == NEVER
        turned = fit.permuted([1, 0, 2])
        assert turned.model.transitions.forbidden == ((0, 1), (1, 2), (2, 0))
        probs = fit.decode(data).smoothed_probs.values[:, [1, 0, 2]]
        for kept in (again, turned, turned.permuted([1, 0, 2])):
            assert kept.score(data) == pytest.approx(fit.score(data), abs=1e-12)
            assert kept.log_joint == pytest.approx(fit.log_joint, abs=1e-9)
        np.testing.assert_allclose(turned.decode(data).smoothed_probs.values, probs)
        refitted = gh.fit(turned.model, data, "em", init=turned.params, **QUICK)
        assert (
            refitted.model.transitions.forbidden == turned.model.transitions.forbidden
        )


def test_nothing_goes_where_it_cannot():
    data = made_data((20, 10))
    model = made_model(gh.Stationary(Sticky(3.0, 2.0), forbidden=NEVER))
    options = {"num_samples": 8, "num_warmup": 8, "num_chains": 1}
    with pytest.warns(gh.ConvergenceWarning):
        fit = gh.fit(model, data, "nuts", **QUICK, **options)
    origins, ends = zip(*NEVER)
    assert (fit.draws["transitions.probs"][..., origins, ends] == 0).all()
    _, simulated = fit.simulate(data, seed=0)
    starts = set(data.starts.tolist())
    for path in (simulated, *fit.sample_states(data, 5, seed=0)):
        steps = [t for t in range(1, len(path)) if t not in starts]
        moved = {(int(path[t - 1]), int(path[t])) for t in steps}
        assert not moved & set(NEVER)
    live, wanted = fit.online(), fit.decode(data).filtered_probs.values
    found = [live.update(np.ones(1), data.emissions[t].item()) for t in range(20)]
    np.testing.assert_allclose(found, wanted[:20], atol=1e-12)


def test_a_state_without_a_way_out_is_left_by_nobody():
    y = [0.0, 0.1, -0.1, 3.0, 3.1, 2.9]
    family = gh.Gaussian(scale_prior=Fixed(0.5))
    model = gh.GLMHMM(2, family, gh.Stationary(forbidden=[(1, 0)]))
    fit = gh.fit(model, gh.Sequences(y * 3, lengths=[6] * 3), **QUICK)
    assert fit.params["transitions.probs"][1].tolist() == [0.0, 1.0]
    assert fit.params["transitions.probs"][0, 0] == pytest.approx(2 / 3, abs=1e-4)


def test_it_shows_as_the_call_and_is_refused_where_it_would_be_ignored():
    moves = gh.Stationary(forbidden=[(0, 1)])
    assert repr(moves) == "Stationary(forbidden=[(0, 1)])"
    assert "never from 0 to 1" in gh.GLMHMM(2, gh.Bernoulli(), moves).explain()
    with pytest.raises(ValueError, match="states below 2.*got 2; number"):
        gh.GLMHMM(2, gh.Bernoulli(), gh.Stationary(forbidden=[(0, 2)]))
    for make in (gh.Varying, lambda t: gh.TwoLevels(slow=t)):
        with pytest.raises(ValueError, match="all moves can be"):
            make(moves)
