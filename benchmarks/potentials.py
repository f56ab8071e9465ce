"""What a gradient of NUTS costs and is worth: ours and Pyro's own, in one run.

    python benchmarks/potentials.py                 milliseconds of a gradient, ratios
    python benchmarks/potentials.py --draws 300     effective draws per 1000 gradients
    python benchmarks/potentials.py --chains        NUTS of 40 trials, over a normal's

CPU time of one thread, the two potentials by turns, the median of all turns. Pyro's own
potential is that of pyro.infer.mcmc.util.initialize_model, its sampler the NUTS(model)
that its users write.
"""

import argparse
import statistics
import time
import warnings

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro.infer.mcmc.util import initialize_model
from pyro.ops.integrator import potential_grad

import glmhmm_pyro as gh
from glmhmm_pyro.inference.draws.agreement import bulk_size
from glmhmm_pyro.inference.nuts.potential import Potential
from glmhmm_pyro.inference.nuts.sampler import Settings
from glmhmm_pyro.inference.nuts.vector_sampler import VectorSampler
from glmhmm_pyro.inference.nuts.whitening import Whitening, whitened
from glmhmm_pyro.inference.program.program import Program

SESSIONS = (1, 8, 80)
TURNS, PER_TURN = 15, 10


def rat(sessions):
    """Choices of the rat on this many days."""
    return gh.datasets.load_rat().subset(range(sessions))


def glmhmm():
    """Two states, proper priors on everything."""
    row = torch.tensor([[8.0, 2.0], [2.0, 8.0]], dtype=torch.float64)
    return gh.GLMHMM(
        2,
        gh.Bernoulli(prior=dist.Normal(0.0, 2.0)),
        gh.Stationary(prior=dist.Dirichlet(row)),
        gh.Initial(prior=dist.Dirichlet(torch.ones(2, dtype=torch.float64))),
    )


def pooled(animals):
    """A user's model: two animals whose weights share a mean, partially pooled."""
    one = torch.ones((), dtype=torch.float64)
    shape = (2, animals[0].num_features)
    mean = pyro.sample("mean", dist.Normal(0 * one, 2.0).expand(shape).to_event(2))
    spread = pyro.sample("spread", dist.HalfNormal(one))
    sticky = torch.tensor([[8.0, 2.0], [2.0, 8.0]], dtype=torch.float64)
    stay = pyro.sample("stay", dist.Dirichlet(sticky).to_event(1))
    with pyro.plate("animals", len(animals)):
        own = pyro.sample("own", dist.Normal(0 * one, 1.0).expand(shape).to_event(2))
    for number, data in enumerate(animals):
        weights = mean + spread * own[number]
        hidden = gh.HiddenMarkov(
            torch.zeros(1, 2, dtype=torch.float64),
            stay.log()[None],
            dist.Bernoulli(logits=data.covariates @ weights.T),
            data.lengths,
        )
        pyro.sample(f"y_{number}", hidden, obs=data.emissions)


