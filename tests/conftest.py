"""Settings of all tests: one thread a process, no state carried over."""

import fresh_folders  # noqa: F401, isort: skip: before what reads the home folder

import os
import sys
from pathlib import Path

import pyro
import pytest
import torch
from hypothesis import settings

# The same examples in every run: a failure is found by whoever causes it.
settings.register_profile("same_examples", derandomize=True, deadline=None)
settings.load_profile("same_examples")

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_configure(config):
    # Threads of products as small as those of tests wait, busily, for one another.
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    config.pluginmanager.register(_ClosedFigures())


class _ClosedFigures:
    """Figures of one test are closed before the next, of examples in docstrings too."""

    def pytest_runtest_teardown(self):
        if "matplotlib.pyplot" in sys.modules:
            sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture(autouse=True)
def _fresh_state():
    """As in a new process: no parameters of Pyro, a seeded generator, one thread."""
    torch.set_num_threads(1)
    pyro.clear_param_store()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
    pyro.clear_param_store()


@pytest.fixture(scope="session")
def shared():
    """The folder of reference runs and data, which stands beside a checkout."""
    if not SHARED.is_dir():
        pytest.skip("the reference folder ../shared is not beside this checkout")
    return SHARED
