"""Weights by unit that no law links: slopes and M-steps are those of the definition."""

import numpy as np
import pytest
import torch
from torch.distributions import Normal

import glmhmm_pyro as gh
from glmhmm_pyro.inference.program.evaluated import differentiated
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.steps.blocks import log_probs_and_sites


def grouped(num_classes, mask=False):
    """Labels of three groups whose sessions come mixed."""
    rng = np.random.default_rng(0)
    steps = [7, 5, 9, 4]
    x = np.stack([rng.normal(size=25), np.ones(25)], 1)
    return gh.Sequences(
        rng.integers(num_classes, size=25),
        x,
        lengths=steps,
        groups=["b", "a", "b", "c"],
        mask=rng.random(25) < 0.8 if mask else None,
    )


MODELS = {
    "groups": (gh.components.Varying(gh.Bernoulli(), "group", None), None, 2),
    "ridge": (
        gh.components.Varying(gh.Bernoulli(prior=Normal(0.0, 2.0)), "session", None),
        None,
        2,
    ),
    "classes": (gh.components.Varying(gh.Categorical(3), "group", None), None, 3),
    "moves": (
        gh.Bernoulli(),
        gh.components.Varying(gh.InputDriven(), "group", None),
        2,
    ),
}

# With weights that are the same in all units, several outputs, and two levels: these
# have tables, too, but no M-steps by unit of all that varies.
CONSTANT = {
    "constant": (
        2,
        gh.components.Varying(gh.Categorical(3), "group", None, ["x1"]),
        gh.components.Varying(gh.InputDriven(), "session", None, ["x0"]),
    ),
    "outputs": (
        2,
        gh.components.Varying(gh.Bernoulli(num_outputs=2), "group", None, ["x1"]),
    ),
    "levels": (
        gh.Levels(2, 2),
        gh.ByLevel(gh.components.Varying(gh.Bernoulli(), "group", None)),
        gh.TwoLevels(
            gh.components.Varying(gh.Stationary(), "group", None),
            gh.components.Varying(gh.InputDriven(), "session", None, ["x1"]),
        ),
    ),
}


def program_of(name, mask=False):
    emissions, transitions, num_classes = MODELS[name]
    model = gh.GLMHMM(2, emissions, transitions)
    return Program.of(model, grouped(num_classes, mask))


