"""Warnings that point at the line of the user's own code, and functions in it."""

import contextlib
import inspect
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro
import torch

# Code that stands between a warning and the line that a user wrote.
_BETWEEN = (
    str(Path(__file__).parent),
    str(Path(torch.__file__).parent),
    str(Path(pyro.__file__).parent),
    str(Path(contextlib.__file__)),
)


def warn_caller(message: str, category: type[Warning]) -> None:
    """Warn at the innermost line that is neither of this package nor of its helpers."""
    level, frame = 1, sys._getframe(0)
    while frame.f_back and frame.f_code.co_filename.startswith(_BETWEEN):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def why_not_called(function: Callable[..., Any], *args: Any, **named: Any) -> str:
    """Why a function cannot be called with these arguments; empty if it can be."""
    try:
        taken = inspect.signature(function)
    except ValueError:
        return ""
    try:
        taken.bind(*args, **named)
    except TypeError as error:
        return f"a function of {taken}: {error}"
    return ""
