"""What every benchmarked system does alike: read a workload, note weights and seconds.

Needs numpy alone, so that it runs in the environment of any system.
"""

import argparse
import json
import resource
import time

import numpy as np


class Done(Exception):
    """Ends a run whose time or iterations are used up."""


def leaving(weights):
    """Transition weights against staying: (origins, destinations - 1, features)."""
    states = len(weights)
    against = weights - weights[np.arange(states), np.arange(states)][:, None]
    return np.stack([np.delete(against[i], i, 0) for i in range(states)])


def arguments(*more):
    """Command line of a runner; ``more`` are pairs of an option and its keywords."""
    parser = argparse.ArgumentParser(description=__doc__)
    for option, keywords in more:
        parser.add_argument(option, **keywords)
    parser.add_argument("workload", help="a file made by workloads.py")
    parser.add_argument("out", help="where to write: OUT.npz and OUT.json")
    parser.add_argument("--max-iters", type=int, default=300)
    parser.add_argument("--max-seconds", type=float, default=60.0)
    return parser.parse_args()


class Recorder:
    """Keeps weights and CPU seconds of every iteration; its own work is not counted.

    Canonical weights: emissions (states, classes, features), transitions (origins,
    destinations, features), initial probabilities (states,).
    """

    def __init__(self, system, args):
        self.system, self.args = system, args
        self.snapshots, self.seconds, self.paused = [], [], 0.0
        self.start = time.process_time()

    def snap(self, emissions, transitions, initial):
        """Note an iteration; True when the run has used up its time or iterations."""
        now = time.process_time()
        arrays = (emissions, transitions, initial)
        self.snapshots.append([np.array(a, np.float64) for a in arrays])
        self.seconds.append(now - self.start - self.paused)
        self.paused += time.process_time() - now
        return (
            len(self.seconds) >= self.args.max_iters
            or self.seconds[-1] > self.args.max_seconds
        )

    def write(self, **facts):
        """Write what was noted."""
        emissions, transitions, initial = map(np.array, zip(*self.snapshots))
        np.savez(
            self.args.out + ".npz",
            W_em=emissions,
            W_tr=transitions,
            pi0=initial,
            seconds=np.array(self.seconds),
        )
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        facts = dict(system=self.system, peak_mb=peak, **facts)
        with open(self.args.out + ".json", "w") as file:
            json.dump(facts, file)
