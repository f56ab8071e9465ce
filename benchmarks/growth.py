"""How an iteration of EM grows with the data and the model: time, memory, slopes.

    python benchmarks/growth.py                       a minute or two
    python benchmarks/growth.py --only steps --large  to ten million steps

One thing at a time is made larger than BASE, and every size runs in a process forked
for it. CPU milliseconds of one iteration (the median of those after the first, so that
compilation is left out; nan if there was none), megabytes of the process beyond its
imports at their peak. The slope is that of log time on log size over the larger half:
1 is linear, 2 quadratic. Seen once, on two busy cores, driven transitions: steps .98,
states 1.64 (4 to 16), columns .44 (20 to 80), choices .69 (4 to 8), sessions .05.
"""

import argparse
import functools
import math
import multiprocessing
import resource
import statistics
import time

import torch

import glmhmm_pyro as gh

BASE = {"steps": 20_000, "states": 3, "columns": 10, "choices": 2}
BASE |= {"sessions": 20, "starts": 1}
SIZES = {
    "steps": (10_000, 30_000, 100_000, 300_000),
    "states": (2, 4, 8, 16),
    "columns": (5, 20, 80),
    "choices": (2, 4, 8),
    "sessions": (1, 100, 5_000),
    "starts": (1, 5, 20),
}
LARGE = {"steps": (10**6, 10**7), "columns": (300, 600), "sessions": (20_000,)}
LARGE |= {"states": (20,), "choices": (12,), "starts": (40,)}
ITERATIONS = 9


def main():
    """A line for every size, a slope for everything that was made larger."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--large", action="store_true", help="sizes that take long")
    parser.add_argument("--transitions", default="InputDriven")
    args = parser.parse_args()
    for name in args.only:
        sizes = SIZES[name] + (LARGE.get(name, ()) if args.large else ())
        report(name, sizes, args.transitions)


def report(name, sizes, transitions):
    """Every size in a process of its own, then the slope."""
    found = []
    for size in sizes:
        one = functools.partial(measure, transitions, **{**BASE, name: size})
        with multiprocessing.get_context("fork").Pool(1) as pool:
            milliseconds, megabytes = pool.apply(one)
        found.append((size, milliseconds))
        print(
            f"{name:9} {size:9d} {milliseconds:10.1f} ms {megabytes:8.0f} MB",
            flush=True,
        )
    (low, before), (high, after) = found[(len(found) - 1) // 2], found[-1]
    slope = math.log(after / before) / math.log(high / low)
    print(f"{name:9} slope {slope:.2f} from {low} to {high}", flush=True)


def measure(transitions, *, steps, states, columns, choices, sessions, starts):
    """Milliseconds of an iteration, and megabytes beyond the imports."""
    torch.set_num_threads(1)
    imported = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    generator = torch.Generator().manual_seed(0)
    covariates = torch.randn(steps, columns, generator=generator, dtype=torch.float64)
    emissions = torch.randint(choices, (steps,), generator=generator)
    lengths = [steps // sessions] * (sessions - 1)
    lengths.append(steps - sum(lengths))
    data = gh.Sequences(emissions, covariates, lengths=lengths)
    model = gh.GLMHMM(states, gh.Categorical(choices), getattr(gh, transitions)())
    model.bind(data)
    first = gh.fit(model, data, "em", num_restarts=1, num_iters=1, progress=False)
    beginnings = [first.params] * starts
    ticks = []
    gh.EM(num_iters=ITERATIONS).run(
        model, data, beginnings, lambda *_: ticks.append(time.process_time())
    )
    gaps = [later - earlier for earlier, later in zip(ticks, ticks[1:])]
    each = statistics.median(gaps) if gaps else math.nan
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return 1000 * each, (most - imported) / 1024


if __name__ == "__main__":
    main()
