"""Gradients and NUTS beside NumPyro's, in double precision, one core, in one run.

    python benchmarks/against_numpyro.py                  gradients, then draws
    python benchmarks/against_numpyro.py --only draws --names driven

NumPyro gets an environment of its own, and its model (fit_numpyro.py) the same priors
and starts; that both have the same log-joint is asserted first. A gradient is one value
with its slope, the median of 15 turns. Draws are those of two chains in sequence, 1000
each after as many of warm-up, from the maximum of the log-joint on; their rate is the
bulk effective sample size (ArviZ's) of the worst parameter over CPU seconds, warm-up
in, compilation out; the median of all seeds.

Printed once, on two cores that were busy with other work (the rat's line before what
surrounds a gradient was made shorter, the two beside it after that)::

    gradient                  steps  ours ms  NumPyro ms ratio
    W2e, 2 equal sessions      1000     0.16        0.44   2.8
    W2e, 20 equal sessions    10000     0.35        1.75   5.0
    W2, 15 ragged sessions    10821     0.37        2.26   6.1
    W3, 20 equal sessions     10000     6.67        7.16   1.1
    effective draws a second     ours  NumPyro ratio
    few trials                    458      209   2.2   least of all 1334
    rat, 8 days                    58       12   4.8   least of all 456
    driven                         89       35   2.5   least of all 898
"""

import argparse
import pathlib
import statistics
import subprocess
import sys
import time
import warnings

import numpy as np
import torch
import workloads
from potentials import PER_TURN, TURNS
from run import environment, one_thread
from torch.distributions import Dirichlet, Normal

import glmhmm_pyro as gh
from glmhmm_pyro.inference.draws.agreement import bulk_size
from glmhmm_pyro.inference.program.program import Program

HERE = pathlib.Path(__file__).resolve().parent


