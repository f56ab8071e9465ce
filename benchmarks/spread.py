"""An iteration of EM over two processes of a process group, over that of one process.

    python benchmarks/spread.py                 a minute or two
    python benchmarks/spread.py --steps 1000000

Each process computes in one thread and makes its own sessions. Iterations are told from
what comes before them by a fit of a few and one of many; with the default 30 columns
there are too many weights for Newton's last steps. Printed are milliseconds of an
iteration by the clock (of the slower rank) and of processor time (of all ranks), their
ratios, two to one, and the difference of the log-joints that both end in. Half the time
by the clock and the same processor time is the best there can be; where others keep the
processors busy, processor time alone says something, and it counts waiting, too: gloo
looks out for its messages all the while.
"""

import argparse
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch

import glmhmm_pyro as gh

FEW, MANY = 2, 12
SESSIONS, STATES = 200, 3


def main():
    """Both runs, one after the other, and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=200_000)
    parser.add_argument("--columns", type=int, default=30)
    parser.add_argument("--rank", nargs=3, metavar=("RANK", "SIZE", "FOLDER"))
    args = parser.parse_args()
    if args.rank:
        rank, size, folder = args.rank
        return work(args.steps, args.columns, int(rank), int(size), Path(folder))
    one, two = (run(args, size) for size in (1, 2))
    for what in ("clock", "processor"):
        ratio = two[what] / one[what]
        print(f"{what:10} {one[what]:8.1f} {two[what]:8.1f} ms, ratio {ratio:.2f}")
    print(f"log-joints differ by {abs(one['log_joint'] - two['log_joint']):.1e} nats")


def run(args, size):
    """What so many processes measure together."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--steps", str(args.steps)]
        command += ["--columns", str(args.columns), "--rank"]
        ranks = [[*command, str(rank), str(size), folder] for rank in range(size)]
        processes = [subprocess.Popen(rank) for rank in ranks]
        if any([process.wait() for process in processes]):
            sys.exit("a rank failed")
        found = [torch.load(Path(folder) / str(rank)) for rank in range(size)]
    return {
        "clock": max(one["clock"] for one in found),
        "processor": sum(one["processor"] for one in found),
        "log_joint": found[0]["log_joint"],
    }


def work(steps, columns, rank, size, folder):
    """Milliseconds of an iteration on one rank, left in the folder."""
    torch.set_num_threads(1)
    options = {}
    if size > 1:
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{folder}/met", rank=rank, world_size=size
        )
        options["process_group"] = "world"
    first, end = (SESSIONS * number // size for number in (rank, rank + 1))
    data = made(steps, columns).subset(range(first, end))
    before = fitted(data, FEW, options)
    after = fitted(data, MANY, options)
    found = {
        what: 1000 * (after[what] - before[what]) / (MANY - FEW)
        for what in ("clock", "processor")
    }
    torch.save({**found, "log_joint": after["log_joint"]}, folder / str(rank))


def fitted(data, iterations, options):
    """Seconds of a fit of so many iterations, and where it ends."""
    prior = gh.priors.Ridge(1.0)
    model = gh.GLMHMM(STATES, gh.Bernoulli(prior), gh.InputDriven(prior))
    method = gh.EM(num_iters=iterations, tol=0.0, accelerate=False)
    clock, processor = time.perf_counter(), time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gh.ConvergenceWarning)
        fit = gh.fit(model, data, method, num_restarts=1, progress=False, **options)
    return {
        "clock": time.perf_counter() - clock,
        "processor": time.process_time() - processor,
        "log_joint": float(fit.restarts[0].log_joints[iterations]),
    }


def made(steps, columns):
    """Choices by states that last, the same in all processes."""
    rng = np.random.default_rng(0)
    steps -= steps % SESSIONS
    rows = rng.normal(size=(steps, columns))
    rows[:, -1] = 1.0
    states = np.repeat(rng.integers(0, STATES, steps // 50 + 1), 50)[:steps]
    weights = rng.normal(size=(STATES, columns)) / columns**0.5
    predictors = 2.0 * (rows * weights[states]).sum(1)
    labels = (rng.uniform(size=steps) < 1 / (1 + np.exp(-predictors))).astype(int)
    return gh.Sequences(labels, rows, lengths=[steps // SESSIONS] * SESSIONS)


if __name__ == "__main__":
    main()
