"""What two levels have to do with each other: exact against all paths of pairs."""

import math

import matplotlib
import numpy as np
import pytest
import torch
from families import hidden_markov, random_params, seeded_generator
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
    two_way,
)
from made_fits import made_fit
from oracles import path_log_probs, path_posterior
from torch.distributions import Dirichlet

import glmhmm_pyro as gh
from glmhmm_pyro.components import (
    ByLevel,
    Levels,
    TwoLevels,
    TwoLevelsInitial,
)
from glmhmm_pyro.inference.fits.given import fit_at
from glmhmm_pyro.inference.kinds.diverse_starts import KINDS, DiverseStarts, Kicks
from glmhmm_pyro.inference.kinds.starts import StartMaker
from glmhmm_pyro.inference.kinds.unbounded import unbounded_weights
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.program.renumbering import Renumbering
from glmhmm_pyro.inference.program.symmetry import possible_orders, symmetry_of

matplotlib.use("Agg")

LENGTHS, GROUPS = (3, 3, 2), ("a", "a", "b")
OBSERVED = (True, False, True, True, True, True, True, False)
TICKS = torch.tensor([0.0, 1, 1, 1, 0, 1, 0, 1], dtype=torch.float64)
ALONE = {"fast_depends_on_slow": False}
CASES = {
    "factorial": ALONE,
    "slow by fast": {"slow_depends_on_fast": True},
    "each by the other, free of it": {**ALONE, "slow_depends_on_fast": True},
    "entry": {"entry": gh.Initial()},
    "entry by covariates": {"entry": gh.InitialGLM(covariates=["reward"])},
    "entry into moves in common": {**ALONE, "entry": gh.Initial()},
    "chains within chains": {"entry": gh.Initial(), "slow_depends_on_fast": True},
    "entry by the clock": {"entry": gh.Initial(), "clock": "poke"},
    "factorial across sessions": {**ALONE, "across_sessions": True},
    "entry across sessions": {"entry": gh.Initial(), "across_sessions": True},
    "chains within chains, across sessions": {
        "entry": gh.Initial(),
        "slow_depends_on_fast": True,
        "across_sessions": True,
    },
    "slow by fast at borders": {"slow_depends_on_fast": True, "clock": "session"},
}
every_case = pytest.mark.parametrize("options", CASES.values(), ids=CASES)
within_sessions = pytest.mark.parametrize(
    "options", list(CASES.values())[:7], ids=list(CASES)[:7]
)


def short_data():
    """Sessions of a few steps in two groups, and a clock among the columns."""
    return short_sessions(LENGTHS, OBSERVED, TICKS, groups=GROUPS)


def make_model(options, slow=None, fast=None, family=None):
    """Driven states of both levels, each pair of which emits by itself."""
    moves = TwoLevels(
        slow or gh.InputDriven(covariates=["satiety"]),
        fast or gh.InputDriven(covariates=["reward"]),
        **options,
    )
    emissions = ByLevel(family or gh.Bernoulli(), over="both")
    model = gh.GLMHMM(Levels(2, 2), emissions, moves)
    model.bind(short_data())
    return model


def slow_moves(params, options, t):
    """Log-probabilities (fast state left, origin, destination) INTO a step."""
    data = short_data()
    tick, satiety, _ = data.transition_covariates[t]
    begins = t in data.starts.tolist()
    clock = options.get("clock", "step")
    if (clock == "poke" and tick == 0) or (clock == "session" and not begins):
        return [[[0.0, -math.inf], [-math.inf, 0.0]]] * 2
    weights = params["transitions.slow.weights"]
    if not options.get("slow_depends_on_fast", False):
        weights = [weights, weights]
    return [two_way(own, satiety[None]) for own in weights]


def fast_moves(params, options, t):
    """Log-probabilities (slow state arrived at, origin, destination) of fast states."""
    reward = short_data().transition_covariates[t, 2:]
    weights = params["transitions.fast.weights"]
    if not options.get("fast_depends_on_slow", True):
        weights = [weights, weights]
    return [two_way(own, reward) for own in weights]


