"""Scores in bits, AIC, BIC and ICL: against counting, formulas and all paths."""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from families import EMISSIONS, LENGTHS, MASK, normals, random_data
from inference_cases import clear_data
from scipy import optimize, stats

import glmhmm_pyro as gh
from glmhmm_pyro.inference.fits.baseline import Baseline
from glmhmm_pyro.inference.fits.criteria import path_entropy

QUICK = {"num_restarts": 1, "progress": False}


@pytest.fixture(scope="module")
def data():
    return clear_data("categorical", lengths=(40, 25, 35), mask=True)


@pytest.fixture(scope="module")
def fit(data):
    emissions = gh.Categorical(3, prior=gh.priors.Ridge(1.0))
    moves = gh.InputDriven(gh.priors.Ridge(1.0))
    return gh.fit(gh.GLMHMM(2, emissions, moves), data, **QUICK)


def test_bits_are_gained_over_the_frequencies_of_the_training_sessions(data, fit):
    """Frequencies counted by hand, whatever penalties and covariates the fit has."""
    test = clear_data("categorical", lengths=(30, 10), seed=9)
    labels = data.emissions[data.mask].numpy()
    log_frequencies = np.log(np.bincount(labels, minlength=3) / len(labels))
    gain = fit.score(test) * 40 - log_frequencies[test.emissions.numpy()].sum()
    expected = gain / 40 / math.log(2)
    assert fit.score(test, units="bits") == pytest.approx(expected, rel=1e-10)
    assert fit.score(test, units="nats") == fit.score(test)


def test_the_log_likelihood_of_data_is_the_sum_over_its_sessions(data, fit):
    """By the definition of the model at the parameters, whatever data were fitted."""
    test = clear_data("categorical", lengths=(30, 10), seed=9)
    each = fit.distribution(test).log_prob_per_session(test.emissions)
    assert fit.log_prob(test) == pytest.approx(float(each.sum()), rel=1e-12)
    assert fit.log_prob(test) == pytest.approx(40 * fit.score(test), rel=1e-12)
    assert fit.log_prob(data) == pytest.approx(fit.log_likelihood, rel=1e-10)
    twice = fit.log_prob(test.weighted([2.0, 0.5]))
    assert twice == pytest.approx(float(2 * each[0] + each[1] / 2), rel=1e-12)


def test_a_class_never_seen_in_training_has_half_a_count_and_it_is_said(data):
    named = data.replace(class_names=["left", "right", "none"])
    seen = named.with_mask((data.emissions != 2).numpy())
    fit = gh.fit(gh.GLMHMM(1, gh.Categorical(3, gh.priors.Ridge(1.0))), seen, **QUICK)
    counts = np.bincount(seen.emissions[seen.mask].numpy(), minlength=3) + 0.5
    expected = np.log(counts / counts.sum())[named.emissions[named.mask].numpy()]
    own = fit.baseline.log_probs(fit.model, named)
    assert float(own.sum()) == pytest.approx(expected.sum(), rel=1e-10)
    (said,) = fit.baseline.notes
    assert "half a count" in said and "none was never observed" in said
    poisson = gh.GLMHMM(1, gh.Poisson(gh.priors.Ridge(1.0)))
    silent = gh.fit(poisson, gh.Sequences([0, 0, 0]), **QUICK)
    rate = math.log(0.5 / 3)
    assert float(silent.baseline.params["emissions.weights"]) == pytest.approx(rate)


def negative_log_likelihoods(family, y):
    """Minus the log-likelihood of a law by its free numbers, and where to begin."""
    if family == "heavy-tailed":
        start = [np.median(y), np.log(y.std()), 1.0]
        return start, lambda p: -stats.t(np.exp(p[2]), p[0], np.exp(p[1])).logpdf(y)
    if family == "positive":
        start = [0.0, np.log(y.mean())]
        return start, lambda p: -stats.gamma(
            np.exp(p[0]), scale=np.exp(p[1] - p[0])
        ).logpdf(y)
    if family == "overdispersed":
        start = [np.log(y.mean()), 0.0]
        return start, lambda p: -stats.nbinom(
            np.exp(-p[1]), 1 / (1 + np.exp(p[0] + p[1]))
        ).logpmf(y)
    if family == "normals":
        return None, -stats.multivariate_normal(y.mean(0), np.cov(y.T, ddof=0)).logpdf(
            y
        )
    if family == "lapsing":
        return None, -stats.bernoulli(y.mean()).logpmf(y)
    if family in ("poisson", "counts"):
        return None, -stats.poisson(y.mean()).logpmf(y)
    if family in ("gaussian", "normal"):
        return None, -stats.norm(y.mean(), y.std()).logpdf(y)
    pytest.fail(f"write the law of {family!r} without covariates, by scipy, here")