def points(program, number=3):
    generator = torch.Generator().manual_seed(1)
    size = (number, program.coordinates.size)
    return torch.randn(size, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_value_and_slope_are_those_of_automatic_differentiation(name, mask):
    program = program_of(name, mask)
    check_slopes(program)


@pytest.mark.parametrize("name", CONSTANT)
def test_weights_that_do_not_vary_have_slopes_beside_those_that_do(name):
    data = grouped({"constant": 3}.get(name, 2), mask=True)
    if name == "outputs":
        y = torch.stack([data.emissions, 1 - data.emissions.roll(1)], 1)
        data = data.replace(emissions=y, emission_names=["a", "b"])
    check_slopes(Program.of(gh.GLMHMM(*CONSTANT[name]), data))


def check_slopes(program):
    """Value and slope by tables are those of automatic differentiation."""
    assert program.is_direct
    for point in points(program):
        found = program.evaluated(point, jacobian=True)
        parts = program.coordinates, program.log_parts
        expected = differentiated(*parts, point, jacobian=True)
        assert found.log_density == pytest.approx(expected.log_density, rel=1e-12)
        torch.testing.assert_close(found.slope, expected.slope, rtol=1e-9, atol=1e-10)


def test_units_without_steps_have_no_slope():
    program = program_of("groups")
    few = program.data.subset(groups=["a", "c"])
    table = program.model.emissions.log_table(few)
    weights = np.random.default_rng(2).normal(size=(3, 2, 2))
    names = program.model.emissions.members.names("group")
    unit = [names.index(group) for group in few.groups]
    own = torch.from_numpy(weights[unit]).repeat_interleave(few.lengths, 0)
    logits = (own * few.covariates[:, None]).sum(-1)
    expected = torch.distributions.Bernoulli(logits=logits)
    expected = expected.log_prob(few.emissions[:, None].double())
    logs = table({"weights": weights})
    np.testing.assert_allclose(logs, expected.numpy(), atol=1e-12)
    slopes = table.slopes(np.ones_like(logs))["weights"]
    assert (slopes[names.index("b")] == 0).all()
    assert (slopes[names.index("a")] != 0).all()


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_an_m_step_of_all_units_is_one_of_each_by_itself(name, mask):
    """Values, slopes and curvatures of every unit's blocks, for two sets at once."""
    program = program_of(name, mask)
    model, data = program.model, program.data
    parts = (model.emissions, model.transitions)
    component = next(part for part in parts if hasattr(part, "over"))
    units, blocks, *_ = shape = component.shape("weights")
    generator = torch.Generator().manual_seed(3)
    weights = torch.randn((2, *shape), generator=generator, dtype=torch.float64)
    size = (2, *log_probs_and_sites(component, data, {})[0].shape)
    counts = torch.rand(size, generator=generator, dtype=torch.float64)
    if component is model.transitions:
        counts[:, data.starts] = 0.0
    elif mask:
        counts[:, ~data.mask] = 0.0
    found = component.block_objective(data)
    prepared, rows = found.prepare(counts), weights.reshape(2 * units * blocks, -1)
    which = np.array([5, 0, 2 * units * blocks - 1])
    values, slopes = found(rows[which].numpy(), which, prepared)

    def expected(rows):
        """Expected log-probability of either set."""
        total = torch.zeros(2, dtype=torch.float64)
        for number, value in enumerate(rows.reshape(2, *shape)):
            prefix = component._pyro_name
            logs = log_probs_and_sites(component, data, {f"{prefix}.weights": value})[0]
            total[number] = (counts[number] * logs).sum()
        return total

    # What a block gains over weights of 0 is its own part of the sum.
    leaf = rows.clone().requires_grad_()
    whole = torch.autograd.grad(expected(leaf).sum(), leaf)[0]
    torch.testing.assert_close(torch.from_numpy(slopes), whole[which])
    origin = np.zeros_like(rows[which])
    gained = values - found(origin, which, prepared)[0]
    for row, gain in zip(which, gained):
        without = rows.clone()
        without[row] = 0.0
        left = (expected(rows) - expected(without)).sum()
        assert gain == pytest.approx(float(left), rel=1e-10)
    beginning = found.begin(rows.numpy(), prepared)
    assert (np.linalg.eigvalsh(beginning.curvature) > 0).all()
    every = found(rows.numpy(), np.arange(len(rows)), prepared)
    np.testing.assert_allclose(beginning.values, every[0])
    np.testing.assert_allclose(beginning.gradient, every[1])


def test_em_of_units_apart_ends_where_each_is_fitted_alone():
    """One state, so that every unit's weights are a regression of its own."""
    data = grouped(2, mask=True)
    law = gh.components.Varying(gh.Bernoulli(prior=Normal(0.0, 2.0)), "group", None)
    options = {"num_restarts": 1, "progress": False, "tol": 1e-12}
    fit = gh.fit(gh.GLMHMM(1, law), data, "em", **options)
    names = fit.model.emissions.members.names("group")
    for group, weights in zip(names, fit.params["emissions.weights"]):
        alone = gh.GLMHMM(1, gh.Bernoulli(prior=Normal(0.0, 2.0)))
        one = gh.fit(alone, data.subset(groups=[group]), "em", **options)
        expected = one.params["emissions.weights"]
        torch.testing.assert_close(weights, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "varying",
    [
        gh.components.Varying(gh.Bernoulli(), "group", "pooled"),
        gh.components.Varying(gh.Gaussian(), "group", None),
    ],
)
def test_what_a_law_links_is_left_to_automatic_differentiation(varying):
    model = gh.GLMHMM(2, varying)
    data = grouped(2)
    if "scale" in varying.sites:
        data = data.replace(emissions=data.covariates[:, 0])
    assert not Program.of(model, data).is_direct
