"""Two timescales found again: slow and fast states of simulated choices.

    python benchmarks/levels.py [clear | near | apart | within] [seeds] [steps]

Two slow states, driven by a covariate that changes slowly, modulate how two fast states
follow one another, and these alone decide how choices depend on a stimulus. For every
seed: the model on two levels and flat ones of two and of four states with both
covariates, all from as many starts; how many steps have their true slow and fast state
decoded, at the fitted and at the true parameters; and the Bayesian information
criterion (BIC) of all three models. Two more kinds of data come from chains side by
side, which emissions alone connect (``apart``), and from slow states with fast chains
of their own, entered by a law and left as the fast state has it (``within``), whose
fast states are pairs.

What came out, 20,000 steps in 20 sessions, five starts each, a thread of its own::

    clear    logL   truth | slow %  truth | fast %  truth | BIC levels     K=2     K=4
       0  -9962.7 -9974.3 |   87.8   87.0 |   85.5   85.4 |    20113.5 20315.9 20325.0
       1  -9789.8 -9795.8 |   90.1   90.8 |   86.4   86.3 |    19767.7 19971.5 19986.7
       2  -9842.3 -9851.8 |   93.2   92.8 |   87.8   87.8 |    19872.7 20095.0 20112.3
       3 -10056.4 -10067.4|   88.4   88.4 |   83.5   83.7 |    20301.0 20507.4 20533.6
       4  -9961.4 -9969.5 |   89.7   90.5 |   85.4   85.5 |    20110.9 20276.2 20345.7
    near
       0 -10522.8 -10532.1|   80.9   83.8 |   78.8   78.8 |    21233.8 21206.9 21474.6
       1 -10337.3 -10345.0|   86.1   87.5 |   78.8   79.0 |    20862.9 20848.7 21045.9
       2 -10467.0 -10475.9|   84.5   88.7 |   80.1   80.2 |    21122.1 21077.4 21318.9
    apart
       0 -10634.2 -10642.8|   99.2   99.2 |   77.1   77.2 |    21456.6 22306.9 21707.9
       1 -10653.0 -10659.4|   99.2   99.2 |   77.8   77.9 |    21494.2 22240.3 21729.6
       2 -10640.6 -10651.2|   99.3   99.4 |   78.8   78.7 |    21469.4 22463.0 21710.6
    within
       0 -10676.8 -10689.6|   95.5   95.5 |   84.5   84.8 |    21640.9 23375.6 21801.9
       1 -10686.2 -10698.9|   95.7   95.7 |   85.0   84.9 |    21659.7 23378.0 21814.8
       2 -10570.6 -10591.5|   96.0   96.1 |   85.9   86.0 |    21428.4 23423.0 21598.7

Where slow states are told apart by how fast ones follow one another (``clear``), they
are found as well as the true parameters find them, in 9 to 11 CPU seconds, and four or
five of five starts end alike. Where they hardly are (``near``) slow states are decoded
up to four points worse than at the truth, starts end apart, and the criterion takes two
flat states: nineteen parameters are more than such data pay for. Chains side by side
take four CPU seconds, those within each other 14 to 22: starts may put fast states
together to the wrong slow ones (all five of seed 1), and exchanging them finds the
right ones.
"""

import sys
import time
import warnings

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

import glmhmm_pyro as gh
from glmhmm_pyro.components import ByLevel, Levels, TwoLevels

STARTS, SESSIONS = 5, 20
MOVES = {"slow": ["satiety", "bias"], "fast": ["reward", "bias"]}
TRUE = {
    "initial.probs": [0.25] * 4,
    "transitions.slow.weights": [[[0.8, -5.5]], [[-0.8, -5.5]]],
    "emissions.weights": [[3.0, 0.0], [0.3, -1.5]],
}
# Emissions of every pair.
PAIRS = {"emissions.weights": [[3.0, 0.0], [0.3, -1.5], [-2.0, 0.5], [0.0, 2.0]]}

# How fast states follow one another in both slow ones: otherwise, or nearly alike; the
# same in both; or after an entry, slow states being left from the second one alone.
TRUTHS = {
    "clear": {
        "transitions.fast.weights": [
            *([[[1.0, -4.0]], [[-1.0, -4.0]]], [[[0.5, -1.5]], [[1.5, -1.0]]])
        ]
    },
    "near": {
        "transitions.fast.weights": [
            *([[[0.6, -2.5]], [[0.0, -2.0]]], [[[-0.3, -1.0]], [[0.5, -1.2]]])
        ]
    },
    "apart": {"transitions.fast.weights": [[[0.5, -1.5]], [[1.5, -2.0]]], **PAIRS},
    "within": {
        "transitions.slow.weights": [
            *([[[0.0, -7.0]], [[0.0, -7.0]]], [[[0.8, -3.0]], [[-0.8, -3.0]]])
        ],
        "transitions.fast.weights": [
            *([[[0.5, -2.5]], [[0.0, -3.0]]], [[[-0.5, -2.0]], [[0.0, -4.0]]])
        ],
        "transitions.entry.probs": [[0.9, 0.1], [0.95, 0.05]],
        **PAIRS,
    },
}
OPTIONS = {
    "apart": {"fast_depends_on_slow": False},
    "within": {"entry": gh.Initial(), "slow_depends_on_fast": True},
}


