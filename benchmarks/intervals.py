"""How often 95 % intervals hold the truth: Wald's, Laplace's, and both bootstraps'.

    python benchmarks/intervals.py [--sets 200] [--bootstraps 50] [--replicates 120]

Two states, Bernoulli choices with a weight for a cue and a bias, ten sessions of 150
steps; flat priors, but for that of the first state, Dirichlet(2, 2): without it half of
the estimates are 0 or 1. Data sets are simulated at known parameters and fitted from
there, so that every fit is of the same optimum. Printed for every kind of parameter, in
per cent with one standard deviation of Monte Carlo error: the coverage, the share of
intervals that there are (a value at the border of its support has none), and the mean
width. Sessions are few on purpose: each of them tells of the first state once, and a
bootstrap of sessions draws ten.
"""

import argparse
import time
import warnings

import numpy as np
import torch
from torch.distributions import Dirichlet

import glmhmm_pyro as gh
from glmhmm_pyro.analysis import bootstrap
from glmhmm_pyro.inference.fits.given import fit_at

SESSIONS, STEPS = 10, 150
TRUTH = {
    "initial.probs": [0.7, 0.3],
    "transitions.probs": [[0.95, 0.05], [0.08, 0.92]],
    "emissions.weights": [[2.0, 0.5], [0.3, -1.0]],
}
QUIET = {"num_restarts": 1, "progress": False}

# Begun at the truth, or at the fit that is bootstrapped; a hundredth of an error off.
REFIT = gh.MAP(em_iters=0, tol=1e-5)

# The numbers that are compared, the other ones being their complements.
PICKED = {
    "first probability": ("initial.probs", np.s_[:1]),
    "stay probabilities": ("transitions.probs", np.s_[[0, 3]]),
    "weights": ("emissions.weights", np.s_[:]),
}


def main():
    """Print a table for every kind of interval."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sets", type=int, default=200)
    parser.add_argument("--bootstraps", type=int, default=50)
    parser.add_argument("--replicates", type=int, default=120)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", gh.ConvergenceWarning)
    began = time.process_time()
    origin, design = origin_of()
    fits = [fitted(origin, design, seed) for seed in range(args.sets)]
    report("Wald, summary(data)", [of_table(fit.summary(data)) for fit, data in fits])
    report("Laplace draws", [of_draws(fit, data) for fit, data in fits])
    for kind in ("session", "parametric"):
        options = {"kind": kind, "method": REFIT, "progress": False}
        some = fits[: args.bootstraps]
        errors = [bootstrap(*pair, args.replicates, **options) for pair in some]
        label = f"{kind} bootstrap, {args.replicates} replicates"
        report(label, [of_arrays(each.intervals()) for each in errors])
    print(f"\n{time.process_time() - began:.0f} CPU seconds")


def origin_of():
    """A fit at the true parameters, to simulate from, and the covariates."""
    generator = torch.Generator().manual_seed(0)
    total = SESSIONS * STEPS
    cue = torch.randn(total, 1, generator=generator, dtype=torch.float64)
    x = torch.cat([cue, torch.ones_like(cue)], 1)
    design = gh.Sequences([0, 1] * (total // 2), x, lengths=[STEPS] * SESSIONS)
    first = gh.Initial(prior=Dirichlet(torch.full((2,), 2.0)))
    model = gh.GLMHMM(2, gh.Bernoulli(), initial=first)
    params = {name: torch.tensor(value).double() for name, value in TRUTH.items()}
    return fit_at(model, design, params, "the truth"), design


def fitted(origin, design, seed):
    """A fit to simulated choices, and these."""
    data, _ = origin.simulate(design, seed=seed)
    return gh.fit(origin.model, data, REFIT, init=TRUTH, **QUIET), data


def of_draws(fit, data):
    """Ends of the intervals of draws around the same mode."""
    method = gh.Laplace(num_samples=1000)
    return of_table(gh.fit(fit.model, data, method, init=fit.params, **QUIET).summary())


def of_table(table):
    """Ends (2, numbers) of every parameter, from a summary."""
    named = table.groupby("parameter", sort=False)[["lower", "upper"]]
    # Weights of the reference class are shown, and are 0.
    return {name: shown(name, rows.to_numpy(float).T) for name, rows in named}


def of_arrays(intervals):
    """The same, from the intervals of a bootstrap."""
    return {n: shown(n, array.values.reshape(2, -1)) for n, array in intervals.items()}


def shown(name, ends):
    """Without the rows of reference classes."""
    count = np.size(TRUTH[name])
    return ends if ends.shape[1] == count else ends[:, ends[0] != ends[1]]


def report(label, intervals):
    """Print a row for every kind of parameter."""
    print(f"\n{label}: {len(intervals)} data sets")
    print(f"{'':20}{'coverage':>16}{'made':>8}{'width':>8}")
    for kind, (name, which) in PICKED.items():
        true = np.ravel(TRUTH[name])[which]
        ends = np.stack([each[name][:, which] for each in intervals])
        made = np.isfinite(ends).all(1)
        held = ((ends[:, 0] <= true) & (true <= ends[:, 1])).astype(float)
        # Numbers of one data set depend on each other: the error is that of sets.
        by_set = np.array([np.mean(h[m]) for h, m in zip(held, made) if m.any()])
        error = by_set.std(ddof=1) / len(by_set) ** 0.5
        width = (ends[:, 1] - ends[:, 0])[made].mean()
        share = f"{100 * held[made].mean():.1f} +- {100 * error:.1f} %"
        made_of = f"{100 * made.mean():.0f} %"
        print(f"{kind:20}{share:>16}{made_of:>8}{width:8.2f}", flush=True)


if __name__ == "__main__":
    main()
