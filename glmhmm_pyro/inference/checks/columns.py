"""Columns of covariates that say nothing, say the same, or have units of their own."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from glmhmm_pyro.components.base import Component
from glmhmm_pyro.designs import DesignMatrix
from glmhmm_pyro.inference.checks.report import NOTE, UNUSABLE, WARNING, Finding
from glmhmm_pyro.inference.kinds.undetermined import dependent_columns, informative_rows
from glmhmm_pyro.priors.answers import is_proper
from glmhmm_pyro.sequences import Sequences

# Variance of a column over what others leave of it, from which it is nearly their sum.
_INFLATED = 100.0

# Root mean squares beyond this, or below one over it, are far from the usual 1; so are
# means of so many spreads.
_FAR = 1e3


# Advice for weights without a prior.
OR_PRIOR = "or give a prior, such as gh.priors.Ridge(1.0)"


@dataclass(frozen=True)
class WeightedColumns:
    """Columns that weights of one component multiply, where they bear on anything.

    Attributes:
        argument: which covariates of the data they are.
        names: of the columns.
        design: the rows that bear on what was observed.
        is_flat: whether the weights have no proper prior.
        has_baseline: whether a constant stands beside the columns.
        whole: all rows.
        steps: those that the rows of ``design`` are of.
        data: what the component reads.
    """

    argument: str
    names: tuple[str, ...]
    design: DesignMatrix
    is_flat: bool
    has_baseline: bool
    whole: DesignMatrix
    steps: Tensor
    data: Sequences

    @classmethod
    def of(
        cls, components: Mapping[str, Component], data: Any
    ) -> "Iterator[tuple[str, WeightedColumns]]":
        """Columns that all components of a model read of a data set, by their names."""
        for name, component in components.items():
            site = component.sites.get("weights")
            if site is None or site.axes[-1:] != ("covariate",):
                continue
            view = component.view(data)
            design = component.operator(view)
            numbered = tuple(map(str, range(design.shape[1])))
            bears = informative_rows(component, view)
            by_step = len(design) == view.num_steps
            steps = torch.arange(view.num_steps) if by_step else view.starts
            columns = cls(
                component.covariates_of,
                component.covariate_names or design.names or numbered,
                design.at(bears).to(torch.float64),
                weights_are_flat(component),
                "baseline" in component.sites,
                design,
                steps.to(bears.device)[bears],
                view,
            )
            yield name, columns

    def named(self, which: Tensor) -> str:
        """Names of those of which it is true."""
        return ", ".join(n for n, is_one in zip(self.names, which.tolist()) if is_one)

    @property
    def or_prior(self) -> str:
        """The last piece of advice, to give a prior, where the weights have none."""
        return f", {OR_PRIOR}" if self.is_flat else ""


def weights_are_flat(component: Component) -> bool:
    """Whether weights have no proper prior, nor their mean where they vary."""
    site = component.sites["weights"]
    if site.latent:
        mean = component.sites.get("weights_mean")
        return mean is not None and not is_proper(mean.prior)
    return not is_proper(site.prior)


def column_findings(columns: WeightedColumns) -> Iterator[Finding]:
    """All that is to be said of columns before they are fitted."""
    rows, number = columns.design.shape
    if rows <= number:
        yield Finding(
            "few-rows",
            WARNING,
            f"{columns.argument} have {number} columns for {rows} rows that bear on an "
            "observation, which any weights explain: take fewer columns"
            f"{columns.or_prior}",
        )
        return
    low, high = columns.design.extent()
    is_constant = low == high
    is_zero = is_constant & (low == 0)
    if is_zero.any():
        yield Finding(
            "zero-columns",
            WARNING,
            f"{columns.argument} are 0 wherever they bear on an observation in "
            f"{columns.named(is_zero)}, so that the data say nothing of the weights: "
            "leave these columns out",
        )
    yield from _constant_twice(columns, is_constant & ~is_zero)
    yield from _scales(columns, is_constant)
    yield from _collinear(columns, is_constant)


def _constant_twice(columns: WeightedColumns, is_constant: Tensor) -> Iterator[Finding]:
    if int(is_constant.sum()) + columns.has_baseline < 2:
        return
    beside = " beside the baseline" if columns.has_baseline else ""
    yield Finding(
        "constant-twice",
        UNUSABLE if columns.is_flat else WARNING,
        f"{columns.argument} are constant in {columns.named(is_constant)}{beside}, so "
        "that only the sum of their effects is known: leave all but one out",
    )


def _scales(columns: WeightedColumns, is_constant: Tensor) -> Iterator[Finding]:
    """Columns in units in which a prior means something else, or far from 0."""
    design = columns.design
    mean, size = design.means(), design.means(power=2).sqrt()
    spread = design.moved(mean, 1.0).means(power=2).sqrt()
    is_far = ~is_constant & ((size > _FAR) | (size < 1 / _FAR))
    if is_far.any():
        sizes = ", ".join(f"{value:.3g}" for value in size[is_far].tolist())
        yield Finding(
            "badly-scaled",
            NOTE if columns.is_flat else WARNING,
            f"{columns.argument} have root mean squares of {sizes} in "
            f"{columns.named(is_far)}, while priors of weights are meant for about 1, "
            "and say next to nothing or all in such units: standardise these columns",
        )
    is_off = ~is_constant & ~is_far & (mean.abs() > _FAR * spread)
    if is_off.any():
        yield Finding(
            "far-from-zero",
            NOTE if columns.is_flat else WARNING,
            f"{columns.argument} have means of more than {_FAR:.0f} spreads in "
            f"{columns.named(is_off)}, so that they are all but constant: centre them",
        )


def _collinear(columns: WeightedColumns, is_constant: Tensor) -> Iterator[Finding]:
    design = columns.design
    has_constant = columns.has_baseline or bool(is_constant.any())
    kept = (~is_constant).nonzero().flatten().tolist()
    if len(kept) + has_constant < 2 or not kept:
        return
    varying = design.columns(kept)
    exact = dependent_columns(varying.with_constant() if has_constant else varying)
    names = torch.tensor(kept, device=design.device)
    if exact.any():
        which = torch.zeros(len(columns.names), dtype=torch.bool, device=design.device)
        which[names[exact[: len(kept)]]] = True
        yield Finding(
            "collinear",
            WARNING if columns.is_flat else NOTE,
            f"{columns.argument} have a sum that is the same in all rows in "
            f"{columns.named(which)}, so that only some sums of their weights are "
            f"known: leave one of them out{columns.or_prior}",
        )
        return
    centre = varying.means() if has_constant else torch.zeros(len(kept)).to(names)
    centred = varying.moved(centre, 1.0)
    size = centred.means(power=2).sqrt()
    ones = torch.ones(len(design), dtype=torch.float64, device=design.device)
    correlations = centred.moved(0.0, size).gram(ones) / len(design)
    inflation = torch.linalg.pinv(correlations, hermitian=True).diagonal()
    near = inflation > _INFLATED
    if near.any():
        which = torch.zeros(len(columns.names), dtype=torch.bool, device=design.device)
        which[names[near]] = True
        yield Finding(
            "collinear",
            WARNING if columns.is_flat else NOTE,
            f"{columns.argument} nearly follow from each other in "
            f"{columns.named(which)}: less than 1 percent of their variance is their "
            "own, and standard errors are 10 times what they were without: leave one "
            f"of them out, take sums and differences{columns.or_prior}",
        )
