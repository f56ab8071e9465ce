"""One value and gradient of the log-joint: ours, its automatic one, and the sketch's.

    python benchmarks/gradients.py                  W1s, W2, W3
    python benchmarks/gradients.py --only W2
    python benchmarks/gradients.py --by-group       weights of six groups, no sketch
    python benchmarks/gradients.py --families       counts and measurements, no sketch

CPU milliseconds of one thread, by turns, medians. The graph is what a model with parts
of the user's own takes: torch's derivatives of its distributions. The sketch (a fused
pass in C between two matrix products) is a mark, no product.

Of the families, on a machine of two cores that others worked on::

                          steps  ours ms  graph ms  times
        poisson             1000     0.21      1.69    8.0
        negative binomial   1000     0.42      2.76    6.5
        gaussian            1000     0.29      2.03    7.1
        student             1000     0.34      2.52    7.4
        gamma               1000     0.33      2.76    8.4
        poisson            20000     1.12      4.48    4.0
        negative binomial  20000     2.85     13.56    4.8
        gaussian           20000     1.32      4.38    3.3
        student            20000     1.63     13.72    8.4
        gamma              20000     1.34      7.86    5.8
"""

import argparse
import pathlib
import statistics
import time

import fit_ours
import fit_sketch
import numpy as np
import torch
import workloads

import glmhmm_pyro as gh
from glmhmm_pyro.inference.program.evaluated import differentiated
from glmhmm_pyro.inference.program.program import Program

HERE = pathlib.Path(__file__).resolve().parent
TURNS, SECONDS = 9, 0.2


def main():
    """A line for every workload."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    names = ["W1s", "W2", "W3"]
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--folder", default=str(HERE / "results"))
    parser.add_argument("--by-group", action="store_true")
    parser.add_argument("--families", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.by_group:
        return report_by_group()
    if args.families:
        return report_families()
    print(f"{'':4} {'ours ms':>8} {'graph ms':>9} {'sketch ms':>10} {'over it':>8}")
    for name in args.only:
        report(name, dict(np.load(workloads.make(name, args.folder))))


def report(name, w):
    """Medians of all turns, and the ratio that is to come down."""
    transitions = gh.Stationary() if w["stationary"] else gh.InputDriven()
    model = gh.GLMHMM(int(w["K"]), gh.Categorical(int(w["C"])), transitions)
    data = gh.Sequences(w["y"], w["X"], lengths=w["lengths"])
    program = Program.of(model, data).in_own_units()
    vector = program.packed(fit_ours.start(w))
    sketch = fit_sketch.Objective(w)
    point = sketch.start(w)
    evaluations = {**own_ways(program, vector), "sketch": lambda: sketch(point)}
    ours, graph, theirs = by_turns(evaluations)
    print(f"{name:4} {ours:8.2f} {graph:9.2f} {theirs:10.2f} {ours / theirs:8.2f}")


def report_by_group():
    """Weights of every group, which no law links: 5,400 choices of six groups."""
    rng = np.random.default_rng(0)
    x = np.stack([rng.normal(size=5400), np.ones(5400)], 1)
    groups = [f"mouse {number % 6}" for number in range(54)]
    data = gh.Sequences(
        rng.integers(2, size=5400), x, lengths=[100] * 54, groups=groups
    )
    family = gh.components.Varying(gh.Bernoulli(), "group", None)
    program = Program.of(gh.GLMHMM(2, family), data)
    vector = torch.zeros(program.coordinates.size, dtype=torch.float64)
    ours, graph = by_turns(own_ways(program, vector))
    print(f"by group {ours:.2f} ms, as a graph {graph:.2f}: {graph / ours:.1f} times")


def report_families():
    """Three states, two covariates and a constant, 1,000 steps and 20,000."""
    families = {
        "poisson": (gh.Poisson, "counts"),
        "negative binomial": (gh.components.NegativeBinomial, "counts"),
        "gaussian": (gh.Gaussian, "real"),
        "student": (gh.components.StudentT, "real"),
        "gamma": (gh.components.Gamma, "positive"),
    }
    print(f"{'':17} {'steps':>6} {'ours ms':>8} {'graph ms':>9} {'times':>6}")
    for steps in (1000, 20_000):
        rng = np.random.default_rng(0)
        x = np.column_stack([rng.normal(size=(steps, 2)), np.ones(steps)])
        outputs = {
            "counts": rng.poisson(2.0, steps),
            "real": rng.normal(size=steps),
            "positive": rng.gamma(2.0, size=steps),
        }
        for name, (family, kind) in families.items():
            model = gh.GLMHMM(3, family(prior=gh.priors.Ridge(1.0)))
            program = Program.of(model, gh.Sequences(outputs[kind], x)).in_own_units()
            vector = torch.full((program.coordinates.size,), 0.1, dtype=torch.float64)
            ours, graph = by_turns(own_ways(program, vector))
            ratio = f"{graph / ours:6.1f}"
            print(f"{name:17} {steps:6} {ours:8.2f} {graph:9.2f} {ratio}", flush=True)


def own_ways(program, vector):
    """Ours, and torch's derivatives of the definition."""
    return {
        "ours": lambda: program.evaluated(vector, jacobian=False),
        "graph": lambda: differentiated(
            program.coordinates, program.log_parts, vector, jacobian=False
        ),
    }


def by_turns(evaluations):
    """Median CPU milliseconds of each."""
    times = {label: [] for label in evaluations}
    for _ in range(TURNS):
        for label, evaluate in evaluations.items():
            times[label].append(milliseconds(evaluate))
    return [statistics.median(found) for found in times.values()]


def milliseconds(evaluate):
    """CPU time of one evaluation."""
    before, calls = time.process_time(), 0
    while not calls or time.process_time() - before < SECONDS:
        evaluate()
        calls += 1
    return 1000 * (time.process_time() - before) / calls


if __name__ == "__main__":
    main()
