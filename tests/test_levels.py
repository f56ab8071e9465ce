"""States on two levels: exact against all paths of pairs, and under every method."""

import math

import matplotlib
import numpy as np
import pytest
import torch
from families import (
    hidden_markov,
    random_params,
    seeded_generator,
)
from level_cases import (
    EXACT,
    RIDGE,
    UNFINISHED,
    check_derivatives,
    check_enumeration,
    check_mode,
    check_posterior,
    check_start,
    drawn,
    short_sessions,
)
from oracles import path_log_probs, path_posterior

import glmhmm_pyro as gh
from glmhmm_pyro.chain.half_steps import summed
from glmhmm_pyro.components import ByLevel, KnownStates, Levels, TwoLevels
from glmhmm_pyro.inference.fits.given import fit_at
from glmhmm_pyro.inference.kinds.diverse_starts import KINDS
from glmhmm_pyro.inference.kinds.unbounded import unbounded_weights
from glmhmm_pyro.inference.program.symmetry import possible_orders

matplotlib.use("Agg")

LENGTHS = (4, 1, 3)
OBSERVED = (True, True, False, True, True, False, True, True)
TICKS = torch.tensor([0.0, 1, 0, 1, 1, 1, 0, 1], dtype=torch.float64)


def short_data():
    """Sessions of a few steps, one of a single one, and a clock among the columns."""
    return short_sessions(LENGTHS, OBSERVED, TICKS)


def make_model(fast=2, over="fast", clock="step", prior=None):
    """Slow states driven by one column, fast ones by another."""
    moves = TwoLevels(
        slow=gh.InputDriven(prior, covariates=["satiety"]),
        fast=gh.InputDriven(prior, covariates=["reward", "satiety"]),
        clock=clock,
    )
    model = gh.GLMHMM(Levels(2, fast), ByLevel(gh.Bernoulli(prior), over=over), moves)
    model.bind(short_data())
    return model


def staying_is_the_reference(weights, u):
    """Log-probabilities (states, states) of one step, from the definition."""
    states = len(weights)
    rows = []
    for origin in range(states):
        scores = (weights[origin] @ u).tolist()
        scores.insert(origin, 0.0)
        largest = max(scores)
        total = math.log(sum(math.exp(s - largest) for s in scores)) + largest
        rows.append([score - total for score in scores])
    return rows


def written_out(params, over, clock, levels):
    """Initial, moves and emissions of pairs by session, number by number."""
    data = short_data()
    slow, fast = levels.slow, levels.fast
    pairs = [(s, z) for s in range(slow) for z in range(fast)]
    moves, emitted = [], []
    for t in range(data.num_steps):
        tick, satiety, reward = data.transition_covariates[t]
        first = staying_is_the_reference(
            params["transitions.slow.weights"], satiety[None]
        )
        if clock != "step" and tick == 0:
            first = [[0.0, -math.inf], [-math.inf, 0.0]]
        second = [
            staying_is_the_reference(weights, torch.stack([reward, satiety]))
            for weights in params["transitions.fast.weights"]
        ]
        moves.append(
            [[first[i][j] + second[j][a][b] for j, b in pairs] for i, a in pairs]
        )
        rows = params["emissions.weights"]
        number = {"fast": lambda s, z: z, "slow": lambda s, z: s}.get(
            over, lambda s, z: s * fast + z
        )
        sign = 2 * data.emissions[t] - 1
        logs = [
            torch.nn.functional.logsigmoid(
                sign * (rows[number(*p)] @ data.covariates[t])
            )
            for p in pairs
        ]
        emitted.append([float(x) if OBSERVED[t] else 0.0 for x in logs])
    initial = params["initial.probs"].log()
    moves = torch.tensor(moves, dtype=torch.float64)
    emitted = torch.tensor(emitted, dtype=torch.float64)
    for rows in torch.arange(data.num_steps).split(list(LENGTHS)):
        yield initial, moves[rows], emitted[rows]


