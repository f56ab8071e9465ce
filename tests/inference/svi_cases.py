"""Models and data small enough to be fitted by variational inference in a second."""

import math

import pyro
import pyro.distributions as dist
import torch
from families import normals
from inference_cases import clear_data, penalised
from pyro.infer.autoguide import AutoNormal

import glmhmm_pyro as gh
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.search.search import Search

SHORT = {"learning_rate": 0.05, "window": 10, "num_samples": 20}
SHORT |= {"patience": 1, "num_decays": 0}
NOISE = 0.7


def small_data():
    """Four sessions of very different lengths, a sixth of the steps masked."""
    return clear_data(lengths=(40, 1, 25, 9), mask=True)


def small_fit(model=None, data=None, **options):
    """A fit of a small model with proper priors, or of another one."""
    model = penalised(transitions="stationary") if model is None else model
    data = small_data() if data is None else data
    options = {"num_restarts": 1, "progress": False, **SHORT, **options}
    return gh.fit(model, data, "svi", **options)


def small_program(model=None, data=None):
    """A small model with its data, and values of its parameters inside the supports."""
    model = penalised(transitions="stationary") if model is None else model
    program = Program.of(model, small_data() if data is None else data)
    (start,) = Search(1, progress=False).starts(program)
    return program, start


class KnownNoise(gh.GLMEmission):
    """A linear regression whose noise is known."""

    def distribution(self, predictor):
        """Normal around the predictor."""
        return dist.Normal(predictor, NOISE)


def regression():
    """A regression with correlated covariates, and its posterior in closed form.

    Returns:
        model, data, posterior mean (features,), precision (features, features) and the
        log evidence, nats.
    """
    x = normals(25, 2, seed=1)
    x[:, 1] = 0.6 * x[:, 0] + 0.8 * x[:, 1]
    y = x @ torch.tensor([1.0, -0.5]).double() + NOISE * normals(25, seed=2)
    model = gh.GLMHMM(1, KnownNoise(prior=dist.Normal(0.0, 1.5)))
    precision = x.T @ x / NOISE**2 + torch.eye(2) / 1.5**2
    mean = torch.linalg.solve(precision, x.T @ y / NOISE**2)
    marginal = NOISE**2 * torch.eye(25) + 1.5**2 * x @ x.T
    evidence = dist.MultivariateNormal(torch.zeros(25).double(), marginal).log_prob(y)
    return model, gh.Sequences(y, x), mean, precision, evidence.item()


def two_animals(data):
    """A model of the user's own: weights of two animals around a common mean."""
    centre = pyro.sample("centre", dist.Normal(torch.zeros(2, 2), 1.0).to_event(2))
    with pyro.plate("animals", 2):
        weights = pyro.sample("weights", dist.Normal(centre, 0.5).to_event(2))
    stay = pyro.sample("stay", dist.Beta(torch.tensor(8.0), torch.tensor(2.0)))
    both = torch.stack([torch.stack([stay, 1 - stay]), torch.stack([1 - stay, stay])])
    for number, animal in enumerate(data):
        logits = animal.covariates @ weights[number].to(torch.float64).T
        hidden = gh.HiddenMarkov(
            torch.zeros(1, 2).double(),
            both.log()[None],
            dist.Bernoulli(logits=logits),
            animal.lengths,
        )
        pyro.sample(f"y_{number}", hidden, obs=animal.emissions.double())


def written_guide(data):
    """A guide of the user's own for ``penalised(transitions="stationary")``."""
    for name, shape in {"initial.probs": (2,), "transitions.probs": (2, 2)}.items():
        loc = pyro.param(f"{name}.loc", torch.full(shape, 5.0))
        spread = dist.Dirichlet(loc.exp().clamp(max=1e3))
        pyro.sample(name, spread.to_event(len(shape) - 1))
    loc = pyro.param("loc", lambda: torch.tensor([[-2.0, -1.0], [2.0, 1.0]]))
    normal = dist.Normal(loc, math.exp(-2.0)).to_event(2)
    pyro.sample("emissions.weights", normal)


def made_guide(model):
    """An autoguide of the user's, not yet seen by any data."""
    return AutoNormal(model, init_scale=0.2)
