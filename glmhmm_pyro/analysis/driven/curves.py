"""Probabilities against a covariate: of moving, of first states, of behaviour."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from glmhmm_pyro.analysis.driven.bands import band, quantity_table
from glmhmm_pyro.analysis.driven.counterfactual import (
    ModelPart,
    component_of,
    exchanged,
    present,
    rows_of,
    spread,
)
from glmhmm_pyro.analysis.driven.quantities import (
    part_names,
    transition_names,
    transition_quantities,
)
from glmhmm_pyro.arguments import real_number, suggests_names, whole_number
from glmhmm_pyro.concurrency import usual_modes
from glmhmm_pyro.inference import Fit
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.arrays import as_array
from glmhmm_pyro.sequences.weights import by_step

if TYPE_CHECKING:
    import pandas as pd

# Values of the covariate at which a curve is computed.
NUM_VALUES = 25


@suggests_names
@usual_modes()
def response_curve(
    fit: Fit,
    data: Sequences,
    covariate: str,
    values: Sequence[float] | None = None,
    *,
    part: str = "transitions",
    output: str | None = None,
    at: Mapping[str, float] | None = None,
    num_rows: int = 500,
    num_draws: int = 200,
) -> "pd.DataFrame":
    r"""Probabilities at values of a covariate, averaged over the other covariates.

    .. math:: \bar A(x) = \frac{1}{T} \sum_t A(x, u_t)

    The covariate is x on all rows; where the data were made by a ``Design`` it is a raw
    column, and whatever the design makes of it (lags, interactions, bases) moves along.
    All other columns are what they are in the data, but for those that ``at`` sets, and
    sessions count by their weights (:meth:`Sequences.weighted`).
    Intervals are of 95 %: those of the draws, else by the delta method, on a scale
    without borders.

    Args:
        fit: the fit.
        data: what it was fitted to.
        covariate: name of a raw column of the design, or of a covariate.
        values: of the covariate; 25 over its range by default.
        part: ``"transitions"``, ``"initial"`` (first states) or ``"emissions"``.
        output: name of the output, of several.
        at: values of other columns, by name: a number each.
        num_rows: most rows that are averaged over, evenly spaced.
        num_draws: most draws of a posterior, at least 2.

    Returns:
        Columns ``estimate``, ``standard_error``, ``lower``, ``upper``; index ``kind``,
        ``origin``, ``destination`` and the covariate. Kinds of transitions are
        ``moving`` (from origin to destination), ``staying``, ``leaving``, ``entering``
        (from any other state, as often as these are taken in the data), ``dwell`` (mean
        steps of a stay) and ``occupancy`` (share of time in the long run; NaN
        where it depends on where the chain starts), the last two if the covariate
        stayed so; of first states ``first``; of emissions
        ``probability`` of a class, or ``mean`` of an output, by state.

    Raises:
        ValueError: there is no such covariate, or no such part, or no session has a
            second step that a transition leads into.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.datasets.load_rat().subset(range(4))
        >>> ridge = gh.priors.Ridge(1.0)
        >>> model = gh.GLMHMM(2, gh.Bernoulli(ridge), gh.InputDriven(ridge))
        >>> fit = gh.fit(model, data, num_restarts=1, progress=False)
        >>> curve = response_curve(fit, data, "prev_reward", [-1.0, 1.0], num_rows=20)
        >>> curve.loc[("staying", "0", "")].index.tolist()
        [-1.0, 1.0]
    """
    component_of(fit, part, output)
    points = _checked_values(values, present(data, covariate))
    number = whole_number("num_rows", num_rows, 1)
    others = exchanged(data, _checked_others(at, covariate), "at")
    versions = [exchanged(others, {covariate: value}) for value in points]
    goes_on = fit.model.transitions.goes_on(data)
    rows = spread(rows_of(data, part, goes_on), number)
    model_part = ModelPart(fit, part, output, versions, rows)

    shares = model_part.weights / model_part.weights.sum()

    def levels(params: Params) -> Tensor:
        return torch.einsum("r,vr...->v...", shares, model_part(params))

    if part == "transitions":
        quantities = transition_names(fit.state_names)
        probs = torch.as_tensor(fit.decode(data)["smoothed_probs"].values)
        taken = by_step(data).to(probs) @ probs / by_step(data).sum()
        found = band(
            fit,
            data,
            lambda p: transition_quantities(levels(p), taken),
            quantities.borders,
            num_draws,
        )
    else:
        quantities = part_names(fit, model_part)
        found = band(
            fit, data, lambda p: levels(p).flatten(1), quantities.borders, num_draws
        )
    return quantity_table(found, quantities, {covariate: points})


def _checked_others(at: Mapping[str, float] | None, covariate: str) -> dict[str, float]:
    """Values of the other columns, which are numbers."""
    if covariate in (at or {}):
        raise ValueError(
            f"at must name other columns than {covariate!r}, which the curve goes "
            f"along, got {covariate!r}; give its values by values="
        )
    return {n: real_number(f"at[{n!r}]", value) for n, value in (at or {}).items()}


def _checked_values(values: ArrayLike | None, seen: np.ndarray) -> np.ndarray:
    if values is None:
        return np.linspace(np.nanmin(seen), np.nanmax(seen), NUM_VALUES)
    given = as_array("values", values)
    numbers = given.dtype.kind in "biuf" and given.ndim == 1 and given.size
    if not numbers or not np.isfinite(given).all():
        raise ValueError(
            f"values must be a list of finite numbers, got {values!r:.80}; give such "
            "as [-1, 0, 1]"
        )
    return given.astype(float)
