"""NUTS: closed forms, reproducibility, what goes wrong, models of a user's own."""

import logging

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from arviz_faces import group_of
from families import normals
from inference_cases import clear_data, penalised
from nuts_cases import (
    POOLED_AXES,
    known_states,
    known_states_posterior,
    pooled,
    regression,
    regression_posterior,
    two_animals,
)

import glmhmm_pyro as gh
from glmhmm_pyro.inference.kinds.glmhmm_program import GLMHMMProgram
from glmhmm_pyro.inference.nuts import beginning, chains, nuts
from glmhmm_pyro.inference.nuts.chains import Board, run_chains
from glmhmm_pyro.inference.nuts.potential import Potential
from glmhmm_pyro.inference.nuts.sampler import Settings
from glmhmm_pyro.inference.nuts.whitening import Whitening
from glmhmm_pyro.inference.program.evaluated import Evaluated
from glmhmm_pyro.inference.program.program import Program

# Runs this short do not have the draws that NUTS asks for, which other tests are about.
pytestmark = pytest.mark.filterwarnings("ignore::glmhmm_pyro.ConvergenceWarning")

SHORT = {"num_samples": 6, "num_warmup": 4, "num_chains": 2, "parallel": False}
QUIET = {"progress": False, "num_restarts": 1}

# Standard errors that a Monte Carlo mean may be away: 1 in 16,000 for each number.
FAR = 4.0


def sample(model, data, method="nuts", **options):
    return gh.fit(model, data, method, **{**QUIET, **SHORT, **options})


def standard_errors(fit, name, exact):
    """How far the means of the draws of a site are from the exact ones."""
    table = fit.diagnostics()
    rows = table[[label.split("[")[0] == name for label in table.index]]
    error = rows["sd"] / rows["ess_bulk"] ** 0.5
    return ((rows["mean"] - exact.flatten().numpy()) / error).abs().to_numpy()


@pytest.fixture(scope="module")
def normal_fit():
    """400 draws of a posterior that is normal."""
    return sample(*regression(), num_samples=200, num_warmup=60)


def test_a_normal_posterior_is_drawn_with_its_mean_and_covariance(normal_fit):
    mean, covariance = regression_posterior(regression()[1])
    assert (standard_errors(normal_fit, "emissions.weights", mean) < FAR).all()
    draws = normal_fit.posterior.flattened()["emissions.weights"][:, 0]
    squares = (draws - mean) @ torch.linalg.cholesky(covariance).inverse().T
    # A mean of independent chi-squared numbers over their number, 1, has this spread.
    spread = (2 / squares.numel()) ** 0.5
    # Squares mix slower than the draws: half the draws count.
    assert abs(squares.square().mean() - 1) < FAR * spread * 2**0.5


def test_the_fit_is_at_the_mean_of_its_draws(normal_fit):
    model, data = regression()
    mean = normal_fit.posterior.draws["emissions.weights"].mean((0, 1))
    assert torch.equal(normal_fit.params["emissions.weights"], mean)
    likelihood, prior = Program.of(model, data).log_parts(normal_fit.params)
    assert normal_fit.log_likelihood == pytest.approx(float(likelihood))
    assert normal_fit.log_joint == pytest.approx(float(likelihood + prior))
    assert normal_fit.status is gh.Status.SAMPLED and normal_fit.method == "nuts"
    assert "2 x 200 draws, 0 relabelled" in repr(normal_fit)


def test_what_is_known_of_each_draw_is_kept(normal_fit):
    model, data = regression()
    stats, draws = normal_fit.posterior.stats, normal_fit.posterior.draws
    program = Program.of(model, data)
    for place in ((0, 0), (1, 199)):
        params = {name: value[place] for name, value in draws.items()}
        expected = float(program.log_joint(params))
        assert stats["log_joint"][place] == pytest.approx(expected, abs=1e-9)
    assert all(value.shape == (2, 200) for value in stats.values())
    assert ((stats["accept_prob"] >= 0) & (stats["accept_prob"] <= 1 + 1e-9)).all()
    assert stats["accept_prob"].mean() > 0.6 and (stats["step_size"] > 0).all()
    assert stats["diverging"].dtype == bool and stats["num_leapfrogs"].dtype == int
    assert (stats["num_leapfrogs"] >= 1).all() and not stats["diverging"].any()
    assert_energies_are_drawn(stats, draws["emissions.weights"].shape[2:].numel())


