"""Semi-Markov transitions against sums over all ways to cut sessions into dwells."""

import itertools
import warnings

import numpy as np
import pyro
import pytest
import torch
from families import enumerated_log_joint, hidden_markov, normals, seeded_generator
from pyro.distributions import Beta, Dirichlet
from scipy.stats import chisquare, nbinom, poisson

import glmhmm_pyro as gh
from glmhmm_pyro.components import dwell
from glmhmm_pyro.inference.fits.given import fit_at
from glmhmm_pyro.inference.steps.m_step import MStep
from glmhmm_pyro.optim import LBFGSOptions

EXACT = {"rtol": 0, "atol": 1e-10}
LENGTHS = (4, 1, 3)

LAWS = {
    "one phase": lambda **options: dwell.NegativeBinomial(1, **options),
    "phases": lambda **options: dwell.NegativeBinomial(3, **options),
    "poisson": lambda **options: dwell.Poisson(3, **options),
    "categorical": lambda **options: dwell.Categorical(3, **options),
}
DRIVEN = ("one phase", "phases", "poisson")


def short_data(states=3):
    y = torch.randint(2, (sum(LENGTHS),), generator=seeded_generator(1))
    observed = torch.tensor([True] * 2 + [False] + [True] * 5)
    x = normals(len(y), 2, seed=2)
    return gh.Sequences(y, x, lengths=list(LENGTHS), mask=observed)


def made(law="phases", states=3, driven=False, **options):
    """A bound model, its data, and values of its sites."""
    transitions = gh.components.SemiMarkov(
        LAWS[law](**({"driven": True} if driven else {})), **options
    )
    model, data = gh.GLMHMM(states, gh.Bernoulli(), transitions), short_data()
    model.bind(data)
    values = {}
    for i, (name, component, attribute) in enumerate(model.site_names()):
        draw = normals(*component.shape(attribute), seed=10 + i)
        support = component.sites[attribute].support
        values[name] = torch.distributions.biject_to(support)(
            draw if "probs" not in name else draw[..., :-1]
        )
    return model, data, values


def pmf(law, value, steps):
    """Probabilities of 1 to ``steps`` steps by the laws' own formulas, by state."""
    value = value.numpy()
    if law in ("one phase", "phases"):
        phases = {"one phase": 1, "phases": 3}[law]
        taken = np.arange(1, steps + 1)
        return np.array([nbinom.pmf(taken - phases, phases, p) for p in value])
    if law == "categorical":
        return np.pad(value, ((0, 0), (0, max(0, steps - value.shape[1]))))[:, :steps]
    exact = np.array([poisson.pmf(np.arange(steps), rate) for rate in value])
    beyond = poisson.sf(1, value)
    hazard = exact[:, 2] / beyond
    # From the third step on it ends as it would at the third.
    late = (1 - hazard)[:, None] ** np.arange(max(0, steps - 2))
    late *= (hazard * beyond)[:, None]
    return np.concatenate([exact[:, :2], late], 1)[:, :steps]


def log_likelihood_by_segments(law, data, values, first):
    """Sum over all ways to cut sessions into dwells and to give these states."""
    logits = data.covariates @ values["emissions.weights"].T
    emission = data.emissions[:, None] * logits - torch.nn.functional.softplus(logits)
    emission = (emission * data.mask[:, None]).exp().numpy()
    parameter = next(v for n, v in values.items() if n in PARAMETERS)
    long = pmf(law, parameter, 3000)
    over = long.sum(1, keepdims=True) - long.cumsum(1)
    at_least = np.concatenate([long.sum(1, keepdims=True), over], 1)
    mean = at_least.sum(1)
    left = at_least[:, :-1] / mean[:, None]
    left_at_least = left[:, ::-1].cumsum(1)[:, ::-1]
    initial = values["initial.probs"].numpy()
    states = len(initial)
    jumps = np.zeros((states, states))
    given = values.get("transitions.jump_probs", torch.ones(states, 1)).numpy()
    jumps[~np.eye(states, dtype=bool)] = given.ravel()
    total = 0.0
    for rows in np.split(emission, np.cumsum(data.lengths.numpy())[:-1]):
        ways = 0.0
        for cut in itertools.product((False, True), repeat=len(rows) - 1):
            ends = [t + 1 for t, is_cut in enumerate(cut) if is_cut] + [len(rows)]
            for path in itertools.product(range(states), repeat=len(ends)):
                prob, begin = initial[path[0]], 0
                for n, (end, state) in enumerate(zip(ends, path)):
                    steps, is_over = end - begin, end < len(rows)
                    if n:
                        prob *= jumps[path[n - 1], state]
                    fresh = n or first == "fresh"
                    ended, lasted = (long, at_least) if fresh else (left, left_at_least)
                    prob *= (ended if is_over else lasted)[state, steps - 1]
                    prob *= rows[begin:end, state].prod()
                    begin = end
                ways += prob
        total += np.log(ways)
    return total


