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
