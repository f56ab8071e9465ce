"""Latents, whose shape follows the data, are no parameters of a model.

The example has a bias by session, which is normal: at new sessions what is said of them
is an integral over one number a session, that quadrature gives.
"""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from families import seeded_generator

import glmhmm_pyro as gh
from glmhmm_pyro.inference.fits import latent_draws as latents
from glmhmm_pyro.inference.program.program import Program

STAY = torch.tensor([[2.5, 0.0], [0.0, 2.5]]).double()
SPREAD = 1.5


def biased(data):
    """Choices of two states, whose biases are shifted in every session."""
    means = torch.tensor([-1.0, 1.0]).double()
    weights = pyro.sample("weights", dist.Normal(means, 0.5).to_event(1))
    law = dist.Normal(torch.zeros(data.num_sessions).double(), SPREAD).to_event(1)
    shift = pyro.sample("shift", law, infer={"latent": True})
    pyro.sample("y", at_shifts(data, weights, shift), obs=data.emissions.double())


def at_shifts(data, weights, shift):
    """The distribution of the choices at a shift of every session."""
    logits = weights + shift.repeat_interleave(data.lengths)[:, None]
    return gh.HiddenMarkov(
        torch.zeros(1, 2).double(),
        STAY[None],
        dist.Bernoulli(logits=logits),
        data.lengths,
    )


def sessions(number, steps, seed):
    generator = seeded_generator(seed)
    means = torch.randn(number, generator=generator).sigmoid()
    draws = torch.rand(number, steps, generator=generator)
    return gh.Sequences(
        (draws < means[:, None]).long().flatten(), lengths=[steps] * number
    )


DATA, LATER = sessions(6, 30, seed=0), sessions(4, 12, seed=1)


@pytest.fixture(
    scope="module", params=["map", gh.Laplace(num_samples=30)], ids=["map", "laplace"]
)
def fitted(request):
    return gh.fit(biased, DATA, request.param, num_restarts=1, progress=False)


@pytest.fixture
def few_draws(monkeypatch):
    monkeypatch.setattr(latents, "NUM_DRAWS", 30)


@pytest.fixture
def fit(fitted, few_draws):
    return fitted


def quadrature(data, weights):
    """Shifts, log-weights of them, and the distribution at each."""
    nodes, log_weights = np.polynomial.hermite_e.hermegauss(60)
    for node, weight in zip(nodes * SPREAD, log_weights / log_weights.sum()):
        shift = torch.full((data.num_sessions,), node).double()
        yield np.log(weight), at_shifts(data, weights, shift)


def test_latents_are_not_counted(fit):
    program = Program.of(biased, DATA)
    assert program.latents == ("shift",) == fit.labels.latents
    assert program.num_parameters == fit.num_parameters == 2
    assert program.coordinates.size == 2 + 6
    assert fit.params["shift"].shape == (6,)


def test_the_sessions_fitted_keep_their_latents(fit):
    y = DATA.emissions.double()
    hidden = at_shifts(DATA, fit.params["weights"], fit.params["shift"])
    found = fit.score(DATA, marginal=False) * DATA.num_steps
    assert found == pytest.approx(float(hidden.log_prob(y)), abs=1e-10)
    if fit.posterior is None:
        expected = hidden.smoothed_probs(y).numpy()
        np.testing.assert_allclose(
            fit.decode(DATA).smoothed_probs, expected, atol=1e-10
        )


def test_later_sessions_are_scored_and_decoded_by_the_law():
    # 400 draws, always the same: no false alarms. Their errors are below 0.02.
    fit = gh.fit(biased, DATA, "map", num_restarts=1, progress=False)
    y, weights = LATER.emissions.double(), fit.params["weights"]
    likelihoods, smoothed = [], []
    for log_weight, hidden in quadrature(LATER, weights):
        by_session = log_weight + hidden.log_prob_per_session(y)
        likelihoods.append(by_session)
        probs = hidden.smoothed_probs(y).log()
        smoothed.append(probs + by_session.repeat_interleave(LATER.lengths)[:, None])
    expected = torch.stack(likelihoods).logsumexp(0).sum() / LATER.num_steps
    assert fit.score(LATER) == pytest.approx(float(expected), abs=0.02)
    assert fit.score(LATER) == fit.score(LATER)
    decoded, expected = fit.decode(LATER), torch.stack(smoothed).logsumexp(0).softmax(
        -1
    )
    np.testing.assert_allclose(decoded.smoothed_probs, expected, atol=0.02)
    sums = decoded.log_prob_per_step.values.sum() / LATER.num_steps
    assert sums == pytest.approx(fit.score(LATER), abs=1e-10)
    # Means of 1000 paths: 0.1 is 6 of their standard deviations.
    paths = fit.sample_states(LATER, 1000).mean(0)
    np.testing.assert_allclose(paths, expected[:, 1], atol=0.1)


