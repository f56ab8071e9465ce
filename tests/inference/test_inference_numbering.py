"""Draws are renumbered only as the prior allows, and are seen by label on demand."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from families import random_params
from inference_cases import clear_data
from torch.distributions import Dirichlet, Normal

import glmhmm_pyro as gh
from glmhmm_pyro.inference.draws.alignment import number_draws
from glmhmm_pyro.inference.nuts import nuts
from glmhmm_pyro.inference.nuts.chains import run_chains
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.program.renumbering import Renumbering

pytestmark = pytest.mark.filterwarnings("ignore::glmhmm_pyro.ConvergenceWarning")

SHORT = {"num_samples": 5, "num_warmup": 6, "num_chains": 2, "parallel": False}
TURNED = torch.tensor([1, 0])
AXES = {"w": (0,), "A": (-2, -1), "pi": (0,)}


def double(values):
    return torch.tensor(values, dtype=torch.float64)


def with_means(*means):
    """Two states whose weights have prior means of their own."""
    prior = Normal(double(means)[:, None].expand(2, 2), 2.0)
    row = Dirichlet(torch.full((2,), 2.0).double())
    return gh.GLMHMM(2, gh.Bernoulli(prior), gh.Stationary(row), gh.Initial(row))


def own(data):
    """The same written by a user, with means -0.4 and 0.4."""
    means = double([[-0.4, -0.4], [0.4, 0.4]])
    w = pyro.sample("w", dist.Normal(means, 2.0).to_event(2))
    rows = dist.Dirichlet(torch.full((2, 2), 2.0).double()).to_event(1)
    A = pyro.sample("A", rows)
    pi = pyro.sample("pi", dist.Dirichlet(torch.full((2,), 2.0).double()))
    hidden = gh.HiddenMarkov(
        pi.log()[None],
        A.log()[None],
        dist.Bernoulli(logits=data.covariates @ w.T, validate_args=False),
        data.lengths,
        data.mask,
    )
    pyro.sample("y", hidden, obs=data.emissions)


MODELS = {
    "alike": (with_means(0.0, 0.0), None),
    "told apart": (with_means(-0.4, 0.4), None),
    "own, no axes": (own, None),
    "own, told apart": (own, AXES),
}


def turning_the_last_chain(program, axes):
    """run_chains, but the last chain numbers its two states the other way round."""

    def run(settings, potentials, *arguments):
        drawn = run_chains(settings, potentials, *arguments)
        potential, coordinates = potentials[-1], program.coordinates
        whitening = potential.whitening
        values = coordinates.unpack(whitening(drawn.vectors[-1]))
        single = {name: value[0] for name, value in values.items()}
        turned = Renumbering(program.model, single, axes)(values, TURNED)
        vectors = coordinates.pack(turned) - whitening.centre
        drawn.vectors[-1] = torch.linalg.solve(whitening.scale, vectors.T).T
        density = potential({"z": drawn.vectors[-1, 0]})
        drawn.stats["potential"][-1] = [
            float(potential({"z": vector})) for vector in drawn.vectors[-1]
        ]
        assert torch.isfinite(density)
        return drawn

    return run


@pytest.fixture(scope="module", params=MODELS)
def case(request):
    """A fit, the fit of the same chains of which the last was turned, the data."""
    model, axes = MODELS[request.param]
    data = clear_data()
    program = Program.of(model, data)
    method = gh.NUTS(**SHORT, state_axes=axes)
    known = axes or (AXES if model is own else None)
    # Where priors tell states apart their mirrored numbers are a mode of their own:
    # a given start keeps chains to one.
    mode = gh.fit(model, data, "map", num_restarts=2, progress=False)
    options = {"init": mode.params, "num_restarts": 1, "progress": False}
    fits = [gh.fit(model, data, method, **options)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nuts, "run_chains", turning_the_last_chain(program, known))
        fits.append(gh.fit(model, data, method, **options))
    return request.param, *fits, data, known


def assert_same(draws, others, chain=slice(None)):
    for name, value in others.items():
        torch.testing.assert_close(draws[name][chain], value[chain], rtol=0, atol=1e-9)


def test_only_renumberings_that_keep_the_prior_are_undone(case):
    name, straight, turned, data, axes = case
    draws, others = turned.posterior.draws, straight.posterior.draws
    assert_same(draws, others, chain=0)
    if name == "alike":
        assert_same(draws, others)
        assert turned.posterior.num_relabelled == 5 and "apart" not in repr(turned)
        assert turned.posterior.by_label is None
        return
    as_left = Renumbering(turned.model, turned.params, axes)(draws, TURNED)
    assert_same(as_left, others, chain=1)
    assert turned.posterior.num_relabelled == 0
    # Labels are those of the point that stands for the draws, in whichever chain.
    labels = turned.posterior.by_label
    assert labels.tolist() in (
        [[[0, 1]] * 5, [[1, 0]] * 5],
        [[[1, 0]] * 5, [[0, 1]] * 5],
    )
    said = "give state_axes" if name == "own, no axes" else "priors tell states apart"
    assert said in repr(turned)
    if said != "give state_axes":
        assert "draws keep the numbers that the chains gave" in repr(turned)
        assert "5 of 10 draws would be numbered otherwise" in repr(turned)
        assert said not in repr(straight)


def test_the_log_joint_is_that_of_the_draw_beside_it(case):
    _, _, turned, data, axes = case
    program = Program.of(turned.model, data)
    views = [turned, turned.aligned(turned, data, axes)]
    views += [] if turned.model is own or axes else [turned.permuted(TURNED)]
    for view in views:
        draws, joints = view.posterior.draws, view.posterior.stats["log_joint"]
        for place in np.ndindex(2, 5):
            params = {n: value[place] for n, value in draws.items()}
            assert joints[place] == pytest.approx(float(program.log_joint(params)))
        joint = float(program.log_joint(view.params))
        assert view.log_joint == pytest.approx(joint)


def test_the_aligned_view_numbers_draws_by_what_their_states_do(case):
    name, straight, turned, data, axes = case
    aligned = turned.aligned(straight, data, axes)
    assert_same(aligned.posterior.draws, straight.posterior.draws)
    assert aligned.posterior.by_label is None
    assert ("whatever priors say" in repr(aligned)) == (name != "alike")
    mean = aligned.posterior.mean()
    assert_same(aligned.params, mean)
    if name == "own, no axes":
        with pytest.raises(ValueError, match="state_axes must say"):
            turned.aligned(straight, data)


def test_labels_follow_when_all_states_are_renumbered_and_saved(case, tmp_path):
    name, straight, turned, data, axes = case
    view = turned.permuted(TURNED, axes)
    again = view.aligned(straight, data, axes)
    assert_same(again.posterior.draws, straight.posterior.draws)
    turned.save(tmp_path / "fit.nc")
    loaded = gh.load(tmp_path / "fit.nc", turned.model).posterior.by_label
    if name == "alike":
        assert loaded is None
    else:
        assert loaded.equal(turned.posterior.by_label)


def test_a_reference_state_is_left_where_it_is():
    """Three states of which the prior holds one as the reference of the first state."""
    ridge = Normal(0.0, 1.0)
    model = gh.GLMHMM(3, gh.Bernoulli(ridge), None, gh.InitialGLM(ridge))
    program = Program.of(model, clear_data())
    params = random_params(model, program.data)
    params["emissions.weights"] = double([[6.0, 0.0], [-6.0, 0.0], [0.0, 6.0]])
    renumbering = Renumbering(model, params, None)
    rotation = torch.tensor([1, 2, 0])
    draws = {n: v[None, None] for n, v in renumbering(params, rotation).items()}
    numbering = number_draws(program, params, draws, renumbering)
    assert numbering.within[0, 0, 0] == 0
    both = numbering.within[0, 0][numbering.by_label[0, 0]]
    assert both.equal(rotation.argsort())
    assert "2 of the 6 renumberings" in numbering.notes[0]


def test_sites_with_different_numbers_of_states_are_left():
    def model(data):
        loc = pyro.sample("loc", dist.Normal(double([0.0] * 3), 1.0).to_event(1))
        for name, states in (("a", 2), ("b", 3)):
            hidden = gh.HiddenMarkov(
                torch.zeros(1, states).double(),
                torch.eye(states).double()[None],
                dist.Bernoulli(logits=loc[:states].expand(data.num_steps, states)),
                data.lengths,
            )
            pyro.sample(name, hidden, obs=data.emissions)

    fit = gh.fit(
        model,
        clear_data(lengths=(9,)),
        gh.NUTS(**SHORT),
        num_restarts=1,
        progress=False,
    )
    assert "sites have [2, 3] states" in repr(fit)
    assert fit.posterior.num_relabelled == 0
