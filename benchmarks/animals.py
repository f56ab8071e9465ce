"""How often 95 % intervals hold the truth where animals differ from each other.

    python benchmarks/animals.py [--sets 100] [--animals 20]

Two states, Bernoulli choices with a weight for a cue and a bias, three sessions of 60
steps an animal; the biases of an animal are those of all and a normal of its own with
standard deviation 0.7. The truth is what a fit to 2000 animals finds: the parameters
that describe all of them together best. Data sets are fitted from there. Printed for
every kind of parameter, in per cent with one standard deviation of Monte Carlo error:
the coverage of intervals that take sessions for independent and alike, and of those
that are robust to groups.
"""

import argparse
import time
import warnings

import numpy as np
import torch

import glmhmm_pyro as gh

SESSIONS, STEPS, SPREAD = 3, 60, 0.7
STAY = (0.95, 0.92)
WEIGHTS = np.array([[2.0, 0.5], [0.3, -1.0]])
FITTING = {"num_restarts": 1, "progress": False, "seed": 0}
REFIT = gh.MAP(em_iters=0, tol=1e-6)
KINDS = ("weights", "stay probabilities")


def main():
    """Print a line for every kind of interval."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sets", type=int, default=100)
    parser.add_argument("--animals", type=int, default=20)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", gh.ConvergenceWarning)
    began = time.process_time()
    model = gh.GLMHMM(2, gh.Bernoulli())
    start = {
        "initial.probs": [0.5, 0.5],
        "transitions.probs": [[STAY[0], 1 - STAY[0]], [1 - STAY[1], STAY[1]]],
        "emissions.weights": WEIGHTS,
    }
    whole = gh.fit(model, simulated(2000, seed=10**6), REFIT, init=start, **FITTING)
    truth = picked(whole.summary()["estimate"])
    held = {robust: [] for robust in (None, "group")}
    for seed in range(args.sets):
        data = simulated(args.animals, seed)
        fit = gh.fit(model, data, REFIT, init=whole.params, **FITTING)
        for robust, found in held.items():
            table = fit.summary(data, robust=robust)
            low, high = picked(table["lower"]), picked(table["upper"])
            found.append([(low[k] < truth[k]) & (truth[k] < high[k]) for k in KINDS])
    for robust, found in held.items():
        shares = [np.mean([row[i] for row in found]) for i in range(len(KINDS))]
        errors = [(s * (1 - s) / args.sets) ** 0.5 for s in shares]
        words = [
            f"{kind} {100 * s:.1f} +- {100 * e:.1f} %"
            for kind, s, e in zip(KINDS, shares, errors)
        ]
        print(f"robust={robust!r}: {', '.join(words)}")
    print(f"{time.process_time() - began:.0f} CPU seconds")


def picked(column):
    """Entries of a column of a summary, by kind."""
    values = column.to_numpy()
    return {"weights": values[-4:], "stay probabilities": values[[2, 5]]}


def simulated(animals, seed):
    """Sessions of animals that differ in their biases."""
    rng = np.random.default_rng(seed)
    number = animals * SESSIONS
    move = rng.random((number, STEPS))
    states = np.empty((number, STEPS), dtype=int)
    states[:, 0] = rng.random(number) < 0.5
    for step in range(1, STEPS):
        before = states[:, step - 1]
        leaves = move[:, step] > np.where(before == 0, *STAY)
        states[:, step] = before ^ leaves
    cue = rng.normal(size=(number, STEPS))
    own = rng.normal(scale=SPREAD, size=(animals, 2)).repeat(SESSIONS, axis=0)
    bias = WEIGHTS[states, 1] + np.take_along_axis(own, states, 1)
    odds = WEIGHTS[states, 0] * cue + bias
    y = rng.random((number, STEPS)) < 1 / (1 + np.exp(-odds))
    x = np.stack([cue.ravel(), np.ones(number * STEPS)], 1)
    groups = [f"animal {i // SESSIONS}" for i in range(number)]
    lengths = [STEPS] * number
    return gh.Sequences(y.ravel().astype(int), x, lengths=lengths, groups=groups)


if __name__ == "__main__":
    main()
