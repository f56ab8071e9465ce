"""Parameters by session or by group: all that a fit does with them follows the axis."""

import itertools

import numpy as np
import pyro
import pytest
import torch
from made_fits import made_fit, sticky
from pyro.distributions import Bernoulli, Categorical, Normal
from scipy.optimize import minimize
from scipy.stats import norm
from torch.distributions import constraints

import glmhmm_pyro as gh
from glmhmm_pyro.components import Emission, GLMEmission, Site, Transitions
from glmhmm_pyro.inference.kinds import easier_problem as easier
from glmhmm_pyro.inference.program.program import Program

NAMES, GROUPS, LENGTHS = (
    ["1", "2", "1", "2"],
    ["rat", "rat", "owl", "cat"],
    [3, 2, 3, 1],
)


ZERO = torch.tensor(0.0, dtype=torch.float64)


def around_a_shared_mean(shape):
    return Normal(pyro.sample("mean", Normal(ZERO, 2.0)), 0.5).expand(shape)


class OwnBias(Emission):
    """Logistic regression whose intercept every session, or group, has for itself."""

    def __init__(self, axis):
        super().__init__()
        self.weights = Site("state", "covariate", prior=Normal(0.0, 2.0))
        self.bias = Site(axis, prior=around_a_shared_mean)

    def forward(self, state, covariates):
        x, entries = self.apart(covariates)
        bias = self.bias[entries[self.sites["bias"].axes[0]]]
        return Bernoulli(logits=(self.weights[state] * x).sum(-1) + bias)


class OwnMoves(Transitions):
    """A matrix of transition probabilities for every group."""

    def __init__(self):
        super().__init__()
        axes = ("group", "origin", "destination")
        self.probs = Site(*axes, support=constraints.simplex)

    def sizes(self):
        return {**super().sizes(), "destination": self.num_states}

    def forward(self, state, covariates):
        return Categorical(probs=self.probs[covariates[..., -1].long(), state])


def sequences(lengths=LENGTHS, groups=GROUPS, names=NAMES, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(sum(lengths), 2))
    options = {"lengths": lengths, "groups": groups, "session_names": names}
    return gh.Sequences(rng.integers(0, 2, sum(lengths)), x, **options)


WEIGHTS, FIRST = np.array([[1.0, -0.5], [-2.0, 0.3]]), np.array([0.6, 0.4])
MOVES = np.stack([sticky(2, stay) for stay in (0.9, 0.6, 0.2)])


def fit_of(data, axis):
    size = {"session": 4, "group": 3}[axis]
    params = {
        "initial.probs": FIRST,
        "transitions.probs": MOVES,
        "emissions.weights": WEIGHTS,
        "emissions.bias": np.linspace(-1.5, 1.5, size),
        "emissions.mean": 0.0,
    }
    return made_fit(gh.GLMHMM(2, OwnBias(axis), OwnMoves()), data, params)


def by_enumeration(y, x, bias, moves):
    """Log-likelihood of one session, all paths of states summed over."""
    total = 0.0
    for path in itertools.product(range(2), repeat=len(y)):
        chance = FIRST[path[0]] * np.prod([moves[i, j] for i, j in zip(path, path[1:])])
        odds = np.exp((WEIGHTS[list(path)] * x).sum(-1) + bias)
        total += chance * np.prod(np.where(y == 1, odds, 1) / (1 + odds))
    return np.log(total)


@pytest.mark.parametrize(
    "axis, entries", [("session", [0, 1, 2, 3]), ("group", [0, 0, 1, 2])]
)
@pytest.mark.parametrize("chosen", [[0, 1, 2, 3], [3, 0, 2, 0], [2]])
def test_every_session_has_the_entries_of_its_own(axis, entries, chosen):
    data = sequences()
    fit, some = fit_of(data, axis), data.subset(chosen)
    bias = fit.params["emissions.bias"].numpy()
    groups = [0, 0, 1, 2]
    wanted = [
        by_enumeration(
            *(part.emissions.numpy(), part.covariates.numpy()),
            *(bias[entries[session]], MOVES[groups[session]]),
        )
        for session, part in zip(chosen, some)
    ]
    found = fit.distribution(some).log_prob_per_session(some.emissions)
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    # The model written out, every state enumerated, is the same.
    model = pyro.poutine.condition(fit.model.enumerated, data=fit.params)
    elbo = pyro.infer.TraceEnum_ELBO(max_plate_nesting=1)
    with pyro.validation_enabled(False):
        joint = -elbo.loss(pyro.infer.config_enumerate(model), lambda data: None, some)
    prior = (
        norm.logpdf(bias, 0, 0.5).sum() + norm.logpdf([*WEIGHTS.flat, 0], 0, 2).sum()
    )
    assert joint - prior == pytest.approx(sum(wanted), rel=1e-9)


