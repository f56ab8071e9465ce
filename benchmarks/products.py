"""Products of tall matrices and few columns: ours against torch's and numpy's.

    python benchmarks/products.py

CPU milliseconds of one thread, the least of 15 turns, for two million numbers: what
predictors take (rows times weights) and what slopes take (residuals times rows), the
residuals as they come, a step's side by side. Printed once, beside other work:

                       predictors                  slopes
 features  columns    ours   torch   numpy    ours   torch   numpy
       50        3    0.40    1.46    1.21    0.61    0.74    1.15
       50        6    0.69    1.67    1.39    1.40    2.12    1.82
       50       12    1.66    2.19    1.84    2.00    1.84    1.97
       50       24    3.12    3.23    3.15    3.50    3.19    2.73
      100        3    0.42    1.47    1.49    0.57    0.75    1.37
      100        6    0.71    1.62    1.64    0.99    1.80    1.71
      100       12    1.53    2.40    2.03    1.67    1.96    1.81
      100       24    2.63    2.95    2.57    2.68    2.85    2.43
      171        3    0.39    1.50    1.48    0.43    0.61    1.55
      171        6    0.74    1.67    1.60    0.69    1.93    1.86
      171       12    1.31    2.24    1.84    1.32    2.02    2.00
      171       24    2.35    3.02    2.70    2.47    3.00    2.52
      600        3    0.42    1.69    1.11    0.47    0.51    1.57
      600        6    0.71    1.97    1.32    0.81    2.21    1.93
      600       12    1.24    2.06    1.62    1.42    1.98    2.05
      600       24    2.41    2.81    2.27    2.37    2.46    2.48
"""

import time

import numpy as np
import torch

from glmhmm_pyro.designs.thin_products import add_sums, multiply

NUMBERS, TURNS = 2_000_000, 15
FEATURES, COLUMNS = (50, 100, 171, 600), (3, 6, 12, 24)


def main():
    """A line for every shape."""
    torch.set_num_threads(1)
    kinds = ("ours", "torch", "numpy") * 2
    print(f"{'':18}{'predictors':>15}{'slopes':>24}")
    print(f"{'features':>9}{'columns':>9}" + "".join(f"{kind:>8}" for kind in kinds))
    for features in FEATURES:
        for columns in COLUMNS:
            found = [least(call) for call in calls(features, columns)]
            print(
                f"{features:9}{columns:9}" + "".join(f"{1e3 * x:8.2f}" for x in found),
                flush=True,
            )


def calls(features, columns):
    """The products: ours, torch's and numpy's, first with weights, then residuals."""
    rng = np.random.default_rng(0)
    rows = torch.from_numpy(rng.normal(size=(NUMBERS // features, features)))
    weights = torch.from_numpy(rng.normal(size=(features, columns)))
    residuals = torch.from_numpy(rng.normal(size=(len(rows), columns))).T
    out, sums = rows.new_empty(len(rows), columns), rows.new_zeros(columns, features)
    return [
        lambda: multiply(rows, weights, out),
        lambda: torch.mm(rows, weights, out=out),
        lambda: np.dot(rows.numpy(), weights.numpy(), out=out.numpy()),
        lambda: add_sums(residuals, rows, sums),
        lambda: torch.mm(residuals, rows, out=sums),
        lambda: np.dot(residuals.numpy(), rows.numpy(), out=sums.numpy()),
    ]


def least(call):
    """Least CPU seconds of a call, after one that compiles."""
    call()
    times = []
    for _ in range(TURNS):
        begin = time.process_time()
        call()
        times.append(time.process_time() - begin)
    return min(times)


if __name__ == "__main__":
    main()