PARAMETERS = ("transitions.leave", "transitions.rate", "transitions.dwell_probs")


@pytest.mark.parametrize("first", ["fresh", "stationary"])
@pytest.mark.parametrize("states", [2, 3])
@pytest.mark.parametrize("law", LAWS)
def test_the_likelihood_is_a_sum_over_all_segmentations(law, states, first):
    model, data, values = made(law, states, first=first)
    hidden = hidden_markov(model, data, values)
    found = hidden.log_prob(data.emissions)
    expected = log_likelihood_by_segments(law, data, values, first)
    assert float(found) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("jumps", ["constant", "driven"])
@pytest.mark.parametrize("law", DRIVEN)
def test_driven_laws_have_at_every_step_the_hazard_that_covariates_give(law, jumps):
    model, data, values = made(law, driven=True, jumps=jumps)
    undriven, _, plain = made(law)
    driven = hidden_markov(model, data, values).transition_logits
    weights = values["transitions.dwell_weights"]
    for t, x in enumerate(data.covariates):
        site = undriven.transitions.law
        link = torch.exp if site == "rate" else torch.sigmoid
        same = {**plain, f"transitions.{site}": link(weights @ x)}
        if jumps == "constant":
            same["transitions.jump_probs"] = values["transitions.jump_probs"]
        else:
            scores = values["transitions.jump_weights"] @ x
            scores = torch.cat([torch.zeros_like(scores[:, :1]), scores], 1)
            same["transitions.jump_probs"] = scores.softmax(-1)
        at_t = hidden_markov(undriven, data, same).transition_logits[0]
        torch.testing.assert_close(driven[t], at_t, **EXACT)


@pytest.mark.parametrize("options", [{}, {"driven": True}, {"jumps": "driven"}])
@pytest.mark.parametrize("law", DRIVEN)
def test_enumeration_by_pyro_agrees(law, options):
    model, data, values = made(law, **options)
    leaves = {name: value.clone().requires_grad_() for name, value in values.items()}
    found = enumerated_log_joint(model, data, leaves)
    summed = hidden_markov(model, data, values).log_prob(data.emissions)
    torch.testing.assert_close(found, summed, **EXACT)


@pytest.mark.parametrize("law", ["phases", "poisson", "categorical"])
def test_enumeration_agrees_where_the_first_dwell_is_stationary(law):
    model, data, values = made(law, first="stationary")
    leaves = {name: value.clone().requires_grad_() for name, value in values.items()}
    found = enumerated_log_joint(model, data, leaves)
    summed = hidden_markov(model, data, values).log_prob(data.emissions)
    torch.testing.assert_close(found, summed, **EXACT)


def test_one_phase_is_a_hidden_markov_chain():
    model, data, values = made("one phase")
    plain = gh.GLMHMM(3, gh.Bernoulli())
    plain.bind(data)
    leave, jumps = values.pop("transitions.leave"), values.pop("transitions.jump_probs")
    probs = torch.diag(1 - leave)
    probs[~torch.eye(3, dtype=torch.bool)] = (leave[:, None] * jumps).flatten()
    given = {**values, "transitions.leave": leave, "transitions.jump_probs": jumps}
    found = hidden_markov(model, data, given)
    expected = hidden_markov(plain, data, {**values, "transitions.probs": probs})
    torch.testing.assert_close(
        found.smoothed_probs(data.emissions),
        expected.smoothed_probs(data.emissions),
        **EXACT,
    )


