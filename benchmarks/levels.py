"""Two timescales found again: slow and fast states of simulated choices.

    python benchmarks/levels.py [seeds] [steps]

Two slow states, driven by a covariate that changes slowly, modulate how two fast states
follow one another, and these alone decide how choices depend on a stimulus. For every
seed: the model on two levels and flat ones of two and of four states with both
covariates, all from as many starts; how many steps have their true slow and fast state
decoded, at the fitted and at the true parameters; and the Bayesian information
criterion (BIC) of all three models.
"""

import sys
import time
import warnings

import numpy as np
import torch

import glmhmm_pyro as gh
from glmhmm_pyro.components import Levels, TwoLevels

STARTS, SESSIONS = 5, 20
MOVES = {"slow": ["satiety", "bias"], "fast": ["reward", "bias"]}
TRUE = {
    "initial.probs": [0.25] * 4,
    "transitions.slow.weights": [[[0.8, -5.5]], [[-0.8, -5.5]]],
    "transitions.fast.weights": [
        [[[0.6, -2.5]], [[0.0, -2.0]]],
        [[[-0.3, -1.0]], [[0.5, -1.2]]],
    ],
    "emissions.weights": [[3.0, 0.0], [0.3, -1.5]],
}


def covariates(steps, rng):
    """A stimulus, rewards, and a satiety that changes over some 200 steps."""
    stimulus, reward, noise = rng.normal(size=(3, steps))
    satiety = np.zeros(steps)
    for t in range(1, steps):
        satiety[t] = 0.995 * satiety[t - 1] + (1 - 0.995**2) ** 0.5 * noise[t]
    one = np.ones(steps)
    return np.stack([stimulus, one], 1), np.stack([satiety, reward, one], 1)


def on_levels():
    """The model that data come from."""
    slow, fast = (gh.InputDriven(covariates=MOVES[level]) for level in MOVES)
    return gh.GLMHMM(Levels(2, 2), gh.Bernoulli(), TwoLevels(slow, fast))


def simulated(seed, steps):
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
    model = on_levels()
    model.bind(blank)
    params = {n: torch.tensor(v, dtype=torch.float64) for n, v in TRUE.items()}
    torch.manual_seed(seed)
    with torch.no_grad():
        hidden = model.hidden_markov_at(params, blank)
        y, states = hidden.sample_with_states()
        data = blank.replace(emissions=y.long())
        decoded = hidden.smoothed_probs(data.emissions)
        log_likelihood = float(hidden.log_prob(data.emissions))
    return data, states, decoded, log_likelihood


def agreement(probs, states, levels, level):
    """Share of steps whose most probable state is the true one, numbers matched."""
    found = levels.marginal(probs, level).argmax(-1)
    true = levels.of(states, level)
    share = float((found == true).double().mean())
    return max(share, 1 - share)


def measure(seed, steps):
    """One row of figures."""
    data, states, at_truth, log_likelihood = simulated(seed, steps)
    options = {"num_restarts": STARTS, "progress": False, "seed": seed}
    began = time.process_time()
    fit = gh.fit(on_levels(), data, **options)
    seconds = time.process_time() - began
    probs = torch.from_numpy(fit.decode(data).smoothed_probs.values)
    row = [seed, fit.log_likelihood, log_likelihood]
    for level in ("slow", "fast"):
        row += [
            100 * agreement(found, states, Levels(2, 2), level)
            for found in (probs, at_truth)
        ]
    bics = [fit.bic]
    for number in (2, 4):
        flat = gh.GLMHMM(number, gh.Bernoulli(), gh.InputDriven())
        bics.append(gh.fit(flat, data, **options).bic)
    return [*row, *bics, fit.num_agreeing, seconds]


def main():
    """Print a line for every seed."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 20_000
    warnings.simplefilter("ignore")
    print("seed    logL   truth | slow %  truth | fast %  truth |", end=" ")
    print("BIC levels    K=2    K=4 | starts at best  CPU s")
    for seed in range(seeds):
        print(
            "{:4d} {:8.1f} {:7.1f} | {:6.1f} {:6.1f} | {:6.1f} {:6.1f} | {:9.1f} "
            "{:7.1f} {:7.1f} | {:6d} {:12.1f}".format(*measure(seed, steps)),
            flush=True,
        )


if __name__ == "__main__":
    main()
