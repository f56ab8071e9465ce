"""What M-steps read of a component: blocks, objectives with gradient, closed forms."""

import numpy as np
import pytest
import torch
from component_cases import STATES, bound
from families import (
    EMISSIONS,
    MASK,
    TRANSITIONS,
    normals,
    random_data,
    random_params,
    seeded_generator,
    with_sets,
)
from torch.distributions import Dirichlet, MultivariateNormal, Normal

import glmhmm_pyro as gh
from glmhmm_pyro.inference.steps.blocks import PackedRows, log_probs_and_sites

BLOCK_PRIORS = {
    "normal": Normal(0.0, 2.0),
    "by feature": Normal(torch.zeros(2), torch.tensor([1.0, 3.0])),
    "by state": Normal(torch.zeros(3, 1), torch.tensor([[1.0], [2.0], [3.0]])),
    "flat": None,
    "correlated features": MultivariateNormal(
        torch.zeros(2), torch.tensor([[2.0, 0.5], [0.5, 1.0]])
    ),
}


@pytest.mark.parametrize("prior", BLOCK_PRIORS.values(), ids=BLOCK_PRIORS)
def test_log_priors_of_blocks_sum_to_the_log_prior(prior):
    model, data = bound(gh.Bernoulli(prior=prior))
    assert model.emissions.separates()
    _check_block_priors(model, data, model.emissions, 3)


def test_log_priors_of_origins_sum_to_the_log_prior():
    sticky = Dirichlet(torch.eye(3) * 5 + 1)
    for transitions in (
        gh.InputDriven(prior=Normal(torch.zeros(3, 1, 1), torch.ones(3, 1, 1))),
        gh.Stationary(prior=sticky),
    ):
        model, data = bound(transitions=transitions)
        _check_block_priors(model, data, model.transitions, 3)


def test_a_prior_over_all_states_is_one_joint_problem():
    joint = MultivariateNormal(torch.zeros(2), torch.eye(2)).expand([3])
    joint = torch.distributions.Independent(joint, 1)
    model, data = bound(gh.Bernoulli(prior=joint))
    assert not model.emissions.separates()
    _check_block_priors(model, data, model.emissions, 1)
    function, data = bound(gh.Bernoulli(prior=lambda s: Normal(0.0, 1.0).expand(s)))
    assert not function.emissions.separates()


def _check_block_priors(model, data, component, num_blocks):
    """Block log priors sum to the sites' log densities, block by block in order."""
    sets = with_sets([random_params(model, data, seed=s) for s in (1, 2)])
    prefix = next(n for n, c in model.components.items() if c is component)
    own = {n: v for n, v in sets.items() if n.startswith(prefix)}
    _, sites = log_probs_and_sites(component, data, {n: v[0] for n, v in own.items()})
    blocks = PackedRows(component, sites)
    _, sites = log_probs_and_sites(component, data, own)
    by_block = blocks.log_prior(sites)
    if blocks.is_flat:
        assert (by_block == 0).all()
        return
    assert by_block.shape == (2 * num_blocks,)
    whole = sum(site["fn"].log_prob(own[name]) for name, site in sites.items())
    torch.testing.assert_close(by_block.reshape(2, num_blocks).sum(-1), whole)


@pytest.mark.parametrize("transitions", TRANSITIONS)
@pytest.mark.parametrize("family", ["categorical", "poisson"])
def test_packed_parameters_unpack_to_themselves(transitions, family):
    model, data = bound(
        EMISSIONS[family](), TRANSITIONS[transitions](), data=random_data(family)
    )
    sets = with_sets([random_params(model, data, seed=s) for s in (1, 2)])
    for prefix, component in model.components.items():
        own = {n: v for n, v in sets.items() if n.startswith(prefix)}
        _, sites = log_probs_and_sites(
            component, data, {n: v[0] for n, v in own.items()}
        )
        blocks = PackedRows(component, sites)
        rows = blocks.pack(own)
        assert len(rows) == 2 * blocks.num_blocks
        assert blocks.num_blocks == (3 if component.separates() else 1)
        for name, value in blocks.unpack(rows).items():
            torch.testing.assert_close(value, own[name])


FAST = ["bernoulli", "categorical", "counts"]
FAST += ["overdispersed", "positive", "heavy-tailed"]


@pytest.mark.parametrize("family", FAST)
def test_emission_objectives_are_those_of_automatic_differentiation(family):
    model, data = bound(EMISSIONS[family](), data=random_data(family, mask=MASK))
    shape = (2, data.num_steps, STATES)
    counts = torch.rand(shape, generator=seeded_generator()).double()
    counts = counts * data.mask[:, None]
    _check_objective(model, data, model.emissions, counts)


@pytest.mark.parametrize("states", [2, 3])
def test_transition_objectives_are_those_of_automatic_differentiation(states):
    model, data = bound(transitions=gh.InputDriven(), states=states)
    shape = (2, data.num_steps, states, states)
    counts = torch.rand(shape, generator=seeded_generator()).double()
    counts[:, data.starts] = 0.0
    _check_objective(model, data, model.transitions, counts)


