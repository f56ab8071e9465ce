"""What a fit says of its starts: where they ended, and how far that is evidence."""

from typing import TYPE_CHECKING

from glmhmm_pyro.arguments import suggests_all_names
from glmhmm_pyro.inference.fits import tables
from glmhmm_pyro.inference.runs import Restart, Solution

if TYPE_CHECKING:
    import pandas as pd


@suggests_all_names
class Ends:
    """The part of a :class:`Fit` that speaks of its starts and of their ends."""

    restarts: tuple[Restart, ...]
    best: int
    solutions: tuple[Solution, ...]
    rounds_without_gain: int

    @property
    def history(self) -> "pd.DataFrame":
        """log_likelihood and log_joint at every iteration of the best start."""
        import pandas as pd

        kept = self.restarts[self.best]
        columns = {"log_likelihood": kept.log_likelihoods, "log_joint": kept.log_joints}
        return pd.DataFrame(columns).rename_axis("iteration")

    @property
    def num_starts(self) -> int:
        """Number of independent starts: kicks, which set out from an end, are none."""
        return sum(not restart.is_kick for restart in self.restarts)

    @property
    def num_agreeing(self) -> int:
        """Number of independent starts that ended in the best solution.

        Solutions are told apart by the states that they decode, whatever numbers these
        have, and by 0.1 nats of log-joint. Kicks do not count; starts that were pruned
        count with the one that they fell together with.
        """
        return len(tables.agreeing(self))

    @property
    def unseen_share(self) -> float:
        """Share of starts drawn like these that would end in no solution seen so far.

        The estimate of Good (1953) and Turing: the number of solutions that a single
        start led to, over the number of starts. It says nothing of starts drawn in
        another way, nor whether a better solution exists.
        """
        placed = [len(solution.starts) for solution in self.solutions]
        lost = self.num_starts - sum(placed)
        return (placed.count(1) + lost) / self.num_starts

    @property
    def doubt(self) -> str:
        """Why the best solution may not be the best there is; empty without a reason.

        It is one that a single one of several independent starts led to, or none but a
        kick. Of up to three starts it is not said.
        """
        return tables.doubt(self)

    def restart_report(self) -> "pd.DataFrame":
        """One row a start, best first: how it was made, where it ended, if it agrees.

        ``solution`` is its place in :attr:`solutions`, -1 for a start that was pruned
        because it stood below several others.
        """
        return tables.restart_report(self)

    def solution_report(self) -> "pd.DataFrame":
        """One row a distinct solution, best first, and how many starts led to it."""
        return tables.solution_report(self)
