"""One value and gradient of the log-joint: ours, its automatic one, and the sketch's.

    python benchmarks/gradients.py                  W1s, W2, W3
    python benchmarks/gradients.py --only W2

CPU milliseconds of one thread, by turns, medians. The graph is what a model with parts
of the user's own takes: torch's derivatives of its distributions. The sketch (a fused
pass in C between two matrix products) is a mark, no product.
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
    args = parser.parse_args()
    torch.set_num_threads(1)
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
    evaluations = {
        "ours": lambda: program.evaluated(vector, jacobian=False),
        "graph": lambda: differentiated(
            program.coordinates, program.log_parts, vector, jacobian=False
        ),
        "sketch": lambda: sketch(point),
    }
    times = {label: [] for label in evaluations}
    for _ in range(TURNS):
        for label, evaluate in evaluations.items():
            times[label].append(milliseconds(evaluate))
    ours, graph, theirs = (statistics.median(found) for found in times.values())
    print(f"{name:4} {ours:8.2f} {graph:9.2f} {theirs:10.2f} {ours / theirs:8.2f}")


def milliseconds(evaluate):
    """CPU time of one evaluation."""
    before, calls = time.process_time(), 0
    while not calls or time.process_time() - before < SECONDS:
        evaluate()
        calls += 1
    return 1000 * (time.process_time() - before) / calls


if __name__ == "__main__":
    main()
