"""How often checks of a fit warn of nothing, and find what is there.

    python benchmarks/checks.py [--sets 20] [--planted 20]

Well-specified: two states of choices, of three classes, of counts and of numbers,
four sessions of 200 steps, one covariate and a constant, drawn at known parameters and
fitted by EM from there, under a weak prior; a report that warns is a false alarm, and
may be one in 20 at most. Planted: the data of ``PLANTED``, of which each defect is to
be found in 9 of 10. Shares are printed with their Monte Carlo standard errors.
"""

import argparse
import time
import warnings

import numpy as np
import torch

import glmhmm_pyro as gh
from glmhmm_pyro.inference.fits.given import fit_at

LENGTHS = [200] * 4
STEPS = sum(LENGTHS)
START = {
    "initial.probs": [0.5, 0.5],
    "transitions.probs": [[0.95, 0.05], [0.05, 0.95]],
}
WEAK = gh.priors.Ridge(3.0)
TRUTHS = {
    "choices": (gh.Bernoulli(WEAK), {"emissions.weights": [[2.0, 1.0], [-0.5, -1.0]]}),
    "classes": (
        gh.Categorical(3, WEAK),
        {"emissions.weights": [[[1.0, 1], [0, -1]], [[0, -1], [-1, 2]]]},
    ),
    "counts": (gh.Poisson(WEAK), {"emissions.weights": [[0.3, 1.5], [0.3, 0.0]]}),
    "numbers": (
        gh.Gaussian(prior=WEAK),
        {"emissions.weights": [[1.0, 1.0], [0.5, -1.0]], "emissions.scale": [1.0, 0.5]},
    ),
}


def design(kind, seed):
    """Covariates of a data set, with emissions that only say of what kind they are."""
    x = np.random.default_rng([seed, 0]).normal(size=(STEPS, 1))
    x = np.column_stack([x, np.ones(STEPS)])
    labels = np.arange(STEPS) % (3 if kind == "classes" else 2)
    labels = labels + 0.5 if kind == "numbers" else labels
    return gh.Sequences(labels, x, lengths=LENGTHS, covariate_names=["x", "one"])


def drawn(kind, seed):
    """Data drawn at the truth, and the states of its path."""
    family, params = TRUTHS[kind]
    model, data = gh.GLMHMM(2, family), design(kind, seed)
    values = {n: torch.tensor(v).double() for n, v in {**START, **params}.items()}
    return fit_at(model, data, values, "the truth").simulate(data, seed)


def fitted(kind, data):
    """A fit from the truth."""
    family, params = TRUTHS[kind]
    options = {"num_restarts": 1, "init": {**START, **params}, "init_noise": 0.0}
    model = gh.GLMHMM(2, family)
    return gh.fit(model, data, tol=1e-6, progress=False, **options)


def of_numbers(seed, errors):
    """Numbers with these errors in the place of independent normal ones."""
    data, states = drawn("numbers", seed)
    weights = np.array(TRUTHS["numbers"][1]["emissions.weights"])
    scale = np.array(TRUTHS["numbers"][1]["emissions.scale"])
    mean = (data.covariates.numpy() * weights[states]).sum(1)
    return "numbers", data.replace(emissions=mean + scale[states] * errors)


def heavy_tails(seed):
    """Errors of Student's t with 3 degrees of freedom, of the same variance."""
    rng = np.random.default_rng([seed, 1])
    return of_numbers(seed, rng.standard_t(3, STEPS) / np.sqrt(3))


def memory(seed):
    """Errors that are correlated by 0.4 from step to step."""
    noise = np.random.default_rng([seed, 1]).normal(size=STEPS)
    for t in range(1, STEPS):
        noise[t] = 0.4 * noise[t - 1] + np.sqrt(1 - 0.4**2) * noise[t]
    return of_numbers(seed, noise)


def curved(seed):
    """Numbers that follow half of the square of their covariate, too."""
    kind, data = of_numbers(seed, np.random.default_rng([seed, 1]).normal(size=STEPS))
    square = data.covariates[:, 0] ** 2
    return kind, data.replace(emissions=data.emissions + 0.5 * square)


def drifting(seed):
    """Numbers that rise by 1 in second halves of sessions."""
    kind, data = of_numbers(seed, np.random.default_rng([seed, 1]).normal(size=STEPS))
    late = torch.arange(STEPS) % 200 >= 100
    return kind, data.replace(emissions=data.emissions + late)


PLANTED = {
    "wrong-law": heavy_tails,
    "memory-left": memory,
    "miscalibrated": curved,
    "drift": drifting,
}


def main():
    """Print counts of false alarms by family, and of what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sets", type=int, default=20)
    parser.add_argument("--planted", type=int, default=20)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    began, alarms, number = time.process_time(), 0, 0
    for kind in TRUTHS:
        codes = []
        for seed in range(args.sets):
            data = drawn(kind, seed)[0]
            report = fitted(kind, data).check(data)
            alarms, number = alarms + report.warns, number + 1
            codes += [f.code for f in report if f.severity != "note"]
        print(f"{kind:10} {args.sets} fits, warnings: {', '.join(codes) or 'none'}")
    print(f"well-specified: {said(alarms, number)} warn")
    for code, plant in PLANTED.items():
        reports = []
        for seed in range(args.planted):
            kind, data = plant(seed)
            reports.append(fitted(kind, data).check(data))
        found = sum(code in report.codes for report in reports)
        print(f"{code:14} found in {said(found, args.planted)}")
    print(f"{time.process_time() - began:.0f} CPU seconds")


def said(count, number):
    """A share with its standard error."""
    share = count / max(number, 1)
    error = np.sqrt(share * (1 - share) / max(number, 1))
    return f"{count} of {number} ({100 * share:.1f} ± {100 * error:.1f} %)"


if __name__ == "__main__":
    main()