@pytest.mark.parametrize("law", LAWS)
def test_the_law_is_told_in_probabilities_of_dwell_times(law):
    model, _, values = made(law)
    value = values[f"transitions.{model.transitions.law}"]
    found = model.transitions.dwell.probs(value, 12)
    np.testing.assert_allclose(found, pmf(law, value, 12), rtol=0, atol=1e-12)


@pytest.mark.parametrize("rate", [0.0, 1e-300, 1e-3, 40.0, 1e5])
def test_poisson_hazards_are_finite_wherever_the_rate_is(rate):
    law = dwell.Poisson(30)
    value = torch.tensor([rate], dtype=torch.float64, requires_grad=True)
    events = law.events(value)
    both = events.event.exp() + events.rest.exp()
    torch.testing.assert_close(both, torch.ones_like(both), **EXACT)
    (slope,) = torch.autograd.grad(events.event.sum(), value)
    assert torch.isfinite(slope).all()


@pytest.mark.parametrize("options", [{}, {"driven": True, "jumps": "driven"}])
def test_second_derivatives_are_exact(options):
    model, data, values = made("poisson", **options)
    name = "transitions.dwell_weights" if options else "transitions.rate"

    def value(x):
        return hidden_markov(model, data, values | {name: x}).log_prob(data.emissions)

    at = values[name].clone().requires_grad_()
    assert torch.autograd.gradcheck(value, at)
    assert torch.autograd.gradgradcheck(value, at)


@pytest.mark.parametrize("jumps", ["constant", "driven"])
def test_renumbered_states_are_the_same_model(jumps):
    model, data, values = made("phases", jumps=jumps)
    fit = fit_at(model, data, values, "given")
    for order in itertools.permutations(range(3)):
        turned = fit.permuted(list(order))
        assert turned.score(data) == pytest.approx(fit.score(data), abs=1e-12)
        probs = fit.decode(data).smoothed_probs.values[:, order]
        np.testing.assert_allclose(
            turned.decode(data).smoothed_probs.values, probs, atol=1e-10
        )


TRUE = {
    "phases": torch.tensor([0.15, 0.4]).double(),
    "poisson": torch.tensor([3.0, 0.5]).double(),
    "categorical": torch.tensor([[0.1, 0.2, 0.7], [0.6, 0.1, 0.3]]).double(),
}


def long_data(law, first="fresh", sessions=20, steps=60):
    """Sessions drawn at true values, with the fit that has these."""
    transitions = gh.components.SemiMarkov(LAWS[law](), first=first)
    model = gh.GLMHMM(2, gh.Bernoulli(), transitions)
    x = torch.ones(sessions * steps, 1).double()
    blank = gh.Sequences(torch.zeros(len(x)).long(), x, lengths=[steps] * sessions)
    model.bind(blank)
    values = {
        "initial.probs": torch.tensor([0.5, 0.5]).double(),
        f"transitions.{model.transitions.law}": TRUE[law],
        "emissions.weights": torch.tensor([[1.5], [-1.5]]).double(),
    }
    return fit_at(model, blank, values, "given"), blank


@pytest.mark.parametrize("law", TRUE)
def test_em_rises_to_where_map_ends(law):
    given, blank = long_data(law, sessions=4, steps=25)
    data = given.simulate(blank, 1)[0]
    start = {name: value.numpy() for name, value in given.params.items()}
    fit = gh.fit(given.model, data, num_restarts=1, init=start, progress=False)
    assert fit.status is gh.Status.CONVERGED
    assert (np.diff(fit.history.log_joint) > -1e-8).all()
    mode = gh.fit(given.model, data, "map", num_restarts=1, init=start, progress=False)
    assert fit.log_joint == pytest.approx(mode.log_joint, abs=1e-4)
    true = hidden_markov(given.model, data, given.params).log_prob(data.emissions)
    assert fit.log_likelihood > float(true)


@pytest.mark.parametrize("law", ["phases", "categorical"])
def test_em_rises_where_the_first_dwell_follows_from_the_law(law):
    given, blank = long_data(law, "stationary", sessions=3, steps=8)
    data = given.simulate(blank, 1)[0]
    start = {name: value.numpy() for name, value in given.params.items()}
    options = {"num_restarts": 1, "init": start, "progress": False, "num_iters": 4}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gh.ConvergenceWarning)
        fit = gh.fit(given.model, data, **options)
    true = hidden_markov(given.model, data, given.params).log_prob(data.emissions)
    rises = np.diff(np.append(float(true), fit.history.log_likelihood))
    assert (rises > -1e-8).all() and fit.log_likelihood > float(true) + 0.1


