"""Automatic smoothness determination against ridges, on filters that are smooth.

    python benchmarks/asd.py [--seeds 3] [--steps 3000] [--lags 25]

Two states, Bernoulli behaviour, two cues of many lags. For every seed new smooth
filters are drawn, behaviour is simulated, and the filters are estimated under a ridge
whose strength is chosen by held-out sessions, under one chosen by the evidence, and
under a Gaussian process for each cue whose length and size maximise the evidence.
Printed: the root mean square error of the filters (states matched), and seconds.
"""

import argparse
import itertools
import time
import warnings

import numpy as np
import torch
from torch.distributions import Dirichlet

import glmhmm_pyro as gh

STRENGTHS = np.geomspace(1.0, 1000.0, 7)


def main():
    """Print a row for every seed, then the means."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--lags", type=int, default=25)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", gh.ConvergenceWarning)
    rows = [compare(seed, args.steps, args.lags) for seed in range(args.seeds)]
    names = list(rows[0])
    print("root mean square error of the filters (seconds)")
    print("seed  " + "  ".join(f"{name:>18}" for name in names))
    for seed, row in enumerate(rows):
        cells = [f"{error:10.4f} ({took:4.0f} s)" for error, took in row.values()]
        print(f"{seed:4}  " + "  ".join(f"{cell:>18}" for cell in cells))
    means = [np.mean([row[name][0] for row in rows]) for name in names]
    print("mean  " + "  ".join(f"{mean:18.4f}" for mean in means))


def compare(seed, steps, lags):
    """Error and seconds of every way, on one data set."""
    truth, data = simulated(seed, steps, lags)
    process = gh.priors.GaussianProcess

    def smooth(length_0, scale_0, length_1, scale_1):
        groups = {"cue0_*": process(length_0, scale_0)}
        groups |= {"cue1_*": process(length_1, scale_1)}
        return two_states(gh.priors.Grouped(groups))

    options = {"num_restarts": 2, "progress": False}
    start = {"length_0": 2.0, "scale_0": 0.5, "length_1": 2.0, "scale_1": 0.5}
    ways = {
        "ridge, held out": lambda: gh.analysis.cross_validate(
            ridge, data, STRENGTHS, **options
        ),
        "ridge, evidence": lambda: gh.analysis.cross_validate(
            ridge, data, STRENGTHS, criterion="evidence", **options
        ),
        "ASD": lambda: gh.analysis.maximise_evidence(smooth, start, data, **options),
    }
    row = {}
    for name, way in ways.items():
        began = time.perf_counter()
        weights = way().fit.params["emissions.weights"].numpy()
        row[name] = error(weights, truth), time.perf_counter() - began
    return row


def two_states(prior):
    """The model under a prior of its emission weights."""
    even = Dirichlet(torch.ones(2, dtype=torch.float64))
    rows = gh.Stationary(prior=gh.priors.Sticky(stay=5.0, move=1.5))
    return gh.GLMHMM(2, gh.Bernoulli(prior=prior), rows, gh.Initial(prior=even))


def ridge(strength):
    """The model under a ridge, whose strength is its precision."""
    return two_states(gh.priors.Ridge(float(strength) ** -0.5))


def simulated(seed, steps, lags):
    """Smooth filters (states, cues times lags), and behaviour that they make."""
    rng = np.random.default_rng(seed)
    place = np.arange(lags)
    centres = rng.uniform(0.15 * lags, 0.7 * lags, (2, 2, 1))
    widths = rng.uniform(2.0, 5.0, (2, 2, 1))
    heights = rng.uniform(0.4, 0.8, (2, 2, 1)) * rng.choice([-1, 1], (2, 2, 1))
    filters = heights * np.exp(-(((place - centres) / widths) ** 2) / 2)
    truth = filters.reshape(2, -1)
    states = (rng.random(steps) < 0.05).cumsum() % 2
    x = rng.normal(size=(steps, 2 * lags))
    drive = (x * truth[states]).sum(1)
    y = (rng.random(steps) < 1 / (1 + np.exp(-drive))).astype(int)
    names = [f"cue{cue}_{lag}" for cue in range(2) for lag in range(lags)]
    lengths = [steps // 10] * 9 + [steps - 9 * (steps // 10)]
    return truth, gh.Sequences(y, x, lengths=lengths, covariate_names=names)


def error(weights, truth):
    """Root mean square error under the best numbering of the states."""
    orders = itertools.permutations(range(len(truth)))
    squares = [np.mean((weights[list(order)] - truth) ** 2) for order in orders]
    return float(np.sqrt(min(squares)))


if __name__ == "__main__":
    main()
