"""Mini-batches of sessions: on average they are all of the data, exactly."""

from itertools import combinations

import pyro
import pyro.distributions as dist
import pytest
import torch
from families import normals
from inference_cases import penalised
from svi_cases import small_data, small_fit, small_program, two_animals

import glmhmm_pyro as gh
from glmhmm_pyro.inference.svi.elbo import TracedELBO
from glmhmm_pyro.inference.svi.guides import make_guide
from glmhmm_pyro.inference.svi.minibatches import MiniBatches
from glmhmm_pyro.inference.svi.svi import SVI


def written_model(data):
    """A model of the user's own with an observation that belongs to no session."""
    weights = pyro.sample("weights", dist.Normal(torch.zeros(2, 2), 0.3).to_event(2))
    pyro.sample("survey", dist.Normal(weights.sum(), 1.0), obs=torch.tensor(2.0))
    stay = torch.tensor([[[0.9, 0.1], [0.1, 0.9]]]).double()
    hidden = gh.HiddenMarkov(
        torch.zeros(1, 2).double(),
        stay.log(),
        dist.Bernoulli(logits=data.covariates @ weights.to(torch.float64).T),
        data.lengths,
        data.mask,
    )
    pyro.sample("y", hidden, obs=data.emissions.double())


def bound_and_gradient(batch, guide):
    """An estimate, and its gradient by all parameters, at one noise of the guide."""
    torch.manual_seed(3)
    estimator = TracedELBO()
    loss = estimator.estimate(batch.model, guide, batch.data)
    leaves = list(estimator.parameters().values())
    gradients = torch.autograd.grad(loss, leaves)
    return torch.cat([flat(batch.offset - loss.detach()), *map(flat, gradients)])


def flat(value):
    return value.flatten().double()


BY_SESSION = gh.GLMHMM(
    2,
    penalised().emissions,
    gh.Stationary(prior=dist.Dirichlet(torch.ones(2))),
    gh.Initial(dist.Dirichlet(torch.ones(2)), per_session=True),
)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "model", [None, BY_SESSION, written_model], ids=["GLMHMM", "by session", "written"]
)
def test_the_mean_over_all_subsets_is_the_estimate_from_all_sessions(model, size):
    program, start = small_program(model)
    lengths = program.data.lengths.tolist()
    assert len(set(lengths)) == 4 and program.data.mask is not None
    with pyro.get_param_store().scope(), torch.random.fork_rng():
        guide = make_guide("normal", program, start)
        whole = MiniBatches(program, None, start).draw()
        expected = bound_and_gradient(whole, guide)
        batches = MiniBatches(program, size, start)
        subsets = [list(chosen) for chosen in combinations(range(4), size)]
        found = torch.stack(
            [bound_and_gradient(batches.of(chosen), guide) for chosen in subsets]
        )
    torch.testing.assert_close(found.mean(0), expected, rtol=1e-10, atol=1e-10)
    if size < 4:
        assert (found - expected).abs().max() > 1


def test_every_subset_is_drawn_equally_often():
    program, start = small_program()
    batches = MiniBatches(program, 2, start)
    torch.manual_seed(0)
    drawn = [batches.draw().data.session_names for _ in range(600)]
    counts = {}
    for names in drawn:
        counts[frozenset(names)] = counts.get(frozenset(names), 0) + 1
    assert len(counts) == 6 and all(len(names) == 2 for names in drawn)
    # chi-squared with 5 degrees of freedom: above 20.5 once in 1000 seeds.
    assert sum((count - 100) ** 2 / 100 for count in counts.values()) < 20.5


def test_the_offset_takes_away_what_the_choice_of_sessions_adds():
    program, start = small_program()
    with pyro.get_param_store().scope(), torch.random.fork_rng():
        guide = make_guide("normal", program, start)
        batches = MiniBatches(program, 2, start)
        found = [batches.of(list(chosen)) for chosen in combinations(range(4), 2)]
        bounds = torch.stack([bound_and_gradient(b, guide)[0] for b in found])
        offsets = torch.tensor([batch.offset for batch in found])
    assert offsets.sum().abs() < 1e-9
    assert bounds.std() < 0.3 * (bounds - offsets).std()


def test_a_fit_by_mini_batches_comes_near_the_fit_of_all_sessions():
    # So few draws that their Pareto k, which is not asked here, is not judged.
    options = {"num_samples": 90, "window": 20, "num_decays": 1}
    whole, part = (small_fit(subsample_sessions=n, **options) for n in (None, 2))
    assert part.status is gh.Status.CONVERGED
    for name, value in whole.params.items():
        deviation = whole.posterior.draws[name].std((0, 1))
        assert ((part.params[name] - value) / deviation).abs().max() < 1
    draws = part.posterior.stats
    bound = (draws["log_joint"] - draws["log_guide"]).mean()
    assert part.posterior.elbo[-20:].mean() == pytest.approx(bound, abs=5)


def per_session(data):
    """A model of the user's own with a number for every session."""
    shape = torch.zeros(data.num_sessions)
    bias = pyro.sample("bias", dist.Normal(shape, 1.0).to_event(1))
    shifted = written_like(data, bias.to(torch.float64).repeat_interleave(data.lengths))
    pyro.sample("y", shifted, obs=data.emissions.double())


def written_like(data, logits):
    """A chain of one state with these log-odds."""
    one = torch.zeros(1, 1).double()
    emissions = dist.Bernoulli(logits=logits[:, None])
    return gh.HiddenMarkov(one, one[None], emissions, data.lengths)


DATA = small_data()


def closed_over(data):
    """A model that does not look at its argument."""
    bias = pyro.sample("bias", dist.Normal(0.0, 1.0)).to(torch.float64)
    pyro.sample("y", written_like(DATA, bias.expand(75)), obs=DATA.emissions.double())


def refuses(data):
    """A model that takes four sessions, and no other number."""
    closed_over(data)
    normals(4)[torch.arange(4)] + normals(data.num_sessions)


@pytest.mark.parametrize(
    "model, data, size, message",
    [
        (
            gh.GLMHMM(1, gh.Bernoulli(), initial=gh.Initial(per_session=True)),
            DATA,
            5,
            "at most 4, the number of sessions, got 5",
        ),
        (two_animals, [DATA, DATA], 2, "no Sequences.*got 2 for list"),
        (per_session, DATA, 2, "the size of the site 'bias' depends on the number"),
        (closed_over, DATA, 2, "reads the same sessions whatever data"),
        (refuses, DATA, 2, "cannot read so few of the 4 sessions .The size of tensor"),
    ],
)
def test_what_cannot_be_subsampled_is_refused_with_the_reason(
    model, data, size, message
):
    with pytest.raises(ValueError, match="subsample_sessions must be .*" + message):
        program, start = small_program(model, data)
        SVI(subsample_sessions=size)._ascent(program, start)
