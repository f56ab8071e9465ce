"""Log densities of a user's model, summed without a trace, against Pyro's trace."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from families import normals, random_data
from pyro import poutine
from pyro.nn import PyroModule, PyroSample

import glmhmm_pyro as gh
from glmhmm_pyro.inference.program.densities import Densities
from glmhmm_pyro.inference.program.program import Program


def everything(data):
    """Plates, a scale, masks, a factor, a deterministic site, a HiddenMarkov site."""
    shape = (2, data.num_features)
    weights = pyro.sample("weights", dist.Normal(0.0, 1.0).expand(shape).to_event(2))
    spread = pyro.sample("spread", dist.HalfNormal(1.0))
    pyro.deterministic("twice", 2 * spread)
    pyro.factor("penalty", -weights.square().sum())
    with pyro.plate("animals", 3), poutine.scale(scale=2.5):
        with poutine.mask(mask=torch.tensor([True, False, True])):
            pyro.sample("own", dist.Normal(0.0, spread))
    with pyro.plate("some", 8, subsample_size=4, subsample=torch.arange(4)):
        pyro.sample("seen", dist.Normal(spread, 1.0), obs=torch.arange(4.0))
    emissions = dist.Bernoulli(logits=data.covariates @ weights.double().T)
    start, stay = torch.zeros(1, 2), torch.eye(2)[None]
    hidden = gh.HiddenMarkov(start, stay, emissions, data.lengths)
    pyro.sample("y", hidden, obs=data.emissions)


class Module(PyroModule):
    """The same kind of model with its parameter as an attribute."""

    def __init__(self):
        super().__init__()
        self.weights = PyroSample(dist.Normal(0.0, 1.0).expand((2, 2)).to_event(2))

    def forward(self, data):
        emissions = dist.Bernoulli(logits=data.covariates @ self.weights.double().T)
        start, stay = torch.zeros(1, 2), torch.eye(2)[None]
        hidden = gh.HiddenMarkov(start, stay, emissions, data.lengths)
        return pyro.sample("y", hidden, obs=data.emissions)


@pytest.mark.parametrize("model", [everything, Module()], ids=["function", "module"])
def test_the_sums_are_those_of_pyros_trace(model):
    program = Program.of(model, random_data())
    vector = normals(program.coordinates.size)
    params = program.coordinates.unpack(vector)
    nodes = program.trace(params).nodes
    trace = program.trace(params)
    trace.compute_log_prob()
    likelihood, prior = program.log_parts(params)
    expected = trace.log_prob_sum(lambda name, site: name in params)
    torch.testing.assert_close(prior, torch.as_tensor(expected).double())
    torch.testing.assert_close(likelihood + prior, trace.log_prob_sum().double())
    for name, value in program.densities(params).by_site.items():
        torch.testing.assert_close(value, trace.nodes[name]["log_prob_sum"])
    assert nodes.keys() - program.densities(params).by_site.keys() >= {"_INPUT"}


def test_a_second_run_begins_anew():
    densities = Densities({"z": torch.tensor(1.0)})
    totals = []
    for _ in range(2):
        with densities:
            pyro.sample("z", dist.Normal(0.0, 1.0))
        totals.append(float(densities.of_parameters))
    assert totals[0] == totals[1]


def test_a_value_out_of_its_support_is_told_with_its_site():
    def model():
        pyro.sample("rate", dist.Gamma(1.0, 1.0))

    with pytest.raises(ValueError, match="site 'rate' has no density: Expected value"):
        with Densities({"rate": torch.tensor(-1.0)}):
            model()
