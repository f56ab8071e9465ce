"""Renumberings that leave the density unchanged, against trying all of them."""

import itertools

import pyro
import pyro.distributions as dist
import pytest
import torch
from families import normals, random_data, random_params
from nuts_cases import POOLED_AXES, pooled, two_animals
from torch.distributions import Dirichlet, Normal

import glmhmm_pyro as gh
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.program.renumbering import Renumbering
from glmhmm_pyro.inference.program.symmetry import Symmetry, symmetry_of

RING = [[8.0, 2.0, 1.0], [1.0, 8.0, 2.0], [2.0, 1.0, 8.0]]
PAIRS = [[8.0, 4, 1, 1], [4.0, 8, 1, 1], [1.0, 1, 8, 4], [1.0, 1, 4, 8]]


def double(values):
    return torch.tensor(values, dtype=torch.float64)


def means(*values):
    """Weights with a prior mean for every state."""
    return gh.Bernoulli(prior=Normal(double(values)[:, None], double(1.0)))


RIDGE = gh.priors.Ridge(1.0)


def differing(contrasts, mean):
    """Weights with a prior of contrasts between states."""
    prior = gh.priors.Contrast(contrasts, Normal(mean, 0.3), base=RIDGE)
    return gh.Bernoulli(prior=prior)


PRIORS = {
    "flat": (3, gh.Bernoulli(), None, None, 6),
    "ridge": (3, gh.Bernoulli(RIDGE), gh.Stationary(gh.priors.Sticky(8, 2)), None, 6),
    "means": (3, means(-1.0, 0.0, 1.0), None, None, 1),
    "equal means": (3, means(-1.0, 1.0, -1.0), None, None, 2),
    "differences": (3, differing("pairs", 0.0), None, None, 6),
    "one difference": (3, differing([[-1, 1, 0]], 0.0), None, None, 2),
    "a difference of 1": (2, differing([[-1, 1]], 1.0), None, None, 1),
    "two pairs": (4, means(0.0, 1.0, 0.0, 1.0), None, None, 4),
    "ring": (3, gh.Bernoulli(RIDGE), gh.Stationary(Dirichlet(double(RING))), None, 3),
    "pairs": (4, gh.Bernoulli(RIDGE), gh.Stationary(Dirichlet(double(PAIRS))), None, 8),
    "reference of three": (3, gh.Bernoulli(), None, gh.InitialGLM(RIDGE), 2),
    "reference of two": (2, gh.Bernoulli(), None, gh.InitialGLM(RIDGE), 2),
    "shared": (3, gh.Bernoulli(RIDGE), gh.SharedInputDriven(RIDGE, RIDGE), None, 2),
    "shared, flat": (3, gh.Bernoulli(RIDGE), gh.SharedInputDriven(), None, 6),
    "driven": (3, gh.Bernoulli(RIDGE), gh.InputDriven(RIDGE), None, 6),
    "scale of a state": (
        3,
        gh.Bernoulli(gh.priors.Hierarchical(dist.HalfNormal(1.0), per=("state",))),
        None,
        None,
        6,
    ),
    "scale of a contrast": (
        3,
        gh.Bernoulli(RIDGE),
        gh.InputDriven(
            gh.priors.Hierarchical(dist.HalfNormal(1.0), per=("destination",))
        ),
        None,
        1,
    ),
}


def program_of(name):
    states, emissions, transitions, initial, size = PRIORS[name]
    model, data = gh.GLMHMM(states, emissions, transitions, initial), random_data()
    return Program.of(model, data), states, size


def somewhere(program, seed=0):
    """Values of all sites, at a random point."""
    return program.coordinates.unpack(normals(program.coordinates.size, seed=seed))


def preserving(program, renumbering, states):
    """All renumberings that leave the log-joint as it is at three points."""
    points = [somewhere(program, seed) for seed in (11, 12, 13)]
    before = [program.log_joint(point) for point in points]
    found = set()
    for order in itertools.permutations(range(states)):
        turned = [renumbering(point, torch.tensor(order)) for point in points]
        after = [program.log_joint(point) for point in turned]
        if torch.allclose(torch.stack(after), torch.stack(before), rtol=1e-10):
            found.add(order)
    return found


def as_set(symmetry):
    orders = [tuple(order.tolist()) for order in symmetry.orders()]
    assert orders[0] == tuple(range(symmetry.num_states))
    assert len(orders) == len(set(orders)) == symmetry.size
    return set(orders)


