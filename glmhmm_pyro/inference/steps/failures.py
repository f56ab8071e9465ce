"""M-steps that found no maximum: kept apart from those that had nothing to gain.

Both leave the parameters where they were. A search whose objective was no number
wherever it led, or that found nothing lower though the gradient is large, has failed;
EM that ends so has not converged.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from glmhmm_pyro.inference.status import Status
from glmhmm_pyro.optim import MinimizeResult
from glmhmm_pyro.optim import Status as End

# Largest entry of the gradient of the log-joint per step at which a search that can
# find no lower value has arrived all the same: what is left is rounding.
ARRIVED = 1e-5

_NON_FINITE = (End.NON_FINITE, End.NON_FINITE_START, End.NON_FINITE_DIRECTION)
_STALLED = (End.LINE_SEARCH_FAILED, End.ASCENT_DIRECTION, End.CONVERGED_STEP)


class Failure(NamedTuple):
    """How an M-step failed.

    Attributes:
        status: of a run of EM that ends with it.
        sentence: names the component.
    """

    status: Status
    sentence: str


class Ends(NamedTuple):
    """Failures of an M-step by parameter set, ``None`` where all went well.

    Attributes:
        failures: as many as there are sets, or none if no search was needed.
    """

    failures: tuple[Failure | None, ...] = ()

    @classmethod
    def of(
        cls, name: str, results: Sequence[Any], num_blocks: int, plain: bool
    ) -> "Ends":
        """Those of the searches of a component.

        Args:
            name: of the component.
            results: of all problems, sets times blocks.
            num_blocks: number of problems of a set.
            plain: whether their gradients are those of the objective per step.
        """
        found = [_failure(name, result, plain) for result in results]
        by_set = [
            next(filter(None, found[first : first + num_blocks]), None)
            for first in range(0, len(found), num_blocks)
        ]
        return cls(tuple(by_set))

    def __or__(self, other: "Ends") -> "Ends":
        """The first failure of each set in either."""
        if not self.failures or not other.failures:
            return self if self.failures else other
        pairs = zip(self.failures, other.failures)
        return Ends(tuple(one or another for one, another in pairs))

    def of_set(self, number: int) -> Failure | None:
        """How the M-step of a set failed, if it did."""
        return self.failures[number] if self.failures else None


def _failure(name: str, result: MinimizeResult, plain: bool) -> Failure | None:
    if result.optimality <= ARRIVED:
        return None
    if result.status in _NON_FINITE:
        return Failure(
            Status.M_STEP_FAILED,
            f"the M-step of {name}: its log density, or the gradient of it, was not "
            "finite where the search led",
        )
    if plain and result.status in _STALLED:
        return Failure(
            Status.STALLED,
            f"the M-step of {name} found nothing higher though its gradient is not 0: "
            "there is a kink in the density, or the gradient is not that of its value",
        )
    return None