@pytest.mark.parametrize("clock", ["step", "poke"])
@pytest.mark.parametrize("over", ["fast", "slow", "both"])
@pytest.mark.parametrize("fast", [2, 3])
def test_all_is_a_sum_over_all_paths_of_pairs(fast, over, clock):
    data, model = short_data(), make_model(fast, over, clock)
    params = random_params(model, data)
    sessions = list(written_out(params, over, clock, model.levels))
    hidden, y = hidden_markov(model, data, params), data.emissions
    posteriors = [path_posterior(*session) for session in sessions]
    log_probs = [path_log_probs(*session)[1].logsumexp(0) for session in sessions]
    torch.testing.assert_close(
        hidden.log_prob_per_session(y), torch.stack(log_probs), **EXACT
    )
    pairwise = check_posterior(hidden, y, posteriors)
    counts = hidden.expected_counts(y)
    split = pairwise.reshape(-1, 2, fast, 2, fast)
    own = {
        n: c.own_counts(counts.transition, data)
        for n, c in model.components.items()
        if n.startswith("transitions")
    }
    ticks = 1.0 if clock == "step" else TICKS[:, None, None]
    slow = split.sum((2, 4)) * ticks
    torch.testing.assert_close(own["transitions.slow"], slow, **EXACT)
    moves = split.sum(1).permute(2, 0, 1, 3)
    torch.testing.assert_close(own["transitions.fast"], moves, **EXACT)


@pytest.mark.parametrize("clock", ["step", "poke"])
@pytest.mark.parametrize("over", ["fast", "slow", "both"])
def test_known_states_leave_the_paths_through_them_alone(over, clock):
    """Numbers of the fast state, of the slow one or of the pair, at four steps."""
    known = {0: 1, 3: 0, 4: 1, 7: 3 if over == "both" else 1}
    data = short_data()
    column = torch.full((data.num_steps,), math.nan, dtype=torch.float64)
    column[list(known)] = torch.tensor(list(known.values()), dtype=torch.float64)
    told = data.replace(
        emissions=torch.stack([data.emissions.double(), column], 1),
        emission_names=["choice", "state"],
        mask=torch.stack([data.mask, ~column.isnan()], 1),
    )
    family = gh.Outputs(choice=gh.Bernoulli(), state=KnownStates())
    moves = make_model(clock=clock).transitions
    model = gh.GLMHMM(Levels(2, 2), ByLevel(family, over=over), moves)
    model.bind(told)
    params = random_params(model, told)
    plain = params | {"emissions.weights": params["emissions.choice.weights"]}
    numbers = {"fast": [0, 1, 0, 1], "slow": [0, 0, 1, 1], "both": range(4)}[over]
    possible = torch.tensor(
        [[known.get(t, k) == k for k in numbers] for t in range(told.num_steps)]
    )
    rows = possible.log().double().split(list(LENGTHS))
    sessions = [
        (initial, own, emitted + row)
        for (initial, own, emitted), row in zip(
            written_out(plain, over, clock, model.levels), rows
        )
    ]
    hidden, y = hidden_markov(model, told, params), told.emissions
    log_probs = [path_log_probs(*session)[1] for session in sessions]
    total = torch.stack([paths.logsumexp(0) for paths in log_probs])
    torch.testing.assert_close(hidden.log_prob_per_session(y), total, **EXACT)
    posteriors = [path_posterior(*session) for session in sessions]
    smoothed = torch.cat([p.smoothed for p in posteriors])
    torch.testing.assert_close(hidden.smoothed_probs(y), smoothed, **EXACT)
    assert (smoothed[~possible] == 0).all()
    pairs = torch.cat([p.pairwise for p in posteriors])
    counts = hidden.expected_counts(y).transition
    torch.testing.assert_close(counts, summed(pairs, 2), **EXACT)
    found = hidden.viterbi_states(y)
    best = torch.stack([paths.max() for paths in log_probs])
    assert possible[torch.arange(told.num_steps), found].all()
    assert best.sum() == pytest.approx(hidden_score(sessions, found))


