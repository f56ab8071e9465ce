"""How far it is from ``gh.fit`` to the kernels of the chain: frames of the package.

What calls the kernels, ``compiled.counted``, is the last and not among them.
"""

import inspect
import sys
from pathlib import Path

import pytest
from inference_cases import clear_data, penalised

import glmhmm_pyro as gh
from glmhmm_pyro.chain import compiled

PACKAGE = str(Path(gh.__file__).parent)
DRAWS = {"num_samples": 3, "num_warmup": 2, "num_chains": 1, "parallel": False}


FIT = inspect.unwrap(gh.fit).__code__


def names_between(frame):
    """Functions of the package from that which ``gh.fit`` calls to a frame."""
    names = []
    while frame is not None and frame.f_code is not FIT:
        if frame.f_code.co_filename.startswith(PACKAGE):
            names.insert(0, frame.f_code.co_name)
        frame = frame.f_back
    return names


@pytest.mark.parametrize(
    "method, starts, options, loop, most",
    [
        ("em", {}, {"tol": 1e-4}, "advance", 8),
        ("em", {"init": "glm"}, {"num_iters": 3}, "advance", 8),
        ("map", {}, {"num_iters": 3}, "climb", 10),
        ("map", {"init": "glm"}, {"num_iters": 3, "em_iters": 0}, "climb", 10),
        ("nuts", {"init": "glm", "num_restarts": 1}, DRAWS, "run_chain", 10),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_few_frames_lie_between_a_fit_and_the_kernel(
    method, starts, options, loop, most, monkeypatch
):
    stacks = []

    counted = compiled.counted

    def noted(*arguments):
        stacks.append(names_between(sys._getframe(1)))
        counted(*arguments)

    monkeypatch.setattr(compiled, "counted", noted)
    starts = {"num_restarts": 2, **starts}
    model, data = penalised(), clear_data(lengths=(30, 20))
    gh.fit(model, data, method, **starts, **options, progress=False)
    depths = [len(names) for names in stacks if loop in names]
    assert depths and max(depths) <= most, max(stacks, key=len)
