"""Fits saved in formats of the past: each method's file still loads, with its numbers.

See golden/README.md for how the files were made.
"""

import json
from pathlib import Path

import numpy as np
import pytest

import glmhmm_pyro as gh

GOLDEN = Path(__file__).parents[1] / "golden" / "fits"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text())


@pytest.fixture(scope="module")
def data():
    return gh.datasets.load_rat().subset([0, 1, 2])


@pytest.mark.parametrize("method", ["em", "map", "laplace", "svi", "nuts"])
def test_a_file_of_format_1_loads_with_its_numbers(method, data):
    fit, expected = gh.load(GOLDEN / f"{method}.nc"), EXPECTED[method]
    assert fit.method == method
    for name in ("log_likelihood", "log_joint", "num_parameters"):
        assert getattr(fit, name) == expected[name]
    assert fit.status.name == expected["status"]
    assert list(fit.notes) == expected["notes"]
    for group in ("params", "draws"):
        values = getattr(fit, group)
        assert values.keys() == expected[group].keys()
        for name, numbers in expected[group].items():
            np.testing.assert_array_equal(values[name], numbers)
    # The model that was rebuilt gives these parameters the likelihood they had.
    again = float(fit.distribution(data).log_prob(data.emissions))
    assert again == pytest.approx(fit.log_likelihood, rel=1e-12)


def test_the_history_of_format_1_comes_back():
    fit = gh.load(GOLDEN / "em.nc")
    assert len(fit.weights) == len(fit.history) == 4
    assert fit.history["log_joint"].is_monotonic_increasing
    assert fit.history["log_joint"].iloc[-1] == fit.log_joint
    assert gh.load(GOLDEN / "svi.nc").posterior.elbo.shape == (20,)
    assert "log_joint" in gh.load(GOLDEN / "nuts.nc").posterior.stats
