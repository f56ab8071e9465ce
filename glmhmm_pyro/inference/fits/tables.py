"""What a fit says of itself: a sentence, data frames of its parameters and starts."""

from typing import TYPE_CHECKING, Any

import numpy as np

from glmhmm_pyro.inference.fits.labels import named_draws
from glmhmm_pyro.inference.mode.intervals import named_intervals
from glmhmm_pyro.inference.mode.uncertainty import StandardErrors
from glmhmm_pyro.inference.status import Status

if TYPE_CHECKING:
    import pandas as pd

# Restarts whose log-joints are this close, in nats, are said to agree.
AGREEMENT = 0.1

# Number of starts up to which it goes without saying that they are no evidence.
FEW_STARTS = 3


def sentence(fit: Any) -> str:
    """Of what and by what method a fit is, and where it ended."""
    states = getattr(fit.model, "num_states", None)
    what = "a model" if states is None else f"{states} states"
    draws = () if fit.posterior is None else (fit.posterior.describe(),)
    said = (
        f"Fit of {what} by {fit.method}: log-likelihood "
        f"{fit.log_likelihood:.4f} nats, {fit.log_likelihood_per_step:.4f} per "
        f"step; {evidence(fit)}; {fit.status.sentence}"
    )
    return "; ".join((said, *draws, *fit.notes))


def evidence(fit: Any) -> str:
    """How many starts ended in the best solution, and what else was tried."""
    known = max(len(fit.solutions), 1)
    best = "the only solution found" if known == 1 else f"the best of {known} solutions"
    said = f"{fit.num_agreeing} of {fit.num_starts} starts end in {best}"
    if fit.rounds_without_gain:
        said += f", which {fit.rounds_without_gain} rounds of kicks did not improve"
    return said


def doubt(fit: Any) -> str:
    """What :attr:`Fit.doubt` says."""
    is_short = any(restart.status is Status.INTERRUPTED for restart in fit.restarts)
    if is_short or fit.num_starts <= FEW_STARTS or not fit.solutions:
        return ""
    if fit.num_agreeing > 1:
        return ""
    only = "only one" if fit.num_agreeing else "none but kicks"
    return (
        f"of {fit.num_starts} starts {only} led to the best solution, and others may "
        "lead to a better one. Raise num_restarts, or give the weights a weak prior, "
        "such as gh.priors.Ridge(5.0)"
    )


def agreeing(fit: Any) -> list[int]:
    """Numbers of the independent starts that ended in the best solution."""
    if fit.solutions:
        return list(fit.solutions[0].starts)
    # A fit of which nothing more is known than where its starts ended.
    end = fit.restarts[fit.best].log_joints[-1]
    return [
        number
        for number, restart in enumerate(fit.restarts)
        if abs(restart.log_joints[-1] - end) <= AGREEMENT
    ]


def solution_report(fit: Any) -> "pd.DataFrame":
    """What :meth:`Fit.solution_report` returns."""
    import pandas as pd

    rows = [
        {
            "solution": number,
            "log_joint": solution.log_joint,
            "log_likelihood": solution.log_likelihood,
            "below_best": fit.solutions[0].log_joint - solution.log_joint,
            "starts": len(solution.starts),
            "kicks": len(solution.kicks),
            "kinds": ", ".join(
                sorted({fit.restarts[start].kind for start in solution.starts})
            ),
            "status": solution.status.name,
        }
        for number, solution in enumerate(fit.solutions)
    ]
    return pd.DataFrame(rows)


def restart_report(fit: Any) -> "pd.DataFrame":
    """What :meth:`Fit.restart_report` returns."""
    import pandas as pd

    # Not the fit's own, which is that of the mean where there are draws.
    best, agree = fit.restarts[fit.best].log_joints[-1], agreeing(fit)
    places = {
        number: place
        for place, solution in enumerate(fit.solutions)
        for number in solution.starts + solution.kicks
    }
    rows = [
        {
            "start": number,
            "log_joint": restart.log_joints[-1],
            "log_likelihood": restart.log_likelihoods[-1],
            "below_best": best - restart.log_joints[-1],
            "iterations": len(restart.log_joints) - 1,
            "status": restart.status.name,
            "kind": restart.kind,
            "solution": places.get(number, -1),
            "agrees": number in agree,
        }
        for number, restart in enumerate(fit.restarts)
    ]
    frame = pd.DataFrame(rows).sort_values("below_best", kind="stable")
    return frame.reset_index(drop=True)


def summary(fit: Any, found: StandardErrors | None) -> "pd.DataFrame":
    """What :meth:`Fit.summary` returns, with standard errors if any were found."""
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
        table["value"], table["sd"] = draws.mean(0), draws.std(0, ddof=1)
        table["lower_95"], table["upper_95"] = np.quantile(draws, (0.025, 0.975), 0)
        table.attrs["notes"] = fit.notes
    elif found is not None:
        errors = [array.values.ravel() for array in found.errors.values()]
        ends = named_intervals(fit.parameters, found.errors, found.supports).values()
        lower, upper = ([pair[i].ravel() for pair in ends] for i in range(2))
        table["standard_error"] = np.concatenate(errors)
        table["lower_95"] = np.concatenate(lower)
        table["upper_95"] = np.concatenate(upper)
    return table