def entry_law(params, t):
    """Log-probabilities (slow state arrived at, fast state), if there is a law."""
    if "transitions.entry.probs" in params:
        return params["transitions.entry.probs"].log()
    if "transitions.entry.weights" in params:
        reward = short_data().transition_covariates[t, 2:]
        scores = [w[0] @ reward for w in params["transitions.entry.weights"]]
        rows = [torch.stack([torch.zeros_like(s), s]).log_softmax(0) for s in scores]
        return torch.stack(rows)
    return None


def written_out(params, options):
    """Initial, moves and emissions of pairs by chain, number by number."""
    data, pairs = short_data(), [(s, z) for s in range(2) for z in range(2)]
    across = options.get("across_sessions") or options.get("clock") == "session"
    moves, emitted = [], []
    for t in range(data.num_steps):
        slow, fast = slow_moves(params, options, t), fast_moves(params, options, t)
        entry, table = entry_law(params, t), torch.empty(4, 4, dtype=torch.float64)
        if across and t in data.starts.tolist():
            begun = params["initial.fast.probs"].log()
            fast, entry = [[begun[j]] * 2 for j in range(2)], None
        for k, (i, a) in enumerate(pairs):
            for m, (j, b) in enumerate(pairs):
                anew = entry is not None and i != j
                table[k, m] = slow[a][i][j] + (entry[j, b] if anew else fast[j][a][b])
        moves.append(table)
        sign = 2 * data.emissions[t] - 1
        scores = params["emissions.weights"] @ data.covariates[t]
        emitted.append(torch.nn.functional.logsigmoid(sign * scores) * OBSERVED[t])
    if across:
        initial = params["initial.slow.probs"].log()[:, None]
        initial = (initial + params["initial.fast.probs"].log()).flatten()
    else:
        initial = params["initial.probs"].log()
    moves, emitted = torch.stack(moves), torch.stack(emitted)
    lengths = (6, 2) if across else LENGTHS
    for rows in torch.arange(data.num_steps).split(list(lengths)):
        yield initial, moves[rows], emitted[rows]


def counted(options, pairwise):
    """Counts of each part's own states, from posteriors of moves between pairs."""
    data = short_data()
    split = pairwise.reshape(-1, 2, 2, 2, 2)
    inside = torch.ones(data.num_steps, dtype=torch.bool)
    inside[data.starts] = False
    clock = options.get("clock", "step")
    ticks = {"poke": TICKS != 0, "session": ~inside}.get(clock, inside | True)
    slow = (split.sum(4) * ticks[:, None, None, None]).permute(2, 0, 1, 3)
    if not options.get("slow_depends_on_fast", False):
        slow = slow.sum(0)
    own = {"transitions.slow": slow}
    split = split * inside[:, None, None, None, None]
    stays = torch.eye(2, dtype=torch.float64)
    fast = split
    if "entry" in options:
        fast = split * stays[:, None, :, None]
        left = (split * (1 - stays)[:, None, :, None]).sum((1, 2))
        own["transitions.entry"] = left.transpose(0, 1)
    fast = fast.sum(1).permute(2, 0, 1, 3)
    own["transitions.fast"] = (
        fast if options.get("fast_depends_on_slow", True) else fast.sum(0)
    )
    return own


@every_case
def test_all_is_a_sum_over_all_paths_of_pairs(options):
    data, model = short_data(), make_model(options)
    params, y = random_params(model, data), data.emissions
    hidden = hidden_markov(model, data, params)
    chains = list(written_out(params, options))
    log_probs = torch.stack([path_log_probs(*c)[1].logsumexp(0) for c in chains])
    torch.testing.assert_close(hidden.log_prob_per_chain(y), log_probs, **EXACT)
    posteriors = [path_posterior(*chain) for chain in chains]
    pairwise = check_posterior(hidden, y, posteriors)
    counts = hidden.expected_counts(y).transition
    dense = hidden.tabled().expected_counts(y).transition
    for name, expected in counted(options, pairwise).items():
        for given in (counts, dense):
            found = model.components[name].own_counts(given, data)
            torch.testing.assert_close(found, expected, **EXACT)
    best = torch.stack([path_log_probs(*chain)[1].max() for chain in chains])
    path = hidden.viterbi_states(y)
    lengths = [len(chain[2]) for chain in chains]
    for (initial, moves, emitted), own, score in zip(chains, path.split(lengths), best):
        steps = torch.arange(1, len(own))
        found = initial[own[0]] + moves[steps, own[:-1], own[1:]].sum()
        found = found + emitted[torch.arange(len(own)), own].sum()
        torch.testing.assert_close(found, score, **EXACT)


