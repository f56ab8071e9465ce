"""One-step forecasts: against enumeration, and what was planted in them found.

Planted defects are of a size at which each is found in 9 of 10 data sets at least; the
data are drawn at fixed seeds, so that no test fails by chance.
"""

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import kstest, poisson

import glmhmm_pyro as gh
from glmhmm_pyro.inference.checks.martingales import (
    lagged,
    memory_p_value,
    smooth_p_value,
)
from glmhmm_pyro.inference.fits.fit_checking import forecasts
from glmhmm_pyro.inference.fits.given import fit_at

MOVES = np.array([[0.95, 0.05], [0.05, 0.95]])
LENGTHS = [200] * 4
X = np.random.default_rng(0).normal(size=(800, 1))
STATE = {"initial.probs": [0.5, 0.5], "transitions.probs": MOVES}

TRUTHS = {
    "labels": (gh.Bernoulli, {"emissions.weights": [[2.0, 1.0], [-0.5, -1.0]]}),
    "classes": (
        lambda: gh.Categorical(3),
        {"emissions.weights": [[[1.0, 1], [0, -1]], [[0, -1], [-1, 2]]]},
    ),
    "counts": (gh.Poisson, {"emissions.weights": [[0.3, 1.5], [0.3, 0.0]]}),
    "numbers": (
        gh.Gaussian,
        {
            "emissions.weights": [[1.0, 1.0], [0.5, -1.0]],
            "emissions.scale": [1.0, 0.5],
        },
    ),
}


def known(kind, data=None):
    """The fit of a family at known parameters; data of ones where none are given."""
    family, params = TRUTHS[kind]
    if data is None:
        x = np.column_stack([X, np.ones(800)])
        labels = np.arange(800) % (3 if kind == "classes" else 2)
        labels = labels + 0.5 if kind == "numbers" else labels
        data = gh.Sequences(labels, x, lengths=LENGTHS, covariate_names=["x", "one"])
    values = {n: torch.as_tensor(v).double() for n, v in {**STATE, **params}.items()}
    return fit_at(gh.GLMHMM(2, family()), data, values, "the truth"), data


def drawn(kind, seed=0):
    """The fit at the truth, and data drawn from it."""
    fit, design = known(kind)
    data = fit.simulate(design, seed)[0]
    return known(kind, data)


@pytest.mark.parametrize("kind", TRUTHS)
def test_at_the_truth_nothing_is_found(kind):
    fit, data = drawn(kind)
    report = fit.check(data)
    assert report.codes == () and "drift" in report.made


@pytest.mark.parametrize("kind", TRUTHS)
def test_residuals_at_the_truth_are_standard_normal(kind):
    table = gh.analysis.residuals(*drawn(kind))
    for name, rows in table.groupby("emission"):
        # By chance in 1 of 1000 seeds; this one is fixed.
        assert kstest(rows["quantile"], "norm").pvalue > 1e-3, name
        assert abs(rows.pearson.mean()) < 3.3 / np.sqrt(800)
        assert 0.8 < rows.pearson.std() < 1.2


def test_forecasts_are_those_of_all_paths():
    counts = np.array([0, 2, 5, 1, 3])
    x = np.column_stack([X[:5], np.ones(5)])
    mask = [True, True, False, True, True]
    fit, data = known("counts", gh.Sequences(counts, x, lengths=[3, 2], mask=mask))
    (forecast,) = forecasts(fit, data)[0]
    rates = np.exp(x @ np.array(TRUTHS["counts"][1]["emissions.weights"]).T)
    assert forecast.steps.tolist() == [0, 1, 3, 4]
    for place, step in enumerate(forecast.steps):
        first = 0 if step < 3 else 3
        total, laws = 0.0, np.zeros(4)
        for path in itertools.product((0, 1), repeat=step - first + 1):
            prob = 0.5
            for t, (a, b) in enumerate(zip(path, path[1:])):
                prob *= MOVES[a, b]
                prob *= poisson.pmf(counts[first + t], rates[first + t, a])
            law = poisson(rates[step, path[-1]])
            total += prob
            moments = [law.mean(), law.var() + law.mean() ** 2]
            ends = [law.cdf(counts[step] - 1), law.cdf(counts[step])]
            laws += prob * np.array([*moments, *ends])
        mean, square, below, up_to = laws / total
        assert forecast.mean[place] == pytest.approx(mean)
        assert forecast.variance[place] == pytest.approx(square - mean**2)
        assert forecast.below[place] == pytest.approx(below)
        assert forecast.up_to[place] == pytest.approx(up_to)


def test_bins_of_calibration_are_means_with_wilsons_intervals():
    fit, data = drawn("labels")
    table = gh.analysis.calibration_of_steps(fit, data, num_bins=4)
    (forecast,) = forecasts(fit, data)[0]
    groups = np.array_split(np.argsort(forecast.mean, kind="stable"), 4)
    assert table["count"].tolist() == [200] * 4
    for (_, row), group in zip(table.iterrows(), groups):
        share = forecast.value[group].mean()
        assert row.estimate == pytest.approx(share)
        assert row.predicted == pytest.approx(forecast.mean[group].mean())
        for end in (row.lower, row.upper):
            # Where the share is 1.96 standard errors from the end, those of the end.
            assert abs(share - end) == pytest.approx(
                1.959964 * np.sqrt(end * (1 - end) / 200), rel=1e-4
            )


