"""Settings of all tests: threads to what the machine has, no state carried over."""

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
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
    config.pluginmanager.register(_ClosedFigures())


class _ClosedFigures:
    """Figures of one test are closed before the next, of examples in docstrings too."""

    def pytest_runtest_teardown(self):
        if "matplotlib.pyplot" in sys.modules:
            sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture(autouse=True)
def _fresh_state():
    """As in a new process: no parameters of Pyro, a seeded generator."""
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
