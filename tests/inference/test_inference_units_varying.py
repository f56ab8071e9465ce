"""Weights that vary, and what stands beside them: covariates of any size and offset.

A law says how far units are apart, of which its scales are changed as the weights are;
it speaks of weights where columns are, so that nothing of these can be centred.
"""

import numpy as np
import pytest
import torch
from families import normals
from torch.distributions import LogNormal

import glmhmm_pyro as gh
from glmhmm_pyro.components import Levels, TwoLevels
from glmhmm_pyro.inference.program.program import Program

ONCE = {"num_restarts": 1, "progress": False}
SIZES = [(1e6, 0.0), (1e-6, 0.0)]
CHANGES = [*SIZES, (1.0, 1e6)]


def table(scale=1.0, shift=0.0, outputs=1.0, steps=60):
    """Measurements of two states in three groups of two sessions each."""
    rng = np.random.default_rng(0)
    number = 6 * steps
    seen, moves, noise = rng.normal(size=(3, number))
    states = np.logical_xor.accumulate(rng.uniform(size=number) < 0.12)
    measured = np.where(states, 2.2 * seen - 0.5, 0.7 - seen) + 0.5 * noise
    ones = np.ones(number)
    return gh.Sequences(
        outputs * (measured + (3 if outputs != 1 else 0)),
        np.stack([seen * scale + shift, ones], 1),
        lengths=[steps] * 6,
        covariate_names=["seen", "bias"],
        transition_covariates=np.stack([moves * scale + shift, ones], 1),
        transition_covariate_names=["moved", "bias"],
        groups=list("aabbcc"),
    )


def apart(family, constant=()):
    return gh.components.Varying(family, "group", None, constant=constant)


SLOPES = gh.priors.Grouped({"seen": gh.priors.Ridge(2.0)})


def beside(prior):
    """Biases of every group beside slopes that all groups share."""
    return apart(gh.Gaussian(prior=prior), ["seen"])


def with_law(law, scale=1.0, shared=("bias",), family=gh.Gaussian):
    """Slopes of sessions by a law, of a covariate ``scale`` times as large."""
    prior = gh.priors.Grouped(
        {"seen": gh.priors.Ridge(2.0 / scale), "bias": gh.priors.Ridge(2.0)}
    )
    family = family(prior=prior)
    return gh.GLMHMM(2, gh.components.Varying(family, "session", law, constant=shared))


def linked(moves, family):
    law = gh.priors.Ridge(0.5)
    return gh.GLMHMM(2, gh.components.Varying(family, "session", law), moves)


MODELS = {
    "emissions": lambda: gh.GLMHMM(2, apart(gh.Gaussian())),
    "slopes alone": lambda: gh.GLMHMM(2, apart(gh.Gaussian(), ["bias"])),
    "biases alone": lambda: gh.GLMHMM(2, apart(gh.Gaussian(), ["seen"])),
    "biases beside penalised slopes": lambda: gh.GLMHMM(2, beside(SLOPES)),
    "penalised biases": lambda: gh.GLMHMM(2, beside(gh.priors.Ridge(2.0))),
    "held biases": lambda: gh.GLMHMM(2, beside(gh.priors.Fixed({"bias": 0.3}))),
    "held slopes": lambda: gh.GLMHMM(2, beside(gh.priors.Fixed({"seen": 0.3}))),
    "biases of moves": lambda: gh.GLMHMM(
        2, gh.Gaussian(), apart(gh.InputDriven(), ["moved"])
    ),
    "moves": lambda: gh.GLMHMM(2, gh.Gaussian(), apart(gh.InputDriven())),
    "log-odds": lambda: gh.GLMHMM(2, gh.Gaussian(), apart(gh.Stationary())),
    "penalised": lambda: gh.GLMHMM(2, apart(gh.Gaussian(prior=gh.priors.Ridge(2.0)))),
    "beside a law": lambda: linked(gh.InputDriven(), gh.Gaussian()),
    "slow moves beside a law": lambda: gh.GLMHMM(
        Levels(2, 2),
        gh.components.Varying(gh.Gaussian(), "slow", gh.priors.Ridge(0.5)),
        TwoLevels(slow=gh.InputDriven(), fast=gh.Stationary()),
    ),
    "beside log-odds of a law": lambda: gh.GLMHMM(
        2, gh.Gaussian(), gh.components.Varying(gh.Stationary(), "group", "pooled")
    ),
    "pooled": lambda: with_law(
        gh.priors.Hierarchical(LogNormal(0.0, 1.0), per="state")
    ),
    "pooled by name": lambda: gh.GLMHMM(
        2,
        gh.components.Varying(
            gh.Gaussian(prior=gh.priors.Ridge(2.0)), "group", "pooled"
        ),
    ),
    "known scale": lambda: with_law(gh.priors.Ridge(0.5)),
    "walk": lambda: with_law(gh.priors.RandomWalk(0.3, start_scale=2.0)),
    "moves by a law": lambda: gh.GLMHMM(
        2, gh.Gaussian(), gh.components.Varying(gh.InputDriven(), "session", "walk")
    ),
    "fast moves": lambda: gh.GLMHMM(
        Levels(2, 2),
        gh.Gaussian(),
        TwoLevels(slow=gh.Stationary(), fast=apart(gh.InputDriven())),
    ),
}


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize(("scale", "shift"), [(1e3, 0.0), (10.0, 300.0)])
def test_units_of_a_fits_own_have_the_density_of_the_users(make, scale, shift):
    """Value by value, constants included; to nothing but rounding."""
    data = table(scale, shift, outputs=50.0, steps=5)
    users, own = Program.of(make(), data), Program.of(make(), data).in_own_units()
    params = own.coordinates.unpack(0.3 * normals(own.coordinates.size, seed=3))
    outward = own.units.outward(params)
    for name, value in own.units.inward(outward).items():
        torch.testing.assert_close(value, params[name])
    likelihood, prior = own.log_parts(params)
    expected = users.log_parts(outward)
    torch.testing.assert_close(likelihood + own.units.log_likelihood, expected[0])
    joint = likelihood + prior + own.units.log_joint
    torch.testing.assert_close(joint, sum(expected))


