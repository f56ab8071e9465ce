"""Components whose weights vary over units: what they say, by enumeration."""

import itertools

import numpy as np
import pyro
import pytest
import torch
from families import EMISSIONS, random_emissions
from made_fits import made_fit
from scipy.special import log_softmax
from torch.distributions import HalfNormal

import glmhmm_pyro as gh
from glmhmm_pyro.components import Varying

Walk, Ridge = gh.priors.RandomWalk, gh.priors.Ridge
GROUPS, NAMES, LENGTHS = ["rat", "rat", "owl"], ["1", "2", "3"], [3, 2, 3]
UNITS = {"session": [0, 1, 2], "group": [0, 0, 1]}


def sequences(lengths=LENGTHS, groups=GROUPS, names=NAMES, seed=0, emissions=None):
    rng = np.random.default_rng(seed)
    steps = sum(lengths)
    y = rng.integers(0, 2, steps) if emissions is None else emissions
    return gh.Sequences(
        y,
        rng.normal(size=(steps, 3)),
        lengths=lengths,
        groups=groups,
        session_names=names,
        covariate_names=["s", "bias", "past"],
        initial_covariates=rng.normal(size=(len(lengths), 2)),
    )


DATA = sequences()
SURE = gh.Bernoulli(gh.priors.Fixed(np.array([[1.0], [-1.0]]) * np.ones(3)))
EVEN = gh.Stationary(gh.priors.Fixed([[0.8, 0.2], [0.2, 0.8]]))


def values_of(model, data, seed=1):
    """Values of all sites, none like another."""
    generator = torch.Generator().manual_seed(seed)
    model.bind(data)
    found = {}
    for name, component, attribute in model.site_names():
        shape = component.shape(attribute)
        value = torch.randn(shape, generator=generator, dtype=torch.float64)
        positive = "scale" in attribute or attribute in ("concentration", "df")
        found[name] = value.exp() if positive else value
    return found


def by_enumeration(data, session, emission, transition, initial):
    """Log-likelihood of a session, paths of two states summed over.

    Args:
        emission: weights (states, features) of its unit.
        transition: weights (origins, 1, features) against staying.
        initial: weights (1, features) against state 0.
    """
    part = data.subset([session])
    x, y = part.covariates.numpy(), part.emissions.numpy()
    v = part.initial_covariates.numpy()[0]
    odds, total = x @ emission.numpy().T, 0.0
    logs = -np.log1p(np.exp(np.where(y[:, None] == 1, -odds, odds)))
    first = log_softmax([0.0, float(initial[0] @ torch.tensor(v))])
    moves = np.zeros((len(y), 2, 2))
    for t, (i, j) in itertools.product(range(len(y)), ((0, 1), (1, 0))):
        moves[t, i, j] = float(transition[i, 0] @ torch.tensor(x[t]))
    moves = log_softmax(moves, -1)
    for path in itertools.product(range(2), repeat=len(y)):
        log = first[path[0]] + logs[range(len(y)), path].sum()
        log += sum(moves[t, path[t - 1], path[t]] for t in range(1, len(y)))
        total += np.exp(log)
    return np.log(total)


@pytest.mark.parametrize("over", ["session", "group"])
@pytest.mark.parametrize("law", [Ridge(0.5), "pooled", None])
def test_every_session_has_the_weights_of_its_unit(over, law):
    parts = (gh.Bernoulli(), gh.InputDriven(), gh.InitialGLM())
    model = gh.GLMHMM(2, *(Varying(part, over, law) for part in parts))
    values = values_of(model, DATA)
    hidden = model.hidden_markov_at(values, DATA)
    names = ("emissions", "transitions", "initial")
    weights = [values[f"{name}.weights"] for name in names]
    wanted = [
        by_enumeration(DATA, session, *(w[UNITS[over][session]] for w in weights))
        for session in range(3)
    ]
    found = hidden.log_prob_per_session(DATA.emissions)
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    # The model written out, every state enumerated, is the same.
    conditioned = pyro.poutine.condition(model.enumerated, data=values)
    elbo = pyro.infer.TraceEnum_ELBO(max_plate_nesting=1)
    with pyro.validation_enabled(False):
        body = pyro.infer.config_enumerate(conditioned)
        joint = -elbo.loss(body, lambda data: None, DATA)
        trace = pyro.poutine.trace(pyro.poutine.condition(model.draw, data=values))
        prior = float(trace.get_trace().log_prob_sum())
    assert joint - prior == pytest.approx(sum(wanted), rel=1e-8)


