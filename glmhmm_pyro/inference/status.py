"""How a fit ended, and what it warns of."""

from enum import Enum


class Status(Enum):
    """How a fit ended; the value is the sentence that users read."""

    CONVERGED = "the log-joint changed by less than the tolerance"
    MAX_ITERS = "stopped at the largest number of iterations, not yet converged"
    INTERRUPTED = "interrupted; these are the parameters of the last full iteration"
    UNBOUNDED = (
        "some weights have no finite maximum: the likelihood still rises as they grow"
    )

    @property
    def sentence(self) -> str:
        """What happened, in words."""
        return self.value


class ConvergenceWarning(UserWarning):
    """A fit ended without reaching a proper maximum."""


class FallingLikelihoodError(RuntimeError):
    """The log-joint fell between two EM iterations, which is a fault of the program."""
