"""How often the 95 % intervals of tables by state hold the truth.

    python benchmarks/by_state.py [--sets 30]

Two states, Bernoulli choices with a weight for a cue and a bias, ten sessions of 150
steps, and a column that the model does not read, normal around the state's number: data
sets are simulated at the parameters of ``intervals.py`` and fitted from there.
Parameters of fits at a maximum are drawn by the curvature there, those of the others by
Laplace at the mode of the unconstrained coordinates. A choice counts as right where it
is the second class. What each interval should hold: the shares of steps that the states
had, the means of the geometric law, the rate of the second class in the state over the
data's cues, and the column's means. Per cent, with one standard deviation of Monte
Carlo error.
"""

import argparse
import time
import warnings
from collections import defaultdict

import intervals
import numpy as np
import torch

import glmhmm_pyro as gh
from glmhmm_pyro import analysis

QUICK = {"num_samples": 100}


def main():
    """Print a table for each of both kinds of fits."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sets", type=int, default=30)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", gh.ConvergenceWarning)
    began = time.process_time()
    origin, design = intervals.origin_of()
    held = {"at the maximum": defaultdict(list), "Laplace draws": defaultdict(list)}
    for seed in range(args.sets):
        data, states = origin.simulate(design, seed=seed)
        fit = gh.fit(origin.model, data, intervals.REFIT, init=intervals.TRUTH, **QUIET)
        drawn = gh.fit(fit.model, data, gh.Laplace(num_samples=200), init=fit, **QUIET)
        for kind, found in zip(held, (fit, drawn)):
            for name, table, truth in tables(found, data, states, seed):
                inside = (table["lower"] <= truth) & (truth <= table["upper"])
                held[kind][name].append(inside.mean())
    for kind, names in held.items():
        print(f"\n{kind}: {args.sets} data sets")
        for name, shares in names.items():
            error = np.std(shares, ddof=1) / len(shares) ** 0.5
            print(f"{name:30}{100 * np.mean(shares):6.1f} +- {100 * error:.1f} %")
    print(f"\n{time.process_time() - began:.0f} CPU seconds")


QUIET = intervals.QUIET


def tables(fit, data, states, seed):
    """Name, table and true values of everything that is compared."""
    options = {"seed": seed, **QUICK}
    shares = np.bincount(states, minlength=2) / len(states)
    yield "occupancy", analysis.occupancy(fit, data, **options), shares
    by_session = [np.bincount(part, minlength=2) for part in data.split(states)]
    shares = np.concatenate(by_session) / intervals.STEPS
    table = analysis.occupancy(fit, data, "session", **options)
    yield "occupancy of sessions", table, shares
    stays = np.diagonal(intervals.TRUTH["transitions.probs"])
    table = analysis.dwell_times(fit, data, **options).table
    yield "mean dwell time", table, 1 / (1 - stays)
    x, weights = data.covariates.numpy(), np.array(intervals.TRUTH["emissions.weights"])
    rates = (1 / (1 + np.exp(-x @ weights.T))).mean(0)
    choices = data.emissions.numpy()
    for name in ("smoothed", "predicted"):
        table = analysis.accuracy_by_state(fit, data, choices, weights=name, **options)
        yield f"rate, {name} weights", table, rates
    column = states + np.random.default_rng(seed).normal(size=len(states))
    for name in ("mean", "unmixed"):
        table = analysis.column_by_state(fit, data, column, statistic=name, **options)
        yield f"column, {name}", table, np.arange(2)


if __name__ == "__main__":
    main()
