"""The compiled kernels' cache on disk, and what happens without one."""

import json
import os
import subprocess
import sys

from glmhmm_pyro.chain.announcing import NOTICE

_COUNTS = """
import json, torch
from glmhmm_pyro.chain.announcing import watched
watching = watched(True)
watching.__enter__()
from glmhmm_pyro.chain import expected_counts, log_marginal
from glmhmm_pyro.chain import {modules}
for states in (2, 9):
    zeros = [torch.zeros(s, dtype=torch.float64)
             for s in ((1, states), (4, states, states), (4, states))]
    expected_counts(*zeros, torch.tensor([4]))
    zeros[1] = zeros[1][:1]
    expected_counts(*zeros, torch.tensor([4]))
    log_marginal(*zeros, torch.tensor([4]))
kernels = [k for m in ({modules},) for k in vars(m).values() if hasattr(k, "stats")]
print(json.dumps([sum(sum(getattr(k.stats, n).values()) for k in kernels)
                  for n in ("cache_hits", "cache_misses")]))
"""


def _run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )


def test_a_second_process_loads_every_kernel_from_disk(tmp_path):
    code = _COUNTS.format(modules="log_kernels, scaled_kernels, stationary_kernels")
    runs = [_run(code, NUMBA_CACHE_DIR=str(tmp_path)) for _ in range(2)]
    first, second = [json.loads(run.stdout) for run in runs]
    assert first[0] == 0 and first[1] > 0
    assert second[0] > 0 and second[1] == 0
    # Somebody who watches is told why this takes long, and only then.
    assert NOTICE in runs[0].stderr and not runs[1].stderr


_UNCACHED = """
import logging
logging.basicConfig(format="%(name)s: %(message)s")
from numba.core import caching
class Nowhere:
    @classmethod
    def from_function(cls, *arguments):
        return None
for cache in vars(caching).values():
    if hasattr(cache, "_locator_classes"):
        cache._locator_classes = [Nowhere]
import torch
from glmhmm_pyro.chain import filter
print(filter(torch.zeros(1, 2), torch.zeros(1, 2, 2), torch.zeros(3, 2),
             torch.tensor([3])).log_prob_per_step.sum().exp().item())
"""


def test_without_a_writable_cache_folder_kernels_still_work_and_say_so_once():
    done = _run(_UNCACHED)
    assert round(float(done.stdout), 4) == 8.0
    assert done.stderr.count("no folder to cache compiled kernels") == 1