def test_all_that_a_fit_says_of_later_sessions_is_said(fit):
    state = torch.random.get_rng_state()
    assert fit.decode(LATER).smoothed_probs.shape == (48, 2)
    assert np.isfinite(fit.predict(LATER)).all()
    assert fit.distribution(LATER).event_shape == (48,)
    simulated, states = fit.simulate(LATER, num_samples=2)
    assert simulated.num_steps == len(states) == 96
    exported = fit.to_arviz(LATER, ["posterior", "log_likelihood"])
    assert exported["posterior"]["shift"].shape[2:] == (4,)
    assert exported["log_likelihood"]["per_session"].shape[2:] == (4,)
    assert fit.aligned(fit, LATER, state_axes={"weights": [-1]}) is not None
    assert torch.equal(torch.random.get_rng_state(), state)
    assert fit.params["shift"].shape == (6,)


def test_as_many_steps_of_other_sessions_are_other_data(fit):
    # No row of the sessions fitted may be read for one of these.
    others = sessions(6, 30, seed=5)
    mine = fit.score(others, marginal=False) * others.num_steps
    y = others.emissions.double()
    wrong = at_shifts(others, fit.params["weights"], fit.params["shift"]).log_prob(y)
    assert abs(mine - float(wrong)) > 1.0


def test_sessions_are_the_same_whether_their_groups_are_told_or_not():
    names, lengths = ["mon", "tue"], [30, 30]
    y = DATA.emissions[:60]
    plain = gh.Sequences(y, lengths=lengths, session_names=names)
    grouped = gh.Sequences(y, lengths=lengths, session_names=names, groups=["a", "a"])
    fit = gh.fit(biased, plain, "map", num_restarts=1, progress=False)
    assert fit.score(grouped) == fit.score(plain)


def test_latents_are_kept_in_files(fit, tmp_path):
    fit.save(tmp_path / "fit.nc")
    loaded = gh.load(tmp_path / "fit.nc", model=biased)
    assert loaded.labels.latents == ("shift",)
    assert loaded.score(LATER) == fit.score(LATER)


def test_latents_need_sessions():
    with pytest.raises(ValueError, match="must be a Sequences .* latent 'shift'"):
        gh.fit(lambda data: biased(data["all"]), {"all": DATA}, "map")


class ShiftedStart(gh.components.InitialState):
    """Log-odds of the first state that differ between sessions."""

    def __init__(self):
        super().__init__()
        self.num_sessions = None
        self.mean = gh.Site(prior=dist.Normal(0.0, 2.0))
        self.shift = gh.Site("session", prior=dist.Normal(0.0, 1.0), latent=True)

    def sizes(self):
        """As for every component, and the sessions of the data at hand."""
        return {**super().sizes(), "session": self.num_sessions}

    def bind(self, data):
        """Record how many sessions there are."""
        self.num_sessions = data.num_sessions

    def logits(self, data):
        """Those of state 1 against state 0."""
        odds = self.mean + self.shift
        return torch.stack([torch.zeros_like(odds), odds], -1)

    def permuted(self, name, value, order):
        """The two states change places, or stay."""
        return -value if int(order[0]) else value


def test_components_have_latents_too(tmp_path, few_draws):
    def make():
        family = gh.Bernoulli(gh.priors.Ridge(2.0))
        return gh.GLMHMM(2, family, initial=ShiftedStart())

    fit = gh.fit(make(), DATA, "map", num_restarts=1, progress=False)
    assert fit.labels.latents == ("initial.shift",)
    assert fit.num_parameters == 1 + 2 + 2 and fit.params["initial.shift"].shape == (6,)
    assert fit.decode(LATER).smoothed_probs.shape == (48, 2)
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    odds = float(fit.params["initial.mean"]) + torch.tensor(nodes)
    expected = float((odds.sigmoid().numpy() * weights).sum() / weights.sum())
    # A mean of 30 draws, the same in every run; its error is about 0.04.
    first = fit.decode(LATER).predicted_probs.values[LATER.starts, 1]
    np.testing.assert_allclose(first, expected, atol=0.12)
    fit.save(tmp_path / "fit.nc")
    assert gh.load(tmp_path / "fit.nc", model=make()).score(LATER) == fit.score(LATER)


@pytest.mark.parametrize("over", ["session", "step"])
def test_a_model_fitted_before_knows_the_sessions_it_is_fitted_to_next(over):
    """As one that is new: the sessions of the first fit say nothing of the second."""
    y = np.random.default_rng(0).integers(0, 2, 50)
    names = [f"day {day}" for day in range(5)]
    data = gh.Sequences(y, lengths=[12, 8, 9, 11, 10], session_names=names)
    law = gh.priors.RandomWalk(0.5)
    model = gh.GLMHMM(1, gh.Varying(gh.Bernoulli(), over=over, law=law))
    options = {"method": "map", "num_restarts": 1, "progress": False}
    before = gh.fit(model, data.subset([0, 1, 2]), **options)
    for later in (data.subset([3, 4]), data.subset([2, 3, 4])):
        fresh = gh.fit(model, later, **options)
        again = gh.fit(before.model, later, **options)
        torch.testing.assert_close(again.params, fresh.params)
        wanted = fresh.decode(later).log_prob_per_step
        np.testing.assert_allclose(again.decode(later).log_prob_per_step, wanted)
        assert again.score(later) == pytest.approx(fresh.score(later))
