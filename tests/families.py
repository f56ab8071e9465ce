"""Families, models and data that the tests of the core run over, and their helpers."""

import itertools

import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer import TraceEnum_ELBO
from pyro.nn import pyro_method
from torch.distributions import biject_to, constraints

import glmhmm_pyro as gh

LENGTHS = (3, 1, 4)
MASK = (True, True, False, True, True, False, True, True)


class Poisson(gh.GLMEmission):
    """A user's family: one method more than ``__init__``."""

    def distribution(self, predictor):
        """Counts whose log rate is the predictor."""
        return dist.Poisson(predictor.exp(), validate_args=False)


class Gaussian(gh.Emission):
    """A user's family with two parameters, written without any help."""

    def __init__(self, prior=None):
        super().__init__()
        self.prior = prior
        self.weights = gh.Site("state", "covariate", prior=prior)
        self.scale = gh.Site("state", support=constraints.positive)

    def forward(self, state, covariates):
        """A linear regression with a standard deviation for every state."""
        mean = (self.weights[state] * covariates).sum(-1)
        return dist.Normal(mean, self.scale[state])


EMISSIONS = {
    "bernoulli": gh.Bernoulli,
    "categorical": lambda: gh.Categorical(3),
    "poisson": Poisson,
    "gaussian": Gaussian,
    "normal": gh.Gaussian,
    "normals": lambda: gh.Gaussian(2, "full"),
    "counts": gh.Poisson,
    "overdispersed": gh.components.NegativeBinomial,
    "positive": gh.components.Gamma,
    "heavy-tailed": gh.components.StudentT,
    "lapsing": lambda: gh.components.Lapsing(gh.Bernoulli()),
}
COUNTS = ("poisson", "counts", "overdispersed")
TRANSITIONS = {
    "stationary": gh.Stationary,
    "input-driven": gh.InputDriven,
    "shared": gh.SharedInputDriven,
}
INITIALS = {
    "initial": gh.Initial,
    "per session": lambda: gh.Initial(per_session=True),
    "glm": gh.InitialGLM,
}


def seeded_generator(seed=0):
    """A generator of its own."""
    return torch.Generator().manual_seed(seed)


def normals(*shape, seed=0):
    """Standard normal numbers in float64."""
    return torch.randn(shape, generator=seeded_generator(seed), dtype=torch.float64)


def random_emissions(family, steps, seed=0):
    """Values that the family can emit."""
    generator = seeded_generator(seed)
    if family == "positive":
        return normals(steps, seed=seed).exp()
    if family in ("gaussian", "normal", "heavy-tailed"):
        return normals(steps, seed=seed)
    if family == "normals":
        return normals(steps, 2, seed=seed)
    labels = {"bernoulli": 2, "lapsing": 2, "categorical": 3}
    largest = {**labels, **dict.fromkeys(COUNTS, 5)}
    if family not in largest:
        raise KeyError(f"random_emissions must draw some for {family!r}; add a line")
    return torch.randint(largest[family], (steps,), generator=generator)


def random_data(family="bernoulli", lengths=LENGTHS, mask=None, features=2, seed=0):
    """Sessions with covariates of every kind, none of which mean anything."""
    steps = sum(lengths)
    return gh.Sequences(
        random_emissions(family, steps, seed),
        normals(steps, features, seed=seed + 1),
        lengths=list(lengths),
        transition_covariates=normals(steps, 2, seed=seed + 2),
        initial_covariates=normals(len(lengths), 2, seed=seed + 3),
        mask=None if mask is None else torch.tensor(mask),
    )


def parameter_sites(model, data):
    """Distributions of all parameters of a model, by name."""
    with torch.random.fork_rng(devices=[]):
        nodes = poutine.trace(model).get_trace(data).nodes
    return {
        name: node["fn"]
        for name, node in nodes.items()
        if node["type"] == "sample" and not node["is_observed"]
    }


def random_free(model, data, seed=0, size=0.7):
    """Unconstrained numbers of all parameters, leaves of the graph."""
    free = {}
    for number, (name, prior) in enumerate(parameter_sites(model, data).items()):
        shape = biject_to(prior.support).inverse_shape(prior.shape())
        free[name] = (size * normals(*shape, seed=100 * seed + number)).requires_grad_()
    return free


def constrained(model, data, free):
    """Values of the parameters from their unconstrained numbers."""
    priors = parameter_sites(model, data)
    return {n: biject_to(priors[n].support)(value) for n, value in free.items()}


def random_params(model, data, seed=0, size=0.7):
    """Values of all parameters, without gradient."""
    params = constrained(model, data, random_free(model, data, seed, size))
    return {name: value.detach() for name, value in params.items()}


def with_sets(params_of_sets):
    """Parameters of several sets stacked along a leading axis."""
    names = params_of_sets[0]
    return {n: torch.stack([params[n] for params in params_of_sets]) for n in names}


def hidden_markov(model, data, params):
    """The distribution of the emissions at these parameters."""
    return poutine.condition(model.hidden_markov, data=params)(data)


def log_joint(model, data, params):
    """Log-likelihood plus log prior by the model's own body, states summed out."""
    conditioned = poutine.condition(model, data=params)
    return poutine.trace(conditioned).get_trace(data).log_prob_sum()


def enumerated_log_joint(model, data, params):
    """The same by Pyro's enumeration of every hidden state."""
    conditioned = poutine.condition(model.enumerated, data=params)
    elbo = TraceEnum_ELBO(max_plate_nesting=1)
    return -elbo.differentiable_loss(conditioned, lambda data: None, data)


def path_log_joints(model, data, params, session):
    """Paths of one session and log p(path, emissions), from the definitions alone.

    Reads every component one state and one step at a time: no table, no chain.
    """
    body = pyro_method(_logs_by_definition)
    logs = poutine.condition(lambda: body(model, data, session), data=params)()
    initial, moves, emitted = logs
    paths = list(itertools.product(range(model.num_states), repeat=len(emitted)))
    totals = []
    for path in paths:
        pairs = zip(range(1, len(path)), path, path[1:])
        total = initial[path[0]] + sum(moves[t][i][j] for t, i, j in pairs)
        totals.append(total + sum(emitted[t][k] for t, k in enumerate(path)))
    return torch.tensor(paths), torch.stack(totals)


def _logs_by_definition(model, data, session):
    """log p(z_0), log p(z_t | z_t-1) and log p(y_t | z_t), lists over steps."""
    rows = data.session_rows(session)
    x, u, y = data.covariates[rows], data.transition_covariates[rows], data.emissions
    states = torch.arange(model.num_states)
    initial = model.initial.log_probs(data).expand(data.num_sessions, -1)[session]
    moves = [[model.transitions(i, u_t).log_prob(states) for i in states] for u_t in u]
    emitted = [
        [model.emissions(k, x_t).log_prob(y_t) for k in states]
        for x_t, y_t in zip(x, y[rows].double())
    ]
    if data.mask is not None:
        nothing = [torch.zeros((), dtype=torch.float64)] * model.num_states
        observed = data.mask[rows].tolist()
        emitted = [row if seen else nothing for row, seen in zip(emitted, observed)]
    return initial, moves, emitted