def hidden_score(sessions, states):
    """Log joint of a path of pairs, step by step."""
    total = 0.0
    for (initial, moves, emitted), path in zip(sessions, states.split(list(LENGTHS))):
        total += float(initial[path[0]] + emitted[torch.arange(len(path)), path].sum())
        steps = torch.arange(1, len(path))
        total += float(moves[steps, path[:-1], path[1:]].sum())
    return total


@pytest.mark.parametrize("clock", ["step", "poke"])
@pytest.mark.parametrize("over", ["fast", "both"])
def test_enumeration_by_pyro_and_slopes_agree(over, clock):
    data, model = short_data(), make_model(2, over, clock)
    check_enumeration(model, data)


@pytest.mark.parametrize("clock", ["step", "poke"])
def test_first_and_second_derivatives_are_those_of_differences(clock):
    data, model = short_data(), make_model(2, "fast", clock)
    check_derivatives(model, data)


def flat_model():
    """Three states of one level, driven by the same columns."""
    moves = gh.InputDriven(covariates=["reward", "satiety"])
    model = gh.GLMHMM(3, gh.Bernoulli(), moves)
    model.bind(short_data())
    return model


def test_slow_states_that_modulate_nothing_are_not_there():
    data, flat, model = short_data(), flat_model(), make_model(3)
    params = random_params(flat, data)
    share = torch.tensor([0.3, 0.7], dtype=torch.float64)
    same = {
        "initial.probs": (share[:, None] * params["initial.probs"]).flatten(),
        "transitions.slow.weights": torch.tensor([[[0.4]], [[-1.0]]]).double(),
        "transitions.fast.weights": params["transitions.weights"].expand(2, 3, 2, 2),
        "emissions.weights": params["emissions.weights"],
    }
    found = hidden_markov(model, data, same)
    expected = hidden_markov(flat, data, params)
    y = data.emissions
    torch.testing.assert_close(found.log_prob(y), expected.log_prob(y), **EXACT)
    fast = model.levels.marginal(found.smoothed_probs(y), "fast")
    torch.testing.assert_close(fast, expected.smoothed_probs(y), **EXACT)


def test_a_slow_state_that_is_never_left_is_the_flat_model():
    data, flat, model = short_data(), flat_model(), make_model(3)
    params = random_params(flat, data)
    other = random_params(model, data, seed=1)
    nowhere = torch.zeros(3, dtype=torch.float64)
    fast = other["transitions.fast.weights"].clone()
    fast[0] = params["transitions.weights"]
    stuck = other | {
        "initial.probs": torch.cat([params["initial.probs"], nowhere]),
        "transitions.fast.weights": fast,
        "emissions.weights": params["emissions.weights"],
    }
    data = data.replace(
        transition_covariates=torch.cat(
            [0 * TICKS[:, None], data.transition_covariates[:, 1:]], 1
        ),
        transition_covariate_names=data.transition_covariate_names,
    )
    hidden = hidden_markov(model, data, stuck)
    logits = hidden.transition_logits.clone()
    logits[:, :3, 3:] = -math.inf
    alone = gh.HiddenMarkov(
        hidden.initial_logits, logits, hidden.emission_dist, data.lengths, data.mask
    )
    expected = hidden_markov(flat, data, params).log_prob(data.emissions)
    torch.testing.assert_close(alone.log_prob(data.emissions), expected, **EXACT)


