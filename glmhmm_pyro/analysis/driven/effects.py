"""Average marginal effects of a covariate on probabilities."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.analysis.driven.bands import band, quantity_table
from glmhmm_pyro.analysis.driven.counterfactual import (
    ModelPart,
    component_of,
    exchanged,
    present,
    rows_of,
)
from glmhmm_pyro.analysis.driven.quantities import (
    REAL,
    effect_names,
    with_summed_effects,
)
from glmhmm_pyro.arguments import suggests_names
from glmhmm_pyro.concurrency import usual_modes
from glmhmm_pyro.inference import Fit
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.sequences import Sequences

if TYPE_CHECKING:
    import pandas as pd

# Steps of central differences by the covariate, in its standard deviations.
_STEP = 1e-4


@suggests_names
@usual_modes()
def marginal_effects(
    fit: Fit,
    data: Sequences,
    covariate: str,
    *,
    part: str = "transitions",
    output: str | None = None,
    num_draws: int = 200,
) -> "pd.DataFrame":
    r"""Average change of probabilities by a unit of a covariate.

    .. math:: \mathrm{AME}_{ij} = \frac{\sum_t w_t(i) \, \partial_x A_t(i, j)}
        {\sum_t w_t(i)}, \quad w_t(i) = p(z_{t-1} = i \mid y)

    over all steps but the first of sessions, which no transition leads into. Effects on
    emissions are weighted by :math:`p(z_t = k \mid y)`; those on first states are means
    over sessions. Weights follow the parameters, in the standard errors too (Helske
    2022 has the like without weights), and sessions count by theirs. A column of two
    values has no slope: its effect is the change from the smaller to the larger.

    Args:
        fit: the fit.
        data: what it was fitted to.
        covariate: name of a raw column of the design, or of a covariate.
        part: ``"transitions"``, ``"initial"`` or ``"emissions"``.
        output: name of the output, of several.
        num_draws: most draws of a posterior, at least 2.

    Returns:
        Columns ``estimate``, ``standard_error``, ``lower``, ``upper`` (95 %); index
        ``kind``, ``origin``, ``destination`` as for :func:`response_curve`, kinds of
        transitions being ``moving``, ``leaving`` and ``entering`` (from any other
        state, as often as these are taken). Attributes ``covariate``, and ``change``:
        what of it the effects belong to.

    Raises:
        ValueError: there is no such covariate, or it does not vary, or no session has
            a second step that a transition leads into.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.datasets.load_rat().subset(range(4))
        >>> ridge = gh.priors.Ridge(1.0)
        >>> model = gh.GLMHMM(2, gh.Bernoulli(ridge), gh.InputDriven(ridge))
        >>> fit = gh.fit(model, data, num_restarts=1, progress=False)
        >>> effects = marginal_effects(fit, data, "prev_reward")
        >>> effects["estimate"]["leaving"].index.tolist()
        [('0', ''), ('1', '')]
    """
    component_of(fit, part, output)
    ends, change, per = _ends(present(data, covariate), covariate)
    versions = [exchanged(data, {covariate: end}) for end in ends]
    goes_on = fit.model.transitions.goes_on(data)
    rows = rows_of(data, part, goes_on)
    model_part = ModelPart(fit, part, output, versions, rows)
    quantities = effect_names(fit, model_part)
    data = fit.as_fitted(data)

    def effects(params: Params) -> Tensor:
        low, high = model_part(params)
        slopes = (high - low) / per
        if part == "initial":
            return model_part.weights @ slopes / model_part.weights.sum()
        before = rows - 1 if part == "transitions" else rows
        weights = _smoothed(fit, data, params)[before] * model_part.weights[:, None]
        total = weights.sum(0)
        found = torch.einsum("tk,tkj->kj", weights, slopes) / total[:, None]
        is_moves = part == "transitions"
        return with_summed_effects(found, total) if is_moves else found.flatten()

    table = quantity_table(band(fit, data, effects, REAL, num_draws), quantities)
    table.attrs |= {"covariate": covariate, "change": change}
    return table


def _smoothed(fit: Fit, data: Sequences, params: Params) -> Tensor:
    """p(z_t | y) at these parameters, shape (steps, states)."""
    sites = Program.kind_of(fit.model).observed_sites(fit.model, data, params)
    (site,) = sites.values()
    return site.hidden.smoothed_probs(site.value)


def _ends(
    seen: np.ndarray, covariate: str
) -> tuple[tuple[np.ndarray, np.ndarray], str, float]:
    """Two versions of the column, what lies between them in words, and in units."""
    values = np.unique(seen[np.isfinite(seen)])
    if len(values) < 2:
        raise ValueError(
            f"covariate must vary, got {covariate!r} with the value "
            f"{', '.join(map(str, values))} in all rows; take another column"
        )
    if len(values) == 2:
        low, high = (np.full_like(seen, value) for value in values)
        return (low, high), f"from {values[0]:g} to {values[1]:g}", 1.0
    step = _STEP * np.nanstd(seen)
    return (seen - step, seen + step), "by 1", 2 * step
