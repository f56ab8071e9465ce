"""Peak memory of one EM iteration on cues with many lags, by number of steps.

17 cues at 30 lags each, 120 columns of the past and a constant: 631 columns, which
drive transitions too. Each size runs in a process of its own; the slope says what a
step costs.

    python benchmarks/lagged_memory.py --steps 100000 200000 400000
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np

CUES, LAGS, PAST, SESSION = 17, 30, 120, 2000


def one_size(steps: int, as_array: bool) -> dict[str, float]:
    """Peak memory in bytes, and CPU seconds, of a fit of one iteration."""
    import pandas as pd
    import torch
    from torch.distributions import Normal

    import glmhmm_pyro as gh
    from glmhmm_pyro.covariates import Design, Intercept, Lags, Signed

    torch.set_num_threads(1)
    rng = np.random.default_rng(11)
    frame = pd.DataFrame(
        rng.normal(size=(steps, CUES)), columns=[f"cue{i}" for i in range(CUES)]
    )
    frame["y"], frame["day"] = rng.integers(2, size=steps), np.arange(steps) // SESSION
    design = Design(
        *[Lags(f"cue{i}", LAGS) for i in range(CUES)],
        Lags(Signed("y"), PAST, first_lag=1, name="past"),
        Intercept(),
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    data = design.sequences(frame, session="day", emissions="y", as_array=as_array)
    made = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ridge = Normal(0.0, 1.0)
    model = gh.GLMHMM(2, gh.Bernoulli(prior=ridge), gh.InputDriven(prior=ridge))
    start = time.process_time()
    gh.fit(model, data, "em", num_iters=1, num_restarts=1, seed=11, progress=False)
    return {
        "steps": steps,
        "columns": data.num_features,
        "import_gb": before / 2**20,
        "data_gb": made / 2**20,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "cpu_s": time.process_time() - start,
    }


def main() -> None:
    """Print a line for every size, and the slope between the first and the last."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, nargs="+", default=[50_000, 100_000])
    parser.add_argument("--as-array", action="store_true")
    parser.add_argument("--one", action="store_true", help="in this very process")
    told = parser.parse_args()
    if told.one:
        print(json.dumps(one_size(told.steps[0], told.as_array)))
        return
    found = []
    for steps in told.steps:
        command = [sys.executable, __file__, "--one", "--steps", str(steps)]
        command += ["--as-array"] if told.as_array else []
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        found.append(json.loads(run.stdout.splitlines()[-1]))
        print(found[-1], flush=True)
    first, last = found[0], found[-1]
    if last["steps"] > first["steps"]:
        grown = (last["peak_gb"] - first["peak_gb"]) * 2**30
        slope = grown / (last["steps"] - first["steps"])
        at_goal = last["peak_gb"] + slope * (2e6 - last["steps"]) / 2**30
        print(f"{slope:.0f} bytes a step; {at_goal:.2f} GB at 2,000,000 steps")


if __name__ == "__main__":
    main()
