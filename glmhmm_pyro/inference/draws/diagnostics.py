"""Whether chains agree: R-hat and effective sample sizes of every number."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from glmhmm_pyro.inference.draws.agreement import bulk_size, r_hat, tail_size
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.priors.answers import held

if TYPE_CHECKING:
    import pandas as pd

# Draws of a chain that any of these numbers needs.
_FEWEST = 4


def diagnose(draws: Params) -> "pd.DataFrame":
    """One row a number: mean, sd, R-hat, effective sample sizes.

    R-hat is the rank-normalised split one, the sample sizes are those of the bulk and
    of the tails (Vehtari et al. 2021, Bayesian Analysis 16, equations 4 to 12). One
    chain has no R-hat, and numbers that never change have none of the three.

    Args:
        draws: values (chains, draws, *shape) by site.
    """
    import pandas as pd

    names, rows = [], []
    for name, value in draws.items():
        shape = value.shape[2:]
        names += [f"{name}{list(i) if i else ''}" for i in np.ndindex(*shape)]
        flat = value.detach().cpu().double().reshape(value.shape[:2] + (-1,)).numpy()
        rows += [_row(column) for column in np.moveaxis(flat, -1, 0)]
    return pd.DataFrame(rows, index=pd.Index(names, name="parameter"))


def free_draws(draws: Params, priors: Mapping[str, Any]) -> Params:
    """The draws of what no prior holds, number by number where it holds a part."""
    found = {}
    for name, value in draws.items():
        known = held(priors[name]) if name in priors else None
        if known is None:
            found[name] = value
            continue
        for i in np.argwhere(~known.numpy()).tolist():
            place: tuple[Any, ...] = (..., *i)
            found[f"{name}{i}"] = value[place]
    return found


def _row(draws: np.ndarray) -> dict[str, float]:
    """The numbers of one parameter, NaN where draws (chains, draws) do not tell."""
    chains, length = draws.shape
    varies = length >= _FEWEST and np.ptp(draws) > 0
    return {
        "mean": draws.mean(),
        "sd": draws.std(ddof=1) if draws.size > 1 else np.nan,
        "r_hat": r_hat(draws) if varies and chains > 1 else np.nan,
        "ess_bulk": bulk_size(draws) if varies else np.nan,
        "ess_tail": tail_size(draws) if varies else np.nan,
    }
