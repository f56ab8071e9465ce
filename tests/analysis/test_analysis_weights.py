"""Weights of sessions in analyses: a whole one is as good as as many copies."""

import numpy as np
import pandas as pd
import pytest
import torch

import glmhmm_pyro as gh
from glmhmm_pyro import analysis
from glmhmm_pyro.inference.fits.baseline import Baseline
from glmhmm_pyro.inference.fits.criteria import log_probs_by_session
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.plotting.matrices import mean_matrix

QUICK = {"num_restarts": 1, "progress": False}
COPIES, WEIGHTS = [0, 1, 1, 1, 2, 3, 3], [1.0, 3.0, 1.0, 2.0]
FEW = {"num_samples": 20}


@pytest.fixture(scope="module")
def plain():
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.integers(-1, 2, 70), np.ones(70)])
    states = (np.arange(70) // 9) % 2
    y = rng.random(70) < 1 / (1 + np.exp(-(x[:, 0] + 6 * states - 3)))
    return gh.Sequences(
        y.astype(int),
        x,
        initial_covariates=[[0.0], [1.0], [-1.0], [2.0]],
        lengths=[25, 10, 20, 15],
        mask=rng.random(70) < 0.9,
        groups=["a", "a", "b", "b"],
        covariate_names=["cue", "bias"],
        initial_covariate_names=["day"],
    )


@pytest.fixture(scope="module")
def fit(plain):
    ridge = gh.priors.Ridge(2.0)
    model = gh.GLMHMM(
        2, gh.Bernoulli(ridge), gh.InputDriven(ridge), gh.InitialGLM(ridge)
    )
    return gh.fit(model, plain.weighted(WEIGHTS), "map", **QUICK)


def curves(data, fit):
    """Tables that are exact, errors and intervals among them."""
    many = {"num_rows": 10**6}
    yield analysis.response_curve(fit, data, "cue", [1], **many)
    yield analysis.marginal_effects(fit, data, "cue", part="emissions")
    yield analysis.marginal_effects(fit, data, "day", part="initial")


def by_state(data, fit):
    """Estimates, whose intervals are those of paths drawn anew."""
    step = np.concatenate([np.arange(n) for n in data.lengths.tolist()])
    correct = np.where(step % 5 == 4, np.nan, step % 3 == 0)
    yield analysis.occupancy(fit, data, **FEW).estimate
    yield analysis.occupancy(fit, data, "group", **FEW).estimate
    yield analysis.states_in_session(fit, data, 4, **FEW).estimate
    found = analysis.accuracy_by_state(fit, data, correct, **FEW)
    yield found.estimate
    yield found.steps
    for statistic in ("mean", "median", "unmixed"):
        options = {"statistic": statistic, **FEW}
        found = analysis.column_by_state(fit, data, np.sqrt(step), **options)
        yield found.estimate
        yield found.steps
    curve = analysis.psychometric(fit, data, "cue", **FEW)
    yield curve.estimate
    yield curve.loc["model", "lower"]
    yield curve.effective_count
    yield pd.Series(mean_matrix(fit, data)[0].probs.ravel())


@pytest.mark.parametrize("told", [curves, by_state])
def test_whole_weights_are_copies_and_equal_ones_change_no_mean(plain, fit, told):
    sets = (plain.weighted(WEIGHTS), plain.subset(COPIES), plain.weighted([2.5] * 4))
    unlike = False
    for one, other, equal, own in zip(*(told(d, fit) for d in (*sets, plain))):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
        unlike |= not np.allclose(one, own, rtol=1e-3)
        if own.ndim > 1:
            equal, own = equal.estimate, own.estimate
        times = 2.5 if own.name in ("steps", "effective_count") else 1.0
        if own.name != "lower":
            np.testing.assert_allclose(equal, own * times, rtol=1e-9)
    assert unlike


def test_runs_and_switches_count_as_often_as_their_sessions(plain, fit):
    """On the same paths, those of a weight are there as often; no copy is drawn."""
    weighted = plain.weighted([1e-9, 1.0, 1e-9, 1e-9])
    paths = fit.sample_states(plain, 20, 0)[:, 25:35]
    switches = np.diff(paths, axis=1) != 0
    stays = np.stack([(paths[:, :-1] == k).sum(1) for k in range(2)], 1)
    table = analysis.dwell_times(fit, weighted, **FEW).table
    np.testing.assert_allclose(table.at_risk, stays.mean(0), atol=1e-6)
    left = [(switches & (paths[:, :-1] == k)).sum(1).mean() for k in range(2)]
    np.testing.assert_allclose(table.exits, left, atol=1e-6)
    column = np.arange(70.0)
    around = {"steps_before": 0, "steps_after": 0, **FEW}
    found = analysis.switch_triggered(fit, weighted, column, **around)
    places = [np.nonzero(switches & (paths[:, 1:] == k))[1] + 26 for k in range(2)]
    expected = [where.mean() if len(where) else np.nan for where in places]
    np.testing.assert_allclose(found.estimate, expected, rtol=1e-6)
    known = [len(where) / 20 for where in places]
    np.testing.assert_allclose(found.switches, known, atol=1e-6)


FAMILIES = [
    gh.Bernoulli(),
    gh.Categorical(num_classes=4),
    gh.Poisson(),
    gh.Poisson(offset="log time"),
    gh.Gaussian(),
    gh.components.NegativeBinomial(),
]


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_baselines_of_whole_weights_are_those_of_copies(plain, family):
    rng = np.random.default_rng(1)
    emissions = rng.integers(0, 3, 70) + (np.arange(70) >= 55)
    if isinstance(family, gh.Bernoulli):
        emissions = emissions > 0
    if isinstance(family, gh.Gaussian):
        emissions = rng.normal(size=70) + emissions
    x = np.column_stack([plain.covariates, rng.normal(size=70)])
    names = [*plain.covariate_names, "log time"]
    changes = {"covariates": x, "covariate_names": names, "mask": plain.mask}
    data = plain.replace(emissions=emissions, **changes)
    found = [
        Baseline.of(Program.of(gh.GLMHMM(1, family), each)).params
        for each in (data.weighted(WEIGHTS), data.subset(COPIES), data)
    ]
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name], rtol=1e-5, atol=1e-6)
    first = "emissions.weights"
    assert not torch.allclose(found[0][first], found[2][first], rtol=1e-3)