@within_sessions
def test_enumeration_by_pyro_and_slopes_agree(options):
    check_enumeration(make_model(options), short_data())


@every_case
def test_first_and_second_derivatives_are_those_of_differences(options):
    check_derivatives(make_model(options), short_data())


@every_case
def test_tables_by_hand_have_the_values_and_slopes_of_the_graph(options):
    model, data = make_model(options), short_data()
    for start in (model, make_model(options, gh.Stationary(), gh.Stationary())):
        params = random_params(start, data)
        table = start.transitions.log_table(data)
        if isinstance(options.get("entry"), gh.InitialGLM):
            assert table is None
            continue
        values = {
            n.removeprefix("transitions."): v
            for n, v in params.items()
            if n.startswith("transitions.")
        }
        leaves = {n: v.clone().requires_grad_() for n, v in values.items()}
        given = {f"transitions.{n}": v for n, v in leaves.items()}
        with start.at(params | given):
            moves = start.transitions.moves(data)
        with np.errstate(divide="ignore"):
            logs = table({n: v.numpy() for n, v in values.items()})
        moves = moves.expand(*logs.shape)
        possible = torch.isfinite(moves)
        np.testing.assert_allclose(logs, moves.detach(), atol=1e-12)
        weight = torch.rand(moves.shape, generator=seeded_generator(1)).double()
        weight = torch.where(possible, weight, 0.0)
        total = (moves.masked_fill(~possible, 0.0) * weight).sum()
        slopes = torch.autograd.grad(total, list(leaves.values()))
        found = table.slopes(weight.numpy())
        for name, slope in zip(leaves, slopes):
            np.testing.assert_allclose(found[name], slope, atol=1e-9, err_msg=name)


