"""The sampler on plain vectors, against its definition and densities that are known."""

import math

import numpy as np
import pytest
import torch

from glmhmm_pyro.concurrency import seeded
from glmhmm_pyro.inference.nuts.potential import Potential
from glmhmm_pyro.inference.nuts.sampler import Settings
from glmhmm_pyro.inference.nuts.trajectories import Point, Tree, build_tree, turns_back
from glmhmm_pyro.inference.nuts.vector_sampler import VectorSampler
from glmhmm_pyro.inference.nuts.warmup import StepLength, scale_estimate, window_ends
from glmhmm_pyro.inference.nuts.whitening import Whitening
from glmhmm_pyro.inference.program.evaluated import Evaluated

SETTINGS = Settings(10, 60, 0.8, 8, False)

# Standard errors of a mean that it may be away: 1 in 16,000 for each number.
FAR = 4.0


def quartic(position):
    """The energy of a density that is no normal, with its slope."""
    energy = (position**4).sum() / 4 + position[0] * position[1] / 2
    slope = position**3
    slope[:2] += position[1::-1] / 2
    return float(energy), slope


def begun(size=3, seed=0):
    rng = np.random.default_rng(seed)
    position, momentum = rng.normal(size=(2, size))
    return Tree.at(Point.at(position, momentum, *quartic(position)))


def points_beyond(start, number, step):
    """Points by leapfrogs one after another, as they are defined."""
    found, end = [], start.proposal
    for _ in range(number):
        half = end.momentum - step / 2 * quartic(end.position)[1]
        position = end.position + step * half
        energy, slope = quartic(position)
        end = Point.at(position, half - step / 2 * slope, energy, slope)
        found.append(end)
    return found


def turning_blocks(points, step):
    """Whether any aligned part of 2, 4, ... points turns back."""
    size = 2
    while size <= len(points):
        for first in range(0, len(points), size):
            block = points[first : first + size]
            momenta = sum(point.momentum for point in block)
            ends = (block[0].momentum, block[-1].momentum)
            if turns_back(momenta, *(ends if step > 0 else ends[::-1])):
                return True
        size *= 2
    return False


@pytest.mark.parametrize("step", [0.05, -0.1, 0.2])
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_a_tree_has_the_points_that_leapfrogs_lead_to(depth, step):
    start = begun()
    expected = points_beyond(start, 2**depth, step)
    tree = build_tree(start, depth, step, quartic, lambda: 0.3)
    assert tree.num_steps == 2**depth
    assert not tree.has_diverged
    assert tree.has_turned == turning_blocks(expected, step)
    ends = (expected[0], expected[-1]) if step > 0 else (expected[-1], expected[0])
    for found, end in zip((tree.first, tree.last), ends):
        np.testing.assert_array_equal(found.position, end.position)
        np.testing.assert_array_equal(found.momentum, end.momentum)
    momenta = sum(point.momentum for point in expected)
    np.testing.assert_allclose(tree.momenta, momenta, rtol=1e-12, atol=1e-12)
    gained = np.array([p.energy - start.start_energy for p in expected])
    assert tree.log_weight == pytest.approx(np.log(np.exp(-gained).sum()), abs=1e-12)
    assert tree.accepted == pytest.approx(np.exp(np.minimum(-gained, 0)).sum())


def test_going_back_leads_to_where_it_began():
    start = begun()
    there = points_beyond(start, 16, 0.1)[-1]
    back = points_beyond(Tree.at(there), 16, -0.1)[-1]
    np.testing.assert_allclose(back.position, start.first.position, atol=1e-12)
    np.testing.assert_allclose(back.momentum, start.first.momentum, atol=1e-12)


def test_points_are_proposed_by_their_weights():
    rng, start, times = np.random.default_rng(1), begun(seed=4), 3000
    points = points_beyond(start, 4, 0.25)
    assert not turning_blocks(points, 0.25)
    weights = np.exp([-p.energy for p in points])
    expected = times * weights / weights.sum()
    numbers = {point.position.tobytes(): i for i, point in enumerate(points)}
    counts = np.zeros(4)
    for _ in range(times):
        tree = build_tree(start, 2, 0.25, quartic, rng.random)
        counts[numbers[tree.proposal.position.tobytes()]] += 1
    # Chi-squared of three degrees of freedom: 1 in 10,000 is above 21.1.
    assert ((counts - expected) ** 2 / expected).sum() < 21.1


