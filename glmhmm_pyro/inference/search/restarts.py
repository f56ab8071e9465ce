"""Many starts of a fit: run together as memory allows, the best of them kept."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from tqdm import tqdm

from glmhmm_pyro.inference.program.batches import num_together
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.search.findings import Findings
from glmhmm_pyro.inference.search.runs import Run
from glmhmm_pyro.inference.search.solutions import ranked, solutions_of
from glmhmm_pyro.inference.status import Status


class Engine(Protocol):
    """What advances several starts together."""

    def run_program(
        self,
        program: Program,
        starts: Sequence[Params],
        callback: Callable[[int, Sequence[Run]], None] | None = None,
    ) -> list[Run]:
        """Runs of all starts, each with its history and status."""


def run_all(
    engine: Engine, program: Program, starts: Sequence[Params], progress: bool
) -> list[Run]:
    """All starts, as many together as memory allows; fewer after an interrupt."""
    width = num_together(program.model, program.data, len(starts))
    runs: list[Run] = []
    with tqdm(total=len(starts), desc="EM", unit="start", disable=not progress) as bar:
        for first in range(0, len(starts), width):
            runs += engine.run_program(
                program,
                starts[first : first + width],
                callback=_Show(bar, first, program.units.log_joint),
            )
            bar.n = len(runs)
            if runs[-1].status is Status.INTERRUPTED:
                break
    return [run for run in runs if run.log_joints]


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
    return checked(found, program)


def checked(found: Findings, program: Program) -> Findings:
    """The same, with a status that says so if weights have no finite maximum."""
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


class _Show:
    """Callback that shows iteration and best log-joint on a bar.

    Args:
        bar: of all starts.
        before: number of starts that have ended already.
        gain: from log-joints in a fit's own units to the user's.
    """

    def __init__(self, bar: Any, before: int, gain: float):
        self.bar, self.before, self.gain = bar, before, gain

    def __call__(self, iteration: int, runs: Sequence[Run]) -> None:
        """Called after every E-step."""
        best = max(run.log_joints[-1] for run in runs) + self.gain
        self.bar.n = self.before + sum(run.status is not None for run in runs)
        self.bar.set_postfix(
            iteration=iteration, log_joint=f"{best:.3f}", refresh=False
        )
        self.bar.update(0)