@UNFINISHED
@pytest.mark.parametrize("over", ["fast", "slow", "both"])
def test_levels_change_numbers_and_nothing_else_does(over):
    data, model = short_data(), make_model(2, over)
    params = random_params(model, data)
    fit = gh.fit(
        model,
        data,
        init={n: v.numpy() for n, v in params.items()},
        num_restarts=1,
        num_iters=1,
        progress=False,
    )
    before = fit.distribution(data).smoothed_probs(data.emissions)
    orders = possible_orders(fit.model, 4).moves
    assert len(orders) == 4
    for order in orders:
        turned = fit.permuted(order)
        assert turned.score(data) == pytest.approx(fit.score(data), abs=1e-12)
        after = turned.distribution(data).smoothed_probs(data.emissions)
        torch.testing.assert_close(after, before[:, list(order)], **EXACT)
        back = turned.aligned(fit, data)
        torch.testing.assert_close(back.params, fit.params)
    with pytest.raises(ValueError, match="order must keep the pairs of every slow"):
        fit.permuted([0, 2, 1, 3])
    with pytest.raises(ValueError, match="must renumber fast states alike"):
        fit.permuted([1, 0, 2, 3])


TRUE = {
    "initial.probs": torch.full((4,), 0.25).double(),
    "transitions.slow.weights": torch.tensor([[[0.8, -4.0]], [[-0.8, -4.0]]]).double(),
    "transitions.fast.weights": torch.tensor(
        [[[[0.6, -2.5]], [[0.0, -2.0]]], [[[-0.3, -1.0]], [[0.5, -1.2]]]]
    ).double(),
    "emissions.weights": torch.tensor([[3.0, 0.0], [0.3, -1.5]]).double(),
}


def long_model(clock="step", scale=1.0):
    """The model of the simulated data."""
    return gh.GLMHMM(
        Levels(2, 2),
        gh.Bernoulli(RIDGE),
        TwoLevels(
            gh.InputDriven(gh.priors.Ridge(2.0 / scale), ["satiety"]),
            gh.InputDriven(RIDGE, ["reward"]),
            clock,
        ),
    )


def simulated(clock="step", steps=60, sessions=10):
    """Sessions drawn at the true values, with the states."""
    number, generator = steps * sessions, seeded_generator(1)
    noise = torch.randn(3, number, generator=generator, dtype=torch.float64)
    ticks = (torch.arange(number) % 3 == 0).double()
    one, satiety = torch.ones(number).double(), noise[0].cumsum(0) / number**0.5
    blank = gh.Sequences(
        torch.zeros(number, dtype=torch.int64),
        torch.stack([noise[1], one], 1),
        lengths=[steps] * sessions,
        covariate_names=["cue", "bias"],
        transition_covariates=torch.stack([satiety, noise[2], one, ticks], 1),
        transition_covariate_names=["satiety", "reward", "bias", "poke"],
    )
    model = gh.GLMHMM(
        Levels(2, 2),
        gh.Bernoulli(RIDGE),
        TwoLevels(
            gh.InputDriven(RIDGE, ["satiety", "bias"]),
            gh.InputDriven(RIDGE, ["reward", "bias"]),
            clock,
        ),
    )
    return drawn(model, blank, TRUE)


@pytest.fixture(scope="module")
def fitted():
    model, data, _ = simulated()
    return gh.fit(model, data, num_restarts=2, progress=False), data


def test_em_rises_to_where_map_ends(fitted):
    fit, data = fitted
    check_mode(fit, data)
    assert fit.num_parameters == 3 + 4 + 8 + 4
    at_truth = hidden_markov(fit.model, data, TRUE).log_prob(data.emissions)
    assert fit.log_likelihood > float(at_truth)