FITTED = [
    *(("emissions", change) for change in CHANGES),
    *(("slopes alone", change) for change in SIZES),
    *(("biases alone", change) for change in CHANGES),
    ("moves", CHANGES[2]),
]


@pytest.mark.parametrize(("name", "change"), FITTED)
def test_a_maximum_and_its_errors_are_the_same_in_all_units(name, change):
    """Weights of a covariate are as many times smaller as it is larger."""
    plain = gh.fit(MODELS[name](), table(), "em", **ONCE)
    data = table(*change)
    fit = gh.fit(MODELS[name](), data, "em", **ONCE)
    assert fit.log_joint == pytest.approx(plain.log_joint, abs=1e-6)
    part, column = (
        ("transitions", "moved") if name == "moves" else ("emissions", "seen")
    )
    site = f"{part}.weights"
    if name == "biases alone":
        site, column = f"{part}.constant_weights", "seen"
    axis = "constant" if name == "biases alone" else "covariate"
    for found, expected in (
        (fit.parameters, plain.parameters),
        (fit.standard_errors(data), plain.standard_errors(table())),
    ):
        slopes = [
            values[site].sel({axis: column}).values for values in (found, expected)
        ]
        np.testing.assert_allclose(change[0] * slopes[0], slopes[1], 1e-4, 1e-5)


def test_outputs_of_units_are_fitted_in_any_units():
    """Their density is as many times smaller as they are larger."""
    plain = gh.fit(MODELS["emissions"](), table(outputs=1.0 + 1e-9), "em", **ONCE)
    fit = gh.fit(MODELS["emissions"](), table(outputs=1e7), "em", **ONCE)
    number = table().num_steps
    gained = fit.log_joint + number * np.log(1e7)
    assert gained == pytest.approx(plain.log_joint, abs=1e-4)


@pytest.mark.parametrize("change", CHANGES[1:])
def test_moves_beside_weights_of_a_law_are_the_same_in_all_units(change):
    """The evidence and its errors, in whichever units covariates of moves are."""
    data = table()
    data = data.replace(emissions=(data.emissions > 0).double())
    scale, shift = change
    family = gh.Bernoulli(gh.priors.Ridge(2.0))
    names = data.transition_covariate_names
    moved = np.asarray(data.transition_covariates) * [scale, 1] + [shift, 0]
    other = data.replace(transition_covariates=moved, transition_covariate_names=names)
    plain, fit = (
        gh.fit(linked(gh.InputDriven(), family), d, **ONCE) for d in (data, other)
    )
    assert fit.status is plain.status is gh.Status.CONVERGED
    assert fit.log_joint == pytest.approx(plain.log_joint, abs=1e-6)
    for found, expected in (
        (fit.parameters, plain.parameters),
        (fit.standard_errors(other), plain.standard_errors(data)),
    ):
        slopes, others = (
            values["transitions.weights"].sel(covariate="moved").values
            for values in (found, expected)
        )
        np.testing.assert_allclose(scale * slopes, others, 1e-4, 1e-5)