def test_p_values_of_noise_are_uniform_or_larger():
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(200, 300))
    steps, starts = np.arange(300), np.array([0, 150])
    memories = [memory_p_value(lagged(row, steps, starts)[2]) for row in noise]
    laws = [smooth_p_value(row) for row in rng.random((200, 300))]
    for p_values in (memories, laws):
        # Binomial: 24 of 200 at 5 % and 9 at 1 % are exceeded in 1 of 10 000.
        assert (np.array(p_values) < 0.05).sum() <= 24
        assert (np.array(p_values) < 0.01).sum() <= 9
    lags, means, _ = lagged(noise[0], steps, starts)
    first, second = noise[0, :150], noise[0, 150:]
    pairs = np.r_[first[5:] * first[:-5], second[5:] * second[:-5]]
    assert means[lags == 5] == pytest.approx(pairs.mean())


def planted(code, seed):
    """A fit at the truth of the usual states, and data with a defect."""
    kind = "numbers" if code in ("wrong-law", "memory-left") else "labels"
    fit, data = drawn(kind, seed)
    rng, y = np.random.default_rng(seed + 100), data.emissions.numpy()
    step = np.arange(800) % 200
    if code == "wrong-law":
        # Errors of Student's t with 3 degrees of freedom and the variance as it was.
        mean, scale = _means(fit, data, seed)
        y = mean + scale * rng.standard_t(3, 800) / np.sqrt(3)
    elif code == "memory-left":
        # Autoregressive errors of 0.4 on top.
        mean, scale = _means(fit, data, seed)
        noise = rng.normal(size=800)
        for t in range(1, 800):
            noise[t] = 0.4 * noise[t - 1] + np.sqrt(1 - 0.4**2) * noise[t]
        y = mean + scale * noise
    elif code == "miscalibrated":
        # Two fifths of the choices are at random.
        lapses = rng.random(800) < 0.4
        y = np.where(lapses, rng.integers(0, 2, 800), y)
    elif code == "drift":
        # In second halves of sessions half of the choices of 0 become 1.
        turned = (rng.random(800) < 0.5) & (step >= 100)
        y = np.where(turned, 1, y)
    return known(kind, data.replace(emissions=y))


def _means(fit, data, seed):
    """Means and scales along a path of the known chain."""
    _, states = fit.simulate(data, seed)
    weights = np.array(TRUTHS["numbers"][1]["emissions.weights"])
    mean = (data.covariates.numpy() * weights[states]).sum(1)
    return mean, np.array(TRUTHS["numbers"][1]["emissions.scale"])[states]


@pytest.mark.parametrize("code", ["wrong-law", "memory-left", "miscalibrated", "drift"])
def test_what_was_planted_is_found(code):
    for seed in range(2):
        fit, data = planted(code, seed)
        report = fit.check(data)
        assert code in report.codes
        assert report.table.loc[[code]].p_value.iloc[0] < 0.01


def test_columns_that_do_not_vary_in_a_state_are_named():
    states = np.repeat([0, 1], 400)
    y = np.where(states, 5.0, -5.0) + np.random.default_rng(2).normal(size=800)
    x = np.column_stack([X[:, 0] * (states == 0), np.ones(800)])
    data = gh.Sequences(y, x, lengths=LENGTHS, covariate_names=["x", "one"])
    params = {
        **{n: torch.as_tensor(v).double() for n, v in STATE.items()},
        "emissions.weights": torch.tensor([[0.0, -5.0], [0.0, 5.0]]).double(),
        "emissions.scale": torch.ones(2).double(),
    }
    fit = fit_at(gh.GLMHMM(2, gh.Gaussian()), data, params, "the truth")
    found = [f for f in fit.check(data) if f.code == "rank-deficient-state"]
    assert len(found) == 1 and "state 1 x hardly" in found[0].sentence


@pytest.mark.parametrize("part, is_named", [(0.0, True), (0.6, False)])
def test_a_column_is_idle_in_a_state_though_steps_fall_to_it_that_are_not_its_own(
    part, is_named
):
    """Its variance there is 0, or half of that over all steps; states overlap."""
    fit, design = known("numbers")
    data, states = fit.simulate(design, 1)
    noise = np.random.default_rng(6).normal(size=800)
    x = np.column_stack([data.covariates, np.where(states == 0, part, 1.0) * noise])
    data = data.replace(covariates=x, covariate_names=["x", "one", "more"])
    weights = fit.params["emissions.weights"]
    params = fit.params | {
        "emissions.weights": torch.cat([weights, 0 * weights[:, :1]], 1)
    }
    fit = fit_at(gh.GLMHMM(2, gh.Gaussian()), data, params, "the truth")
    share = fit.decode(data).smoothed_probs.values[:, 0]
    assert share @ noise**2 > 1.01 * (share * (states == 0)) @ noise**2
    found = [f for f in fit.check(data) if f.code == "rank-deficient-state"]
    assert len(found) == is_named
    assert not found or "state 0 more hardly" in found[0].sentence


class Nameless(gh.GLMEmission):
    """A family of the user's own that tells densities alone."""

    def distribution(self, predictor):
        """Normal numbers, of which neither moments nor quantiles are known."""

        class Law(torch.distributions.Normal):
            mean = property(lambda self: self._unknown())
            cdf = property(lambda self: self._unknown())

            def _unknown(self):
                raise NotImplementedError

        return Law(predictor, 1.0, validate_args=False)


def test_checks_that_a_law_does_not_allow_are_left_out_with_a_reason():
    fit, data = drawn("numbers")
    params = {n: v for n, v in fit.params.items() if n != "emissions.scale"}
    own = fit_at(gh.GLMHMM(2, Nameless()), data, params, "the truth")
    report = own.check(data)
    assert set(report.left_out) >= {"calibration", "law", "memory"}
    assert "law" not in report.made and "no finite mean" in repr(report)