@pytest.mark.parametrize(
    "family", sorted(set(EMISSIONS) - {"bernoulli", "categorical"})
)
def test_the_baseline_of_a_family_is_its_law_at_its_own_maximum(family):
    """scipy's densities, maximised by Nelder and Mead where there is no formula."""
    data = clear_data(family, lengths=(60, 30))
    start, loss = negative_log_likelihoods(family, data.emissions.numpy().astype(float))
    if start is None:
        least = loss.sum()
    else:
        options = {"xatol": 1e-9, "fatol": 1e-9, "maxiter": 4000}
        found = optimize.minimize(
            lambda p: loss(p).sum(), start, method="Nelder-Mead", options=options
        )
        least = found.fun
    program = gh.inference.GLMHMMProgram(gh.GLMHMM(2, EMISSIONS[family]()), data)
    baseline = Baseline.of(program)
    total = float(baseline.log_probs(program.model, data).sum())
    assert total == pytest.approx(-least, rel=1e-6)


@pytest.mark.parametrize("family", ["Poisson", "NegativeBinomial"])
def test_an_offset_stays_in_the_baseline(family):
    """scipy's laws of counts whose means are so many times how long each bin lasts."""
    rng = np.random.default_rng(1)
    exposed = rng.uniform(0.2, 5.0, 80)
    y = rng.poisson(2 * exposed * rng.gamma(2.0, 0.5, 80))
    x = np.stack([rng.normal(size=80), np.log(exposed)], 1)
    data = gh.Sequences(y, x, covariate_names=["x", "log_time"], lengths=[50, 30])
    if family == "Poisson":
        least = -stats.poisson(exposed * y.sum() / exposed.sum()).logpmf(y).sum()
    else:
        least = optimize.minimize(
            lambda p: -stats.nbinom(
                np.exp(-p[1]), 1 / (1 + exposed * np.exp(p[0] + p[1]))
            )
            .logpmf(y)
            .sum(),
            [0.0, 0.0],
            method="Nelder-Mead",
            options={"xatol": 1e-9, "fatol": 1e-9, "maxiter": 4000},
        ).fun
    emissions = getattr(gh.components, family)(offset="log_time")
    beside = gh.Outputs(y=emissions, z=gh.Poisson())
    program = gh.inference.GLMHMMProgram(gh.GLMHMM(2, emissions), data)
    baseline = Baseline.of(program)
    assert baseline.notes == ()
    total = float(baseline.log_probs(program.model, data).sum())
    assert total == pytest.approx(-least, rel=1e-6)
    both = data.replace(emissions=np.stack([y, y], 1), emission_names=["y", "z"])
    program = gh.inference.GLMHMMProgram(gh.GLMHMM(2, beside), both)
    total = float(Baseline.of(program).log_probs(program.model, both).sum())
    plain = stats.poisson(y.mean()).logpmf(y).sum()
    assert total == pytest.approx(plain - least, rel=1e-6)


def test_a_baseline_of_an_older_file_leaves_the_offset_out():
    y, x = np.array([1, 0, 3, 2]), np.array([[0.0], [1.0], [2.0], [1.0]])
    data = gh.Sequences(y, x, covariate_names=["log_time"])
    program = gh.inference.GLMHMMProgram(
        gh.GLMHMM(1, gh.Poisson(offset="log_time")), data
    )
    rate = torch.tensor([[np.log(1.5)]])
    older = Baseline({"emissions.weights": rate})
    total = float(older.log_probs(program.model, data).sum())
    assert total == pytest.approx(stats.poisson(1.5).logpmf(y).sum())


def test_several_outputs_and_groups_have_a_baseline_of_their_own():
    choice, time = clear_data(lengths=(20, 20)), normals(40, seed=5)
    mask = np.ones((40, 2), bool)
    mask[::3, 1] = False
    both = gh.Sequences(
        np.c_[choice.emissions, time],
        choice.covariates,
        lengths=[20, 20],
        mask=mask,
        emission_names=["choice", "time"],
    )
    reads = {"choice": ["x0"], "time": ["x1"]}
    family = gh.Outputs(choice=gh.Bernoulli(), time=gh.Gaussian(), covariates=reads)
    fit = gh.fit(gh.GLMHMM(1, family), both, **QUICK)
    seen = time[mask[:, 1]].numpy()
    share = choice.emissions.double().mean().item()
    y = choice.emissions.numpy()
    expected = np.log(np.where(y, share, 1 - share)).sum()
    expected += stats.norm(seen.mean(), seen.std()).logpdf(seen).sum()
    total = float(fit.baseline.log_probs(fit.model, fit.as_fitted(both)).sum())
    assert total == pytest.approx(expected, rel=1e-8)