def assert_energies_are_drawn(stats, size):
    """Kinetic energies are halves of chi-squared numbers, but for a constant."""
    kinetic = np.asarray(stats["energy"]) + np.asarray(stats["log_joint"])
    # Mean squared deviation of a variance of such numbers, of which half count.
    spread = ((size**2 / 2 + 3 * size) / kinetic.size * 2) ** 0.5
    assert abs(kinetic.var() - size / 2) < FAR * spread


def test_marginal_energies_say_how_well_chains_move(normal_fit):
    energies = group_of(normal_fit.to_arviz(regression()[1]), "sample_stats")["energy"]
    # Betancourt 2016, arXiv:1604.00695: chains move poorly below 0.3.
    moved = np.diff(energies.values, axis=1) ** 2
    assert (moved.mean(1) / energies.values.var(1) > 0.3).all()


def test_known_states_give_dirichlet_posteriors():
    model, data = known_states()
    fit = sample(model, data, num_samples=120, num_warmup=40)
    moves, first = known_states_posterior(data)
    draws = fit.posterior.flattened()
    for name, concentration in (
        ("transitions.probs", moves),
        ("initial.probs", first),
    ):
        exact = dist.Dirichlet(concentration)
        assert (standard_errors(fit, name, exact.mean) < FAR).all()
        # A variance has about this relative error; a quarter of the draws count.
        error = (2 / (len(draws[name]) / 4)) ** 0.5
        ratio = draws[name].var(0) / exact.variance
        assert ((ratio - 1).abs() < FAR * error).all()
    assert fit.posterior.num_relabelled == 0
    params = {name: value[7] for name, value in draws.items()}
    expected = float(Program.of(model, data).log_joint(params))
    assert fit.posterior.stats["log_joint"][0, 7] == pytest.approx(expected, abs=1e-9)


def test_the_potential_is_minus_the_density_where_the_map_leads():
    for model, data in ((penalised(), clear_data()), (pooled, two_animals())):
        program = Program.of(model, data)
        size = program.coordinates.size
        potential = Potential(program, Whitening(normals(size), normals(size, size)))
        point = 0.1 * normals(size, seed=3)
        vector = potential.whitening.centre + potential.whitening.scale @ point
        value = potential({"z": point})
        expected = -program.log_density(vector, jacobian=True)
        torch.testing.assert_close(value, expected)
        leaf = point.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(potential({"z": leaf}), leaf)
        for i in range(0, size, 4):
            step = 1e-6 * torch.eye(size, dtype=torch.float64)[i]
            rise = potential({"z": point + step}) - potential({"z": point - step})
            torch.testing.assert_close(rise / 2e-6, gradient[i], rtol=1e-5, atol=1e-5)


def test_chains_in_parallel_draw_what_chains_in_sequence_draw():
    model, data = penalised(), clear_data()
    alone = sample(model, data)
    together = sample(model, data, parallel=True)
    for name, value in alone.posterior.draws.items():
        assert torch.equal(value, together.posterior.draws[name])
        assert not torch.equal(value[0], value[1])
    for name, value in alone.posterior.stats.items():
        np.testing.assert_array_equal(value, together.posterior.stats[name])
    other = sample(model, data, seed=1).posterior.draws["emissions.weights"]
    assert not torch.equal(other, alone.posterior.draws["emissions.weights"])


def test_global_state_is_left_alone():
    state, threads = torch.get_rng_state(), 2
    torch.set_num_threads(threads)
    checks = torch.distributions.Distribution._validate_args
    sample(*regression())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert torch.distributions.Distribution._validate_args is checks
    assert not list(pyro.get_param_store())


