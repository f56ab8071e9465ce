"""Every sentence of advice about a mode works when it is followed.

Each row makes a fit end badly, reads its advice, does what a sentence of it says, and
asks that the fit then ends as it should.
"""

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from families import normals
from torch.distributions import Dirichlet, HalfNormal, InverseGamma

import glmhmm_pyro as gh
from glmhmm_pyro.components import Gamma, StudentT
from glmhmm_pyro.inference.kinds.glmhmm_program import GLMHMMProgram

S = gh.Status
QUICK = {"num_restarts": 2, "init": "glm", "progress": False}
NARROW = InverseGamma(2.0, 1.0)
WEAK = dist.Normal(0.0, 2.0)


def stretch():
    """Noise, and a stretch of one value."""
    y = normals(90, seed=1).numpy()
    y[:30] = 2.0
    return y


def alike():
    """Two outputs, one of which is twice the other."""
    first = normals(60).numpy()
    return np.c_[first, 2 * first]


def separable():
    """Choices that the sign of a covariate settles."""
    x = normals(60)
    return gh.Sequences((x > 0).double(), x[:, None])


def plain():
    """Choices in two moods."""
    uniform = torch.rand(120, generator=torch.Generator().manual_seed(3))
    often = torch.tensor([0.15, 0.85]).repeat_interleave(30).repeat(2)
    return gh.Sequences((uniform < often).double())


def with_(emissions, states=2, **parts):
    return gh.GLMHMM(states, emissions, **parts)


def steady(weights_prior):
    flat = Dirichlet(torch.ones(2).double())
    transitions = gh.Stationary(Dirichlet(torch.tensor([[9.0, 1.0], [1.0, 9.0]])))
    return with_(
        gh.Bernoulli(weights_prior), transitions=transitions, initial=gh.Initial(flat)
    )


def sticky(concentration):
    rows = Dirichlet(torch.full((2,), concentration).double())
    return with_(gh.Bernoulli(gh.priors.Ridge(1.0)), transitions=gh.Stationary(rows))


# Data; the model that ends badly; how; words of the advice and what follows them.
ROWS = {
    "gaussian": (
        lambda: gh.Sequences(stretch()),
        lambda: with_(gh.Gaussian()),
        S.COLLAPSED,
        [
            (r"InverseGamma\(2, 1\)", lambda: with_(gh.Gaussian(scale_prior=NARROW))),
            ("fewer states", lambda: with_(gh.Gaussian(), 1)),
        ],
    ),
    "t": (
        lambda: gh.Sequences(stretch()),
        lambda: with_(StudentT()),
        S.COLLAPSED,
        [(r"InverseGamma\(2, 1\)", lambda: with_(StudentT(scale_prior=NARROW)))],
    ),
    "gamma": (
        lambda: gh.Sequences(np.exp(stretch() / 2)),
        lambda: with_(Gamma()),
        S.COLLAPSED,
        [
            (
                r"Gamma\(2, 0.1\)",
                lambda: with_(Gamma(concentration_prior=dist.Gamma(2.0, 0.1))),
            )
        ],
    ),
    "correlation": (
        lambda: gh.Sequences(alike()),
        lambda: with_(gh.Gaussian(2, "full"), 1),
        S.COLLAPSED,
        [("covariance='diagonal'", lambda: with_(gh.Gaussian(2, "diagonal"), 1))],
    ),
    "hierarchy": (
        plain,
        lambda: steady(gh.priors.Hierarchical(HalfNormal(0.05))),
        S.COLLAPSED,
        [(r"InverseGamma\(2, 1\)", lambda: steady(gh.priors.Hierarchical(NARROW)))],
    ),
    "probabilities": (
        plain,
        lambda: sticky(0.2),
        S.COLLAPSED,
        [("concentrations from 1", lambda: sticky(1.0))],
    ),
    "separable": (
        separable,
        lambda: with_(gh.Bernoulli(), 1),
        S.UNBOUNDED,
        [(r"Normal\(0, 2\)", lambda: with_(gh.Bernoulli(WEAK), 1))],
    ),
    "too many states": (
        plain,
        lambda: with_(gh.Bernoulli(), 4),
        S.UNBOUNDED,
        [
            ("fewer states", lambda: with_(gh.Bernoulli(), 2)),
            (r"Normal\(0, 2\)", lambda: with_(gh.Bernoulli(WEAK), 4)),
        ],
    ),
}
CASES = [
    pytest.param(data, model, status, *advice, id=f"{name}, {advice[0]}")
    for name, (data, model, status, several) in ROWS.items()
    for advice in several
]