@pytest.mark.parametrize("method", ["em", "map"])
def test_a_fit_finds_the_mode_and_names_its_entries(method, tmp_path):
    data = sequences([60, 40, 80, 20], seed=1)
    model = gh.GLMHMM(1, OwnBias("group"))
    fit = gh.fit(model, data, method, progress=False, num_restarts=1)
    x, y = data.covariates.numpy(), data.emissions.numpy()
    entry = np.repeat([0, 0, 1, 2], data.lengths)

    def minus_log_joint(values):
        weights, bias, mean = values[:2], values[2:5], values[5]
        score = x @ weights + bias[entry]
        likelihood = (y * score - np.logaddexp(0, score)).sum()
        spread = ((bias - mean) / 0.5) ** 2
        return (spread.sum() + (weights**2).sum() / 4 + mean**2 / 4) / 2 - likelihood

    best = minimize(minus_log_joint, np.zeros(6), tol=1e-10)
    found = [
        fit.params[f"emissions.{n}"].numpy().ravel()
        for n in ("weights", "bias", "mean")
    ]
    np.testing.assert_allclose(np.concatenate(found), best.x, atol=2e-3)
    bias = fit.parameters["emissions.bias"]
    assert bias.dims == ("group",) and bias.group.values.tolist() == [
        "rat",
        "owl",
        "cat",
    ]
    fit.save(tmp_path / "fit.nc")
    loaded = gh.load(tmp_path / "fit.nc", model)
    owl = data.subset(groups="owl")
    assert loaded.score(owl) == pytest.approx(fit.score(owl), rel=1e-15)
    assert loaded.parameters["emissions.bias"].equals(bias)


def test_files_and_decoding_follow_the_names(tmp_path):
    data = sequences()
    for axis, names in (("session", data.session_names), ("group", data.group_names)):
        fit = fit_of(data, axis)
        fit.save(tmp_path / "fit.nc")
        loaded = gh.load(tmp_path / "fit.nc", gh.GLMHMM(2, OwnBias(axis), OwnMoves()))
        for known in (fit, loaded):
            assert known.parameters["emissions.bias"][axis].values.tolist() == list(
                names
            )
            moves = known.parameters["transitions.probs"]
            assert moves.sel(group="cat", origin=0, destination=0).item() == 0.2
            whole = known.decode(data).smoothed_probs
            day = known.decode(data.subset("owl/1")).smoothed_probs
            np.testing.assert_allclose(day, whole[whole.session == "owl/1"], rtol=1e-12)


def test_others_than_were_fitted_are_refused():
    fit = fit_of(sequences(), "group")
    other = sequences([2, 2], ["rat", "fox"], ["8", "9"])
    with pytest.raises(
        ValueError, match="whose transitions.probs .*rat, owl, cat.*got fox; use"
    ):
        fit.score(other)
    assert np.isfinite(fit.score(other.subset(groups="rat")))
    with pytest.raises(
        ValueError, match="data must have groups.*got none; give groups"
    ):
        fit.score(sequences([2], None, ["1"]))
    with pytest.raises(ValueError, match="data must have groups.*emissions.bias"):
        gh.fit(gh.GLMHMM(2, OwnBias("group")), sequences(groups=None, names=None))
    own = gh.GLMHMM(2, OwnBias("session"))
    own.bind(sequences())
    with pytest.raises(
        ValueError, match="sessions whose emissions.bias .*got 8, 9; use"
    ):
        own.bind(other)