def test_the_time_is_estimated_before_the_chains_start(caplog):
    with caplog.at_level(logging.INFO, logger="glmhmm_pyro"):
        sample(*regression())
    assert "NUTS: 20 draws in all" in caplog.text and "s expected" in caplog.text


@pytest.fixture(scope="module")
def pooled_fit():
    """A few draws of a user's hierarchy, whose axes nobody has told."""
    return sample(pooled, two_animals())


def test_a_hierarchy_of_ones_own_is_drawn_and_aligned(pooled_fit, monkeypatch):
    assert np.asarray(pooled_fit.posterior.stats["energy"]).std() > 0
    data = two_animals()
    monkeypatch.setattr(nuts, "run_chains", turning_one_chain(Program.of(pooled, data)))
    aligned = gh.fit(pooled, data, gh.NUTS(**SHORT, state_axes=POOLED_AXES), **QUIET)
    assert aligned.posterior.num_relabelled == SHORT["num_samples"]
    for name, value in pooled_fit.posterior.draws.items():
        torch.testing.assert_close(aligned.posterior.draws[name], value)
    assert aligned.posterior.draws["own"].shape == (2, 6, 2, 2, 2)


def turning_one_chain(program):
    """run_chains, but the last chain numbers the states the other way round."""

    def run(settings, potentials, *arguments):
        drawn = run_chains(settings, potentials, *arguments)
        potential, coordinates = potentials[-1], program.coordinates
        whitening = potential.whitening
        values = coordinates.unpack(whitening(drawn.vectors[-1]))
        for name, axes in POOLED_AXES.items():
            axes = [axis + 1 if axis >= 0 else axis for axis in axes]
            values[name] = values[name].flip(axes)
        turned = coordinates.pack(values) - whitening.centre
        drawn.vectors[-1] = torch.linalg.solve(whitening.scale, turned.T).T
        return drawn

    return run


def test_draws_of_ones_own_model_without_axes_are_said_to_be_unaligned(pooled_fit):
    assert "give state_axes" in repr(pooled_fit)
    assert pooled_fit.posterior.num_relabelled == 0


def one_mean(data, look=lambda mean: None):
    """A user's model with a single state and a single parameter."""
    mean = pyro.sample("mean", dist.Normal(torch.zeros(1).double(), 1).to_event(1))
    look(mean)
    one = torch.zeros(1, 1, dtype=torch.float64)
    emissions = dist.Normal(mean.expand(data.num_steps, 1), 1.0)
    hidden = gh.HiddenMarkov(one, one[None], emissions, data.lengths)
    pyro.sample("y", hidden, obs=data.emissions)


class Bomb:
    """The model above, going off in the middle of the second chain."""

    def __init__(self, monkeypatch, error):
        self.error, self.armed, self.left = error, False, 25
        run = chains.run_chain

        def arm(*job):
            self.armed = job[-1] == 1
            return run(*job)

        monkeypatch.setattr(chains, "run_chain", arm)

    def __deepcopy__(self, memo):
        return self

    def __call__(self, data):
        one_mean(data, self.tick)

    def tick(self, mean):
        self.left -= self.armed
        if not self.left:
            raise self.error


def test_an_interrupt_keeps_the_chains_that_were_finished(monkeypatch):
    bomb = Bomb(monkeypatch, KeyboardInterrupt())
    with pytest.warns(gh.ConvergenceWarning, match="interrupted.*1 of 2 chains"):
        fit = sample(bomb, regression()[1], num_samples=40)
    assert fit.status is gh.Status.CUT_SHORT
    assert fit.posterior.draws["mean"].shape == (1, 40, 1)


def test_an_error_in_the_model_keeps_the_other_chains_and_is_told(monkeypatch):
    bomb = Bomb(monkeypatch, ArithmeticError("the lag ran out"))
    with pytest.warns(
        gh.ConvergenceWarning, match="chain 1 ended with Arithmetic.*lag"
    ):
        fit = sample(bomb, regression()[1], num_samples=40)
    assert fit.status is gh.Status.FAILED
    assert fit.posterior.num_chains == 1


