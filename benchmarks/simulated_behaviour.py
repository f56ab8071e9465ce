"""How often predictive checks warn of nothing, and find what is there.

    python benchmarks/simulated_behaviour.py [--sets 100] [--planted 50]

Well-specified: the fits of ``benchmarks/checks.py``, each held against 100 simulations
by ``gh.analysis.predictive_check``; one that finds anything is a false alarm, and may
be one in 20 at most. Planted: in data of that size (four sessions of 200 steps) each of
the defects of ``PLANTED``, which its finding is to name in 9 of 10. Shares are printed
with their Monte Carlo standard errors, those of a share after one more of either
outcome:

==================  ======================  ==========
planted             finding                 found (%)
==================  ======================  ==========
a slow wave         unlike-autocorrelation  100 ± 2
repeated choices    unlike-runs             100 ± 2
a bent curve        unlike-psychometric     94 ± 4
states of 20 steps  unlike-dwell            100 ± 2
==================  ======================  ==========

Of 400 well-specified fits 9 warned, 2.2 ± 0.8 %.
"""

import argparse
import time
import warnings

import numpy as np
import torch
from checks import (
    START,
    STEPS,
    TRUTHS,
    WEAK,
    design,
    drawn,
    normal,
    numbers,
    said,
)

import glmhmm_pyro as gh

QUICK = {"num_restarts": 1, "progress": False}


def started(kind, data):
    """The fit by EM from the truth."""
    family, params = TRUTHS[kind]
    options = {**QUICK, "init": {**START, **params}, "init_noise": 0.0}
    return gh.fit(gh.GLMHMM(2, family), data, tol=1e-6, **options)


def held(fit, data):
    """The report of a predictive check."""
    return gh.analysis.predictive_check(fit, data, num_samples=100).report


def choices(seed, log_odds):
    """The report on one state of choices that come with these log-odds."""
    chance = 1 / (1 + np.exp(-log_odds))
    y = np.random.default_rng([seed, 2]).uniform(size=STEPS) < chance
    data = design("choices", seed).replace(emissions=y)
    return held(gh.fit(gh.GLMHMM(1, gh.Bernoulli(WEAK)), data, **QUICK), data)


def slow_wave(seed):
    """A preference that comes and goes within 100 steps."""
    return choices(seed, 1.2 * np.sin(2 * np.pi * np.arange(STEPS) / 100))


def repeating(seed):
    """Choices that repeat the one before by log-odds of 0.8."""
    rng, y = np.random.default_rng([seed, 2]), np.zeros(STEPS, dtype=int)
    for t in range(1, STEPS):
        y[t] = rng.uniform() < 1 / (1 + np.exp(-0.8 * (2 * y[t - 1] - 1)))
    data = design("choices", seed).replace(emissions=y)
    return held(gh.fit(gh.GLMHMM(1, gh.Bernoulli(WEAK)), data, **QUICK), data)


def bent(seed):
    """Choices whose log-odds follow the square of the covariate, too."""
    x = design("choices", seed).covariates[:, 0].numpy()
    return choices(seed, 1.5 * x + 0.7 * (x**2 - 1))


def punctual(seed):
    """Numbers of two states that last for 20 steps each time."""
    data = numbers(seed, normal(seed), np.arange(STEPS) // 20 % 2)
    return held(started("numbers", data), data)


# What is planted, the code that is to be found, and the report on it.
PLANTED = {
    "a slow wave": ("unlike-autocorrelation", slow_wave),
    "repeated choices": ("unlike-runs", repeating),
    "a bent curve": ("unlike-psychometric", bent),
    "states of 20 steps": ("unlike-dwell", punctual),
}


def main():
    """Print counts of false alarms by family, and of what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sets", type=int, default=100)
    parser.add_argument("--planted", type=int, default=50)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    began, alarms, number = time.process_time(), 0, 0
    for kind in TRUTHS if args.sets else ():
        codes = []
        for seed in range(args.sets):
            data = drawn(kind, seed)[0]
            report = held(started(kind, data), data)
            alarms, number = alarms + report.warns, number + 1
            codes += list(report.codes)
        print(f"{kind:10} {args.sets} fits, warnings: {', '.join(codes) or 'none'}")
    print(f"well-specified: {said(alarms, number)} warn")
    for name, (code, plant) in PLANTED.items():
        found = sum(code in plant(seed).codes for seed in range(args.planted))
        print(f"{name:20} {code:24} {said(found, args.planted)}", flush=True)
    print(f"{time.process_time() - began:.0f} CPU seconds")


if __name__ == "__main__":
    main()
