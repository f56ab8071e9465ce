"""Sessions and groups that have parameters of their own, found by name."""

from collections.abc import Sequence
from dataclasses import dataclass

from .data import Sequences
from .naming import Match, brief
from .sessions import Known, rows_of_sessions, sessions_of

# Names of axes along which sessions or groups stand, and the argument that names them.
MEMBER_AXES = {"session": "session_names", "group": "groups"}


@dataclass(frozen=True)
class Members:
    """The sessions of the data that a parameter was bound to, and their groups.

    Attributes:
        sessions: present name and identity of every session.
    """

    sessions: tuple[Known, ...]

    @classmethod
    def of(cls, data: Sequences) -> "Members":
        """Sessions and groups of a data set."""
        return cls(sessions_of(data))

    def names(self, axis: str) -> tuple[str, ...]:
        """Names along an axis: of the sessions, or of the groups, each once."""
        if axis == "session":
            return tuple(name for name, _ in self.sessions)
        groups = [o.group for _, o in self.sessions if o.group is not None]
        return tuple(dict.fromkeys(groups))

    def rows(self, axis: str, data: Sequences, what: str, instead: str) -> Match:
        """For every session of the data, the place of its entry on an axis.

        Args:
            axis: ``"session"`` or ``"group"``.
            data: any sessions.
            what: the parameters, for messages.
            instead: what speaks of others too, for messages.

        Raises:
            ValueError: a session or its group has no entry, or there are no groups.
        """
        known = self.names(axis)
        notes: tuple[str, ...] = ()
        if axis == "session":
            places, notes = rows_of_sessions(self.sessions, sessions_of(data))
            looked_for: Sequence[str] = data.session_names
        elif data.groups is None or not known:
            raise ValueError(
                f"data must have groups, for each of which there is {what}, got none; "
                "give groups to Sequences, or group= to Sequences.from_dataframe"
            )
        else:
            looked_for, numbers = data.groups, {n: i for i, n in enumerate(known)}
            places = [numbers.get(group) for group in data.groups]
        pairs = zip(looked_for, places)
        unknown = list(dict.fromkeys(name for name, row in pairs if row is None))
        if unknown:
            raise ValueError(
                f"data must hold {axis}s whose {what} were fitted ({brief(known)}), "
                f"got {brief(unknown)}; use {instead} to speak of new {axis}s, and "
                f"{MEMBER_AXES[axis]} to say which {axis} is which"
            )
        return Match([row for row in places if row is not None], notes)
