"""What 20 starts cost beside one: all run to their ends, and the search.

    python benchmarks/restarts.py [--seeds 5] [NAME ...]

CPU seconds of a fit by EM, the median of the seeds, and the median of their ratios to
the fit from one start of the same seed. Starts are noise around one GLM; all of them
advance together, by kernels for the number of states, which are compiled before. The
search (the default) prunes starts and then kicks the best, in order to find what they
miss; a fit from one start does neither.

Printed once, nine seeds::

              one  20 plain  ratio   search  ratio
    W2       0.16      1.09    6.7     1.63    9.9
    W2e      0.12      0.71    5.4     1.43   11.6
"""

import argparse
import pathlib
import statistics
import time
import warnings

import numpy as np
import torch
import workloads

import glmhmm_pyro as gh

HERE = pathlib.Path(__file__).resolve().parent
NAMES = ("W2", "W2e")
PLAIN = {"init": "glm", "num_restarts": 20}
FITS = {"one": {"num_restarts": 1}, "20 plain": PLAIN, "search": {"num_restarts": 20}}


def main():
    """A line for every workload."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", default=NAMES)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--folder", default=str(HERE / "results"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", gh.ConvergenceWarning)
    print(f"{'':5}{'one':>8}{'20 plain':>10}{'ratio':>7}{'search':>9}{'ratio':>7}")
    for name in args.names:
        model, data = problem(name, args.folder)
        gh.chain.warm_up([model.num_states])
        seconds(model, data, num_restarts=2, num_iters=2)  # compiles the rest
        found = [
            [seconds(model, data, seed=seed, **options) for options in FITS.values()]
            for seed in range(args.seeds)
        ]
        one, plain, search = (statistics.median(times) for times in zip(*found))
        by_plain, by_search = (
            statistics.median(times[i] / times[0] for times in found) for i in (1, 2)
        )
        print(
            f"{name:5}{one:8.2f}{plain:10.2f}{by_plain:7.1f}{search:9.2f}"
            f"{by_search:7.1f}",
            flush=True,
        )


def problem(name, folder):
    """Model and data of a workload."""
    w = dict(np.load(workloads.make(name, folder)))
    transitions = gh.Stationary() if w["stationary"] else gh.InputDriven()
    model = gh.GLMHMM(int(w["K"]), gh.Categorical(int(w["C"])), transitions)
    return model, gh.Sequences(w["y"], w["X"], lengths=w["lengths"])


def seconds(model, data, **options):
    """CPU seconds of a fit."""
    begin = time.process_time()
    gh.fit(model, data, progress=False, **options)
    return time.process_time() - begin


if __name__ == "__main__":
    main()
