"""What holds for tests and the examples of docstrings alike."""

import sys

import pytest


@pytest.fixture(autouse=True)
def _close_all_figures():
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