@pytest.mark.parametrize(
    "name", [n for n in EMISSIONS if n not in ("poisson", "gaussian")]
)
def test_every_family_is_the_same_where_all_units_are_alike(name):
    family = EMISSIONS[name]()
    if not isinstance(family, gh.components.GLMEmission):
        pytest.skip("no GLM family")
    y = random_emissions(name, sum(LENGTHS), seed=3)
    data = sequences(emissions=y)
    plain = gh.GLMHMM(2, family)
    model = gh.GLMHMM(2, Varying(family, law="pooled", constant=["bias"]))
    plain.bind(data), model.bind(data)
    program = gh.inference.program.program.Program.of(plain, data)
    same = program.coordinates.unpack(
        torch.arange(program.coordinates.size).double().sin()
    )
    own = {n.removeprefix("emissions."): v for n, v in same.items()}
    spread = model.emissions.spread_out(own)
    values = {f"emissions.{n}": v for n, v in spread.items()}
    values |= {n: v for n, v in same.items() if not n.startswith("emissions")}
    found = model.hidden_markov_at(values, data).log_prob(data.emissions)
    wanted = plain.hidden_markov_at(same, data).log_prob(data.emissions)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    with model.at(values), plain.at(same):
        state = torch.arange(data.num_steps) % 2
        one = model.emissions(state, model.emissions.inputs(data))
        two = plain.emissions(state, data.covariates)
        observed = data.emissions.double()
        torch.testing.assert_close(one.log_prob(observed), two.log_prob(observed))


def test_matrices_and_first_states_vary_without_covariates():
    model = gh.GLMHMM(
        2,
        gh.Bernoulli(),
        Varying(gh.Stationary(), law=Walk(0.3)),
        Varying(gh.Initial(), law="pooled"),
    )
    values = values_of(model, DATA)
    odds = values["transitions.weights"][:, :, 0, 0]
    hidden = model.hidden_markov_at(values, DATA)
    moves = torch.zeros(3, 2, 2).double()
    moves[:, 0, 1], moves[:, 1, 0] = odds[:, 0], odds[:, 1]
    by_step = moves.log_softmax(-1).repeat_interleave(DATA.lengths, 0)
    torch.testing.assert_close(hidden.transition_logits.log_softmax(-1), by_step)
    first = torch.nn.functional.pad(values["initial.weights"][:, :, 0], (1, 0))
    torch.testing.assert_close(
        hidden.initial_logits.log_softmax(-1), first.log_softmax(-1)
    )


LEARNT = gh.priors.Hierarchical(HalfNormal(1.0))
STEPS = Walk(HalfNormal(1.0), 2.0, border_scale=HalfNormal(1.0))
TWICE = {
    "emissions over groups": (2, Varying(gh.Bernoulli(), "group", LEARNT)),
    "emissions over sessions": (2, Varying(gh.Bernoulli(), "session", Walk(0.3))),
    "emissions over steps": (1, Varying(gh.Bernoulli(), "step", STEPS, ["past"])),
    "classes over sessions": (2, Varying(gh.Categorical(3), "session", LEARNT)),
    "moves over groups": (2, SURE, Varying(gh.InputDriven(), "group", LEARNT)),
    "moves over sessions": (2, SURE, Varying(gh.Stationary(), "session", Walk(0.3))),
    "first states over groups": (
        *(2, SURE, EVEN),
        Varying(gh.InitialGLM(), "group", LEARNT),
    ),
    "first states over sessions": (
        *(2, SURE, EVEN),
        Varying(gh.Initial(), "session", Walk(HalfNormal(1.0))),
    ),
}


@pytest.mark.parametrize("case", TWICE)
def test_the_log_joint_can_be_differentiated_twice(case):
    """By all free numbers, of the law too, as differences of slopes have it."""
    model = gh.GLMHMM(*TWICE[case])
    program = gh.inference.program.program.Program.of(model, DATA)
    at = torch.arange(program.coordinates.size).double().sin().requires_grad_()

    def log_joint(free):
        return program.log_density(free, jacobian=False)

    assert torch.autograd.gradcheck(log_joint, at)
    assert torch.autograd.gradgradcheck(log_joint, at)


def test_sites_have_the_names_of_units_and_covariates():
    law = gh.priors.Hierarchical(HalfNormal(1.0), per=("covariate",))
    model = gh.GLMHMM(2, Varying(gh.Bernoulli(), "group", law, constant=["bias"]))
    fit = made_fit(model, DATA, values_of(model, DATA))
    found = fit.parameters
    weights = found["emissions.weights"]
    assert weights.dims == ("group", "state", "covariate")
    assert weights.covariate.values.tolist() == ["s", "past"]
    assert weights.group.values.tolist() == ["rat", "owl"]
    assert found["emissions.constant_weights"].constant.values.tolist() == ["bias"]
    assert found["emissions.weights_scale"].covariate.values.tolist() == ["s", "past"]
    assert found["emissions.weights_mean"].dims == ("state", "covariate")


