"""What transitions say of the borders of sessions."""

from torch import Tensor

from glmhmm_pyro.sequences import Sequences


class GoesOn:
    """Mixin of transitions: sessions whose slow states go on from one to the next.

    By default all sessions begin anew.

    Attributes:
        across_sessions: whether sessions of a group go on from one another.
    """

    across_sessions = False

    def goes_on(self, data: Sequences) -> Tensor | None:
        """Which sessions go on from the one before, (sessions,); ``None`` if none do.

        Their first states are those of :meth:`cross`.
        """
        return None

    def first_steps(self, data: Sequences) -> Tensor:
        """First steps of chains, into which no transition leads, (chains,)."""
        goes_on = self.goes_on(data)
        return data.starts if goes_on is None else data.starts[~goes_on]

    def cross(self, state: Tensor, covariates: Tensor, entered: Tensor) -> Tensor:
        """Log-probabilities of the first state of a session that goes on.

        Args:
            state: the last one of the session before, shape (*shape).
            covariates: shape (*shape, features), of the session's first step.
            entered: what the initial distribution says of the session, (*shape,
                states).
        """
        raise NotImplementedError(
            f"{type(self).__name__} must define cross(state, covariates, entered) "
            "where goes_on(data) names sessions"
        )

    def check_moves(self, data: Sequences) -> None:
        """Raise a ValueError for data of a fit in which states cannot be left."""