def test_exact_m_steps_have_no_slope_left():
    model, data, values = made("categorical")
    hidden = hidden_markov(model, data, values)
    counts = hidden.expected_counts(data.emissions)
    found = model.transitions.closed_form(counts.transition[None], data, {})
    assert set(found) == {"dwell_probs", "jump_probs"}
    best = {f"transitions.{name}": value[0] for name, value in found.items()}

    def expected(params):
        logits = hidden_markov(model, data, values | params).transition_logits
        return (counts.transition * logits.clamp(min=-1e9)).sum()

    highest = expected(best)
    for seed in range(20):
        near = {
            name: (value + 0.02 * normals(*value.shape, seed=seed).exp()).clone()
            for name, value in best.items()
        }
        near = {name: v / v.sum(-1, keepdim=True) for name, v in near.items()}
        assert expected(near) < highest


@pytest.mark.parametrize("driven", [False, True])
@pytest.mark.parametrize("jumps", ["constant", "driven"])
@pytest.mark.parametrize("law", DRIVEN)
def test_sets_of_parameters_are_taken_side_by_side(law, jumps, driven):
    model, data, values = made(law, driven=driven, jumps=jumps)
    other = {name: value.flip(0) for name, value in values.items()}
    both = {name: torch.stack([values[name], other[name]]) for name in values}
    found = hidden_markov(model, data, both).transition_logits
    for number, own in enumerate((values, other)):
        one = hidden_markov(model, data, own).transition_logits
        torch.testing.assert_close(found[number], one)


@pytest.mark.parametrize("jumps", ["constant", "driven"])
@pytest.mark.parametrize("law", DRIVEN)
def test_m_steps_of_laws_with_a_prior_have_no_slope_left(law, jumps):
    ridge = gh.priors.Ridge(1.5)
    by_jumps = {"constant": Dirichlet(torch.full((2,), 3.0)), "driven": ridge}
    transitions = gh.components.SemiMarkov(
        LAWS[law](driven=True, prior=ridge), jumps, by_jumps[jumps]
    )
    model, data = gh.GLMHMM(3, gh.Bernoulli(), transitions), short_data()
    model.bind(data)
    moves, size = model.transitions, len(model.transitions.emits)
    shape = (2, data.num_steps, size, size)
    counts = torch.rand(shape, generator=seeded_generator(3)).double()
    counts = counts * (moves._kinds() > 0)
    start = {f"transitions.{n}": torch.full(moves.shape(n), 0.5) for n in moves.sites}
    start = {
        name: torch.stack([value, value]).double() for name, value in start.items()
    }
    exactly = LBFGSOptions(max_iters=300, gradient_tol=1e-10, progress_tol=1e-15)
    found = MStep(moves, data, exactly)(counts, start)

    leaves = {name: value.requires_grad_() for name, value in found.items()}
    with pyro.poutine.trace() as traced, pyro.poutine.condition(data=leaves):
        log_probs = moves.log_probs(data)
    joint = torch.where(counts > 0, counts * log_probs, 0.0).sum()
    weights = [name for name in leaves if "weights" in name]
    for name in weights:
        joint = joint + traced.trace.nodes[name]["fn"].log_prob(leaves[name]).sum()
    slopes = torch.autograd.grad(joint, [leaves[name] for name in weights])
    assert max(float(slope.abs().max()) for slope in slopes) < 1e-5
    assert len(weights) == (1 if jumps == "constant" else 2)
    if jumps == "constant":
        jumped = moves.expansion.fold_pairs((counts * (moves._kinds() == 3)).sum(1))
        raised = gh.components.pairs.free_pairs(jumped) + 2.0
        shares = raised / raised.sum(-1, keepdim=True)
        torch.testing.assert_close(found["transitions.jump_probs"], shares)


