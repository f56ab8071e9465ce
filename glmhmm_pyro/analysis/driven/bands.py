r"""Functions of the parameters with intervals, by draws or by the delta method.

.. math:: \mathrm{se}(f) = \sqrt{\nabla f^\top (-H)^{-1} \nabla f}

H holds the second derivatives of the log-joint, as for :meth:`Fit.standard_errors`. The
slopes of f are central differences, so that f may be any function, however it is
computed: along every column of a root of the covariance, in steps of a small part of
one standard deviation. Those of a few numbers that are computed from much, such as
means over all steps, are found by automatic differentiation, backwards.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.analysis.driven.quantities import NamedQuantities
from glmhmm_pyro.arguments import whole_number
from glmhmm_pyro.displays import with_level
from glmhmm_pyro.inference import Fit
from glmhmm_pyro.inference.curvature.information import Information
from glmhmm_pyro.inference.curvature.intervals import SupportBounds, interval
from glmhmm_pyro.inference.fits.mixture import Draws
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.program.renumbering import Renumbering
from glmhmm_pyro.sequences import Sequences

if TYPE_CHECKING:
    import pandas as pd

# Steps of the central differences, in standard deviations; the error is of its square.
_STEP = 1e-3

# Share of directions without information in what a value depends on that makes its
# interval unknown.
_UNKNOWN = 1e-2

# Ends of the intervals of 95 %.
_ENDS = (0.025, 0.975)

# A function of the parameters, whose values have any shape.
Quantity = Callable[[Params], Tensor]

# Change of numbers along every column of some directions, shape (columns, *shape).
Slopes = Callable[[Tensor], np.ndarray]


class Band(NamedTuple):
    """Values of a quantity with intervals of 95 %, all of one shape.

    Attributes:
        estimate: at the fit's parameters; the mean over draws where it has any.
        standard_error: by the delta method; the standard deviation over draws.
        lower: lower end, NaN where unknown.
        upper: upper end.
    """

    estimate: np.ndarray
    standard_error: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


def band(
    fit: Fit,
    data: Sequences,
    quantity: Quantity,
    borders: SupportBounds,
    num_draws: int,
) -> Band:
    """A quantity of a fit, with its intervals.

    Args:
        fit: the fit.
        data: what it was fitted to; needed where it has no draws.
        quantity: of values of the sites, by name.
        borders: of what the quantity can be, as they broadcast.
        num_draws: most draws of a posterior that it is computed at.
    """
    num_draws = whole_number("num_draws", num_draws, 2)
    data = fit.as_fitted(data)
    with torch.no_grad():
        if fit.posterior is not None:
            return _of_draws(fit, Draws.of(fit.posterior, num_draws), quantity)
        estimate = quantity(fit.params).cpu().numpy()
        errors = _delta(fit, data, lambda *at: _differences(quantity, *at))
    lower, upper = interval(estimate, errors, borders)
    return Band(estimate, errors, lower, upper)


def band_of_means(
    fit: Fit, data: Sequences, quantities: Sequence[Quantity], borders: SupportBounds
) -> Band:
    """The same of some quantities of a fit without draws, side by side at the end.

    Args:
        fit: the fit.
        data: what it was fitted to.
        quantities: of values of the sites, by name: a few numbers of one shape each,
            however many it takes to compute them, differentiable by torch.
        borders: as for :func:`band`.
    """
    data = fit.as_fitted(data)
    with torch.no_grad():
        found = [quantity(fit.params).cpu() for quantity in quantities]
        estimate = torch.stack(found, -1).numpy()
        errors = _delta(fit, data, lambda *at: _gradients(quantities, *at))
    lower, upper = interval(estimate, errors, borders)
    return Band(estimate, errors, lower, upper)


def _of_draws(fit: Fit, draws: Draws, quantity: Quantity) -> Band:
    """Over draws, the states of each numbered by what they do."""
    at = [{n: v[i] for n, v in draws.params.items()} for i in range(draws.number)]
    if draws.orders is not None:
        renumbering = Renumbering(fit.model, fit.params, None)
        at = [renumbering(params, order) for params, order in zip(at, draws.orders)]
    values = np.stack([quantity(params).cpu().numpy() for params in at])
    lower, upper = np.quantile(values, _ENDS, axis=0)
    return Band(values.mean(0), values.std(0, ddof=1), lower, upper)


def _differences(quantity: Quantity, program: Program, vector: Tensor) -> Slopes:
    """Those of a quantity, by central differences along the directions."""

    def slopes(directions: Tensor) -> np.ndarray:
        found = []
        for column in directions.T:
            ends = (vector + sign * _STEP * column for sign in (1.0, -1.0))
            high, low = (quantity(program.users_values(end)) for end in ends)
            found.append(((high - low) / (2 * _STEP)).cpu().numpy())
        return np.stack(found) if found else np.zeros((1, 1))

    return slopes


@torch.enable_grad()
def _gradients(
    quantities: Sequence[Quantity], program: Program, vector: Tensor
) -> Slopes:
    """Those of quantities side by side, one after the other by their gradients."""
    leaf, found = vector.detach().clone().requires_grad_(), []
    for quantity in quantities:
        values = quantity(program.users_values(leaf))
        rows = [
            torch.autograd.grad(value, leaf, retain_graph=True)[0]
            for value in values.flatten()
        ]
        found.append(torch.stack(rows).reshape(*values.shape, -1))
    gradients = torch.stack(found, -2)
    return lambda directions: (gradients @ directions).movedim(-1, 0).cpu().numpy()


def _delta(
    fit: Fit, data: Sequences, slopes_at: Callable[[Program, Tensor], Slopes]
) -> np.ndarray:
    """Standard errors by the delta method, NaN where information is missing."""
    program = Program.of(fit.model, data).in_own_units()
    vector = program.packed(fit.params)
    with torch.enable_grad():
        information = Information.of(program, vector, jacobian=False)
    slopes = slopes_at(program, vector)
    variance = np.square(slopes(information.factor)).sum(0)
    missing = torch.cat(list(information.missing.values()), 1)
    if missing.numel():
        total = np.square(slopes(information.steps)).sum(0)
        along = np.square(slopes(information.steps @ missing)).sum(0)
        # What nothing moves is at a border, such as a probability of 1.
        variance[(along > _UNKNOWN * total) | (total == 0)] = np.nan
    return np.sqrt(variance)


def quantity_table(
    found: Band,
    quantities: NamedQuantities,
    axis: Mapping[str, np.ndarray] | None = None,
) -> "pd.DataFrame":
    """A row for every quantity, at every value of a further axis if there is one.

    Args:
        found: values, shape (values of the axis, numbers), or (numbers,).
        quantities: their names.
        axis: name and values of the axis.
    """
    import pandas as pd

    name, values = next(iter((axis or {"": np.zeros(1)}).items()))
    number = len(values)
    index = {
        column: pd.Categorical(np.repeat(names, number), list(dict.fromkeys(names)))
        for column, names in quantities.axes().items()
    }
    if axis:
        index[name] = np.tile(values, len(quantities.kinds))
    columns = {n: np.atleast_2d(v).T.ravel() for n, v in found._asdict().items()}
    return with_level(pd.DataFrame({**index, **columns}).set_index(list(index)))