def covariates(steps, rng):
    """A stimulus, rewards, and a satiety that changes over some 200 steps."""
    stimulus, reward, noise = rng.normal(size=(3, steps))
    satiety = np.zeros(steps)
    for t in range(1, steps):
        satiety[t] = 0.995 * satiety[t - 1] + (1 - 0.995**2) ** 0.5 * noise[t]
    one = np.ones(steps)
    return np.stack([stimulus, one], 1), np.stack([satiety, reward, one], 1)


def on_levels(kind):
    """The model that data come from."""
    slow, fast = (gh.InputDriven(covariates=MOVES[level]) for level in MOVES)
    moves = TwoLevels(slow, fast, **OPTIONS.get(kind, {}))
    emissions = ByLevel(gh.Bernoulli(), "both" if kind in OPTIONS else "fast")
    return gh.GLMHMM(Levels(2, 2), emissions, moves)


def simulated(kind, seed, steps):
    """Choices with the states they come from, and those decoded at true parameters."""
    rng = np.random.default_rng(seed)
    x, u = covariates(steps, rng)
    blank = gh.Sequences(
        np.zeros(steps, dtype=int),
        x,
        lengths=[steps // SESSIONS] * SESSIONS,
        covariate_names=["stimulus", "bias"],
        transition_covariates=u,
        transition_covariate_names=["satiety", "reward", "bias"],
    )
    model = on_levels(kind)
    model.bind(blank)
    true = TRUE | TRUTHS[kind]
    params = {n: torch.tensor(v, dtype=torch.float64) for n, v in true.items()}
    torch.manual_seed(seed)
    with torch.no_grad():
        hidden = model.hidden_markov_at(params, blank)
        y, states = hidden.sample_with_states()
        data = blank.replace(emissions=y.long())
        decoded = hidden.smoothed_probs(data.emissions)
        log_likelihood = float(hidden.log_prob(data.emissions))
    return data, states, decoded, log_likelihood


def agreement(probs, states, level):
    """Share of steps whose most probable state is the true one, numbers matched.

    Args:
        level: ``"slow"``, ``"fast"`` or, for pairs, ``""``.
    """
    levels = Levels(2, 2)
    if level:
        probs, states = levels.marginal(probs, level), levels.of(states, level)
    pairs = torch.stack([states, probs.argmax(-1)], 1).numpy()
    counts = np.zeros((probs.shape[-1],) * 2)
    np.add.at(counts, tuple(pairs.T), 1)
    return counts[linear_sum_assignment(-counts)].sum() / len(pairs)


def measure(kind, seed, steps):
    """One row of figures."""
    data, states, at_truth, log_likelihood = simulated(kind, seed, steps)
    options = {"num_restarts": STARTS, "progress": False, "seed": seed}
    began = time.process_time()
    fit = gh.fit(on_levels(kind), data, **options)
    seconds = time.process_time() - began
    probs = torch.from_numpy(fit.decode(data).smoothed_probs.values)
    row = [seed, fit.log_likelihood, log_likelihood]
    for level in ("slow", "" if kind == "within" else "fast"):
        row += [100 * agreement(found, states, level) for found in (probs, at_truth)]
    bics = [fit.bic]
    for number in (2, 4):
        flat = gh.GLMHMM(number, gh.Bernoulli(), gh.InputDriven())
        bics.append(gh.fit(flat, data, **options).bic)
    return [*row, *bics, fit.num_agreeing, seconds]


def main():
    """Print a line for every seed."""
    kind = sys.argv[1] if len(sys.argv) > 1 else "clear"
    seeds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    steps = int(sys.argv[3]) if len(sys.argv) > 3 else 20_000
    warnings.simplefilter("ignore")
    print("seed    logL   truth | slow %  truth | fast %  truth |", end=" ")
    print("BIC levels    K=2    K=4 | starts at best  CPU s")
    for seed in range(seeds):
        print(
            "{:4d} {:8.1f} {:7.1f} | {:6.1f} {:6.1f} | {:6.1f} {:6.1f} | {:9.1f} "
            "{:7.1f} {:7.1f} | {:6d} {:12.1f}".format(*measure(kind, seed, steps)),
            flush=True,
        )


if __name__ == "__main__":
    main()
