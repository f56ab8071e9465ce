"""Sessions left out: against the exact predictive density of a model of one number."""

import functools

import numpy as np
import pytest
from arviz_faces import az, pointwise
from scipy.special import expit, logsumexp

import glmhmm_pyro as gh
from glmhmm_pyro.analysis import leave_out_sessions
from glmhmm_pyro.inference.draws.arviz_versions import leave_one_out

HEADS, STEPS, SCALE = [10, 14, 12, 13, 4, 11], 20, 2.0
MODEL = gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(SCALE)))
ENGINE = gh.Laplace(num_samples=2000)
QUICK = {"method": ENGINE, "progress": False}


@functools.cache
def coin():
    """Sessions of a coin, one of them unlike the others, and draws given all."""
    y = np.concatenate([np.arange(STEPS) < heads for heads in HEADS]).astype(int)
    data = gh.Sequences(y, lengths=[STEPS] * len(HEADS))
    return gh.fit(MODEL, data, ENGINE, progress=False), data


def plain_loo():
    """What ArviZ says of the draws alone."""
    fit, data = coin()
    groups = ["posterior", "log_likelihood"]
    return leave_one_out(fit.to_arviz(data, groups, unit="session"))


def exact_terms():
    """log p(y_s | y_-s) by a sum over a fine grid of the log-odds."""
    grid = np.linspace(-4, 4, 20_001)
    up, down = np.log(expit(grid)), np.log(expit(-grid))
    each = np.array([h * up + (STEPS - h) * down for h in HEADS])
    whole = each.sum(0) - grid**2 / (2 * SCALE**2)
    without = whole - each
    return logsumexp(without + each, 1) - logsumexp(without, 1)


def total_of(loo):
    """Estimate, standard error, and effective number of parameters."""
    names = (
        ("elpd", "se", "p") if hasattr(loo, "elpd_i") else ("elpd_loo", "se", "p_loo")
    )
    return [float(loo[name]) for name in names]


def test_refits_give_the_exact_densities_of_sessions_left_out():
    fit, data = coin()
    loo = leave_out_sessions(fit, data, threshold=-10.0, **QUICK)
    # Laplace is off by .01; draws by as much.
    np.testing.assert_allclose(pointwise(loo), exact_terms(), atol=0.08)
    np.testing.assert_array_equal(loo.pareto_k, 0.0)
    elpd, error, _ = total_of(loo)
    assert elpd == pytest.approx(pointwise(loo).sum())
    assert error == pytest.approx(np.sqrt(6 * np.var(pointwise(loo))))


def test_sessions_are_left_out_by_weights_where_these_will_do():
    fit, data = coin()
    plain = plain_loo()
    shapes = np.sort(np.asarray(plain.pareto_k))
    between = float(shapes[-2:].mean())
    worst = int(np.argmax(np.asarray(plain.pareto_k)))
    before, kept = pointwise(plain).copy(), np.asarray(plain.pareto_k).copy()
    loo = leave_out_sessions(fit, data, threshold=between, **QUICK)
    changed = pointwise(loo) != before
    assert np.flatnonzero(changed).tolist() == [worst]
    assert float(loo.pareto_k[worst]) == 0.0
    # What the draws say of the data that they were given stays.
    assert total_of(loo)[0] + total_of(loo)[2] == pytest.approx(
        total_of(plain)[0] + total_of(plain)[2]
    )
    np.testing.assert_array_equal(pointwise(plain), before)
    np.testing.assert_array_equal(plain.pareto_k, kept)


# arviz 0.23's own code, of which pandas 3.1 warns.
@pytest.mark.filterwarnings("ignore:The inplace keyword")
def test_what_comes_can_be_compared():
    fit, data = coin()
    other = gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(0.01)))
    stiff = gh.fit(other, data, ENGINE, progress=False)
    both = {"free": fit, "stiff": stiff}
    found = {
        n: leave_out_sessions(f, data, threshold=-10.0, **QUICK)
        for n, f in both.items()
    }
    table = az.compare(found)
    assert set(table.index) == {"free", "stiff"}
    rank = table["rank"].to_dict()
    better = max(found, key=lambda name: total_of(found[name])[0])
    assert rank[better] == min(rank.values())


def test_a_call_goes_on_from_its_checkpoint(tmp_path, monkeypatch):
    fit, data = coin()
    options = {"threshold": -10.0, "checkpoint": tmp_path / "loo", **QUICK}
    loo = leave_out_sessions(fit, data, **options)
    monkeypatch.setattr(
        "glmhmm_pyro.analysis.leaving_out.whole_fit", lambda *_, **__: 1 / 0
    )
    again = leave_out_sessions(fit, data, **options)
    np.testing.assert_array_equal(pointwise(again), pointwise(loo))


def test_refits_that_end_badly_are_named():
    fit, data = coin()
    shapes = np.asarray(plain_loo().pareto_k)
    options = {"threshold": float(np.sort(shapes)[-2:].mean()), "progress": False}
    short = gh.NUTS(num_warmup=5, num_samples=10, num_chains=1)
    worst = data.session_names[int(shapes.argmax())]
    with pytest.warns(gh.ConvergenceWarning, match=rf"refits without .*: {worst} \("):
        leave_out_sessions(fit, data, method=short, **options)