def two_animals(sessions):
    """Two stretches of the rat's days, as if they were two animals'."""
    days = gh.datasets.load_rat()
    half = max(sessions // 2, 1)
    return [days.subset(range(half)), days.subset(range(40, 40 + half))]


def milliseconds(evaluate):
    """CPU time of one evaluation."""
    before = time.process_time()
    for _ in range(PER_TURN):
        evaluate()
    return 1000 * (time.process_time() - before) / PER_TURN


def compare_costs():
    """The time of a value and its gradient, and the ratio, for both kinds of model."""
    print(f"{'model':24} {'steps':>6} {'ours ms':>8} {'pyro ms':>8} {'ratio':>6}")
    for name, model, data_of in (
        ("GLMHMM", glmhmm(), rat),
        ("two animals, pooled", pooled, two_animals),
    ):
        for sessions in SESSIONS:
            data = data_of(sessions)
            program = Program.of(model, data)
            size = program.coordinates.size
            ours = Potential(program, Whitening.none(size))
            start, theirs, *_ = initialize_model(model, (data,))
            points = {
                ours: {"z": program.coordinates.pack(_values(program, start))},
                theirs: {name: value.detach() for name, value in start.items()},
            }
            times = {function: [] for function in points}
            for _ in range(TURNS):
                for function, point in points.items():
                    with pyro.validation_enabled(function is theirs):
                        cost = milliseconds(lambda: potential_grad(function, point))
                    times[function].append(cost)
            mine, other = (statistics.median(times[f]) for f in points)
            parts = data if isinstance(data, list) else [data]
            steps = sum(part.num_steps for part in parts)
            print(f"{name:24} {steps:6} {mine:8.2f} {other:8.2f} {other / mine:6.2f}")


def _values(program, start):
    """Pyro's unconstrained start in values of the sites."""
    transforms = program.coordinates.transforms
    return {name: transforms[name](value).detach() for name, value in start.items()}


def compare_mixing(draws, sessions):
    """Least effective sample size per 1000 gradients, two chains each."""
    data, model, options = rat(sessions), glmhmm(), {"num_warmup": draws // 2}
    fit = gh.fit(
        model,
        data,
        gh.NUTS(num_samples=draws, num_chains=2, parallel=False, **options),
        progress=False,
        num_restarts=3,
    )
    stats = fit.posterior.stats
    flat = [v.flatten(2).numpy() for v in fit.posterior.draws.values()]
    counts = stats["num_leapfrogs"].sum(), stats["diverging"].sum()
    report("ours", np.concatenate(flat, -1), *counts)
    chains, gradients, diverged = [], 0, 0
    for seed in range(2):
        pyro.set_rng_seed(seed)
        start, theirs, transforms, _ = initialize_model(model, (data,))
        counted = Counted(theirs)
        kernel = pyro.infer.NUTS(potential_fn=counted)
        kernel.initial_params = start
        kernel.setup(draws // 2)
        samples, params = [], start
        for i in range(draws // 2 + draws):
            if i == draws // 2:
                counted.calls = 0
            params = kernel.sample(params)
            if i >= draws // 2:
                samples.append({n: transforms[n].inv(v) for n, v in params.items()})
        gradients += counted.calls
        diverged += len(kernel.diagnostics()["divergences"])
        flat = [torch.cat([v.reshape(-1) for v in s.values()]) for s in samples]
        chains.append(torch.stack(flat).detach().numpy())
    chains = numbered_alike(np.stack(chains), start)
    report("NUTS(model) of Pyro", chains, gradients, diverged)


def compare_chains(seeds=range(3)):
    """CPU time of a gradient in chains of 500 draws on 40 trials.

    Over that of Pyro's NUTS, which draws from a normal of as many numbers; and how long
    a fit of two chains takes in all, per effective draw of the worst parameter.
    """
    data = forty_trials()
    program = Program.of(glmhmm(), data)
    mode = gh.fit(glmhmm(), data, "map", progress=False).params
    whitening, size = whitened(program, mode), program.coordinates.size
    method = gh.NUTS(300, 200, num_chains=2, parallel=False)
    found = []
    for seed in seeds:
        torch.manual_seed(seed)
        start = torch.randn(size, dtype=torch.float64)
        own, normal = Potential(program, whitening), Counted(half_square)
        settings = Settings(300, 200, 0.8, 10, False)
        sampler = VectorSampler(settings, own, start)
        ours = seconds(lambda: [sampler.draw() for _ in range(500)]) / own.num_calls
        kernel = pyro.infer.NUTS(potential_fn=normal)
        kernel.initial_params = {"z": start}
        kernel.setup(200)
        sites = {"z": start}
        theirs = seconds(lambda: [kernel.sample(sites) for _ in range(500)])
        theirs /= normal.calls
        fits = []
        whole = seconds(
            lambda: fits.append(
                gh.fit(glmhmm(), data, method, seed=seed, progress=False)
            )
        )
        size_of_worst = fits[0].diagnostics()["ess_bulk"].min()
        found.append((1e6 * ours, 1e6 * theirs, ours / theirs, whole, size_of_worst))
    ours, theirs, ratio, whole, effective = map(statistics.median, zip(*found))
    print(
        f"ours {ours:.0f} us a gradient, Pyro's on a normal {theirs:.0f}: {ratio:.2f}"
    )
    print(
        f"2 chains of 200 + 300 draws: {whole:.1f} s, {effective:.0f} effective draws "
        f"of the worst parameter, {effective / whole:.0f} a second"
    )


def forty_trials():
    """Choices of an observer who is engaged in two of four blocks of ten trials."""
    rng = np.random.default_rng(0)
    x = np.stack([rng.normal(size=40), np.ones(40)], 1)
    weights = np.array([[3.0, 0.0], [0.3, -1.5]])[np.arange(40) // 10 % 2]
    y = rng.random(40) < 1 / (1 + np.exp(-(x * weights).sum(1)))
    return gh.Sequences(y.astype(int), x)


def half_square(sites):
    """The potential of a standard normal."""
    return sites["z"].dot(sites["z"]) / 2


def seconds(function):
    """CPU time of a call."""
    before = time.process_time()
    function()
    return time.process_time() - before


class Counted:
    """A potential that counts its evaluations."""

    def __init__(self, potential):
        self.potential, self.calls = potential, 0

    def __call__(self, params):
        """The potential energy."""
        self.calls += 1
        return self.potential(params)


def numbered_alike(chains, start):
    """Chains that found the states the other way round, turned (to Pyro's favour)."""
    sizes = {"initial.probs": (2,), "transitions.probs": (2, 2)}
    sizes["emissions.weights"] = tuple(start["emissions.weights"].shape)
    place, turned = 0, chains[1].copy()
    for name in start:
        size = int(np.prod(sizes[name]))
        block = chains[1][:, place : place + size].reshape((-1,) + sizes[name])
        block = block[:, ::-1, ::-1] if "transitions" in name else block[:, ::-1]
        turned[:, place : place + size] = block.reshape(len(block), -1)
        place += size
    far = [np.abs(chain.mean(0) - chains[0].mean(0)).sum() for chain in chains[1:]]
    if np.abs(turned.mean(0) - chains[0].mean(0)).sum() < far[0]:
        chains = np.stack([chains[0], turned])
    return chains


def report(name, chains, gradients, diverged):
    """The worst parameter of chains (chains, draws, parameters), per gradient.

    Of all chains together, which counts for little where they are in different places,
    and of each alone, added up.
    """
    columns = np.moveaxis(chains, -1, 0)
    together = min(bulk_size(c) for c in columns)
    alone = min(sum(bulk_size(chain[None]) for chain in c) for c in columns)
    for what, size in (("together", together), ("each alone", alone)):
        print(
            f"{name:20} chains {what:10} {size:7.0f} effective of the worst parameter,"
            f" {gradients:7} gradients, {1000 * size / gradients:6.2f} per 1000, "
            f"{diverged} diverged"
        )


def main():
    """Costs of gradients; with --draws also what they are worth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=0)
    parser.add_argument("--sessions", type=int, default=8)
    parser.add_argument("--chains", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.chains:
        warnings.simplefilter("ignore", gh.ConvergenceWarning)
        compare_chains()
    elif args.draws:
        compare_mixing(args.draws, args.sessions)
    else:
        compare_costs()


if __name__ == "__main__":
    main()