def test_steps_follow_within_groups_and_know_borders():
    law = Walk(0.5, start_scale=3.0, border_scale=2.0)
    model = gh.GLMHMM(1, Varying(gh.Bernoulli(), "step", law))
    model.bind(DATA)
    prior = model.emissions.filled("weights")
    assert prior.scale[:, 0, 0].tolist() == [3.0, 0.5, 0.5, 2.0, 0.5, 3.0, 0.5, 0.5]
    assert prior.follows.tolist() == [False, *[True] * 4, False, True, True]


def test_states_are_renumbered():
    parts = (gh.Bernoulli(), gh.InputDriven(), gh.InitialGLM())
    model = gh.GLMHMM(3, *(Varying(part, law="pooled") for part in parts))
    fit = made_fit(model, DATA, values_of(model, DATA))
    other = fit.permuted([2, 0, 1])
    mine, theirs = (f.distribution(DATA) for f in (fit, other))
    torch.testing.assert_close(
        mine.smoothed_probs(DATA.emissions)[:, [2, 0, 1]],
        theirs.smoothed_probs(DATA.emissions),
    )


REFUSED = {
    "over": (lambda: Varying(gh.Bernoulli(), "day", "walk"), "over must be .*'day'"),
    "no law": (lambda: Varying(gh.Bernoulli(), law="drift"), "law must be 'pooled'"),
    "lasso": (lambda: Varying(gh.Bernoulli(), law=gh.priors.Lasso()), "law must be"),
    "walk over groups": (
        lambda: Varying(gh.Bernoulli(), "group", "walk"),
        "law must be pooled, or None, for weights that vary over groups",
    ),
    "steps pooled": (
        lambda: Varying(gh.Bernoulli(), "step", "pooled"),
        "law must be a walk for weights that vary over steps",
    ),
    "steps alone": (
        lambda: Varying(gh.Bernoulli(), "step", None),
        "law must be a walk for weights that vary over steps, got None",
    ),
    "borders of sessions": (
        lambda: Varying(gh.Bernoulli(), law=Walk(0.1, border_scale=0.2)),
        "border_scale must be None for a walk over sessions",
    ),
    "steps of states": (
        lambda: gh.GLMHMM(2, Varying(gh.Bernoulli(), "step", "walk")),
        "num_states must be 1 for weights that vary over steps, got 2",
    ),
    "steps of moves": (
        lambda: Varying(gh.InputDriven(), "step", "walk"),
        "over must be 'group' or 'session' for transitions",
    ),
    "a prior of probabilities": (
        lambda: Varying(gh.Stationary(gh.priors.Sticky(1.0, 2.0)), law="pooled"),
        "prior of Stationary must be None",
    ),
    "unknown constant": (
        lambda: gh.GLMHMM(1, Varying(gh.Bernoulli(), constant=["b"])).bind(DATA),
        "constant must name some of the covariates, s, bias, past",
    ),
    "axes of scales": (
        lambda: Varying(gh.Bernoulli(), law=Walk("learnt", per=("origin",))),
        "per of the law must name axes of the weights",
    ),
    "axes of levels": (
        lambda: gh.GLMHMM(
            1, Varying(gh.Bernoulli(), law=Walk("learnt", per=("slow",)))
        ).bind(DATA),
        "which are state, covariate, got 'slow'; name some of these",
    ),
    "no groups": (
        lambda: gh.GLMHMM(1, Varying(gh.Bernoulli(), "group", "pooled")).bind(
            sequences(groups=None)
        ),
        "data must have groups",
    ),
    "groups of one session": (
        lambda: gh.GLMHMM(1, Varying(gh.Bernoulli())).bind(
            sequences(groups=["a", "b", "c"])
        ),
        "got groups of one session each, in which there is no step",
    ),
    "groups that are mixed": (
        lambda: gh.GLMHMM(1, Varying(gh.Bernoulli())).bind(
            sequences(groups=["a", "b", "a"])
        ),
        "sessions of a group must come one after another",
    ),
    "beside other outputs": (
        lambda: gh.Outputs(choice=Varying(gh.Bernoulli()), lick=gh.Bernoulli()),
        "families must have no weights by a law beside other outputs",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_vary_is_refused(case):
    make, said = REFUSED[case]
    with pytest.raises(ValueError, match=said):
        make()


@pytest.mark.parametrize("family", [gh.Bernoulli, 3, gh.SharedInputDriven()])
def test_what_is_no_family_is_refused(family):
    with pytest.raises(TypeError, match="family must be a GLM family"):
        Varying(family)


def test_sessions_of_pooled_weights_have_no_order():
    """Groups may be mixed where nothing walks from a session to the next."""
    model = gh.GLMHMM(1, Varying(gh.Bernoulli(), law="pooled"))
    mixed = sequences(groups=["rat", "owl", "rat"])
    found = []
    for data in (mixed, mixed.subset([0, 2, 1])):
        fit = gh.fit(model, data, "map", num_restarts=1, progress=False)
        found.append(fit.log_likelihood)
    assert found[0] == pytest.approx(found[1], abs=1e-5)