def _check_objective(model, data, component, counts):
    """Values and gradients of all problems, and of some, against autograd."""
    sets = with_sets([random_params(model, data, seed=s, size=2.0) for s in (1, 2)])
    prefix = next(n for n, c in model.components.items() if c is component)
    own = {n: v for n, v in sets.items() if n.startswith(prefix)}
    sites = log_probs_and_sites(component, data, {n: v[0] for n, v in own.items()})[1]
    blocks = PackedRows(component, sites)
    rows = blocks.pack(own).requires_grad_()
    log_probs, _ = log_probs_and_sites(component, data, blocks.unpack(rows))
    expected = blocks.sum_counts(counts, log_probs)
    (gradient,) = torch.autograd.grad(expected.sum(), rows)
    points, gradient = rows.detach().numpy(), gradient.numpy()
    objective = component.block_objective(data)
    prepared = objective.prepare(counts)
    for which in (np.arange(len(points)), np.array([len(points) - 1, 1])):
        value, slope = objective(points[which].copy(), which, prepared)
        np.testing.assert_allclose(value, expected.detach().numpy()[which], rtol=1e-12)
        np.testing.assert_allclose(slope, gradient[which], rtol=1e-10, atol=1e-12)
    begun = objective.begin(points, prepared)
    np.testing.assert_allclose(begun.values, expected.detach(), rtol=1e-12)
    np.testing.assert_allclose(begun.gradient, gradient, rtol=1e-10, atol=1e-12)


def test_objectives_of_long_designs_are_summed_over_stretches_of_time():
    steps = 40_000
    data = gh.Sequences(
        torch.randint(3, (steps,), generator=seeded_generator()), normals(steps, 2)
    )
    model, data = bound(gh.Categorical(3), data=data, states=2)
    counts = torch.rand((1, steps, 2), generator=seeded_generator(1)).double()
    weights = normals(1, 2, 2, 2, seed=4)
    log_probs, _ = log_probs_and_sites(
        model.emissions, data, {"emissions.weights": weights}
    )
    objective = model.emissions.block_objective(data)
    values, _ = objective(
        weights.reshape(2, 4).numpy(), np.arange(2), objective.prepare(counts)
    )
    np.testing.assert_allclose(values, (counts * log_probs).sum((0, 1)), rtol=1e-12)


def test_objectives_survive_enormous_weights():
    model, data = bound(gh.Categorical(3), data=random_data("categorical"))
    counts = torch.ones(1, data.num_steps, STATES).double()
    weights = 1e4 * normals(1, STATES, 2, 2)
    objective = model.emissions.block_objective(data)
    values, gradient = objective(
        weights.reshape(3, 4).numpy(), np.arange(3), objective.prepare(counts)
    )
    log_probs, _ = log_probs_and_sites(
        model.emissions, data, {"emissions.weights": weights}
    )
    np.testing.assert_allclose(values, log_probs[0].sum(0), rtol=1e-12)
    assert np.isfinite(gradient).all()


CLOSED_FORMS = {
    "stationary, flat": (gh.Stationary(), "transitions"),
    "stationary, sticky": (
        gh.Stationary(prior=Dirichlet(torch.eye(3) * 5 + 1.5)),
        "transitions",
    ),
    "initial, flat": (gh.Initial(), "initial"),
    "initial, Dirichlet": (
        gh.Initial(prior=Dirichlet(torch.tensor([2.0, 1.5, 3.0]))),
        "initial",
    ),
    "per session": (gh.Initial(per_session=True), "initial"),
}


@pytest.mark.parametrize("part, prefix", CLOSED_FORMS.values(), ids=CLOSED_FORMS)
def test_closed_forms_are_the_maximum_on_the_simplex(part, prefix):
    model, data = bound(**{prefix: part})
    component = model.components[prefix]
    per_session = getattr(part, "per_session", False)
    shape = (2, 1, 3, 3) if prefix == "transitions" else (2, 3 if per_session else 1, 3)
    counts = 5 * torch.rand(shape, generator=seeded_generator(3)).double() + 0.1
    exact = component.closed_form(counts, data, {})["probs"]

    def expected_log_joint(probs):
        params = {f"{prefix}.probs": probs}
        log_probs, sites = log_probs_and_sites(component, data, params)
        prior = sites[f"{prefix}.probs"]["fn"].log_prob(probs)
        return (counts * log_probs).flatten(1).sum(-1) + prior

    simplex = torch.distributions.StickBreakingTransform()
    free = simplex.inv(exact).requires_grad_()
    value = expected_log_joint(simplex(free))
    (gradient,) = torch.autograd.grad(value.sum(), free)
    assert gradient.abs().max() < 1e-10
    for seed in range(20):
        other = simplex(free.detach() + 0.3 * normals(*free.shape, seed=seed))
        assert (expected_log_joint(other) < value).all()


def test_a_closed_form_without_counts_is_uniform_and_never_nan():
    counts = torch.zeros(1, 1, 3, 3).double()
    counts[0, 0, 0] = torch.tensor([1.0, 2.0, 1.0])
    model, data = bound()
    probs = model.transitions.closed_form(counts, data, {})["probs"]
    torch.testing.assert_close(probs[0, 0], torch.tensor([0.25, 0.5, 0.25]).double())
    torch.testing.assert_close(probs[0, 1:], torch.full((2, 3), 1 / 3).double())


def test_a_prior_without_closed_form_is_left_to_the_optimiser():
    model, data = bound(
        initial=gh.Initial(prior=lambda shape: Dirichlet(torch.ones(shape)))
    )
    assert model.initial.closed_form(torch.ones(1, 1, 3), data, {}) is None


def test_a_component_shows_which_m_step_it_separates_into():
    assert gh.Bernoulli().separates() and gh.InputDriven().separates()
    assert gh.Stationary().separates()
    assert not gh.SharedInputDriven().separates()
    assert not gh.InitialGLM().separates()
