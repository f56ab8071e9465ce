"""Simulation-based calibration, the long form of tests/analysis: minutes, not seconds.

    python benchmarks/calibration.py [--simulations 60] [--methods laplace svi nuts]

Two states, Bernoulli emissions, 60 steps in two sessions: for every method the p value
of uniform ranks and their spread (1 if calibrated, above 1 if the draws are too narrow)
for every parameter, the spread with one standard deviation of Monte Carlo error. NUTS
should pass; mean-field SVI, which knows no correlations, is known to be too narrow.
"""

import argparse
import time
import warnings

import torch
from torch.distributions import Dirichlet, Normal

import glmhmm_pyro as gh
from glmhmm_pyro.analysis import simulation_based_calibration

METHODS = {
    "laplace": gh.Laplace(num_samples=252),
    "svi": gh.SVI(guide="normal", num_samples=252),
    "nuts": gh.NUTS(num_samples=250, num_warmup=150, num_chains=1, parallel=False),
}


def main():
    """Print a table for every method."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--simulations", type=int, default=60)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    began = time.process_time()
    warnings.simplefilter("ignore", gh.ConvergenceWarning)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((60, 1), generator=generator, dtype=torch.float64)
    design = torch.cat([x, torch.ones_like(x)], -1)
    data = gh.Sequences([0] * 60, design, lengths=[35, 25])
    even = Dirichlet(torch.full((2,), 2.0))
    emissions = gh.Bernoulli(prior=Normal(0.0, 2.0))
    model = gh.GLMHMM(2, emissions, gh.Stationary(even), gh.Initial(even))
    for name in args.methods:
        found = simulation_based_calibration(
            model, data, METHODS[name], num_simulations=args.simulations, seed=1
        )
        table = found.p_values().to_frame().assign(spread=found.spread())
        table["error"] = spread_errors(found)
        print(f"\n{name}: {args.simulations} simulations")
        print(table.round(3), flush=True)
    print(f"\n{time.process_time() - began:.0f} CPU seconds")


def spread_errors(found):
    """Monte Carlo errors of the spreads, from how much squares of ranks vary."""
    squares = (found.ranks - found.num_draws / 2) ** 2
    relative = squares.std(0, ddof=1) / squares.mean(0) / len(squares) ** 0.5
    return found.spread().to_numpy() * relative / 2


if __name__ == "__main__":
    main()
