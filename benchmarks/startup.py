"""What a fresh process pays: imports, and fits with empty and with full kernel caches.

CPU seconds, the least of three processes. Fits are EM of 3 iterations, ten starts, on
2,000 steps of choices with two covariates, without the import; "all" are K = 1 .. 8 in
one process.

    python benchmarks/startup.py

Printed once, on two cores:

    import torch          0.79
    import pyro           0.91
    import glmhmm_pyro    1.86
                         empty   full
    Stationary, K = 2     4.57   0.32
    InputDriven, K = 2    5.26   0.38
    Stationary, all       5.92   1.08
    InputDriven, all      7.19   2.13
"""

import os
import subprocess
import sys
import tempfile

IMPORTS = {
    "import torch": "import torch",
    "import pyro": "import pyro",
    "import glmhmm_pyro": "import glmhmm_pyro",
}

FITS = {
    "Stationary, K = 2": ("gh.Stationary()", [2]),
    "InputDriven, K = 2": ("gh.InputDriven()", [2]),
    "Stationary, all": ("gh.Stationary()", range(1, 9)),
    "InputDriven, all": ("gh.InputDriven()", range(1, 9)),
}

FIT = """
import numpy as np, glmhmm_pyro as gh
rng = np.random.default_rng(0)
x = np.c_[rng.normal(size=2000), np.ones(2000)]
y = (rng.random(2000) < 1 / (1 + np.exp(-x[:, 0]))).astype(int)
begin = time.process_time()
for k in {numbers}:
    model = gh.GLMHMM(k, gh.Bernoulli(), {transitions})
    options = dict(num_restarts=10, num_iters=3, progress=False)
    gh.fit(model, gh.Sequences(y, x), **options)
"""

TIMED = (
    "import time; begin = time.process_time()\n{}\nprint(time.process_time() - begin)"
)


def seconds(code, cache):
    """CPU seconds of a process of its own from where it begins to count."""
    command = [sys.executable, "-W", "ignore", "-c", TIMED.format(code)]
    environment = os.environ | {"NUMBA_CACHE_DIR": cache, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, capture_output=True, check=True, env=environment)
    return float(run.stdout)


def main():
    """Imports, then each fit with an empty cache and with the one that it left."""
    for name, code in IMPORTS.items():
        with tempfile.TemporaryDirectory() as cache:
            print(f"{name:20} {min(seconds(code, cache) for _ in '123'):5.2f}")
    print(f"{'':20} empty   full")
    for name, (transitions, numbers) in FITS.items():
        code = FIT.format(transitions=transitions, numbers=list(numbers))
        cold, warm = [], []
        for _ in "123":
            with tempfile.TemporaryDirectory() as cache:
                cold.append(seconds(code, cache))
                warm.append(seconds(code, cache))
        print(f"{name:20} {min(cold):5.2f}  {min(warm):5.2f}")


if __name__ == "__main__":
    main()