@pytest.mark.parametrize("driven", [False, True])
def test_poisson_m_steps_end_where_the_general_optimiser_does(driven, monkeypatch):
    model, data, values = made("poisson", driven=driven)
    hidden = hidden_markov(model, data, values)
    steps = len(hidden.transition_logits)
    chances = torch.rand(2, steps, 9, 9, generator=seeded_generator(3)).double()
    counts = chances * torch.isfinite(hidden.transition_logits)
    # In the second set a state is visited less.
    counts[1, :, 3:6] *= 0.3
    own = {n: v for n, v in values.items() if n.startswith("transitions")}
    params = {n: torch.stack([v, v]) for n, v in own.items()}
    step = MStep(
        model.transitions, data, LBFGSOptions(max_iters=300, gradient_tol=1e-9)
    )
    found = step(counts, params)
    monkeypatch.setattr(type(model.transitions), "closed_form", lambda *_: None)
    general = step(counts, params)

    def expected(own, number):
        own = {n: v[number] for n, v in own.items()}
        logits = hidden_markov(model, data, values | own).transition_logits
        return (counts[number] * logits.clamp(min=-1e9)).sum()

    for number in range(2):
        leaves = {n: v.clone().requires_grad_() for n, v in found.items()}
        best = expected(leaves, number)
        assert best.item() == pytest.approx(float(expected(general, number)), abs=1e-6)
        law = leaves[f"transitions.{model.transitions.law}"]
        (slope,) = torch.autograd.grad(best, law)
        assert float(slope.abs().max()) < 1e-6
    for name, value in found.items():
        torch.testing.assert_close(value[0], general[name][0], rtol=1e-4, atol=1e-5)


def test_a_poisson_mean_is_that_of_whole_dwells_beyond_their_first_steps():
    law, dwells = dwell.Poisson(30), torch.tensor([1, 4, 4, 2, 7, 3])
    ages = torch.arange(30)
    events = (dwells[:, None] - 1 == ages).double().sum(0)[None, None, None]
    rests = (dwells[:, None] - 1 > ages).double().sum(0)[None, None, None]
    start = torch.ones(1, 1).double()
    found = law.climbed(start, events, rests, None)
    torch.testing.assert_close(found, (dwells - 1.0).mean().double().reshape(1, 1))
    # Nothing was seen of it: it stays. No dwell lasted: a rate that runs to 0.
    nothing = torch.zeros_like(events)
    assert torch.equal(law.climbed(start, nothing, nothing, None), start)
    assert 0 < float(law.climbed(start, events, nothing, None)) < 1e-6


@pytest.mark.parametrize("method", ["map", "laplace", "svi", "nuts"])
def test_every_method_fits_it(method):
    given, blank = long_data("phases", sessions=4, steps=40)
    data = given.simulate(blank, 1)[0]
    prior = Dirichlet(torch.ones(2).double())
    ridge = gh.priors.Ridge(2.0)
    law = dwell.NegativeBinomial(3, prior=Beta(2.0, 2.0))
    model = gh.GLMHMM(
        2, gh.Bernoulli(ridge), gh.components.SemiMarkov(law), gh.Initial(prior)
    )
    options = {
        "nuts": {"num_samples": 20, "num_warmup": 20, "num_chains": 1},
        "svi": {"num_steps": 50},
    }.get(method, {})
    with warnings.catch_warnings():
        # So few draws and steps are not the end of it.
        warnings.simplefilter("ignore", gh.ConvergenceWarning)
        fit = gh.fit(model, data, method, num_restarts=1, progress=False, **options)
    assert np.isfinite(fit.log_likelihood) and "permuted" not in " ".join(fit.notes)
    assert fit.decode(data).smoothed_probs.shape == (160, 2)


