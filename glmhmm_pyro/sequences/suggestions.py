"""Arguments whose names are nearly right: the error says which was meant."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from .validation import close_matches

Function = TypeVar("Function", bound=Callable[..., Any])


def suggests_names(function: Function) -> Function:
    """The function, whose error for an unknown argument suggests the right name."""
    parameters = inspect.signature(function).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    known = [name for name in parameters if name not in ("self", "cls")]

    @functools.wraps(function)
    def checked(*args: Any, **options: Any) -> Any:
        unknown = [name for name in options if name not in parameters]
        if unknown and not open_ended:
            fix = close_matches(unknown[0], known) or f"; it takes {', '.join(known)}"
            raise TypeError(
                f"{function.__qualname__.removesuffix('.__init__')} must be given "
                f"arguments of its own, got {unknown[0]!r}{fix}"
            )
        return function(*args, **options)

    return checked  # type: ignore[return-value]
