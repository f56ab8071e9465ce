"""What a fit says of itself: a sentence, data frames of its parameters and starts."""

from typing import TYPE_CHECKING, Any

import numpy as np

from glmhmm_pyro.inference.fits.labels import named_draws

if TYPE_CHECKING:
    import pandas as pd

# Restarts whose log-joints are this close, in nats, are said to agree.
AGREEMENT = 0.1

# Standard deviations around the mean that hold 95 % of a normal distribution.
NORMAL_95 = 1.959963984540054


def sentence(fit: Any) -> str:
    """Of what and by what method a fit is, and where it ended."""
    states = getattr(fit.model, "num_states", None)
    what = "a model" if states is None else f"{states} states"
    draws = () if fit.posterior is None else (fit.posterior.describe(),)
    said = (
        f"Fit of {what} by {fit.method}: log-likelihood "
        f"{fit.log_likelihood:.4f} nats, {fit.log_likelihood_per_step:.4f} per "
        f"step; {fit.num_agreeing} of {len(fit.restarts)} starts within "
        f"{AGREEMENT} nats of the best; {fit.status.sentence}"
    )
    return "; ".join((said, *draws, *fit.notes))


def restart_report(fit: Any) -> "pd.DataFrame":
    """What :meth:`Fit.restart_report` returns."""
    import pandas as pd

    # Not the fit's own, which is that of the mean where there are draws.
    best = fit.restarts[fit.best].log_joints[-1]
    rows = [
        {
            "start": number,
            "log_joint": restart.log_joints[-1],
            "log_likelihood": restart.log_likelihoods[-1],
            "below_best": best - restart.log_joints[-1],
            "iterations": len(restart.log_joints) - 1,
            "status": restart.status.name,
        }
        for number, restart in enumerate(fit.restarts)
    ]
    frame = pd.DataFrame(rows).sort_values("below_best", kind="stable")
    frame["agrees"] = frame["below_best"].abs() <= AGREEMENT
    return frame.reset_index(drop=True)


def summary(fit: Any, data: Any) -> "pd.DataFrame":
    """What :meth:`Fit.summary` returns."""
    import pandas as pd

    frames = []
    for name, array in fit.parameters.items():
        shown = array.rename("value").expand_dims("single")
        frame = shown.to_dataframe().reset_index().drop(columns="single")
        # Numbers of states stay whole where other rows have no state.
        frame = frame.astype({str(dim): object for dim in array.dims})
        frame.insert(0, "parameter", name)
        frames.append(frame)
    table = pd.concat(frames, ignore_index=True)
    table.insert(len(table.columns) - 1, "value", table.pop("value"))
    table = table.astype({c: object for c in table.columns[1:-1]}).fillna("")
    if fit.posterior is not None:
        named = named_draws(fit.model, fit.draws, fit.labels).values()
        flat = [a.values.reshape(a.shape[0] * a.shape[1], -1) for a in named]
        draws = np.concatenate(flat, 1)
        table["sd"] = draws.std(0, ddof=1)
        table["lower_95"], table["upper_95"] = np.quantile(draws, (0.025, 0.975), 0)
    elif data is not None:
        errors = fit.standard_errors(data).values()
        table["standard_error"] = np.concatenate([e.values.ravel() for e in errors])
        margin = NORMAL_95 * table["standard_error"]
        table["lower_95"] = table["value"] - margin
        table["upper_95"] = table["value"] + margin
    return table