@pytest.mark.parametrize("first", ["fresh", "stationary"])
@pytest.mark.parametrize("law", TRUE)
def test_simulated_dwells_follow_the_law(law, first):
    # Twelve tests at 1e-6 each.
    fit, _ = long_data(law, first, sessions=1, steps=100)
    blank = gh.Sequences([0] * 100, np.ones((100, 1)))
    states = fit.simulate(blank, 4, num_samples=3000)[1].reshape(3000, 100)
    dwells = np.argmax(states != states[:, :1], axis=1)
    model = fit.model.transitions
    long = model.dwell.probs(TRUE[law], 99).numpy()
    for state in (0, 1):
        law_here = long[state]
        if first == "stationary":
            law_here = law_here[::-1].cumsum()[::-1]
            law_here = law_here / law_here.sum()
        own = dwells[states[:, 0] == state]
        edges = np.searchsorted(law_here.cumsum(), [0.2, 0.4, 0.6, 0.8]) + 1
        groups = np.searchsorted(np.unique(edges), own, side="left")
        cuts = np.concatenate([[0], np.unique(edges), [99]])
        expected = np.diff(np.concatenate([[0], law_here.cumsum()])[cuts])
        seen = np.bincount(groups, minlength=len(expected))
        keep = expected > 1e-9
        expected = expected[keep] / expected[keep].sum() * seen[keep].sum()
        assert chisquare(seen[keep], expected).pvalue > 1e-6


@pytest.mark.parametrize(
    "wrong, says",
    [
        (lambda: dwell.NegativeBinomial(0), "phases must be"),
        (lambda: dwell.Poisson(2.5), "longest must be"),
        (lambda: dwell.Categorical(1), "longest must be"),
        (lambda: gh.components.SemiMarkov(3), "dwell must be a law"),
        (lambda: gh.components.SemiMarkov(jumps="free"), "jumps must be 'constant'"),
        (lambda: gh.components.SemiMarkov(first="now"), "first must be 'fresh'"),
        (
            lambda: gh.components.SemiMarkov(
                dwell.Poisson(5, driven=True), first="stationary"
            ),
            "no stationary law",
        ),
    ],
)
def test_what_is_no_law_is_refused_in_a_sentence(wrong, says):
    with pytest.raises((ValueError, TypeError), match=says):
        wrong()


def test_a_fit_is_saved_and_loaded(tmp_path):
    model, data, values = made("phases")
    fit = fit_at(model, data, values, "given")
    fit.save(tmp_path / "fit.nc")
    again = gh.GLMHMM(
        3, gh.Bernoulli(), gh.components.SemiMarkov(dwell.NegativeBinomial(3))
    )
    assert gh.load(tmp_path / "fit.nc", again).score(data) == fit.score(data)
    assert fit.parameters["transitions.jump_probs"].shape == (3, 3)


@pytest.mark.parametrize("law", LAWS)
def test_dwell_law_tells_the_law_of_a_fit(law):
    model, data, values = made(law)
    table = gh.analysis.dwell_law(fit_at(model, data, values, "given"), steps=5)
    expected = pmf(law, values[f"transitions.{model.transitions.law}"], 5)
    np.testing.assert_allclose(table["estimate"], expected.ravel(), atol=1e-12)
    beyond = 1 - expected.cumsum(1)
    np.testing.assert_allclose(table["beyond"], beyond.ravel(), atol=1e-12)
    assert table["lower"].isna().all()


def test_dwell_law_of_a_matrix_is_geometric():
    data = short_data()
    probs = torch.tensor([[0.9, 0.1], [0.4, 0.6]], dtype=torch.float64)
    model = gh.GLMHMM(2, gh.Bernoulli())
    model.bind(data)
    values = {
        "initial.probs": torch.tensor([0.5, 0.5]).double(),
        "transitions.probs": probs,
        "emissions.weights": normals(2, 2),
    }
    table = gh.analysis.dwell_law(fit_at(model, data, values, "given"), steps=3)
    expected = [0.1, 0.09, 0.081, 0.4, 0.24, 0.144]
    np.testing.assert_allclose(table["estimate"], expected, atol=1e-12)


def test_dwell_law_refuses_what_is_not_the_same_at_every_step():
    model, data, values = made("phases", driven=True)
    with pytest.raises(ValueError, match="take dwell_times"):
        gh.analysis.dwell_law(fit_at(model, data, values, "given"))


def test_what_lives_in_rooms_is_found_at_the_top_as_well():
    for name in ("ByLevel", "Levels", "SemiMarkov", "TwoLevels", "Varying"):
        assert getattr(gh, name) is getattr(gh.components, name)
    assert gh.Comparison is gh.analysis.Comparison
    assert gh.dwell.SemiMarkov is gh.SemiMarkov and gh.levels.Levels is gh.Levels