@UNFINISHED
@pytest.mark.parametrize(
    "method",
    [
        gh.Laplace(num_samples=20),
        gh.SVI(num_steps=30, num_samples=20),
        gh.NUTS(num_samples=4, num_warmup=4, max_tree_depth=3, num_chains=1),
    ],
    ids=["laplace", "svi", "nuts"],
)
def test_methods_with_draws_take_levels(fitted, method):
    fit, data = fitted
    data = data.subset([0, 1])
    start = {name: value.numpy() for name, value in fit.params.items()}
    found = gh.fit(fit.model, data, method, num_restarts=1, init=start, progress=False)
    draws = found.draws["transitions.fast.weights"]
    assert draws.shape[2:] == (2, 2, 1, 2)
    probs = found.decode(data).smoothed_probs
    np.testing.assert_allclose(probs.sum("state"), 1.0, atol=1e-9)


@pytest.mark.parametrize("kind", list(KINDS.values()), ids=list(KINDS))
def test_starts_of_every_kind_have_values_of_every_site(kind):
    model, data, _ = simulated()
    check_start(kind, model, data)


@UNFINISHED
def test_parameters_have_axes_of_their_own(fitted):
    fit, data = fitted
    shown = {name: array.dims for name, array in fit.parameters.items()}
    assert shown == {
        "initial.probs": ("state",),
        "transitions.slow.weights": ("slow_origin", "slow_destination", "covariate"),
        "transitions.fast.weights": (
            *("slow", "fast_origin", "fast_destination", "covariate"),
        ),
        "emissions.weights": ("fast", "covariate"),
    }
    exported = fit.to_arviz(data, ["posterior", "log_likelihood"])
    assert exported["posterior"].sizes["fast"] == 2
    assert np.isfinite(fit.summary(data)["estimate"]).all()


def test_a_fit_is_saved_and_loaded(fitted, tmp_path):
    fit, data = fitted
    fit.save(tmp_path / "fit.nc")
    for model in (None, simulated()[0]):
        loaded = gh.load(tmp_path / "fit.nc", model=model)
        assert loaded.model.levels == Levels(2, 2)
        assert loaded.score(data) == fit.score(data)
        assert loaded.parameters["emissions.weights"].dims == ("fast", "covariate")
    flat = gh.GLMHMM(4, gh.Bernoulli(RIDGE))
    with pytest.raises(ValueError, match="model must"):
        gh.load(tmp_path / "fit.nc", model=flat)


@UNFINISHED
def test_slow_states_wait_for_their_clock(fitted):
    model, data, states = simulated("poke")
    ticks = data.transition_covariates[:, 3] != 0
    fit = gh.fit(model, data, num_restarts=1, num_iters=5, progress=False)
    history = {"reward": lambda past, rows: torch.zeros(len(rows))}
    drawn = [
        states,
        *(torch.tensor(fit.simulate(data, history=h)[1]) for h in (None, history)),
    ]
    for path in drawn:
        slow = model.levels.of(path, "slow")
        moved = slow[1:] != slow[:-1]
        moved[data.starts[1:] - 1] = False
        assert moved.any() and not (moved & ~ticks[1:]).any()


@UNFINISHED
def test_fits_do_not_depend_on_units_and_the_clock_has_none():
    _, data, _ = simulated("poke")
    stretched = data.transition_covariates.clone()
    stretched[:, 0] = 1e4 * stretched[:, 0]
    names = data.transition_covariate_names
    large = data.replace(
        transition_covariates=stretched, transition_covariate_names=names
    )
    one, other = (
        gh.fit(
            long_model("poke", scale),
            these,
            num_restarts=1,
            num_iters=8,
            progress=False,
        )
        for these, scale in ((data, 1.0), (large, 1e4))
    )
    assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-6)
    # What is not read has no part in it, and the clock is none of the covariates.
    free = gh.GLMHMM(
        Levels(2, 2), gh.Bernoulli(), TwoLevels(gh.InputDriven(), clock="poke")
    )
    free.bind(data)
    assert free.transitions.slow.covariate_names == ("satiety", "reward", "bias")