LAWS = {
    "known scale": lambda scale: gh.priors.Ridge(0.5 / scale),
    "learnt scale": lambda scale: gh.priors.Hierarchical(
        LogNormal(np.log(0.5 / scale), 0.5), per="covariate"
    ),
    "walk": lambda scale: gh.priors.RandomWalk(0.3 / scale, start_scale=2.0 / scale),
}


@pytest.mark.parametrize("scale", [1e3, 1e6, 1e-6])
@pytest.mark.parametrize("name", LAWS)
def test_weights_of_a_law_are_the_same_in_all_units(name, scale):
    """Priors and scales carried along: the evidence, the modes and their errors."""
    fits, evidences, errors = [], [], []
    for size in (1.0, scale):
        data = table(size)
        data = data.replace(emissions=(data.emissions > 0).double())
        model = with_law(LAWS[name](size), size, family=gh.Bernoulli)
        fit = gh.fit(model, data, "map", **ONCE)
        fits.append(fit)
        evidences.append(gh.analysis.log_evidence(fit, data) if "scale" in name else 0)
        errors.append(fit.standard_errors(data)["emissions.weights"].values)
    plain, fit = fits
    assert fit.status is plain.status is gh.Status.CONVERGED
    # The density of means and learnt scales, which are as many times smaller.
    named = [name for name in plain.params if name.startswith("emissions.weights_")]
    number = sum(plain.params[name].numel() for name in named)
    gained = number * np.log(scale)
    assert fit.log_joint - gained == pytest.approx(plain.log_joint, abs=1e-6)
    assert evidences[1] == pytest.approx(evidences[0], abs=1e-6)
    for name in ("emissions.weights", *named):
        found = scale * fit.params[name]
        torch.testing.assert_close(found, plain.params[name], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(scale * errors[1], errors[0], 1e-5)


def shifted(weights, by):
    """Biases of groups that were fitted beside a covariate shifted by so much."""
    return weights["weights"] + by * weights["constant_weights"]


BESIDE = {
    "biases alone": ("em", "emissions", "biases alone"),
    "biases of moves": ("em", "transitions", "biases of moves"),
    "penalised slopes": ("map", "emissions", "biases beside penalised slopes"),
    "slopes by MAP": ("map", "emissions", "biases alone"),
}


@pytest.mark.parametrize("name", BESIDE)
def test_biases_of_units_take_up_the_mean_of_a_covariate_that_all_share(name):
    """As Unix time: slopes stay, each unit's bias has what its offset was."""
    method, part, model = BESIDE[name]
    datas = table(), table(shift=1e6)
    fits = [gh.fit(MODELS[model](), d, method, **ONCE) for d in datas]
    plain, fit = fits
    assert fit.status is plain.status is gh.Status.CONVERGED
    assert fit.log_joint == pytest.approx(plain.log_joint, rel=1e-6)
    expected, params = (
        {end: f.params[f"{part}.{end}"] for end in ("weights", "constant_weights")}
        for f in fits
    )
    slopes = params["constant_weights"], expected["constant_weights"]
    torch.testing.assert_close(*slopes, rtol=1e-6, atol=1e-6)
    found = shifted(params, 1e6), expected["weights"]
    torch.testing.assert_close(*found, rtol=1e-6, atol=1e-6)
    errors = [f.standard_errors(d) for f, d in zip(fits, datas)]
    both = [e[f"{part}.constant_weights"].values for e in errors]
    np.testing.assert_allclose(*both, rtol=1e-4, atol=1e-8)


def test_means_stay_where_what_would_take_them_up_is_held_or_penalised():
    """A prior of biases is of the user's own; and one bias serves no slopes apart."""
    for name in ("penalised biases", "held biases", "slopes alone"):
        own = Program.of(MODELS[name](), table(10.0, 300.0)).in_own_units()
        assert not own.units.gains
        assert float(own.data.covariates[:, 0].mean()) > 0.9
    free = Program.of(MODELS["held slopes"](), table(10.0, 300.0)).in_own_units()
    assert abs(float(free.data.covariates[:, 0].mean())) < 1e-9
