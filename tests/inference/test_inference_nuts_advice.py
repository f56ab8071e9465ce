"""What the statuses of draws advise, followed: afterwards they are gone."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from nuts_cases import regression

import glmhmm_pyro as gh
from glmhmm_pyro.inference.nuts import chains

pytestmark = pytest.mark.filterwarnings("ignore::glmhmm_pyro.ConvergenceWarning")

ONCE = {"num_restarts": 1, "progress": False}


def drawn(model, data, num_samples=20, num_warmup=40, **options):
    method = gh.NUTS(num_samples, num_warmup, 1, parallel=False, max_tree_depth=5)
    return gh.fit(model, data, method, **ONCE, **options)


def test_a_prior_for_flat_sites_leaves_nothing_improper():
    flat = drawn(*regression(flat=True))
    assert flat.status is gh.Status.IMPROPER or any("flat" in n for n in flat.notes)
    assert "Give these sites a prior" in gh.Status.IMPROPER.advice
    assert not any("flat" in note for note in drawn(*regression()).notes)


def test_sampling_again_from_what_was_cut_short_gives_all_draws(monkeypatch):
    model, data = regression()
    with monkeypatch.context() as patch:
        patch.setattr(chains, "run_chain", lambda *job: chains.INTERRUPTED)
        cut = drawn(model, data)
    assert cut.status is gh.Status.CUT_SHORT
    assert "init=fit.params" in cut.status.advice
    whole = drawn(model, data, init=cut.params)
    assert whole.posterior.num_draws == 20
    assert drawn(model, data, init=whole.params).posterior.num_draws == 20


def one_state(data, emissions):
    """A chain of a single state."""
    logits = torch.zeros(1, 1).double(), torch.zeros(1, 1, 1).double()
    hidden = gh.HiddenMarkov(*logits, emissions, data.lengths)
    pyro.sample("y", hidden, obs=data.emissions)


def guarded(prior):
    """A model that refuses gains of which its maker knows nothing."""

    def model(data):
        gain = pyro.sample("gain", prior)
        if not gain.abs() <= 1.5:
            raise ValueError("gain must be from -1.5 to 1.5")
        one_state(data, dist.Normal(gain.expand(data.num_steps, 1), 2.0))

    return model


def test_a_prior_within_the_model_keeps_a_chain_from_failing():
    """A draw is beyond 3 standard deviations, the limit, in .0027 of cases.

    With steps of twice the standard deviation, as no warm-up leaves them, trajectories
    soon are; the first draws of this seed, of a few operations each, are not.
    """
    data = gh.Sequences([0.7, -1.2, 0.4, 1.1, -0.9, 0.3, -1.4, 1.0])
    zero = torch.zeros((), dtype=torch.float64)
    unguarded, within = dist.Normal(zero, 0.7), dist.Uniform(zero - 1.5, zero + 1.5)
    method = gh.NUTS(300, 0, 2, parallel=False, max_tree_depth=5)
    with torch.random.fork_rng():
        torch.manual_seed(3)  # The first draw of the prior is within the limits.
        failed = gh.fit(guarded(unguarded), data, method, seed=3, **ONCE)
        kept = gh.fit(guarded(within), data, method, seed=3, **ONCE)
    assert failed.status is gh.Status.FAILED
    assert any("ended with ValueError: gain must" in n for n in failed.notes)
    assert "priors that keep the parameters where" in failed.status.advice
    assert kept.status is not gh.Status.FAILED
    assert kept.posterior.draws["gain"].shape[:2] == (2, 300)


def line(data):
    """A regression of which the second weight is never asked for."""
    flat = dist.Independent(gh.priors.Flat((2,)), 1)
    mean = data.covariates @ pyro.sample("weights", flat)
    one_state(data, dist.Normal(mean.unsqueeze(-1), 2.0))


def test_more_warm_up_moves_a_chain_that_never_moved():
    """Far out any step up to twice the standard deviation of .7 leads to less energy.

    So the first guess, 2 after 1, is beyond what is stable, whatever the seed: every
    step multiplies the distance by 3.08, and the energy of 300 is lost by none.
    """
    x = torch.tensor([1.0, -1.0, 1.0, -1.0]).double() / 0.7
    data = gh.Sequences([2.5, -1.0, 0.5, -2.0], torch.stack([x, 0 * x], -1))
    start = {"weights": [300.0, 0.0]}
    stuck = drawn(line, data, num_samples=10, num_warmup=0, init=start)
    assert stuck.status is gh.Status.STUCK
    assert stuck.status.advice.startswith("Raise num_warmup, in which")
    moved = drawn(line, data, num_samples=10, num_warmup=50, init=start)
    assert moved.status is not gh.Status.STUCK
    assert not any("accepted none" in note for note in moved.notes)


def non_centred(data):
    """The funnel of which a scale makes one, written as a product."""
    zero, one = torch.zeros((), dtype=torch.float64), torch.ones(()).double()
    width = pyro.sample("width", dist.Normal(zero, 2 * one))
    raw = pyro.sample("raw", dist.Normal(zero, one).expand([9]).to_event(1))
    pyro.deterministic("values", raw * (width / 2).exp())
    logits = torch.tensor([[-1.0, 1.0]]).double().expand(data.num_steps, 2)
    hidden = gh.HiddenMarkov(
        torch.zeros(1, 2).double(),
        torch.eye(2).double()[None],
        dist.Bernoulli(logits=logits),
        data.lengths,
    )
    pyro.sample("y", hidden, obs=data.emissions.double())


def test_a_hierarchy_written_non_centred_does_not_diverge():
    # Its posterior is normal and whitened, where a trajectory diverges never.
    fit = drawn(non_centred, gh.Sequences([0, 1, 1, 0], torch.ones(4, 1)))
    assert "non-centred" in gh.Status.DIVERGED.advice
    assert not fit.posterior.stats["diverging"].any()