@pytest.mark.parametrize(
    "call, error, words",
    [
        (
            lambda: Levels(1, 3),
            ValueError,
            "slow must be at least 2, got 1: a level of",
        ),
        (lambda: Levels(2, 1), ValueError, r"fast must be .* GLMHMM\(2, ...\)"),
        (lambda: Levels(2, 0), ValueError, "fast must be"),
        (
            lambda: gh.GLMHMM(4, gh.Bernoulli(), TwoLevels()),
            ValueError,
            r"num_states must be Levels for TwoLevels, got 4; write GLMHMM\(Levels",
        ),
        (
            lambda: gh.GLMHMM(Levels(2, 2), gh.Bernoulli(), gh.InputDriven()),
            ValueError,
            "transitions must be TwoLevels for Levels, got InputDriven",
        ),
        (
            lambda: TwoLevels(slow=TwoLevels()),
            TypeError,
            "slow must be transitions of one level, got a TwoLevels",
        ),
        (
            lambda: TwoLevels(fast=gh.InputDriven),
            TypeError,
            "got the class InputDriven",
        ),
        (lambda: ByLevel(gh.Bernoulli), TypeError, "got the class Bernoulli"),
        (lambda: ByLevel(gh.Bernoulli(), "all"), ValueError, "over must be"),
    ],
)
def test_what_are_no_levels_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize(
    "clock, change, words",
    [
        ("pokes", lambda u: u, "clock must be 'step', 'session' or one of the tr"),
        ("satiety", lambda u: u, "clock must be a column of ones and zeros, got"),
        ("poke", lambda u: u * 0, "clock must tick, got 'poke', which is 0 at every"),
    ],
)
def test_a_clock_that_is_none_is_refused(clock, change, words):
    data = short_data()
    data = data.replace(
        transition_covariates=change(data.transition_covariates),
        transition_covariate_names=data.transition_covariate_names,
    )
    model = gh.GLMHMM(Levels(2, 2), gh.Bernoulli(), TwoLevels(clock=clock))
    with pytest.raises(ValueError, match=words):
        model.bind(data)


def test_weights_without_a_finite_maximum_are_named_by_their_level():
    _, data, _ = simulated()
    flat = gh.GLMHMM(
        Levels(2, 2),
        gh.Bernoulli(),
        TwoLevels(gh.InputDriven(None, ["bias"]), gh.InputDriven(None, ["bias"])),
    )
    flat.bind(data)
    slow = torch.tensor([[[-40.0]], [[-3.0]]], dtype=torch.float64)
    fast = torch.tensor([[[[-1.0]], [[-1.0]]], [[[-1.0]], [[-40.0]]]]).double()
    params = {
        "initial.probs": torch.full((4,), 0.25, dtype=torch.float64),
        "transitions.slow.weights": slow,
        "transitions.fast.weights": fast,
        "emissions.weights": torch.tensor([[0.0, 1.0], [0.0, -60.0]]).double(),
    }
    hidden = hidden_markov(flat, data, params)
    found = unbounded_weights(flat, data, hidden, params)
    assert [sentence.split(" are ")[0] for sentence in found] == [
        "emissions in fast state 1",
        "transitions.slow from slow state 0",
        "transitions.fast in slow state 1 from fast state 1",
    ]


