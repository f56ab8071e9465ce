"""Labels that never come, and labels that covariates tell apart without a mistake."""

from collections.abc import Iterator

import numpy as np

from glmhmm_pyro.distributions import Output
from glmhmm_pyro.inference.checks.columns import WeightedColumns
from glmhmm_pyro.inference.checks.report import NOTE, WARNING, Finding
from glmhmm_pyro.masking import steps_observed

# Rows of which separation is asked first, or 10 a column; then all, if need be.
_SAMPLE = 500

# A direction that moves no row by more than this tells nothing apart.
_NOTHING = 1e-7


def label_findings(
    what: str,
    output: Output,
    class_names: tuple[str, ...] | None,
    columns: WeightedColumns,
) -> Iterator[Finding]:
    """What is to be said of the labels of one output before they are fitted.

    Args:
        what: the output, in words that begin a sentence.
        output: of a distribution whose values can be enumerated.
        class_names: names of its classes, if they have any.
        columns: those that its weights multiply.
    """
    values = output.emission_dist.enumerate_support(expand=False).flatten()
    labels = output.value.flatten().cpu().numpy()
    seen = steps_observed(output.mask)
    if seen is not None:
        labels = labels[seen.cpu().numpy()]
    numbers = values.cpu().numpy()
    names = class_names if class_names and len(class_names) == len(numbers) else None
    names = names or tuple(str(int(number)) for number in numbers)
    counts = np.array([(labels == number).sum() for number in numbers])
    unseen = [name for name, count in zip(names, counts) if not count]
    if unseen:
        yield Finding(
            "unseen-classes",
            WARNING,
            f"{what} never are {', '.join(unseen)}, whose weights run away or follow "
            f"their prior alone: leave these classes out{columns.or_prior}",
        )
    if len(columns.design) != len(labels) or len(labels) < 2:
        return
    for name, number, count in zip(names, numbers, counts):
        if count in (0, len(labels)) or not separates(columns, labels == number):
            continue
        yield Finding(
            "separation",
            WARNING if columns.is_flat else NOTE,
            f"{what} are {name} or not without a mistake by a sum of "
            f"{columns.argument}, so that weights grow as far as a prior lets them: "
            f"look for a column that holds the answer{columns.or_prior}",
        )
        if len(names) == 2:
            return


def separates(columns: WeightedColumns, is_class: np.ndarray) -> bool:
    """Whether a sum of columns is never below 0 in a class and never above it outside.

    Nor is it 0 in all rows. It is the condition of Albert & Anderson (1984), complete
    and quasi-complete separation, found by linear programming as in Konis (2007).
    """
    design = columns.design.with_constant() if columns.has_baseline else columns.design
    rows = design.dense().cpu().numpy()
    size = np.abs(rows).max(0)
    signed = rows * (np.where(is_class, 1.0, -1.0)[:, None] / np.where(size, size, 1.0))
    number = max(_SAMPLE, 10 * rows.shape[1])
    few = np.random.default_rng(0).permutation(len(signed))[:number]
    if not _has_direction(np.unique(signed[few], axis=0)):
        return False
    return len(few) == len(signed) or _has_direction(np.unique(signed, axis=0))


def _has_direction(rows: np.ndarray) -> bool:
    """Whether weights between -1 and 1 make no row negative and some positive."""
    from scipy.optimize import linprog

    bounds = [(-1.0, 1.0)] * rows.shape[1]
    found = linprog(-rows.mean(0), A_ub=-rows, b_ub=np.zeros(len(rows)), bounds=bounds)
    return bool(found.status == 0 and -found.fun > _NOTHING)
