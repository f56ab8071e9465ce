"""What a fresh process pays: the import beyond `import pyro`, the cached kernels.

Seen once, on two busy cores: EM of 3 iterations from ten starts, on 2,000 steps, for
each K = 1..8 in one process, in CPU seconds without the import: `Stationary` 7.2 with
an empty cache and 2.2 with a full one, driven 16.7 and 6.4.
"""

import subprocess
import sys

SNIPPETS = {
    "import pyro": "import pyro",
    "import glmhmm_pyro": "import pyro, glmhmm_pyro",
    "and a likelihood (K=2)": """
import pyro, torch, glmhmm_pyro as gh
from pyro import poutine
data = gh.Sequences([0, 1, 1, 0], torch.ones(4, 1))
model = gh.GLMHMM(2, gh.Bernoulli())
poutine.trace(model).get_trace(data).log_prob_sum()
""",
}


def main():
    """Each snippet in a new process, thrice; the least wall seconds count."""
    for name, code in SNIPPETS.items():
        timed = f"import time; t = time.time()\n{code}\nprint(time.time() - t)"
        command = [sys.executable, "-W", "ignore", "-c", timed]
        runs = [subprocess.run(command, capture_output=True, check=True) for _ in "123"]
        print(f"  {name:24} {min(float(run.stdout) for run in runs):6.2f} s")


if __name__ == "__main__":
    main()