def test_a_tree_ends_where_energy_is_not_kept_or_no_number():
    start = begun()
    tree = build_tree(start, 3, 50.0, quartic, lambda: 0.5)
    assert tree.has_diverged and tree.num_steps == 1 and tree.accepted == 0.0
    broken = build_tree(start, 3, 0.1, lambda x: (math.nan, x), lambda: 0.5)
    assert broken.has_diverged and broken.num_steps == 1


def test_windows_are_those_of_stan():
    # The Stan reference manual, on automatic parameter tuning.
    assert window_ends(1000) == [75, 100, 150, 250, 450, 950]
    assert window_ends(150) == [75, 100]
    assert window_ends(19) == []
    for number in (20, 60, 149, 151, 777):
        ends = window_ends(number)
        assert ends == sorted(set(ends)) and 0 < ends[0] < ends[-1] < number


def test_steps_settle_where_acceptance_is_as_wanted():
    steps = StepLength(1.0, 0.7)
    steps.begin(1.0)
    for _ in range(2000):
        steps.learn(math.exp(-2.0 * steps.length))
    steps.end()
    assert steps.length == pytest.approx(-math.log(0.7) / 2.0, rel=0.02)


def test_widths_are_roots_of_covariances():
    draws = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0)).double()
    draws = draws @ torch.tensor([[2.0, 1.0], [0.0, 0.5]]).double()
    dense = scale_estimate(draws, True)
    torch.testing.assert_close(dense @ dense.T, torch.cov(draws.T), rtol=5e-3, atol=0.0)
    torch.testing.assert_close(
        scale_estimate(draws, False), draws.std(0), rtol=5e-3, atol=0.0
    )
    assert scale_estimate(torch.zeros(30, 1).double(), True).shape == (1, 1)


class Gammas:
    """A program of two logarithms of gamma variables, of shapes 3 and 20."""

    is_direct = True
    shapes = torch.tensor([3.0, 20.0], dtype=torch.float64)

    def evaluated(self, vector, jacobian):
        value = (self.shapes * vector - vector.exp()).sum()
        slope = self.shapes - vector.exp()
        return Evaluated({}, float(value), 0.0, 0.0, slope)


def sampler_of(settings=SETTINGS):
    potential = Potential(Gammas(), Whitening.none(2))
    return VectorSampler(settings, potential, torch.ones(2).double())


@pytest.fixture(autouse=True)
def _seed():
    with seeded(0):
        yield


@pytest.mark.parametrize("is_dense", [False, True])
def test_draws_have_the_moments_of_a_density_that_is_not_normal(is_dense):
    sampler = sampler_of(Settings(1500, 150, 0.8, 8, is_dense))
    draws = torch.stack([sampler.draw().vector for _ in range(1650)])[150:]
    shapes = Gammas.shapes
    for power in (1, 2):
        # exp of a draw is gamma distributed; half of the draws count.
        values = draws.exp() ** power
        mean = shapes if power == 1 else shapes * (shapes + 1)
        error = values.std(0) / (len(values) / 2) ** 0.5
        assert ((values.mean(0) - mean).abs() < FAR * error).all()


def test_warm_up_leads_to_the_acceptance_that_is_wanted():
    sampler = sampler_of(Settings(200, 300, 0.8, 8, False))
    for _ in range(300):
        sampler.draw()
    noted = [sampler.draw().stats for _ in range(200)]
    assert 0.7 < np.mean([stats[2] for stats in noted]) < 0.97
    assert len({stats[3] for stats in noted}) == 1
    assert not any(stats[5] for stats in noted)


@pytest.mark.parametrize("is_dense", [False, True])
@pytest.mark.parametrize("after", [3, 30, 57, 65])
def test_a_sampler_goes_on_from_its_state_to_the_bit(is_dense, after):
    settings = Settings(10, 60, 0.8, 8, is_dense)
    first = sampler_of(settings)
    for _ in range(after):
        first.draw()
    state = first.state()
    expected = [first.draw() for _ in range(70 - after)]
    second = sampler_of(settings)
    second.restore(state)
    for wanted in expected:
        found = second.draw()
        assert torch.equal(found.vector, wanted.vector) and found[1] == wanted[1]


def test_calls_are_counted_and_potentials_are_those_of_the_draws():
    sampler = sampler_of()
    before = sampler.potential.num_calls
    vector, stats = sampler.draw()
    assert stats[4] == sampler.potential.num_calls - before
    assert stats[0] == pytest.approx(sampler.potential.evaluated(vector)[0])
