"""Simulation-based calibration, the long form of tests/analysis: minutes, not seconds.

    python benchmarks/calibration.py [--simulations 200] [--methods nuts laplace svi]

Two states, Bernoulli emissions, 60 steps in two sessions: for every method the p value
of uniform ranks and their spread (1 if calibrated, above 1 if the draws are too narrow)
for every parameter. NUTS should pass; mean-field SVI, which knows no correlations, is
known to be too narrow.
"""

import argparse
import warnings

import torch
from torch.distributions import Dirichlet, Normal

import glmhmm_pyro as gh
from glmhmm_pyro.analysis import simulation_based_calibration

METHODS = {
    "nuts": gh.NUTS(num_samples=250, num_warmup=150, num_chains=1, parallel=False),
    "laplace": gh.Laplace(num_samples=252),
    "svi": gh.SVI(guide="normal", num_samples=252),
}


def main():
    """Print a table for every method."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--simulations", type=int, default=200)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    args = parser.parse_args()
    torch.set_num_threads(1)
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
        print(f"\n{name}: {args.simulations} simulations")
        print(found.p_values().to_frame().assign(spread=found.spread()).round(3))


if __name__ == "__main__":
    main()