def test_what_is_decoded_is_decoded_by_level(fitted):
    fit, data = fitted
    decoded = fit.decode(data)
    pairs = decoded.smoothed_probs.values.reshape(-1, 2, 2)
    np.testing.assert_allclose(decoded.slow_probs, pairs.sum(2), atol=1e-12)
    np.testing.assert_allclose(decoded.fast_probs, pairs.sum(1), atol=1e-12)
    assert decoded.slow_probs.dims == ("step", "slow")
    path = decoded.viterbi_states.values
    np.testing.assert_array_equal(decoded.slow_states, path // 2)
    np.testing.assert_array_equal(decoded.fast_states, path % 2)
    assert decoded.state.values.tolist() == ["0.0", "0.1", "1.0", "1.1"]
    assert fit.state_names == ("0.0", "0.1", "1.0", "1.1")


def test_names_by_level_go_with_their_states(fitted, tmp_path):
    fit, data = fitted
    named = fit.named({"slow": ["calm", "hungry"], "fast": ["steep", "flat"]})
    assert named.state_names == (
        *("calm.steep", "calm.flat", "hungry.steep", "hungry.flat"),
    )
    turned = named.permuted([3, 2, 1, 0])
    assert turned.state_names[0] == "hungry.flat"
    weights = [
        f.parameters["transitions.fast.weights"].sel(
            slow="calm", fast_origin="flat", fast_destination="steep"
        )
        for f in (named, turned)
    ]
    np.testing.assert_array_equal(*weights)
    probs = [f.decode(data).slow_probs.sel(slow="hungry") for f in (named, turned)]
    np.testing.assert_allclose(*probs, atol=1e-10)
    assert fit.permuted([3, 2, 1, 0]).aligned(named, data).state_names == (
        named.state_names
    )
    named.save(tmp_path / "fit.nc")
    assert gh.load(tmp_path / "fit.nc").state_names == named.state_names
    with pytest.raises(ValueError, match="names must be one of slow, fast"):
        fit.named({"medium": ["a", "b"]})
    with pytest.raises(ValueError, match=r"names\['slow'\] must"):
        fit.named({"slow": ["a"]})


def test_levels_are_put_in_order_one_by_one(fitted):
    fit, data = fitted
    for descending in (True, False):
        turned = fit.ordered("cue", level="fast", descending=descending)
        cue = turned.parameters["emissions.weights"].sel(covariate="cue").values
        assert (cue[0] > cue[1]) == descending
        turned = fit.ordered("occupancy", data, level="slow", descending=descending)
        visits = turned.decode(data).slow_probs.mean("step").values
        assert (visits[0] > visits[1]) == descending
    turned = fit.ordered(lambda f: [0.0, 1.0], level="slow")
    assert turned.score(data) == pytest.approx(fit.score(data), abs=1e-12)
    torch.testing.assert_close(
        turned.params["transitions.slow.weights"],
        fit.params["transitions.slow.weights"].flip(0),
    )
    with pytest.raises(ValueError, match="level must be 'slow' or 'fast' for a model"):
        fit.ordered("cue")


def test_pictures_show_either_level(fitted):
    fit, data = fitted
    named = fit.named({"slow": ["calm", "hungry"], "fast": ["steep", "flat"]})
    for level, names in (("slow", ["calm", "hungry"]), ("fast", ["steep", "flat"])):
        ax = gh.plotting.timeline(named, data, level=level)
        assert [text.get_text() for text in ax.get_legend().get_texts()] == names
        ax = gh.plotting.transitions(named, data=data, level=level, slow="hungry")
        image = ax.images[0].get_array()
        np.testing.assert_allclose(image.sum(1), 1.0, atol=1e-9)
        assert [tick.get_text() for tick in ax.get_xticklabels()] == names
        ax = gh.plotting.transitions(named, level=level, slow=1)
        assert len(ax.images[0].get_array()) == 2
    inside = torch.ones(data.num_steps, dtype=torch.bool)
    inside[data.starts] = False
    with fit.model.at(fit.params):
        moves = fit.model.transitions.fast.log_probs(data)[1, inside].exp().mean(0)
    ax = gh.plotting.transitions(named, data=data, level="fast", slow=1)
    np.testing.assert_allclose(ax.images[0].get_array(), moves, atol=1e-12)
    said = f"fast states in hungry, mean over {inside.sum():,} steps"
    assert ax.get_xlabel() == f"state at t, {said}"
    ax = gh.plotting.weights(named)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == names
    with pytest.raises(ValueError, match="slow must be a slow state, calm, hungry, or"):
        gh.plotting.transitions(named, level="fast", slow=2)
    flat = gh.fit(gh.GLMHMM(1, gh.Bernoulli()), data, progress=False)
    with pytest.raises(ValueError, match="level must be None for a model on one lev"):
        gh.plotting.timeline(flat, data, level="slow")
    matplotlib.pyplot.close("all")


def made_fit(slow_bias, rho, over="fast", clock="step", steps=2000):
    """A fit at given parameters to data drawn there, slow states seeing an AR(1)."""
    rng = np.random.default_rng(2)
    noise, drift = rng.normal(size=steps), np.zeros(steps)
    for t in range(1, steps):
        drift[t] = rho * drift[t - 1] + (1 - rho**2) ** 0.5 * noise[t]
    ones, ticks = np.ones(steps), np.ones(steps)
    blank = gh.Sequences(
        np.zeros(steps, dtype=int),
        np.stack([rng.normal(size=steps), ones], 1),
        transition_covariates=np.stack([drift, ones, ticks], 1),
        transition_covariate_names=["drift", "bias", "poke"],
    )
    model = gh.GLMHMM(
        Levels(2, 2),
        ByLevel(gh.Bernoulli(), over=over),
        TwoLevels(
            gh.InputDriven(covariates=["drift", "bias"]),
            gh.InputDriven(covariates=["bias"]),
            clock,
        ),
    )
    model.bind(blank)
    rows = [[6.0, 0.0], [0.0, -3.0]]
    params = {
        "initial.probs": torch.full((4,), 0.25).double(),
        "transitions.slow.weights": torch.tensor([[[1.0, slow_bias]]] * 2).double(),
        "transitions.fast.weights": torch.tensor(
            [[[[-3.0]], [[-1.0]]], [[[-1.0]], [[-3.0]]]]
        ).double(),
        "emissions.weights": torch.tensor(rows * (2 if over == "both" else 1)).double(),
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        y, _ = hidden_markov(model, blank, params).sample_with_states()
    data = blank.replace(emissions=y.long())
    return fit_at(model, data, params, "by hand"), data


@UNFINISHED
@pytest.mark.parametrize(
    "slow_bias, rho, expected",
    [
        (-3.0, 0.999, set()),
        (-6.0, 0.999, {"few-slow-switches"}),
        (-3.0, 0.0, {"blurred-switches"}),
    ],
)
def test_what_slow_states_cannot_tell_is_warned_of(slow_bias, rho, expected):
    fit, data = made_fit(slow_bias, rho)
    codes = {"few-slow-switches", "blurred-switches", "free-levels"}
    assert codes & {*fit.check(data).codes} == expected


@UNFINISHED
@pytest.mark.parametrize(
    "over, clock", [("both", "step"), ("both", "poke"), ("slow", "step")]
)
def test_levels_that_nothing_tells_apart_are_warned_of(over, clock):
    fit, data = made_fit(-3.0, 0.999, over, clock)
    free = over == "both" and clock == "step"
    assert ("free-levels" in fit.check(data).codes) == free
    assert ("free-levels" in gh.check(fit.model, data).codes) == free


@UNFINISHED
def test_levels_are_among_the_numbers_of_states_to_choose():
    _, data, _ = simulated()
    found = gh.analysis.choose_num_states(
        lambda states: gh.GLMHMM(states, gh.Bernoulli(RIDGE)),
        data,
        [Levels(2, 2), 4, 1],
        folds=2,
        num_restarts=1,
        method=gh.EM(num_iters=5),
        progress=False,
    )
    assert found.table.index.tolist() == [1, 4, "2 x 2"]
    assert found.fits["2 x 2"].model.levels == Levels(2, 2)
    gh.plotting.model_selection(found)
    matplotlib.pyplot.close("all")
    with pytest.raises(ValueError, match="make_model must return a model of 2 x 2"):
        gh.analysis.choose_num_states(
            lambda states: gh.GLMHMM(2, gh.Bernoulli()), data, [Levels(2, 2)]
        )