def test_an_end_before_the_first_draw_gives_the_mode_or_an_error(monkeypatch):
    model, data = regression()
    monkeypatch.setattr(chains, "PyroSampler", raising(KeyboardInterrupt()))
    fit = sample(model, data)
    assert fit.status is gh.Status.CUT_SHORT and fit.posterior is None
    assert fit.params.keys() == {"emissions.weights"}
    with pytest.raises(ValueError, match="must have draws to be diagnosed"):
        fit.diagnostics()
    monkeypatch.setattr(chains, "PyroSampler", raising(ArithmeticError("no")))
    with pytest.raises(RuntimeError, match="no chain.*ArithmeticError: no"):
        sample(model, data)


def raising(error):
    def function(*arguments, **options):
        raise error

    return function


@pytest.mark.parametrize("error", [OSError("no space"), KeyboardInterrupt()])
@pytest.mark.parametrize("part", ["diagnose", "number_draws", "_log_joint_of_mean"])
def test_draws_survive_whatever_fails_after_them(monkeypatch, part, error):
    data = clear_data(lengths=(8, 7))
    model = penalised("bernoulli", "stationary")
    expected = sample(model, data)
    if part == "_log_joint_of_mean":
        fails_at_the_mean(monkeypatch, error)
    else:
        monkeypatch.setattr(nuts, part, raising(error))
    with pytest.warns(gh.ConvergenceWarning, match=type(error).__name__):
        fit = sample(model, data)
    assert any(type(error).__name__ in note for note in fit.notes)
    assert not fit.status.is_success and fit.posterior.num_draws == 6
    if part != "number_draws":
        for name, value in expected.draws.items():
            assert torch.equal(fit.draws[name], value)


def fails_at_the_mean(monkeypatch, error):
    """The model fails from where the draws have their mean."""
    finished = nuts.Posterior.mean

    def mean(self):
        monkeypatch.setattr(GLMHMMProgram, "log_parts", raising(error))
        return finished(self)

    monkeypatch.setattr(nuts.Posterior, "mean", mean)


def test_draws_that_were_not_judged_are_no_draws_that_mixed(monkeypatch):
    monkeypatch.setattr(nuts, "diagnose", raising(ImportError("no arviz")))
    model, data = regression()
    fit = sample(model, data, num_samples=20)
    assert fit.status is gh.Status.UNCHECKED
    assert "ImportError: no arviz" in fit.notes[0]


def test_a_density_that_is_no_number_is_refused_with_its_site():
    data = regression()[1]
    far = data.replace(emissions=torch.full_like(data.emissions, 1e200))
    with pytest.raises(ValueError, match="must be finite.*got -inf at site 'y'"):
        sample(one_mean, far)


class Cliff:
    """A density that is no number anywhere but where the chain starts."""

    def __init__(self, is_direct):
        self.is_direct = is_direct

    def evaluated(self, vector, jacobian):
        value = vector.sum().item()
        slope = torch.zeros_like(vector)
        return Evaluated({}, 0.0 if value == 0 else np.nan, 0.0, 0.0, slope)


@pytest.mark.parametrize("is_direct", [False, True])
def test_a_chain_that_never_accepts_is_named(tmp_path, is_direct):
    settings, board = Settings(5, 3, 0.8, 10, False), Board(str(tmp_path))
    bar = nuts.tqdm(disable=True)
    starts = torch.zeros(1, 2, dtype=torch.float64)
    cliff = Potential(Cliff(is_direct), Whitening.none(2))
    drawn = run_chains(settings, [cliff], starts, [0], False, board, bar)
    assert drawn.ends == [""] and not drawn.stats["accept_prob"].any()
    [(status, sentence)] = nuts._stuck_chains(drawn)
    assert status is gh.Status.STUCK
    assert sentence.startswith("chain 0 accepted none of its draws (step size ")


