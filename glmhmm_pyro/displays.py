"""What objects look like in a notebook: a heading, some lines, parts that open."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

# Of the intervals between columns lower and upper of all tables, which say it in attrs.
LEVEL = 0.95

# Rows of a table that are shown; the rest is counted.
_ROWS = 30


def listing(names: Sequence[str]) -> Callable[[], list[str]]:
    """A ``__dir__`` of a module: its public names alone, for completion and ``dir``.

    Args:
        names: the ``__all__`` of the module.
    """
    return lambda: sorted(names)


def display(title: str, lines: str, parts: Mapping[str, str] | None = None) -> str:
    """HTML of an object.

    Args:
        title: what it is, in a few words.
        lines: what is to be seen at once, one line a fact.
        parts: HTML by its heading, of what opens at a click; empty ones are left out.
    """
    shown = "".join(f"<div>{escape(line.strip())}</div>" for line in lines.splitlines())
    hidden = "".join(
        f"<details><summary>{escape(heading)}</summary>{body}</details>"
        for heading, body in (parts or {}).items()
        if body
    )
    return f"<div><strong>{escape(title)}</strong>{shown}{hidden}</div>"


def framed(table: "pd.DataFrame") -> str:
    """HTML of a table, its first rows if there are many."""
    more = len(table) - _ROWS
    rest = f"<div>and {more} rows more</div>" if more > 0 else ""
    return table.head(_ROWS).to_html(float_format=lambda x: f"{x:.4g}") + rest


def with_level(table: "pd.DataFrame") -> "pd.DataFrame":
    """The table, with the level of its intervals in ``attrs["level"]``."""
    table.attrs["level"] = LEVEL
    return table


def as_written(text: str) -> str:
    """HTML of text whose spaces and lines mean something."""
    return f"<pre>{escape(text)}</pre>" if text else ""


def listed(sentences: tuple[str, ...] | list[str]) -> str:
    """HTML of sentences, one below the other."""
    return "".join(f"<div>{escape(sentence)}</div>" for sentence in sentences)
