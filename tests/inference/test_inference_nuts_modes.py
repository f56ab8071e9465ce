"""NUTS on posteriors of several modes: chains begin in all, and no one is fooled."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from families import normals
from pyro.distributions import LogNormal
from scipy import stats
from torch.distributions import Dirichlet

import glmhmm_pyro as gh
from glmhmm_pyro.inference.mode.map import MAP
from glmhmm_pyro.inference.nuts import nuts
from glmhmm_pyro.inference.nuts.beginning import (
    chain_starts,
    modes_of,
    modes_visited,
    separate_modes_warning,
)
from glmhmm_pyro.inference.nuts.chains import Chains
from glmhmm_pyro.inference.nuts.prior_ends import is_maximum, prior_ends
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.program.renumbering import Renumbering
from glmhmm_pyro.inference.search.search import Search

TURNED = torch.tensor([1, 0])
SHORT = {"num_samples": 12, "num_warmup": 10, "parallel": False}
pytestmark = pytest.mark.filterwarnings("ignore::glmhmm_pyro.ConvergenceWarning")


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def mirrored():
    """Three levels for two states, and the same negated: closed under negation."""
    levels = double(-2.5, 0.0, 2.5).repeat_interleave(8) + 0.35 * normals(24)
    return gh.Sequences(torch.cat([levels, -levels]), lengths=[24, 24])


def model():
    """Two Gaussian states whose prior knows neither a number nor a sign."""
    row = Dirichlet(double(2.0, 2.0))
    spread = LogNormal(double(-0.5), double(0.7))
    emissions = gh.Gaussian(prior=gh.priors.Ridge(5.0), scale_prior=spread)
    return gh.GLMHMM(
        2, emissions, gh.Stationary(gh.priors.Sticky(8, 2)), gh.Initial(row)
    )


@pytest.fixture(scope="module")
def mode():
    """The fit at the best end of a search that ended in both mirrored modes."""
    options = {"num_restarts": 12, "init": "kmeans", "progress": False}
    return gh.fit(model(), mirrored(), "map", **options)


@pytest.fixture(scope="module")
def both(mode):
    """That fit with the two mirrored solutions alone, each turned into the other."""
    params = dict(mode.params)
    # Negated data are the same data: the mirrored mode is known exactly.
    params["emissions.weights"] = -params["emissions.weights"]
    other = replace(mode.solutions[0], params=params)
    return replace(mode, solutions=(mode.solutions[0], other))


def renumbering_of(fit):
    return Renumbering(fit.model, fit.params, None)


def test_mirrored_solutions_are_two_modes_of_one_mass(both):
    program = Program.of(both.model, mirrored())
    found = modes_of(program, both, renumbering_of(both), 4)
    assert len(found) == 2
    assert found[0].log_mass == pytest.approx(found[1].log_mass, abs=1e-4)
    sums = [float(m.params["emissions.weights"].sum()) for m in found]
    assert sums[0] == pytest.approx(-sums[1], abs=1e-3) and abs(sums[0]) > 1
    assert len(modes_of(program, both, renumbering_of(both), 1)) == 1


def test_copies_by_renumbering_are_one_mode(both):
    program, renumbering = Program.of(both.model, mirrored()), renumbering_of(both)
    copies = [replace(s, params=renumbering(s.params, TURNED)) for s in both.solutions]
    many = replace(both, solutions=(*both.solutions, *copies))
    assert len(modes_of(program, many, renumbering, 6)) == 2


def test_modes_of_little_mass_and_ends_without_a_mode_are_left(both):
    program, renumbering = Program.of(both.model, mirrored()), renumbering_of(both)
    first, other = both.solutions
    lost = replace(other, status=gh.Status.UNBOUNDED)
    low = replace(other, log_joint=first.log_joint - 30)
    for solution in (lost, low):
        fit = replace(both, solutions=(first, solution))
        assert len(modes_of(program, fit, renumbering, 4)) == 1


def test_draws_belong_to_the_mode_that_makes_them_probable(both):
    program, renumbering = Program.of(both.model, mirrored()), renumbering_of(both)
    modes = modes_of(program, both, renumbering, 4)
    vectors = torch.stack(
        [m.whitening(0.5 * normals(5, program.coordinates.size)) for m in modes]
    )
    draws = program.coordinates.unpack(vectors)
    turned = renumbering(draws, TURNED)
    for some in (draws, turned):
        where = modes_visited(program, modes, some, renumbering)
        assert where.tolist() == [[0] * 5, [1] * 5]


def test_chains_that_met_in_a_mode_are_not_apart(both):
    program = Program.of(both.model, mirrored())
    modes = modes_of(program, both, renumbering_of(both), 4)
    assert separate_modes_warning(modes, torch.tensor([[0, 1], [1, 1]]), [0, 1]) is None
    said = separate_modes_warning(
        modes, torch.tensor([[0, 0], [1, 1], [0, 0]]), [0, 2, 3]
    )
    assert "chains 0, 3" in said and "chains 2" in said
    assert "arbitrary and no posterior mass" in said


@pytest.fixture(scope="module")
def drawn():
    """A short run of four chains."""
    method = gh.NUTS(**SHORT, num_chains=4)
    options = {"num_restarts": 12, "init": "kmeans", "progress": False}
    return gh.fit(model(), mirrored(), method, **options)


def test_chains_in_different_modes_have_not_mixed_and_say_so(drawn):
    assert drawn.status is gh.Status.NOT_MIXED
    assert "share of each mode in the draws is that of its chains" in repr(drawn)
    assert "arbitrary and no posterior mass" in " ".join(drawn.summary().attrs["notes"])
    where = drawn.posterior.stats["mode"]
    assert (where == np.array([0, 1, 0, 1])[:, None]).all()
    sums = drawn.draws["emissions.weights"].sum((-1, -2))
    signs = sums.mean(1).sign()
    assert signs[0] == signs[2] == -signs[1] == -signs[3]


def test_the_advice_to_draw_from_one_mode_leads_there(drawn):
    fit = gh.fit(
        model(),
        mirrored(),
        gh.NUTS(**SHORT, num_chains=1),
        init=drawn.solutions[1].params,
        num_restarts=1,
        progress=False,
    )
    assert "different modes" not in repr(fit)
    expected = drawn.solutions[1].params["emissions.weights"].sum().sign()
    sums = fit.draws["emissions.weights"].sum((-1, -2))
    assert (sums.mean(1).sign() == expected).all()


def test_fewer_chains_than_modes_say_what_they_leave_out(both):
    program, renumbering = Program.of(both.model, mirrored()), renumbering_of(both)
    generator = torch.Generator().manual_seed(0)
    begun = chain_starts(program, both, Search(), 1, renumbering, generator)
    assert len(begun.potentials) == 1 and len(begun.modes) == 2
    draws = {n: v.expand((1, 3) + v.shape) for n, v in both.params.items()}
    drawn = Chains(torch.zeros(1, 3, 1), {}, [0], [""])
    posterior = gh.inference.Posterior(draws)
    kept, said = nuts._mode_labels(program, begun, drawn, posterior, renumbering)
    assert "2 modes of comparable mass, and chains began around 1" in said[0]
    assert len(said) == 1 and not np.ptp(kept.stats["mode"])


def far_from_the_prior(gap):
    """A level with a heavy-tailed prior at 0, and three heavy-tailed steps far away."""
    noise = LogNormal(double(0.7).log(), double(0.01))
    tails = LogNormal(double(1.0).log(), double(0.01))
    prior = gh.priors.StudentT(df=4.0, scale=0.05)
    emissions = gh.components.StudentT(prior=prior, scale_prior=noise, df_prior=tails)
    return gh.GLMHMM(1, emissions), gh.Sequences(gap + np.array([-0.1, 0.0, 0.1]))


def mass_by_the_data(gap):
    """Share of the posterior nearer to the data than to the prior, by quadrature."""
    grid = np.linspace(-6 * gap, 6 * gap, 240_001)
    steps = gap + np.array([-0.1, 0.0, 0.1])
    logs = stats.t.logpdf(grid, 4, 0, 0.05)
    logs += stats.t.logpdf(steps[:, None], 1, grid, 0.7).sum(0)
    density = np.exp(logs - logs.max())
    return density[grid > gap / 2].sum() / density.sum()


@pytest.mark.parametrize("num_restarts", [1, 3])
def test_chains_begin_at_the_priors_mode_too(num_restarts):
    assert 0.001 < mass_by_the_data(10.0) < 0.01
    model, data = far_from_the_prior(10.0)
    method = gh.NUTS(**SHORT, num_chains=2)
    fit = gh.fit(model, data, method, num_restarts=num_restarts, progress=False)
    assert len(fit.solutions) == 1
    assert fit.status is gh.Status.NOT_MIXED
    assert "share of each mode in the draws is that of its chains" in repr(fit)
    levels = fit.draws["emissions.weights"].squeeze().mean(1)
    assert levels[0] == pytest.approx(0.0, abs=2.0)
    assert levels[1] == pytest.approx(10.0, abs=2.0)


def test_a_given_start_is_drawn_from_alone():
    model, data = far_from_the_prior(10.0)
    there = gh.fit(model, data, "map", num_restarts=1, progress=False)
    method = gh.NUTS(**SHORT, num_chains=2)
    options = {"init": there.params, "num_restarts": 1, "progress": False}
    fit = gh.fit(model, data, method, **options)
    assert "different modes" not in repr(fit)
    assert fit.draws["emissions.weights"].min() > 5


def test_where_prior_and_data_agree_their_climbs_end_in_the_one_mode():
    model, data = far_from_the_prior(0.1)
    program = Program.of(model, data)
    fit = gh.fit(model, data, "map", num_restarts=2, progress=False)
    ends = prior_ends(program, fit.params, 0)
    assert len(ends) == 2
    assert len(modes_of(program, fit, renumbering_of(fit), 4, ends)) == 1


def test_a_saddle_is_no_mode(both):
    program, renumbering = Program.of(both.model, mirrored()), renumbering_of(both)
    alike = {
        n: (v + renumbering(both.params, TURNED)[n]) / 2 for n, v in both.params.items()
    }
    saddle, _ = MAP().density_mode(program, alike)
    assert not is_maximum(program, saddle)
    for mode in modes_of(program, both, renumbering, 4):
        assert is_maximum(program, mode.whitening.centre)
