"""Findings: what an inference method returns, of which ``gh.fit`` makes a fit."""

from dataclasses import dataclass, replace
from typing import Any, TypeVar

from torch import Tensor

from glmhmm_pyro.arguments import suggests_all_names
from glmhmm_pyro.inference.draws.estimate import Estimate
from glmhmm_pyro.inference.draws.posterior import Posterior
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.search.runs import Restart, Run, Solution
from glmhmm_pyro.inference.search.solutions import ranked, solutions_of
from glmhmm_pyro.inference.status import Status

Found = TypeVar("Found", bound="Findings")


@suggests_all_names
@dataclass(frozen=True, kw_only=True)
class Findings:
    """Parameters that a method found, how it came there, draws if it has any.

    Attributes:
        method: name of the inference method.
        params: values of the sites by name, reference rows left out. Where there is a
            posterior they are the mean of the draws; or the draw of the highest
            log-joint, as a note says, where the data are less probable at the mean than
            on average over the draws, as products of sites or several modes make it.
        log_likelihood: marginal log-likelihood of the emissions at ``params``, nats.
        log_joint: log-likelihood plus log prior density.
        status: how the method ended.
        restarts: all starts, in their order; ``best`` is the number of the one kept.
        weights: parameters at every iteration of the best start, if they were kept.
        unbounded: sentences about weights without a finite maximum.
        posterior: draws of the parameters, from methods that have any.
        notes: further sentences on how the method ended.
        solutions: the distinct solutions that the starts led to, best first; told apart
            by the states that they decode.
        rounds_without_gain: rounds of kicks since the best solution was found.
    """

    method: str = "em"
    params: dict[str, Tensor]
    log_likelihood: float
    log_joint: float
    status: Status
    restarts: tuple[Restart, ...]
    best: int
    weights: tuple[dict[str, Tensor], ...] = ()
    unbounded: tuple[str, ...] = ()
    posterior: Posterior | None = None
    notes: tuple[str, ...] = ()
    solutions: tuple[Solution, ...] = ()
    rounds_without_gain: int = 0

    def at(self: Found, point: Estimate, **changes: Any) -> Found:
        """These findings at the point that stands for the draws, with its notes."""
        notes = (*changes.pop("notes", self.notes), *point.notes)
        return replace(
            self,
            params=point.params,
            log_likelihood=point.log_likelihood,
            log_joint=point.log_joint,
            notes=notes,
            **changes,
        )


def best_of(
    program: Program, runs: list[Run], method: str, rounds_without_gain: int = 0
) -> Findings:
    """Where the best run ended, with the histories of all.

    Args:
        program: the model with its data.
        runs: all starts, in their order.
        method: name of the inference method.
        rounds_without_gain: rounds of kicks since the best was found.
    """
    if not runs:
        raise KeyboardInterrupt("interrupted before the first evaluation")
    best = ranked(runs)[0]
    kept = runs[best]
    found = Findings(
        params=kept.params,
        log_likelihood=kept.log_likelihoods[-1],
        log_joint=kept.log_joints[-1],
        status=kept.status or Status.INTERRUPTED,
        restarts=tuple(run.restart for run in runs),
        best=best,
        method=method,
        weights=tuple(kept.weights),
        unbounded=kept.reasons,
        solutions=solutions_of(program, runs),
        rounds_without_gain=rounds_without_gain,
    )
    return _checked(found, program)


def _checked(found: Findings, program: Program) -> Findings:
    """The findings; status UNBOUNDED if weights have no finite maximum."""
    final = (Status.INTERRUPTED, Status.COLLAPSED, Status.M_STEP_FAILED)
    if found.status in final:
        return found
    sentences = program.unbounded(found.params)
    if not sentences:
        return found
    best = tuple(replace(s, status=Status.UNBOUNDED) for s in found.solutions[:1])
    return replace(
        found,
        status=Status.UNBOUNDED,
        unbounded=sentences,
        solutions=best + found.solutions[1:],
    )