def main():
    """The parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", choices=["gradients", "draws"])
    parser.add_argument("--names", nargs="+", default=list(posteriors()))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--folder", default=str(HERE / "results"))
    args = parser.parse_args()
    warnings.simplefilter("ignore", gh.ConvergenceWarning)
    torch.set_num_threads(1)
    if args.only != "draws":
        print(f"{'gradient':24} {'steps':>6} {'ours ms':>8} {'NumPyro ms':>11} ratio")
        for name, problem in gradients(args.folder).items():
            compare_gradients(name, problem, args.folder)
    if args.only != "gradients":
        print(f"{'effective draws a second':26} {'ours':>6} {'NumPyro':>8} ratio")
        for name in args.names:
            compare_draws(name, posteriors()[name], args)


def gradients(folder):
    """Problems of several lengths: sequences, number of states and classes, driven."""

    def of(name, sessions, steps=None):
        w = dict(np.load(workloads.make(name, folder)))
        stop = np.cumsum(w["lengths"])
        parts = [
            slice(end - length, end - length + (steps or length))
            for length, end in zip(w["lengths"][:sessions], stop)
        ]
        rows = np.concatenate([np.r_[part] for part in parts])
        lengths = [part.stop - part.start for part in parts]
        data = gh.Sequences(w["y"][rows], w["X"][rows], lengths=lengths)
        return data, int(w["K"]), int(w["C"]), not w["stationary"]

    return {
        "W2e, 2 equal sessions": of("W2e", 2),
        "W2e, 20 equal sessions": of("W2e", 20),
        "W2, 15 ragged sessions": of("W2", 15),
        "W3, 20 equal sessions": of("W3", 20, steps=500),
    }


def posteriors():
    """Three unlike ones: few trials, ragged days of a rat, driven transitions."""
    return {
        "few trials": (choices(300, 2, 150), 2, 2, False),
        "rat, 8 days": (gh.datasets.load_rat().subset(range(8)), 2, 2, False),
        "driven": (choices(2000, 3, 500), 2, 2, True),
    }


def choices(steps, columns, session):
    """Choices of an observer who is engaged in every other block of fifty trials."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(steps, columns))
    x[:, -1] = 1.0
    engaged = np.arange(steps) // 50 % 2 == 0
    score = np.where(engaged, 3.0 * x[:, 0], 0.3 * x[:, 0] - 1.5)
    y = rng.random(steps) < 1 / (1 + np.exp(-score))
    return gh.Sequences(y.astype(int), x, lengths=[session] * (steps // session))


def model_of(states, classes, driven):
    """A GLM-HMM whose priors are those of fit_numpyro.py."""
    sticky = 2.0 + 6.0 * torch.eye(states, dtype=torch.float64)
    weights = Normal(0.0, 2.0)
    return gh.GLMHMM(
        states,
        gh.Categorical(classes, prior=weights),
        gh.InputDriven(prior=weights) if driven else gh.Stationary(Dirichlet(sticky)),
        gh.Initial(prior=Dirichlet(torch.ones(states, dtype=torch.float64))),
    )


def written(problem, values, path):
    """The problem as NumPyro's side reads it, sessions padded to the longest."""
    data, states, classes, driven = problem
    lengths = data.lengths.numpy()
    seen = np.arange(lengths.max()) < lengths[:, None]
    x = np.zeros(seen.shape + (data.num_features,))
    x[seen], y = data.covariates.numpy(), np.zeros(seen.shape, dtype=int)
    y[seen] = data.emissions.numpy()
    facts = {"x": x, "y": y, "seen": seen, "states": states, "classes": classes}
    np.savez(path, driven=driven, **facts, **{n: v.numpy() for n, v in values.items()})


def theirs(problem, values, folder, *what):
    """What NumPyro's side found."""
    given, out = (pathlib.Path(folder) / f"numpyro_{n}.npz" for n in ("given", "found"))
    written(problem, values, given)
    command = [environment("numpyro", folder), HERE / "fit_numpyro.py", given, out]
    command = [str(word) for word in (*command, *what)]
    subprocess.run(command, check=True, env=one_thread())
    return dict(np.load(out))


def compare_gradients(name, problem, folder):
    """A line: milliseconds of a value and its slope."""
    data, *facts = problem
    program = Program.of(model_of(*facts), data)
    values = program.starts(1, "glm", 0.5, torch.Generator().manual_seed(0))[0]
    found = theirs(problem, values, folder, "gradient")
    # Theirs is of classes, ours too: they must be the same function.
    np.testing.assert_allclose(program.log_joint(values), found["log_joint"])
    point = program.coordinates.pack(values)
    program.evaluated(point, jacobian=True)
    times = []
    for _ in range(TURNS):
        before = time.process_time()
        for _ in range(PER_TURN):
            program.evaluated(point, jacobian=True)
        times.append((time.process_time() - before) / PER_TURN)
    ours, other = 1e3 * statistics.median(times), 1e3 * float(found["seconds"])
    print(f"{name:24} {data.num_steps:6} {ours:8.2f} {other:11.2f} {other / ours:5.1f}")


def compare_draws(name, problem, args):
    """A line: effective draws of the worst parameter a CPU second, median of seeds."""
    data, *facts = problem
    model = model_of(*facts)
    values = gh.fit(model, data, "map", progress=False).params
    draws = 1000
    method = gh.NUTS(draws, draws, num_chains=2, parallel=False)
    options = {"init": values, "num_restarts": 1, "progress": False}
    gh.fit(model, data, gh.NUTS(5, 5, num_chains=1, parallel=False), **options)
    rates, least = {"ours": [], "NumPyro": []}, []
    for seed in range(args.seeds):
        before = time.process_time()
        fit = gh.fit(model, data, method, seed=seed, **options)
        took = time.process_time() - before
        chains = {n: v.numpy() for n, v in fit.posterior.draws.items()}
        what = ("nuts", "--draws", draws, "--seed", seed)
        found = theirs(problem, values, args.folder, *what)
        other = {site: found[site] for site in chains}
        sizes = effective(chains), effective(other)
        least += sizes
        rates["ours"].append(sizes[0] / took)
        rates["NumPyro"].append(sizes[1] / float(found["seconds"]))
    ours, numpyro = (statistics.median(rates[who]) for who in ("ours", "NumPyro"))
    print(
        f"{name:26} {ours:6.0f} {numpyro:8.0f} {ours / numpyro:5.1f}"
        f"   least of all {min(least):.0f}"
    )


def effective(chains):
    """Bulk effective sample size of the worst number, of arrays by site."""
    flat = [v.reshape(v.shape[:2] + (-1,)) for v in chains.values()]
    columns = np.moveaxis(np.concatenate(flat, -1), -1, 0)
    return min(bulk_size(c) for c in columns if np.ptp(c) > 0)


if __name__ == "__main__":
    sys.exit(main())