def ridge(strength):
    prior = gh.priors.Ridge(strength**-0.5)
    return gh.GLMHMM(1, gh.Bernoulli(prior))


def test_sessions_held_out_count_as_their_copies(plain):
    """Errors too, for the units are groups, which copies are in."""
    weighted, copied = plain.weighted(WEIGHTS), plain.subset(COPIES)
    folds = np.array([0, 1, 1, 0])
    each = {"weighted": (weighted, folds), "copied": (copied, folds[COPIES])}
    tables = {}
    for name, (data, split) in each.items():
        options = {"folds": split, **QUICK}
        strengths = analysis.cross_validate(ridge, data, [0.1, 10.0], **options)
        numbers = analysis.choose_num_states(
            lambda k: gh.GLMHMM(k, gh.Bernoulli(gh.priors.Ridge(1.0))),
            data,
            [1],
            **options,
        )
        tables[name] = [
            strengths.table,
            numbers.table[numbers.table.columns[:-1]].astype(float),
        ]
        # In bits as fit.score has them.
        held = data.subset(np.flatnonzero(split == 0).tolist())
        train = data.subset(np.flatnonzero(split == 1).tolist())
        found = gh.fit(ridge(0.1), train, "map", **QUICK)
        rows = numbers.folds.loc[(1, slice(None), list(held.session_names)), :]
        gain = (rows.log_likelihood - rows.baseline).sum() / rows.num_observed.sum()
        one = gh.fit(ridge(1.0), train, **QUICK)
        assert gain / np.log(2) == pytest.approx(one.score(held, units="bits"))
        assert found.score(held) < 0
    for one, other in zip(*tables.values()):
        np.testing.assert_allclose(one, other.loc[one.index], rtol=1e-3, atol=1e-5)


def test_groups_are_told_with_their_copies(plain):
    fits = [
        analysis.fit_groups(ridge(1.0), data, progress=False).table()
        for data in (plain.weighted(WEIGHTS), plain.subset(COPIES))
    ]
    columns = ["num_observed", "bits_per_step", "bits_per_step_whole", "occupancy"]
    np.testing.assert_allclose(fits[0][columns], fits[1][columns], rtol=1e-4)


def test_a_session_is_left_out_with_its_copies(plain):
    """By the draws: log of the mean of p(y | draw) to the power of the weight."""
    weighted = plain.weighted([0.5, 3.0, 1.0, 2.0])
    fit = gh.fit(ridge(1.0), weighted, "laplace", num_samples=200, **QUICK)
    exported = fit.to_arviz(weighted, ["log_likelihood"], unit="session")
    by_draw = exported.log_likelihood["y"].values.reshape(-1, 4)
    one = fit.draws["emissions.weights"][0, 7]
    logs = log_probs_by_session(at(fit, one), plain, False)
    known = logs * weighted.session_weights
    np.testing.assert_allclose(by_draw[7], known, rtol=1e-9)
    method = gh.Laplace(num_samples=2000)
    options = {"threshold": -1.0, "method": method, "progress": False}
    loo = analysis.leave_out_sessions(fit, weighted, **options)
    terms = loo.elpd_i if hasattr(loo, "elpd_i") else loo.loo_i
    np.testing.assert_allclose(terms, without_each(fit, plain, weighted), atol=0.1)


def without_each(fit, plain, weighted):
    """Exact terms, by sums over a grid of both weights."""
    axis = torch.linspace(-4, 4, 161).double()
    grid = torch.cartesian_prod(axis, axis)
    logits = grid @ plain.covariates.T
    steps = torch.distributions.Bernoulli(logits=logits)
    logs = steps.log_prob(plain.emissions.double()) * plain.mask
    parts = logs.split(plain.lengths.tolist(), -1)
    sessions = torch.stack([part.sum(-1) for part in parts], -1)
    sessions = sessions * weighted.session_weights
    prior = torch.distributions.Normal(0.0, 1.0).log_prob(grid).sum(-1)
    whole = (prior + sessions.sum(-1)).logsumexp(0)
    return whole - (prior[:, None] + sessions.sum(-1, True) - sessions).logsumexp(0)


def at(fit, weights):
    """The fit at other weights."""
    from dataclasses import replace

    params = {**fit.params, "emissions.weights": weights}
    return replace(fit, params=params, posterior=None)
