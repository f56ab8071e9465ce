"""Values by site; a wrong name is answered by those there are."""

from collections.abc import Mapping
from typing import TypeVar

from glmhmm_pyro.arguments import suggestion

Value = TypeVar("Value")


class BySite(dict[str, Value]):
    """A dictionary of the sites of a model.

    Example:
        >>> BySite({"emissions.weights": 1.0})["weights"]
        Traceback (most recent call last):
            ...
        KeyError: "site must be one of emissions.weights, got 'weights'; did you ..."
    """

    def __missing__(self, name: str) -> Value:
        raise KeyError(
            f"site must be one of {', '.join(sorted(self))}, got {name!r:.60}"
            f"{_meant(str(name), self) or '; give one of these'}"
        )


def _meant(wrong: str, sites: Mapping[str, object]) -> str:
    """'; did you mean ...?' for a name without its component, or misspelt."""
    last = wrong.rpartition(".")[2]
    alike = [name for name in sites if name.endswith(f".{last}")]
    if alike:
        return f"; did you mean {' or '.join(map(repr, alike))}?"
    return suggestion(wrong, sites)
