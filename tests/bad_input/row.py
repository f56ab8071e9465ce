"""One bad input, and what its error must say."""

from collections.abc import Callable
from typing import Any, NamedTuple


class Row(NamedTuple):
    """A call that must fail by a sentence of the package's own.

    Attributes:
        call: does it, without arguments.
        argument: the argument that the sentence begins with.
        requirement: words of what it must be; rows of one cause share them.
        came: words of what came instead.
        fix: words of what to do.
        error: the type of the error.
    """

    call: Callable[[], Any]
    argument: str
    requirement: str
    came: str
    fix: str
    error: type[Exception] = ValueError
