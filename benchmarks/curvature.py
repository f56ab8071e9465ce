"""Second derivatives in E-steps, a free parameter: ours, and by torch's graph.

    python benchmarks/curvature.py                    20,000 steps, 6 covariates
    python benchmarks/curvature.py --steps 100000 --columns 20 --seed 5

CPU time of one thread over that of an E-step in the same run, medians of turns. Counts
are a family without tables made by hand; by the graph go chains without them, and
models of a user's own. Evidence and errors are the whole calls on a fit, and how many
Hessians each makes.
Printed once, on a busy core, of Hessians and the graph, a free parameter::

    stationary       26    21.1 (0.81)    25.5 (0.98)
    driven           56    18.0 (0.32)   224.6 (4.01)
    counts           26    20.1 (0.77)    28.4 (1.09)
    driven counts    56    15.8 (0.28)   146.4 (2.61)
"""

import argparse
import statistics
import time

import numpy as np
import torch
from torch.distributions import Dirichlet, Normal

import glmhmm_pyro as gh
from glmhmm_pyro.inference.curvature import uncertainty
from glmhmm_pyro.inference.curvature.curvature import hessian
from glmhmm_pyro.inference.program.program import Program

TURNS = 5
MODELS = ("stationary", "driven", "counts", "driven counts")


def main():
    """A line for stationary transitions and one for driven ones, of two families."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, value in (("steps", 20_000), ("columns", 6), ("states", 3), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print("E-steps, in brackets a free parameter; Hessians of the last two calls")
    print(
        f"{'':14}{'free':>5}{'Hessian':>15}{'graph':>15}{'errors':>15}{'evidence':>15}"
    )
    for name in MODELS:
        report(name, args)


def report(name, args):
    """Everything in E-steps of this model."""
    data = simulated(args)
    prior, probs = Normal(0.0, 2.0), Dirichlet(torch.full((args.states,), 2.0).double())
    moves = gh.InputDriven(prior) if "driven" in name else gh.Stationary(probs)
    family = gh.Poisson(prior) if "counts" in name else gh.Bernoulli(prior)
    model = gh.GLMHMM(args.states, family, moves, gh.Initial(probs))
    fit = gh.fit(model, data, "map", num_restarts=1, progress=False, seed=args.seed)
    program = Program.of(fit.model, data)
    steps, vector = program.em_steps(None), program.packed(fit.params)
    params = program.coordinates.unpack(vector)
    calls = {
        "E-step": lambda: steps.expect([params]),
        "Hessian": lambda: hessian(program, vector),
        "graph": lambda: by_graph(program, vector),
        "errors": lambda: fit.standard_errors(data),
        "evidence": lambda: gh.analysis.log_evidence(fit, data),
    }
    times = {label: [] for label in calls}
    for _ in range(TURNS + 1):
        for label, call in calls.items():
            times[label].append(seconds(call))
    # The first of each may compile.
    unit = statistics.median(times.pop("E-step")[1:])
    whole = {label: statistics.median(t[1:]) / unit for label, t in times.items()}
    free = len(vector)
    cells = [f"{x:8.1f} ({x / free:4.2f})" for x in whole.values()]
    made = [str(hessians(calls[label])) for label in ("errors", "evidence")]
    print(f"{name:14}{free:5}{''.join(cells)}  {' and '.join(made)}", flush=True)


def simulated(args):
    """Labels of a chain with states that last; normal covariates, a constant."""
    rng = np.random.default_rng(args.seed)
    covariates = rng.normal(size=(args.steps, args.columns))
    covariates[:, 0] = 1.0
    states = rng.integers(0, args.states, args.steps // 20 + 1).repeat(20)
    weights = rng.normal(0.0, 1.5, (args.states, args.columns))
    scores = (weights[states[: args.steps]] * covariates).sum(1)
    labels = rng.uniform(size=args.steps) < 1 / (1 + np.exp(-scores))
    lengths = [len(x) for x in np.array_split(labels, 20)]
    return gh.Sequences(labels.astype(int), covariates, lengths=lengths)


def by_graph(program, vector):
    """The Hessian by torch's graph of the whole density."""
    program.known_curvature = lambda point: None
    try:
        hessian(program, vector)
    finally:
        del program.known_curvature


def seconds(call):
    """CPU seconds of a call, as often repeated as takes a twentieth of a second."""
    start, number = time.process_time(), 0
    while number == 0 or time.process_time() - start < 0.05:
        call()
        number += 1
    return (time.process_time() - start) / number


def hessians(call):
    """How many Hessians a call makes."""
    made, whole = [], uncertainty.hessian
    uncertainty.hessian = lambda *arguments: (made.append(1), whole(*arguments))[1]
    try:
        call()
    finally:
        uncertainty.hessian = whole
    return len(made)


if __name__ == "__main__":
    main()
