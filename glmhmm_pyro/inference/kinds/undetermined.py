"""Weights that neither data nor priors determine: errors, or notes of a fit."""

from collections.abc import Iterator

import torch
from torch import Tensor

from glmhmm_pyro.components.base import Component
from glmhmm_pyro.designs import DesignMatrix
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.masking import steps_observed
from glmhmm_pyro.sequences import Sequences

# Columns repeat each other where a sum of them, each of size 1, is below this.
_NOTHING = 1e-10


def refuse_two_constants(program: Program) -> None:
    """Raise a ValueError if two constant columns share one flat prior.

    Only the sum of their effects is determined, so that any weights are as good.

    Raises:
        ValueError: names the columns.
    """
    for name, component, _, design in _flat_designs(program):
        low, high = design.extent()
        constant = (low == high) & (low != 0)
        names = component.covariate_names or tuple(map(str, range(len(constant))))
        found = [column for column, is_one in zip(names, constant.tolist()) if is_one]
        if design.total_rows > 1 and len(found) > 1:
            raise ValueError(
                f"{component.covariates_of} must have one constant column at most, for "
                f"{name} have a flat prior, got {', '.join(found)}, of whose weights "
                "only the sum is determined; leave all but one out, or give a prior, "
                "such as gh.priors.Ridge(1.0)"
            )


def undetermined_columns(program: Program) -> tuple[str, ...]:
    """A sentence on every set of columns of which one follows from the others.

    For example dummies of all levels of a factor beside an intercept. Predictions are
    well-defined, weights under a flat prior are not.
    """
    notes = []
    for name, component, data, design in _flat_designs(program):
        design = design.at(informative_rows(component, data))
        names = component.covariate_names or tuple(map(str, range(design.shape[1])))
        if f"{name.rpartition('.')[0]}.baseline" in program.improper:
            design = design.with_constant()
            names = (*names, "the baseline")
        found = [
            n
            for n, repeats in zip(names, dependent_columns(design).tolist())
            if repeats
        ]
        if found:
            notes.append(
                f"{name} of {', '.join(found)} are not determined under a flat prior, "
                f"for a sum of these columns of {component.covariates_of} is always 0 "
                "(what they predict is determined): leave one of them out, or give a "
                "prior, such as gh.priors.Ridge(1.0)"
            )
    return tuple(notes)


def _flat_designs(
    program: Program,
) -> Iterator[tuple[str, Component, Sequences, DesignMatrix]]:
    """Name, component, data and design of all weights of covariates without a prior."""
    for prefix, component in program.components.items():
        for attribute, site in component.sites.items():
            name = f"{prefix}.{attribute}"
            if site.axes[-1:] == ("covariate",) and name in program.improper:
                data = component.view(program.data)
                yield name, component, data, component.operator(data)


def informative_rows(component: Component, data: Sequences) -> Tensor:
    """Which rows of a design belong to steps that inform the component."""
    design = component.operator(data)
    rows = torch.ones(len(design), dtype=torch.bool, device=design.device)
    known = component.own_states
    own = None if known is None else known.steps(data)
    if own is not None:
        rows = own.clone()
    elif component.covariates_of == "transition_covariates":
        rows[data.starts] = False
    seen = steps_observed(data.mask)
    if component.covariates_of == "covariates" and seen is not None:
        rows &= seen
    return rows


def dependent_columns(design: DesignMatrix) -> Tensor:
    """Which columns take part in a linear dependence of the columns."""
    nothing = torch.zeros(design.shape[1], dtype=torch.bool, device=design.device)
    if design.total_rows <= design.shape[1]:
        # As many weights as rows: what is fitted to so little is another matter.
        return nothing
    low, high = design.extent()
    size = torch.maximum(low.abs(), high.abs())
    scaled = design.moved(0.0, torch.where(size > 0, size, 1.0)).to(torch.float64)
    ones = torch.ones(len(design), dtype=torch.float64, device=design.device)
    moments = design.ranks.total(scaled.gram(ones))
    _, sizes, directions = torch.linalg.svd(moments)
    null = directions[sizes <= _NOTHING * sizes[0].clamp(min=1.0)]
    # The Gram matrix has lost half of the digits; the columns themselves have not.
    sums = torch.nn.functional.pad((scaled @ null.T).abs(), (0, 0, 0, 1))
    null = null[design.ranks.most(sums.amax(0)) <= _NOTHING]
    return nothing if not len(null) else (null.abs() > 1e-6).any(0)