def test_what_would_mix_sessions_up_is_refused():
    data = sequences()
    fit = fit_of(data, "session")
    with pytest.raises(ValueError, match="every session has emissions.bias of its own"):
        gh.analysis.bootstrap(fit, data)
    own = {"initial": gh.Initial(per_session=True)}
    with pytest.raises(ValueError, match="make_model must give.*same initial probab"):
        gh.analysis.cross_validate(
            lambda strength: gh.GLMHMM(
                2, gh.Bernoulli(gh.priors.Ridge(strength)), **own
            ),
            data,
            [1.0, 2.0],
        )
    with pytest.raises(ValueError, match="families must have the same.*axis 'group'"):
        gh.Outputs(choice=gh.Bernoulli(), lick=OwnBias("group"))


@pytest.mark.parametrize("axis", ["session", "group"])
def test_a_search_reads_all_that_have_entries(axis, monkeypatch):
    monkeypatch.setattr(easier, "MOST_STEPS", 3)
    data = sequences()
    assert (
        easier.on_sampled_sessions(Program.of(gh.GLMHMM(2, gh.Bernoulli()), data), 0)
        is not None
    )
    assert (
        easier.on_sampled_sessions(Program.of(gh.GLMHMM(2, OwnBias(axis)), data), 0)
        is None
    )


@pytest.mark.parametrize(
    "history", [None, {"x0": lambda past, rows: torch.zeros(len(rows))}]
)
def test_behaviour_is_simulated_with_the_entries_of_each(history):
    data = sequences(groups=["rat", "owl", "owl", "rat"])
    params = {
        "initial.probs": FIRST,
        "transitions.probs": sticky(2),
        "emissions.weights": WEIGHTS,
        "emissions.bias": [60.0, -60.0],
        "emissions.mean": 0.0,
    }
    fit = made_fit(gh.GLMHMM(2, OwnBias("group")), data, params)
    simulated, _ = fit.simulate(data, history=history, num_samples=2, seed=0)
    for group, choice in (("rat", 1), ("owl", 0)):
        assert (simulated.subset(groups=group).emissions == choice).all()


class Shifted(GLMEmission):
    """Log-odds shifted by group and state, and by session."""

    def __init__(self):
        super().__init__()
        self.shift = Site("group", "state")
        self.level = Site("session")

    def distribution(self, predictor, shift, level):
        return Bernoulli(logits=predictor + shift + level)


def test_a_glm_reads_further_parameters_by_group_and_session():
    """As the same numbers as weights of columns that say which session a step is of."""
    data = sequences().subset([1, 3, 0, 2])
    rng = np.random.default_rng(3)
    shift, level = (torch.tensor(rng.normal(size=s)) for s in ((2, 3, 2), (2, 4)))
    params = {
        "initial.probs": torch.tensor(np.stack([FIRST, FIRST[::-1]])),
        "transitions.probs": torch.tensor(MOVES[:2]),
        "emissions.weights": torch.tensor(rng.normal(size=(2, 2, 2))),
    }
    own = params | {"emissions.shift": shift, "emissions.level": level}
    model, plain = gh.GLMHMM(2, Shifted()), gh.GLMHMM(2, gh.Bernoulli())
    model.bind(data)
    wanted = [data.group_names.index(group) for group in data.groups]
    shifted = shift[:, wanted].transpose(1, 2) + level[:, None]
    weights = torch.cat([params["emissions.weights"], shifted], -1)
    for chosen in ([0, 1, 2, 3], [2, 0, 2]):
        some = data.subset(chosen)
        columns = torch.eye(4).double()[chosen].repeat_interleave(some.lengths, 0)
        wide = some.replace(covariates=torch.cat([some.covariates, columns], -1))
        same = params | {"emissions.weights": weights}
        y = some.emissions
        found = model.hidden_markov_at(own, some).log_prob(y)
        by_columns = plain.hidden_markov_at(same, wide).log_prob(y)
        torch.testing.assert_close(found, by_columns, rtol=1e-12, atol=0)
        with model.at({name: value[0] for name, value in own.items()}):
            state = torch.tensor([1, 0])[torch.arange(some.num_steps) % 2]
            drawn = model.emissions(state, model.emissions.inputs(some))
        logits = (weights[0, state] * wide.covariates).sum(-1)
        torch.testing.assert_close(drawn.logits, logits, rtol=1e-12, atol=1e-12)
