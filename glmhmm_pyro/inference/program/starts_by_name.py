"""A fit as the start of another: its values, put where new data have their names."""

from typing import Any

import torch

from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.model import GLMHMM


def values_by_name(fitted: Any, params: Params, model: Any) -> Params:
    """Values of a fit for a model that is bound to other data.

    Where both read the same covariates, those of a fit are put in the model's order;
    covariates of other names are taken by their place.

    Args:
        fitted: the model of the fit.
        params: its values by site.
        model: the model to be fitted.

    Raises:
        ValueError: both know the same classes in another order, so that reference rows
            are those of another one.
    """
    if not (isinstance(fitted, GLMHMM) and isinstance(model, GLMHMM)):
        return params
    _check_classes(fitted, model)
    found = dict(params)
    for prefix, component in model.components.items():
        known = fitted.components.get(prefix)
        names = component.covariate_names or ()
        before = getattr(known, "covariate_names", None) or ()
        if known is None or names == before or {*names} != {*before}:
            continue
        order = torch.tensor([before.index(name) for name in names])
        for name, site in component.sites.items():
            value = found.get(f"{prefix}.{name}")
            if value is None or "covariate" not in site.axes:
                continue
            axis = site.axes.index("covariate") - len(site.axes)
            if value.dim() == len(site.axes) and value.shape[axis] == len(order):
                found[f"{prefix}.{name}"] = value.index_select(axis, order)
    return found


def _check_classes(fitted: GLMHMM, model: GLMHMM) -> None:
    """Raise a ValueError for the same classes in another order."""
    before, now = (getattr(m.layout, "classes", None) or () for m in (fitted, model))
    if before != now and sorted(before) == sorted(now):
        raise ValueError(
            f"init must be a fit of classes in the order of data, {', '.join(now)}, "
            f"got one of {', '.join(before)}; give data class_names={list(before)}"
        )
