"""Slopes of units without a law, beside a bias that all of them share, far from 0.

Nothing can be centred: that would be another model. M-steps must arrive all the same,
for which a second optimiser is asked, in numbers by which the offset is no matter:
biases b of units, and a slope a, of which weights of x + S are (b - c) / S beside the
bias c = mean(b) - S a.
"""

import numpy as np
import pytest
import torch
from families import Gaussian as UsersGaussian
from families import seeded_generator
from scipy.optimize import minimize
from test_inference_units_varying import MODELS, ONCE, table

import glmhmm_pyro as gh
from glmhmm_pyro.components import Levels, TwoLevels, Varying
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.steps.blocks import log_probs_and_sites

FAR, LENGTHS = 1e4, [40] * 6
PENALISED = gh.priors.Grouped({"seen": gh.priors.Ridge(2.0)})


def shared_bias(family, over="group"):
    return Varying(family, over, None, constant=["bias"])


def emitted(make, **kind):
    return lambda: gh.GLMHMM(2, shared_bias(make(), **kind))


MODELS_APART = {
    "gaussian": ("measured", "emissions", emitted(gh.Gaussian)),
    "penalised": (
        "measured",
        "emissions",
        emitted(lambda: gh.Gaussian(prior=PENALISED)),
    ),
    "bernoulli": ("chosen", "emissions", emitted(gh.Bernoulli, over="session")),
    "categorical": ("sorted", "emissions", emitted(lambda: gh.Categorical(3))),
    "poisson": ("counted", "emissions", emitted(gh.Poisson)),
    "moves": (
        "measured",
        "transitions",
        lambda: gh.GLMHMM(2, gh.Gaussian(), shared_bias(gh.InputDriven())),
    ),
    "fast moves": (
        "measured",
        "transitions.fast",
        lambda: gh.GLMHMM(
            Levels(2, 2),
            gh.Gaussian(),
            TwoLevels(slow=gh.Stationary(), fast=shared_bias(gh.InputDriven())),
        ),
    ),
    "first states": (
        "measured",
        "initial",
        lambda: gh.GLMHMM(
            2, gh.Gaussian(), initial=shared_bias(gh.InitialGLM(gh.priors.Ridge(9.0)))
        ),
    ),
}


def far_data(kind, shift=FAR):
    """Two states in three groups of two sessions; all covariates are far from 0."""
    rng = np.random.default_rng(1)
    number = sum(LENGTHS)
    seen, moved, noise = rng.normal(size=(3, number))
    states = np.logical_xor.accumulate(rng.uniform(size=number) < 0.12)
    drive = np.where(states, 1.5 * seen - 0.5, 0.6 - seen)
    chosen = rng.uniform(size=number) < 1 / (1 + np.exp(-2 * drive))
    outputs = {
        "measured": lambda: drive + 0.5 * noise,
        "chosen": lambda: chosen.astype(int),
        "sorted": lambda: chosen + (rng.uniform(size=number) < 0.3).astype(int),
        "counted": lambda: rng.poisson(np.exp(0.6 * drive)),
    }

    def design(column):
        return np.stack([column + shift, np.ones(len(column))], 1)

    names = {
        f"{which}covariate_names": ["seen", "bias"]
        for which in ("", "transition_", "initial_")
    }
    return gh.Sequences(
        outputs[kind](),
        design(seen),
        lengths=LENGTHS,
        transition_covariates=design(moved),
        initial_covariates=design(rng.normal(size=len(LENGTHS))),
        groups=list("aabbcc"),
        **names,
    )


def numbers_of(values):
    """The slope and the biases, from weights (units, ..., 1) and their bias."""
    biases = values["constant_weights"] + FAR * values["weights"]
    return (biases.mean(0) - values["constant_weights"]) / FAR, biases


def weights_of(slopes, biases):
    """Weights and their bias, from the slope (..., 1) and biases (units, ..., 1)."""
    bias = biases.mean(0) - FAR * slopes
    return {"weights": (biases - bias) / FAR, "constant_weights": bias}


