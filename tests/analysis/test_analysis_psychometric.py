"""Bands of psychometric curves: by gradients of the emissions, and by differences."""

import numpy as np
import pytest
import torch

import glmhmm_pyro as gh
from glmhmm_pyro.analysis import psychometric
from glmhmm_pyro.analysis.driven.bands import band
from glmhmm_pyro.analysis.driven.quantities import PROBABILITY
from glmhmm_pyro.analysis.states import psychometric_curves

RIDGE = gh.priors.Ridge(2.0)
EVEN = torch.distributions.Dirichlet(torch.full((2,), 2.0))
FAMILIES = {
    "choices": gh.Bernoulli(RIDGE),
    "classes": gh.Categorical(3, RIDGE),
    "lapses": gh.components.Lapsing(gh.Bernoulli(RIDGE)),
    "channels": gh.Outputs(
        pair=gh.Bernoulli(RIDGE, num_outputs=2),
        rt=gh.Gaussian(prior=RIDGE),
        columns={"pair": ["a", "b"]},
    ),
}


def made(kind, steps):
    """A fit to two states in stretches of ten, and its data, rows of which repeat."""
    rng = np.random.default_rng(7)
    x = np.column_stack([rng.integers(-2, 3, (steps, 2)), np.ones(steps)])
    state = np.arange(steps) // 10 % 2
    drive = np.where(state, 1.5, -1.0)[:, None] + np.where(state, 1, -1)[:, None] * x
    y = (rng.random((steps, 3)) < 1 / (1 + np.exp(-drive))).astype(float)
    if kind == "classes":
        y += (y == 1) & (rng.random((steps, 3)) < 0.4)
    y[:, 2] += x[:, 0] + rng.normal(size=steps)
    data = gh.Sequences(
        y if kind == "channels" else y[:, 0],
        x,
        lengths=[steps // 2] * 2,
        covariate_names=["stim", "side", "bias"],
        emission_names=["a", "b", "rt"] if kind == "channels" else ["y"],
    )
    model = gh.GLMHMM(2, FAMILIES[kind], gh.Stationary(EVEN), gh.Initial(EVEN))
    return gh.fit(model, data, num_restarts=1, progress=False), data


@pytest.mark.parametrize("kind", FAMILIES)
def test_curves_and_bands_are_those_of_differences_of_the_whole_model(
    kind, monkeypatch
):
    monkeypatch.setattr(psychometric_curves, "NUM_POINTS", 5)
    fit, data = made(kind, 100 if kind == "lapses" else 1200)
    output = "pair.b" if kind == "channels" else ""
    options = {"output": output, "class_": "1", "num_samples": 5}
    table = psychometric(fit, data, "stim", **options).loc["model"]
    weights = torch.tensor(fit.decode(data).smoothed_probs.values)
    shares = weights / weights.sum(0)

    def whole(params):
        found = []
        for value in table.loc["0"].index:
            moved = data.covariates.clone()
            moved[:, 0] = value
            names = {"covariate_names": data.covariate_names}
            there = data.replace(covariates=moved, **names)
            hidden = fit.model.hidden_markov_at(params, there)
            law = hidden.outputs(data.emissions)[output].emission_dist
            one = law.log_prob(torch.ones((), dtype=torch.float64)).exp()
            found.append((one * shares).sum(0))
        return torch.stack(found, -1)

    expected = band(fit, data, whole, PROBABILITY, 2)
    np.testing.assert_allclose(table.estimate, expected.estimate.ravel(), rtol=1e-9)
    for column, ends in (("lower", expected.lower), ("upper", expected.upper)):
        assert np.isfinite(ends).all()
        np.testing.assert_allclose(table[column], ends.ravel(), rtol=1e-5)


def test_a_class_that_has_a_name_is_known_by_its_number_too():
    named = made("classes", 60)[1].replace(class_names=["left", "1", "none"])
    model = gh.GLMHMM(1, FAMILIES["classes"])
    fit = gh.fit(model, named, num_restarts=1, progress=False)
    told = {
        asked: psychometric(fit, named, "stim", class_=asked, num_samples=2).attrs
        for asked in ("left", 0, np.int64(2), 1, "1")
    }
    found = [attributes["class"] for attributes in told.values()]
    assert found == ["left", "left", "none", "1", "1"]
    with pytest.raises(ValueError, match="class_ must name one of left, 1, none"):
        psychometric(fit, named, "stim", class_=3)