@pytest.mark.parametrize("name", PRIORS)
def test_the_renumberings_found_are_those_that_change_nothing(name):
    program, states, size = program_of(name)
    params = somewhere(program)
    renumbering = Renumbering(program.model, params, None)
    found = symmetry_of(program, params, renumbering, states)
    assert found.size == size and found.is_complete
    assert found.is_full == (size == torch.arange(1, states + 1).prod())
    assert as_set(found) == preserving(program, renumbering, states)


def first_is_left(data):
    """A user's model: the prior treats the states alike, the likelihood does not."""
    weights = pyro.sample("weights", dist.Normal(double([0.0] * 3), 1.0).to_event(1))
    start = double([0.5, 0.25, 0.25]).log()[None]
    moves = double([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]]).log()
    logits = weights.expand(data.num_steps, 3)
    hidden = gh.HiddenMarkov(
        start, moves[None], dist.Bernoulli(logits=logits), data.lengths, data.mask
    )
    pyro.sample("y", hidden, obs=data.emissions)


@pytest.mark.parametrize(
    "model, make, axes, states, size",
    [
        (pooled, two_animals, POOLED_AXES, 2, 2),
        (pooled, two_animals, None, 2, 1),
        (first_is_left, random_data, {"weights": (0,)}, 3, 2),
    ],
)
def test_models_of_ones_own_are_asked_as_a_whole(model, make, axes, states, size):
    program = Program.of(model, make())
    params = somewhere(program)
    renumbering = Renumbering(model, params, axes)
    found = symmetry_of(program, params, renumbering, states)
    assert found.size == size and found.is_complete == (axes is not None)
    if axes is not None:
        assert as_set(found) == preserving(program, renumbering, states)


def test_many_unlike_states_are_said_not_to_be_tried_out():
    model = gh.GLMHMM(7, means(*range(7)))
    program = Program.of(model, random_data())
    params = somewhere(program)
    renumbering = Renumbering(model, params, None)
    found = symmetry_of(program, params, renumbering, 7)
    assert found.size == 1 and not found.is_complete


def test_a_component_that_cannot_be_renumbered_is_left_with_advice():
    class Half(gh.Stationary):
        def __init__(self):
            super().__init__()
            self.extra = gh.Site(("state", 2), prior=Normal(0.0, 1.0))

        def logits(self, data):
            return super().logits(data) + self.extra.sum()

    model, data = gh.GLMHMM(3, gh.Bernoulli(), Half()), random_data()
    program = Program.of(model, data)
    params = somewhere(program)
    renumbering = Renumbering(model, params, None)
    assert renumbering.unknown == ["transitions.extra"]
    assert "override permuted" in renumbering.advice and "Half" in renumbering.advice
    assert symmetry_of(program, params, renumbering, 3).size == 1


@pytest.mark.parametrize("name", ["flat", "means", "two pairs", "ring", "pairs"])
def test_the_best_and_the_sorted_order_are_those_of_all_in_the_group(name):
    program, states, _ = program_of(name)
    params = somewhere(program)
    renumbering = Renumbering(program.model, params, None)
    symmetry = symmetry_of(program, params, renumbering, states)
    for seed in range(5):
        agreement = normals(states, states, seed=seed)
        orders = list(symmetry.orders())
        total = [sum(agreement[k, o[k]] for k in range(states)) for o in orders]
        best = orders[int(torch.stack(total).argmax())]
        assert symmetry.best_order(agreement).equal(best)
        keys = normals(states, seed=seed + 100)
        first = min(orders, key=lambda order: keys[order].tolist())
        assert symmetry.sorted_order(keys).equal(first)


@pytest.mark.parametrize("states", [3, 5])
def test_the_best_orders_of_many_are_those_of_each(states):
    """Of few orders all are compared, of many the best is assigned."""
    agreements = normals(2, 4, states, states)
    orders = list(itertools.permutations(range(states)))
    found = Symmetry.full(states).best_order(agreements)
    assert found.shape == (2, 4, states)
    for agreement, order in zip(agreements.flatten(0, 1), found.flatten(0, 1)):
        total = {o: sum(agreement[k, o[k]] for k in range(states)) for o in orders}
        assert tuple(order.tolist()) == max(total, key=total.get)


def test_without_known_symmetry_nothing_moves():
    alone = Symmetry.none(3)
    assert alone.best_order(normals(3, 3)).tolist() == [0, 1, 2]
    assert not alone.is_full and Symmetry.none(1).is_full


def test_parameters_keep_their_state_specific_prior_under_the_group():
    program, states, _ = program_of("equal means")
    params = random_params(program.model, program.data)
    renumbering = Renumbering(program.model, params, None)
    for order in symmetry_of(program, params, renumbering, states).orders():
        turned = renumbering(params, order)
        expected = program.log_joint(params)
        torch.testing.assert_close(program.log_joint(turned), expected)
