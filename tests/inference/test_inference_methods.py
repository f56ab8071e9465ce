"""Every method on one definition: one posterior, and models of the user's own."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from inference_cases import clear_data, penalised
from user_models import animals, double, horseshoe, partial_pooling

import glmhmm_pyro as gh
from glmhmm_pyro.inference.program.program import Program

ONCE = {"num_restarts": 1, "progress": False}
FEW = {
    "em": gh.EM(num_iters=2),
    "map": gh.MAP(num_iters=20),
    "laplace": gh.Laplace(num_samples=8),
    "svi": gh.SVI(num_steps=10, num_samples=8),
    "nuts": gh.NUTS(3, 3, num_chains=1, max_tree_depth=2, parallel=False),
}

# Budgets are small on purpose, and a fit says so.
pytestmark = pytest.mark.filterwarnings("ignore::glmhmm_pyro.ConvergenceWarning")


def test_nuts_laplace_and_svi_have_one_posterior_where_the_data_are_clear():
    """Means and spreads agree to 5.6 standard errors of NUTS, beside small biases.

    n effective draws know a mean to 1 / sqrt(n) sd, and an sd to 1 / sqrt(2 n) of it.
    A normal approximation is .1 sd and 20 % off at most in these data. So of the 28
    numbers one is beyond with probability 6e-7 at most. With the 180 effective draws
    that there are, a spread 2.5 times too large or small, or a mean that is one sd off,
    is beyond with probability .99 at least.
    """
    data, model = clear_data(lengths=(1000, 800)), penalised(transitions="stationary")
    mode = gh.fit(model, data, "map", **ONCE)
    methods = {
        "nuts": gh.NUTS(250, 80, num_chains=1, parallel=False),
        "laplace": gh.Laplace(num_samples=4000),
        "svi": gh.SVI("multivariate_normal", 800, learning_rate=0.02, window=100),
    }
    options = {**ONCE, "init": mode.params}
    fits = {name: gh.fit(model, data, m, **options) for name, m in methods.items()}
    coordinates = Program.of(mode.model, data).coordinates
    draws = {n: coordinates.pack(f.posterior.flattened()) for n, f in fits.items()}
    number = fits["nuts"].diagnostics()["ess_bulk"].min()
    assert number > 60
    mean, sd = draws["nuts"].mean(0), draws["nuts"].std(0)
    for name in ("laplace", "svi"):
        away = (draws[name].mean(0) - mean) / sd
        assert away.abs().max() < 0.1 + 5.6 / number**0.5
        assert (draws[name].std(0) / sd).log().abs().max() < 0.2 + 5.6 / (
            2 * number
        ) ** 0.5


def without_a_number(data):
    """A model whose log density is nan wherever its weights are."""
    weights = pyro.sample("weights", dist.Normal(double(0.0, 0.0), 1.0).to_event(1))
    logits = (weights * torch.nan).expand(data.num_steps, 2)
    hidden = gh.HiddenMarkov(
        torch.zeros(1, 2, dtype=torch.float64),
        torch.zeros(1, 2, 2, dtype=torch.float64),
        dist.Bernoulli(logits=logits, validate_args=False),
        data.lengths,
    )
    pyro.sample("y", hidden, obs=data.emissions)


@pytest.mark.parametrize("method", FEW)
def test_every_method_refuses_a_density_that_is_no_number(method):
    data = gh.Sequences([0, 1, 1, 0], torch.ones(4, 1))
    with pytest.raises(ValueError, match="log.*nan"):
        gh.fit(without_a_number, data, FEW[method], **ONCE)


@pytest.mark.parametrize("method", FEW)
@pytest.mark.parametrize("name", ["pooled", "horseshoe"])
def test_every_method_reads_a_model_of_the_users_own(method, name):
    pair = animals(40)
    model, data = (partial_pooling, pair) if name == "pooled" else (horseshoe, pair[0])
    init = {"mean" if name == "pooled" else "weights": [[-2.0, -2.0], [2.5, 2.0]]}
    found = gh.fit(model, data, FEW[method], init=init, **ONCE)
    program = Program.of(model, data)
    assert found.method == method and found.num_parameters == program.coordinates.size
    joint = program.log_joint(found.params).item()
    assert found.log_joint == pytest.approx(joint, abs=1e-8)
    site = "y_0" if name == "pooled" else "y"
    assert found.decode(data, site=site).smoothed_probs.shape == (40, 2)
    assert (found.posterior is None) == (method in ("em", "map"))
    if found.posterior is not None:
        drawn = {n: value[0, 0] for n, value in found.posterior.draws.items()}
        joint = found.posterior.stats["log_joint"][0, 0]
        assert program.log_joint(drawn).item() == pytest.approx(joint, abs=1e-8)
        mean = found.posterior.mean()
        assert all(torch.equal(found.params[n], value) for n, value in mean.items())