def test_chains_that_nothing_connects_are_two_of_one_level():
    """Each has an output of its own; the other level has no part in it."""
    generator = seeded_generator(5)
    y = torch.randint(2, (9, 2), generator=generator)
    data = gh.Sequences(y, lengths=[5, 4], emission_names=["left", "right"])
    both = gh.Outputs(left=gh.Bernoulli(), right=gh.Bernoulli())
    model = gh.GLMHMM(Levels(2, 3), ByLevel(both, "both"), TwoLevels(**ALONE))
    model.bind(data)
    found, total = {}, 0.0
    firsts, numbers = [], torch.arange(6)
    for column, (level, output, own) in enumerate(
        [("slow", "left", numbers // 3), ("fast", "right", numbers % 3)]
    ):
        alone = gh.Sequences(y[:, column], lengths=[5, 4])
        flat = gh.GLMHMM(int(own.max()) + 1, gh.Bernoulli())
        flat.bind(alone)
        params = random_params(flat, alone, seed=column)
        total = total + hidden_markov(flat, alone, params).log_prob(alone.emissions)
        firsts.append(params["initial.probs"])
        found[f"transitions.{level}.probs"] = params["transitions.probs"]
        found[f"emissions.{output}.weights"] = params["emissions.weights"][own]
    found["initial.probs"] = (firsts[0][:, None] * firsts[1]).flatten()
    together = hidden_markov(model, data, found).log_prob(data.emissions)
    torch.testing.assert_close(together, total, **EXACT)


def test_phases_within_slow_states_are_a_law_of_dwell_times():
    """Fast states pass by in order, and slow ones are left from the last of them."""
    data, leave = short_data(), torch.tensor([0.3, 0.6], dtype=torch.float64)
    law = gh.SemiMarkov(gh.dwell.NegativeBinomial(phases=3))
    flat = gh.GLMHMM(2, gh.Bernoulli(), law)
    moves = TwoLevels(entry=gh.Initial(), slow_depends_on_fast=True)
    phases = gh.GLMHMM(
        Levels(2, 3), ByLevel(gh.Bernoulli(), "slow"), moves, TwoLevelsInitial()
    )
    for model in (flat, phases):
        model.bind(data)
    known = random_params(flat, data) | {"transitions.leave": leave}
    first = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64).expand(2, 3)
    stay, nothing = 1 - leave, torch.zeros(2, dtype=torch.float64)
    last = torch.tensor([[0.7, 0.3], [0.6, 0.4]], dtype=torch.float64)
    never = torch.eye(2, dtype=torch.float64)
    on = [
        torch.stack([stay, leave, nothing], 1),
        torch.stack([nothing, stay, leave], 1),
        torch.stack([nothing, nothing, nothing + 1], 1),
    ]
    params = {
        "initial.slow.probs": known["initial.probs"],
        "initial.fast.probs": first,
        "transitions.slow.probs": torch.stack([never, never, last]),
        "transitions.fast.probs": torch.stack(on, 1),
        "transitions.entry.probs": first,
        "emissions.weights": known["emissions.weights"],
    }
    y = data.emissions
    expected = hidden_markov(flat, data, known)
    found = hidden_markov(phases, data, params)
    torch.testing.assert_close(found.log_prob(y), expected.log_prob(y), **EXACT)
    slow = phases.levels.marginal(found.smoothed_probs(y), "slow")
    torch.testing.assert_close(slow, expected.smoothed_probs(y), **EXACT)


def nested_model(prior=RIDGE):
    """Chains within chains, each state of which emits by itself."""
    moves = TwoLevels(
        gh.InputDriven(prior, ["satiety", "bias"]),
        gh.InputDriven(prior, ["bias"]),
        entry=gh.Initial(),
        slow_depends_on_fast=True,
    )
    return gh.GLMHMM(Levels(2, 2), ByLevel(gh.Bernoulli(prior), "both"), moves)


@pytest.fixture(scope="module")
def nested():
    """The model, sessions drawn from it, and the states."""
    steps, sessions = 60, 10
    number, generator = steps * sessions, seeded_generator(1)
    noise = torch.randn(2, number, generator=generator, dtype=torch.float64)
    one = torch.ones(number, dtype=torch.float64)
    blank = gh.Sequences(
        torch.zeros(number, dtype=torch.int64),
        torch.stack([noise[0], one], 1),
        lengths=[steps] * sessions,
        covariate_names=["cue", "bias"],
        transition_covariates=torch.stack([noise[1], one], 1),
        transition_covariate_names=["satiety", "bias"],
    )
    true = {
        "initial.probs": torch.full((4,), 0.25),
        "transitions.slow.weights": torch.tensor(
            [[[[0.5, -4.0]], [[0.5, -4.0]]], [[[-1.0, -1.0]], [[0.5, -1.0]]]]
        ),
        "transitions.fast.weights": torch.tensor(
            [[[[-1.5]], [[-1.0]]], [[[-2.5]], [[-0.5]]]]
        ),
        "transitions.entry.probs": torch.tensor([[0.95, 0.05], [0.9, 0.1]]),
        "emissions.weights": torch.tensor(
            [[4.0, 0.0], [0.0, 2.0], [-3.0, 0.5], [0.0, -2.5]]
        ),
    }
    return drawn(nested_model(), blank, {n: v.double() for n, v in true.items()})


@pytest.fixture(scope="module")
def fitted(nested):
    model, data, _ = nested
    return gh.fit(model, data, num_restarts=2, progress=False), data


def test_em_rises_to_where_map_ends(fitted):
    fit, data = fitted
    check_mode(fit, data)
    assert fit.num_parameters == 3 + 8 + 4 + 2 + 8


def test_em_rises_to_where_map_ends_with_an_entry_law_by_covariates(nested):
    """Which no table by hand is made for."""
    _, data, _ = nested
    moves = TwoLevels(
        gh.InputDriven(RIDGE, ["bias"]),
        gh.InputDriven(RIDGE, ["bias"]),
        entry=gh.InitialGLM(RIDGE, ["satiety", "bias"]),
    )
    model = gh.GLMHMM(Levels(2, 2), ByLevel(gh.Bernoulli(RIDGE), "both"), moves)
    fit = gh.fit(model, data.subset(range(4)), num_restarts=1, progress=False)
    check_mode(fit, data.subset(range(4)))


@pytest.mark.parametrize("kind", list(KINDS.values()), ids=list(KINDS))
def test_starts_of_every_kind_have_values_of_every_site(kind, nested):
    model, data, _ = nested
    check_start(kind, model, data)


def starts_for(model, data):
    """Starts of the search, from a seed."""
    program = Program.of(model, data)
    maker = StartMaker(program.model, program.data, seeded_generator(0))
    return DiverseStarts(maker, 0.5, np.random.default_rng(0))


def test_exchanges_are_those_that_no_renumbering_makes_up_for(nested):
    """Of two pairs: which are of one slow state, or where in a table they stand."""
    _, data, _ = nested
    both = ByLevel(gh.Bernoulli(), "both")
    beside = gh.GLMHMM(Levels(2, 2), both, TwoLevels(**ALONE))
    wide = gh.GLMHMM(Levels(2, 3), both, TwoLevels(entry=gh.Initial()))
    by_fast = gh.GLMHMM(Levels(2, 2), gh.Bernoulli())
    groups = {}
    for name, model in {"within": nested_model(), "beside": beside}.items():
        orders = list(possible_orders(model, 4).orders())
        for order in starts_for(model, data).exchanges:
            turned = {tuple(np.array(order)[known]) for known in orders}
            groups.setdefault(name, []).append(frozenset(turned))
    # Two states can go with the first one beside the one that does; three tables of
    # four states are left, up to exchanges of rows and of columns.
    assert len(set(groups["within"])) == len(groups["within"]) == 2
    assert len(set(groups["beside"])) == len(groups["beside"]) == 3
    assert len(starts_for(wide, data).exchanges) == 9
    assert not starts_for(by_fast, data).exchanges


@UNFINISHED
def test_exchanges_lead_back_to_the_right_slow_states(fitted):
    fit, data = fitted
    starts = starts_for(fit.model, data)
    found = {"": (fit.params, fit.log_joint)}
    for turn in ("away", "back"):
        params = min(found.values(), key=lambda pair: pair[1])[0]
        hidden = hidden_markov(fit.model, data, params)
        probs = hidden.smoothed_probs(data.emissions).numpy()
        for number, (_, start) in enumerate(Kicks(starts, params, probs).exchanged(9)):
            init = {name: value.numpy() for name, value in start.items()}
            end = gh.fit(fit.model, data, num_restarts=1, init=init, progress=False)
            found[f"{turn} {number}"] = end.params, end.log_joint
        if turn == "away":
            assert min(end for _, end in found.values()) < fit.log_joint - 1
    back = [end for turn, (_, end) in found.items() if turn.startswith("back")]
    assert max(back) > fit.log_joint - 1e-3


def test_parameters_have_axes_of_their_own(fitted):
    fit, data = fitted
    shown = {name: array.dims for name, array in fit.parameters.items()}
    moves = ("origin", "destination")
    assert shown == {
        "initial.probs": ("state",),
        "transitions.slow.weights": (
            *("fast", *(f"slow_{end}" for end in moves), "covariate"),
        ),
        "transitions.fast.weights": (
            *("slow", *(f"fast_{end}" for end in moves), "covariate"),
        ),
        "transitions.entry.probs": ("slow", "fast"),
        "emissions.weights": ("state", "covariate"),
    }
    weights = fit.parameters["transitions.slow.weights"]
    assert weights.coords["covariate"].values.tolist() == ["satiety", "bias"]
    assert fit.to_arviz(data, ["posterior"])["posterior"].sizes["fast"] == 2


def test_fast_states_of_one_slow_state_are_nothing_to_another(fitted):
    fit, data = fitted
    before = fit.distribution(data).smoothed_probs(data.emissions)
    group = possible_orders(fit.model, 4)
    orders = list(group.orders())
    assert len(orders) == group.size == 8
    for order in orders:
        turned = fit.permuted(order.tolist())
        assert turned.score(data) == pytest.approx(fit.score(data), abs=1e-12)
        after = turned.distribution(data).smoothed_probs(data.emissions)
        torch.testing.assert_close(after, before[:, order], **EXACT)
        torch.testing.assert_close(turned.aligned(fit, data).params, fit.params)
    with pytest.raises(ValueError, match="must keep the pairs of every slow state"):
        fit.permuted([0, 2, 1, 3])
    apart, one = (fit.permuted(order).params for order in ([1, 0, 2, 3], range(4)))
    slow, found = one["transitions.slow.weights"], apart["transitions.slow.weights"]
    torch.testing.assert_close(found[:, 0], slow[:, 0].flip(0), **EXACT)
    torch.testing.assert_close(found[:, 1], slow[:, 1], **EXACT)


def test_chains_apart_across_sessions_are_renumbered_apart():
    options = CASES["chains within chains, across sessions"]
    model, data = make_model(options), short_data()
    fit = made_fit(model, data, random_params(model, data))
    before = fit.distribution(data).smoothed_probs(data.emissions)
    for order in possible_orders(fit.model, 4).orders():
        turned = fit.permuted(order.tolist())
        after = turned.distribution(data).smoothed_probs(data.emissions)
        torch.testing.assert_close(after, before[:, order], **EXACT)
        assert turned.score(data) == pytest.approx(fit.score(data), abs=1e-12)


def test_their_images_are_counted_in_the_evidence(fitted):
    fit, data = fitted
    program = Program.of(fit.model, data)
    renumbering = Renumbering(fit.model, fit.params, None)
    assert symmetry_of(program, fit.params, renumbering, 4).size == 8


@UNFINISHED
@every_case
def test_steps_one_by_one_are_those_of_the_table(options):
    """Into every step, and into the first ones of sessions that go on."""
    model, data = make_model(options), short_data()
    params = random_params(model, data)
    hidden = hidden_markov(model, data, params)
    inside = torch.ones(data.num_steps, dtype=torch.bool)
    inside[data.starts] = False
    with model.at(params):
        transitions, states = model.transitions, torch.arange(4)
        inputs = transitions.inputs(data)
        rows = transitions(states, inputs.unsqueeze(-2)).logits.log_softmax(-1)
        table = hidden.transition_logits.expand_as(rows)
        torch.testing.assert_close(rows[inside], table[inside], **EXACT)
        goes_on = transitions.goes_on(data)
        if goes_on is None:
            return
        (first,) = data.starts[goes_on].tolist()
        entered = model.initial.entered(data)[0]
        crossed = transitions.cross(states, inputs[first].expand(4, -1), entered)
    torch.testing.assert_close(crossed, table[first], **EXACT)


@UNFINISHED
def test_another_slow_state_is_entered_by_the_law(fitted):
    """Sequences drawn at once and step by step."""
    fit, data = fitted
    certain = {"transitions.entry.probs": torch.eye(2, dtype=torch.float64)}
    fit = fit_at(fit.model, data, fit.params | certain, "by hand")
    history = {"cue": lambda past, rows: torch.zeros(len(rows))}
    for given in (None, history):
        states = torch.tensor(fit.simulate(data, history=given)[1])
        slow, fast = (fit.model.levels.of(states, level) for level in ("slow", "fast"))
        left = slow[1:] != slow[:-1]
        left[data.starts[1:] - 1] = False
        assert left.any()
        assert torch.equal(fast[1:][left], slow[1:][left])


@UNFINISHED
@pytest.mark.parametrize("method", ["laplace", "nuts"])
def test_methods_with_draws_take_chains_within_chains(fitted, method):
    fit, data = fitted
    small = {"num_samples": 4, "num_warmup": 4, "max_tree_depth": 3, "num_chains": 1}
    methods = {"laplace": gh.Laplace(num_samples=20), "nuts": gh.NUTS(**small)}
    weak = gh.GLMHMM(
        fit.model.levels,
        fit.model.emissions,
        TwoLevels(
            gh.InputDriven(RIDGE, ["bias"]),
            gh.InputDriven(RIDGE, ["bias"]),
            entry=gh.Initial(Dirichlet(2 * torch.ones(2).double())),
            slow_depends_on_fast=True,
        ),
        gh.Initial(Dirichlet(2 * torch.ones(4).double())),
    )
    data = data.subset([0, 1])
    found = gh.fit(weak, data, methods[method], num_restarts=1, progress=False)
    assert found.draws["transitions.entry.probs"].shape[2:] == (2, 2)
    probs = found.decode(data).smoothed_probs
    np.testing.assert_allclose(probs.sum("state"), 1.0, atol=1e-9)


def test_a_level_that_nothing_depends_on_is_warned_of(fitted):
    _, data = fitted
    idle = [
        gh.GLMHMM(Levels(2, 2), gh.Bernoulli(), TwoLevels(fast_depends_on_slow=False)),
        gh.GLMHMM(Levels(2, 2), ByLevel(gh.Bernoulli(), "slow")),
    ]
    apart = gh.GLMHMM(Levels(2, 2), ByLevel(gh.Bernoulli(), "both"), TwoLevels(**ALONE))
    both = gh.GLMHMM(Levels(2, 2), ByLevel(gh.Bernoulli(), "both"))
    for model, codes in (
        (idle[0], {"idle-level"}),
        (idle[1], {"idle-level"}),
        (apart, set()),
        (nested_model(), set()),
        (both, {"free-levels"}),
    ):
        found = {*gh.check(model, data).codes} & {"idle-level", "free-levels"}
        assert found == codes


def test_pictures_show_what_a_level_depends_on(fitted):
    fit, data = fitted
    with fit.model.at(fit.params):
        slow = fit.model.transitions.slow.log_probs(data)
    inside = torch.ones(data.num_steps, dtype=torch.bool)
    inside[data.starts] = False
    for fast in (0, 1):
        ax = gh.plotting.transitions(fit, data, level="slow", fast=fast)
        mean = slow[fast, inside].exp().mean(0)
        np.testing.assert_allclose(ax.images[0].get_array(), mean, atol=1e-12)
        assert f"slow states leaving fast {fast}, mean" in ax.get_xlabel()
    ax = gh.plotting.transitions(fit, level="slow", fast=1)
    shown = fit.parameters["transitions.slow.weights"].values[1]
    found = ax.images[0].get_array()
    np.testing.assert_allclose(found, [shown[0, 1], shown[1, 0]])
    with pytest.raises(ValueError, match="fast must be a fast state, 0, 1, or its num"):
        gh.plotting.transitions(fit, level="slow", fast=2)
    gh.plotting.weights(fit)
    gh.plotting.timeline(fit, data, level="slow")
    matplotlib.pyplot.close("all")


@UNFINISHED
def test_a_picture_of_moves_in_common_takes_no_other_state(fitted):
    _, data = fitted
    emissions = ByLevel(gh.Bernoulli(RIDGE), "both")
    model = gh.GLMHMM(Levels(2, 2), emissions, TwoLevels(**ALONE))
    fit = gh.fit(model, data, num_restarts=1, num_iters=3, progress=False)
    for given in (None, data):
        ax = gh.plotting.transitions(fit, given, level="fast")
        probs = fit.parameters["transitions.fast.probs"]
        np.testing.assert_allclose(ax.images[0].get_array(), probs, atol=1e-12)
    matplotlib.pyplot.close("all")


def test_equations_say_what_depends_on_what():
    words = nested_model().explain()
    for line in (
        "s[t] ~ InputDriven(s[t-1], satiety, bias of u[t]), one for every f[t-1]",
        "f[t] ~ InputDriven(f[t-1], bias of u[t]), one for every s[t], if s[t] = s",
        "f[t] ~ Initial, one for every s[t], if it is another",
    ):
        assert line in words
    alone = gh.GLMHMM(Levels(2, 2), gh.Bernoulli(), TwoLevels(**ALONE)).explain()
    assert "f[t] ~ Stationary(f[t-1])\n" in alone


def test_weights_without_a_finite_maximum_are_named_by_both_states(fitted):
    fit, data = fitted
    flat = nested_model(None)
    flat.bind(data)
    slow = fit.params["transitions.slow.weights"].clone()
    slow[1, 0, 0, 1] = -40.0
    params = fit.params | {"transitions.slow.weights": slow}
    hidden = hidden_markov(flat, data, params)
    found = unbounded_weights(flat, data, hidden, params)
    said = [sentence.split(" are ")[0] for sentence in found]
    assert "transitions.slow with fast state 1 from slow state 0" in said
