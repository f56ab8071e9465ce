"""What a fit says of itself and of its starts: where they ended, what that is worth."""

from typing import TYPE_CHECKING

from glmhmm_pyro.inference.search.runs import AGREEMENT
from glmhmm_pyro.inference.status import Status

if TYPE_CHECKING:
    import pandas as pd

    from glmhmm_pyro.inference.fits.fit import Fit

# Number of starts up to which it goes without saying that they are no evidence.
FEW_STARTS = 3


def sentence(fit: "Fit") -> str:
    """What was fitted, by which method, and where the fit ended."""
    states = getattr(fit.model, "num_states", None)
    what = "a model" if states is None else f"{states} states"
    if fit.labels.states is not None:
        what += f" ({', '.join(fit.labels.states)})"
    draws = () if fit.posterior is None else (fit.posterior.describe(),)
    said = (
        f"Fit of {what} by {fit.method}: log-likelihood "
        f"{fit.log_likelihood:.4f} nats, {fit.log_likelihood_per_step:.4f} per "
        f"step; {evidence(fit)}; {fit.status.sentence}"
    )
    return "; ".join((said, *draws, *fit.notes))


def evidence(fit: "Fit") -> str:
    """How many starts ended in the best solution, and what else was tried."""
    known = max(len(fit.solutions), 1)
    best = "the only solution found" if known == 1 else f"the best of {known} solutions"
    said = f"{fit.num_agreeing} of {fit.num_starts} starts end in {best}"
    rounds = fit.rounds_without_gain
    if rounds:
        named = "1 round" if rounds == 1 else f"{rounds} rounds"
        said += f", which {named} of kicks did not improve"
    return said


def history(fit: "Fit") -> "pd.DataFrame":
    """log_likelihood and log_joint at every iteration of the best start."""
    import pandas as pd

    kept = fit.restarts[fit.best]
    columns = {"log_likelihood": kept.log_likelihoods, "log_joint": kept.log_joints}
    return pd.DataFrame(columns).rename_axis("iteration")


def num_starts(fit: "Fit") -> int:
    """Number of independent starts: kicks, which set out from an end, are none."""
    return sum(not restart.is_kick for restart in fit.restarts)


def agreeing(fit: "Fit") -> list[int]:
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


def num_agreeing(fit: "Fit") -> int:
    """Number of independent starts that ended in the best solution.

    Solutions are told apart by the states that they decode, whatever numbers these
    have, and by 0.1 nats of log-joint. Kicks do not count; starts that were pruned
    count with the one that they fell together with.
    """
    return len(agreeing(fit))


def unseen_share(fit: "Fit") -> float:
    """Share of starts drawn like these that would end in no solution seen so far.

    The estimate of Good (1953) and Turing: the number of solutions that a single
    start led to, over the number of starts. It says nothing of starts drawn in
    another way, nor whether a better solution exists.
    """
    placed = [len(solution.starts) for solution in fit.solutions]
    lost = fit.num_starts - sum(placed)
    return (placed.count(1) + lost) / fit.num_starts


def doubt(fit: "Fit") -> str:
    """Why the best solution may not be the best there is; empty without a reason.

    It is one that a single one of several independent starts led to, or none but a
    kick. Of up to three starts it is not said.
    """
    is_short = any(restart.status is Status.INTERRUPTED for restart in fit.restarts)
    if is_short or fit.num_starts <= FEW_STARTS or not fit.solutions:
        return ""
    if fit.num_agreeing > 1:
        return ""
    only = "only one" if fit.num_agreeing else "none but kicks"
    return (
        f"of {fit.num_starts} starts {only} led to the best solution, and others may "
        "lead to a better one. Raise num_restarts; where weights have none, a weak "
        "prior such as gh.priors.Ridge(5.0) helps too"
    )


def restart_report(fit: "Fit") -> "pd.DataFrame":
    """One row a start, best first: how it was made, where it ended, if it agrees.

    ``solution`` is its place in :attr:`solutions`, -1 for a start that was pruned
    because it stood below several others, or failed; then ``reason`` is its error.
    """
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
            "reason": restart.reason,
        }
        for number, restart in enumerate(fit.restarts)
    ]
    frame = pd.DataFrame(rows).sort_values("below_best", kind="stable")
    return frame.reset_index(drop=True)


def solution_report(fit: "Fit") -> "pd.DataFrame":
    """One row a distinct solution, best first, and how many starts led to it."""
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