def test_a_fit_without_a_baseline_says_why_when_bits_are_asked_for(data, fit):
    older = replace(fit, baseline=None)
    assert older.score(data) == fit.score(data)
    with pytest.raises(ValueError, match="units must be 'nats' .* written before"):
        older.score(data, units="bits")
    saved = gh.load(Path(__file__).parents[1] / "golden" / "fits" / "em.nc")
    rat = gh.datasets.load_rat().subset([0, 1, 2])
    with pytest.raises(ValueError, match="units must be 'nats' .* written before"):
        saved.score(rat, units="bits")
    with pytest.raises(ValueError, match="units must be one of nats, bits, got 'bans'"):
        fit.score(data, units="bans")

    class Odd(gh.GLMEmission):
        def distribution(self, predictor):
            if self.num_features == 1:
                raise RuntimeError("two at least")
            return torch.distributions.Bernoulli(logits=predictor)

    odd = gh.fit(gh.GLMHMM(1, Odd()), clear_data(), **QUICK)
    with pytest.raises(ValueError, match="no baseline: RuntimeError: two at least"):
        odd.score(clear_data(), units="bits")


def test_the_baseline_is_saved_and_loaded(tmp_path, data, fit):
    fit.save(tmp_path / "fit.nc")
    found = gh.load(tmp_path / "fit.nc")
    assert found.score(data, units="bits") == fit.score(data, units="bits")
    assert found.baseline.notes == fit.baseline.notes


@pytest.mark.parametrize("transitions", [gh.Stationary, gh.InputDriven])
def test_the_entropy_of_the_path_is_that_of_all_paths(transitions):
    data = random_data(lengths=LENGTHS, mask=MASK)
    model = gh.GLMHMM(3, gh.Bernoulli(), transitions())
    fit = at_random(model, data)
    hidden = fit.distribution(data)
    initial, move, emission, _ = hidden.potentials(data.emissions)
    expected, start = 0.0, 0
    for length in LENGTHS:
        logs = []
        for path in itertools.product(range(3), repeat=length):
            total = initial[min(len(initial) - 1, 0), path[0]]
            for t, state in enumerate(path):
                row = min(start + t, len(move) - 1)
                total = total + emission[start + t, state]
                total = total + (move[row, path[t - 1], state] if t else 0)
            logs.append(float(total))
        logs = np.array(logs) - np.logaddexp.reduce(logs)
        expected -= (np.exp(logs) * logs).sum()
        start += length
    assert path_entropy(fit, data) == pytest.approx(expected, rel=1e-9)
    # Steps alone, without what one says of the next, are less certain.
    probs = hidden.smoothed_probs(data.emissions)
    assert expected < float(torch.special.entr(probs).sum()) - 0.01
    steps = math.log(sum(MASK))
    bic = fit.num_parameters * steps - 2 * fit.log_likelihood
    assert fit.bic == pytest.approx(bic) and fit.icl(data) == pytest.approx(
        bic + 2 * expected
    )
    assert fit.aic == pytest.approx(2 * fit.num_parameters - 2 * fit.log_likelihood)


def at_random(model, data):
    """A fit that has not moved far from a random start."""
    with pytest.warns(gh.ConvergenceWarning):
        return gh.fit(model, data, init="random", num_iters=1, **QUICK)


def test_free_parameters_are_counted_without_references_and_sums():
    data = clear_data("categorical", lengths=(30, 20))
    for model, expected in (
        (gh.GLMHMM(1, gh.Categorical(3)), 2 * 2),
        (gh.GLMHMM(3, gh.Categorical(3)), 3 * 2 * 2 + 3 * 2 + 2),
        (gh.GLMHMM(3, gh.Categorical(3), gh.InputDriven()), 12 + 3 * 2 * 2 + 2),
        (gh.GLMHMM(2, gh.Categorical(3), initial=gh.InitialGLM()), 8 + 2 + 1),
    ):
        with pytest.warns(gh.ConvergenceWarning):
            fit = gh.fit(model, data, num_iters=1, **QUICK)
        assert fit.num_parameters == expected


def test_a_fit_with_draws_has_no_criteria(data):
    model = gh.GLMHMM(1, gh.Categorical(3, gh.priors.Ridge(1.0)))
    fit = gh.fit(model, data, "laplace", **QUICK)
    for name in ("aic", "bic"):
        with pytest.raises(
            ValueError, match="at a maximum to have criteria, .* laplace"
        ):
            getattr(fit, name)
    assert math.isfinite(fit.score(data, units="bits"))