def test_divergences_and_chains_apart_are_told_in_one_warning(monkeypatch):
    def run(*arguments):
        drawn = run_chains(*arguments)
        drawn.stats["diverging"][0, 2] = True
        drawn.vectors[0] += 50.0
        return drawn

    monkeypatch.setattr(nuts, "run_chains", run)
    with pytest.warns(gh.ConvergenceWarning) as caught:
        fit = sample(*regression())
    told = [str(w.message) for w in caught if w.category is gh.ConvergenceWarning]
    assert len(told) == 1 and "1 of 12 draws diverged" in told[0]
    assert "R-hat of emissions.weights[0, " in told[0]
    assert "target_accept" in told[0] and fit.status is gh.Status.DIVERGED


def funnel(data):
    """Values whose width is unknown, written so that steps of one size cannot do."""
    zero, two = torch.zeros((), dtype=torch.float64), torch.full((), 2.0).double()
    width = pyro.sample("width", dist.Normal(zero, two))
    each = dist.Normal(zero, (width / 2).exp()).expand([9])
    pyro.sample("values", each.to_event(1))
    logits = torch.tensor([[-1.0, 1.0]]).double().expand(data.num_steps, 2)
    emission = dist.Bernoulli(logits=logits)
    hidden = gh.HiddenMarkov(
        torch.zeros(1, 2).double(), torch.eye(2).double()[None], emission, data.lengths
    )
    pyro.sample("y", hidden, obs=data.emissions.double())


def test_a_posterior_that_steps_of_one_size_cannot_follow_is_told_of():
    data = gh.Sequences([0, 1, 1, 0], torch.ones(4, 1))
    method = gh.NUTS(
        40, 40, num_chains=1, parallel=False, max_tree_depth=4, target_accept=0.4
    )
    with pytest.warns(gh.ConvergenceWarning, match="of 40 draws diverged"):
        fit = gh.fit(funnel, data, method, num_restarts=1, progress=False)
    assert fit.status is gh.Status.DIVERGED
    assert fit.posterior.stats["diverging"].sum() >= 4


def test_flat_weights_are_named_and_flat_probabilities_are_not(monkeypatch):
    monkeypatch.setattr(nuts, "_mixing_problems", lambda draws: [])
    with pytest.warns(gh.ConvergenceWarning, match="flat is the prior of emissions.w"):
        fit = sample(*regression(flat=True))
    assert fit.status is gh.Status.IMPROPER
    fit = sample(*known_states(), num_samples=20, num_warmup=80)
    assert fit.status is gh.Status.SAMPLED and not fit.notes


def test_chains_without_a_mode_begin_at_the_starts_of_the_search(monkeypatch):
    model, data = regression()
    monkeypatch.setattr(beginning, "whitened", lambda program, params: None)
    fit = sample(model, data, dense_mass=True, num_warmup=30)
    assert any("not whitened" in note for note in fit.notes)
    assert torch.isfinite(fit.params["emissions.weights"]).all()


def test_the_most_draws_are_kept_of_chains_of_different_lengths():
    assert chains._largest_rectangle([9, 9, 2]) == ([0, 1], 9)
    assert chains._largest_rectangle([3, 9, 8, 7]) == ([1, 2, 3], 7)
    assert chains._largest_rectangle([0, 0]) == ([], 0)


@pytest.mark.parametrize(
    "options, match",
    [
        ({"num_samples": 0}, "num_samples must be at least 1, got 0"),
        ({"num_warmup": -1}, "num_warmup must be at least 0"),
        ({"num_chains": 0}, "num_chains must be at least 1"),
        ({"max_tree_depth": 0}, "max_tree_depth must be at least 1"),
        ({"target_accept": 1.0}, "target_accept must be between 0 and 1"),
        ({"state_axes": {"weights": (0,)}}, "state_axes must name sites"),
    ],
)
def test_options_that_cannot_be_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        sample(*regression(), **options)