@pytest.mark.parametrize("data, model, status, words, cure", CASES)
def test_a_model_that_is_changed_as_advised_converges(data, model, status, words, cure):
    data = data()
    with pytest.warns(gh.ConvergenceWarning, match=words):
        fit = gh.fit(model(), data, **QUICK)
    assert fit.status is status
    assert gh.fit(cure(), data, **QUICK).status is S.CONVERGED


@pytest.mark.parametrize("option", [{"num_iters": 1000}, {"tol": 0.1}])
@pytest.mark.parametrize("method", ["em", "map"])
def test_more_iterations_or_a_larger_tolerance_end_a_fit(method, option):
    data, model = plain(), with_(gh.Bernoulli(WEAK))
    words = "Raise num_iters .* accept a larger tol"
    short = {"num_iters": 6} | (
        {"em_iters": 1, "num_iters": 2} if method == "map" else {}
    )
    with pytest.warns(gh.ConvergenceWarning, match=words):
        fit = gh.fit(model, data, method, **short, **QUICK)
    assert fit.status is S.MAX_ITERS
    fit = gh.fit(model, data, method, **(short | option), **QUICK)
    assert fit.status is S.CONVERGED


def test_a_fit_that_was_interrupted_goes_on_from_its_params(monkeypatch):
    data, model = plain(), with_(gh.Bernoulli(WEAK))
    options = {"num_restarts": 1, "progress": False}
    whole = gh.fit(model, data, **options)
    steps_of = GLMHMMProgram.em_steps

    def interrupted(self, options):
        steps = steps_of(self, options)
        expect, calls = steps.expect, []

        def counted(*arguments):
            calls.append(arguments)
            if len(calls) == 4:
                raise KeyboardInterrupt
            return expect(*arguments)

        steps.expect = counted
        return steps

    with monkeypatch.context() as patched:
        patched.setattr(GLMHMMProgram, "em_steps", interrupted)
        with pytest.warns(gh.ConvergenceWarning, match="again with init=fit.params"):
            fit = gh.fit(model, data, **options)
    assert fit.status is S.INTERRUPTED
    rest = gh.fit(model, data, init=fit.params, **options)
    assert rest.status is S.CONVERGED
    assert rest.log_joint == pytest.approx(whole.log_joint, abs=1e-6)


def test_a_singular_curvature_is_cured_as_is_advised():
    x = normals(80)
    uniform = torch.rand(80, generator=torch.Generator().manual_seed(3))
    labels = (uniform < x.sigmoid()).double()
    twice = gh.Sequences(labels, torch.stack([x, 2 * x], -1))
    options = {"method": gh.Laplace(100), "num_restarts": 1, "progress": False}
    words = r"proper priors, such as Normal\(0, 2\), or drop covariates that repeat"
    with pytest.warns(gh.ConvergenceWarning, match=words):
        fit = gh.fit(with_(gh.Bernoulli(), 1), twice, **options)
    assert fit.status is S.SINGULAR and fit.posterior is None
    once = gh.Sequences(labels, x[:, None])
    for model, data in (
        (with_(gh.Bernoulli(WEAK), 1), twice),
        (with_(gh.Bernoulli(), 1), once),
    ):
        fit = gh.fit(model, data, **options)
        assert fit.status is S.CONVERGED and fit.posterior is not None


def test_every_status_that_warns_of_a_mode_has_advice():
    of_modes = [S.MAX_ITERS, S.INTERRUPTED, S.UNBOUNDED, S.STALLED, S.NON_FINITE]
    for status in of_modes + [S.M_STEP_FAILED, S.COLLAPSED, S.SINGULAR]:
        assert status.advice.endswith(".") and not status.is_success
