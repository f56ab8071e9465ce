"""Products of tall matrices and few columns are those that numpy makes."""

import numpy as np
import pytest
import torch

from glmhmm_pyro.designs.thin_products import add_sums, multiply


def random(*shape):
    return torch.from_numpy(np.random.default_rng(shape[0]).normal(size=shape))


SHAPES = [
    *[(steps, 51, 3) for steps in (0, 1, 7, 8, 9, 20_011)],
    *[(50, features, 3) for features in (1, 47, 48, 64, 171)],
    *[(50, 60, columns) for columns in (1, 2, 32, 33)],
]


@pytest.mark.parametrize(("steps", "features", "columns"), SHAPES)
def test_products_and_sums_are_those_of_numpy(steps, features, columns):
    rows, weights = random(steps, features), random(features, columns)
    out = torch.full((steps, columns), torch.nan, dtype=torch.float64)
    multiply(rows, weights, out)
    np.testing.assert_allclose(out, rows.numpy() @ weights.numpy(), atol=1e-12)

    residuals, before = random(columns, steps), random(columns, features)
    out = before.clone()
    add_sums(residuals, rows, out)
    sums = before.numpy() + residuals.numpy() @ rows.numpy()
    np.testing.assert_allclose(out, sums, rtol=1e-12, atol=1e-10)


def test_a_column_has_the_same_bits_whichever_others_there_are():
    rows, weights, residuals = random(1003, 50), random(50, 5), random(5, 1003)
    together, sums = torch.empty(1003, 5).double(), torch.zeros(5, 50).double()
    multiply(rows, weights, together)
    add_sums(residuals, rows, sums)
    for p in range(5):
        alone, total = torch.empty(1003, 1).double(), torch.zeros(1, 50).double()
        multiply(rows, weights[:, p : p + 1], alone)
        add_sums(residuals[p : p + 1], rows, total)
        assert torch.equal(alone[:, 0], together[:, p])
        assert torch.equal(total[0], sums[p])


def test_the_number_of_threads_changes_no_bit():
    rows, residuals, before = random(30_001, 50), random(2, 30_001), None
    usual = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            out, sums = torch.empty(30_001, 2).double(), torch.zeros(2, 50).double()
            multiply(rows, random(50, 2), out)
            add_sums(residuals, rows, sums)
            assert before is None or all(map(torch.equal, before, (out, sums)))
            before = out, sums
    finally:
        torch.set_num_threads(usual)


@pytest.mark.parametrize(
    "change",
    [torch.Tensor.float, lambda rows: rows.T.contiguous().T, lambda rows: rows[:, 1:]],
    ids=["in single precision", "by columns", "part of a wider array"],
)
def test_any_form_of_rows_serves(change):
    rows = change(random(60, 70))
    weights = random(rows.shape[1], 4).to(rows)
    out, sums = rows.new_empty(60, 4), rows.new_zeros(4, rows.shape[1])
    multiply(rows, weights, out)
    add_sums(out.T, rows, sums)
    np.testing.assert_allclose(out, rows.numpy() @ weights.numpy(), rtol=1e-4)
    np.testing.assert_allclose(sums, out.numpy().T @ rows.numpy(), rtol=1e-3)