class Expected:
    """Expected log-joint of a component at numbers by which the offset is no matter."""

    def __init__(self, component, data, counts):
        self.component, self.data, self.counts = component, data, counts
        self.prefix = component._pyro_name + "."

    def at(self, values):
        """By attribute, without an axis of sets."""
        named = {self.prefix + name: value for name, value in values.items()}
        log_probs, sites = log_probs_and_sites(self.component, self.data, named)
        prior = sum(site["fn"].log_prob(site["value"]).sum() for site in sites.values())
        return (self.counts * log_probs).sum() + prior

    def highest(self, values):
        """By SciPy's L-BFGS-B, from these values on."""
        numbers = [
            *numbers_of(values),
            *(values[n].log() for n in ("scale",) if n in values),
        ]
        shapes = [number.shape for number in numbers]
        sizes = [number.numel() for number in numbers]

        def minus(point):
            leaf = torch.from_numpy(point).requires_grad_()
            parts = [p.reshape(s) for p, s in zip(leaf.split(sizes), shapes)]
            found = weights_of(*parts[:2]) | {"scale": p.exp() for p in parts[2:]}
            value = -self.at(found)
            (slope,) = torch.autograd.grad(value, leaf)
            return value.item(), slope.numpy()

        start = torch.cat([number.flatten() for number in numbers]).numpy()
        return -minimize(minus, start, jac=True, method="L-BFGS-B").fun


@pytest.mark.parametrize("name", MODELS_APART)
def test_an_m_step_gains_what_a_second_optimiser_gains(name):
    """Nearly all of it, as M-steps do; from where states and slopes are yet alike."""
    kind, part, make = MODELS_APART[name]
    program = Program.of(make(), far_data(kind))
    (start,) = program.starts(1, None, 0.5, seeded_generator(3))
    steps = program.em_steps(None)
    steps.expect([start])
    (found,) = steps.maximise([start], [0])
    assert steps.failure(0) is None
    component = program.components[part]
    counts = getattr(steps.counts, component.counted_from)
    counts = component.own_counts(counts, program.data)[0]
    expected = Expected(component, component.view(program.data), counts)
    before, after = (
        {name: values[f"{part}.{name}"] for name in component.sites}
        for values in (start, found)
    )
    most = max(expected.highest(values) for values in (before, after))
    first, last = (expected.at(values).item() for values in (before, after))
    assert most - last <= 1e-3 * (most - first)


LIMITS = {
    "measured": ("measured", gh.Gaussian, "group"),
    "chosen": ("chosen", gh.Bernoulli, "session"),
}


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("method", ["em", "map"])
def test_far_from_0_slopes_of_units_are_biases_of_units(name, method):
    """For large S, w_u (x + S) + c is a slope that all share and a bias by unit.

    But for slopes that differ by 1 / S.
    """
    kind, family, over = LIMITS[name]
    biases = gh.GLMHMM(2, Varying(family(), over, None, constant=["seen"]))
    limit = gh.fit(biases, far_data(kind, 0.0), method, **ONCE)
    slopes = gh.GLMHMM(2, shared_bias(family(), over=over))
    for shift in (1e4, 1e6):
        fit = gh.fit(slopes, far_data(kind, shift), method, **ONCE)
        assert fit.status is limit.status is gh.Status.CONVERGED
        assert fit.log_joint == pytest.approx(limit.log_joint, abs=10 / shift)


def test_scales_beside_a_large_offset_change_no_result():
    """As minutes and days, counted from long ago."""
    datas = table(1.0, 1e3), table(1e3, 1e6)
    plain, fit = (gh.fit(MODELS["slopes alone"](), d, "em", **ONCE) for d in datas)
    assert fit.log_joint == pytest.approx(plain.log_joint, abs=1e-6)
    # From this start, searches that know of no moves end at -600.3.
    assert fit.log_joint > -356.6
    for found, expected in (
        (fit.parameters, plain.parameters),
        (fit.standard_errors(datas[1]), plain.standard_errors(datas[0])),
    ):
        slopes = [values["emissions.weights"].values for values in (found, expected)]
        np.testing.assert_allclose(1e3 * slopes[0], slopes[1], 1e-5)


@pytest.mark.parametrize("shift", [1e3, 1e4])
def test_a_fit_short_of_its_maximum_does_not_say_that_it_converged(shift):
    """Of a family of the user's own nothing is known by which to search far from 0."""
    plain = gh.fit(gh.GLMHMM(2, UsersGaussian()), table(), "em", **ONCE)
    assert plain.status is gh.Status.CONVERGED
    with pytest.warns(gh.ConvergenceWarning, match="nats higher a step away"):
        fit = gh.fit(gh.GLMHMM(2, UsersGaussian()), table(1.0, shift), "em", **ONCE)
    assert fit.log_joint < plain.log_joint - 100
    assert fit.status is gh.Status.STALLED
