"""What all pictures share: the colours of the states, new axes, readable names."""

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from glmhmm_pyro.arguments import (
    one_of,
    suggests_names,
    whole_number,
    with_article,
)
from glmhmm_pyro.inference import Fit

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import XAxis, YAxis
    from matplotlib.image import AxesImage

# The palette of Okabe & Ito (2008) in an order that keeps the first ones far apart, and
# a sand for their yellow, which is too pale for a line on white.
STATE_COLOURS = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#000000",
    "#E0C678",
)
STATE_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
INK = "#333333"
FAINT = "#999999"

# More names than this on one axis are thinned out.
MOST_NAMES = 24

# What an inch of an axis has room for, at the usual size of type.
LETTERS_PER_INCH = 9

# Inches that slanted names must be apart, lest they run into each other.
SLANTED = 0.22


@suggests_names
def state_colour(state: int) -> str:
    """Colour of a state; from state 8 on colours come a second time.

    Example:
        >>> state_colour(0)
        '#0072B2'
    """
    return STATE_COLOURS[whole_number("state", state) % len(STATE_COLOURS)]


def state_marker(state: int) -> str:
    """Marker of a state, which tells it apart without colour."""
    return STATE_MARKERS[state % len(STATE_MARKERS)]


def named_states(names: Sequence[str]) -> list[str]:
    """What legends call states: their names, or 'state 0' where these are numbers."""
    return [f"state {n}" if str(n).isdigit() else plain(n) for n in names]


def state_labels(fit: Fit, level: str | None = None) -> list[str]:
    """What legends call the states of a fit, or those of a level of two."""
    if level is None:
        return named_states(fit.state_names)
    names = fit.labels.of_level(level)
    return [f"{level} {n}" if n.isdigit() else plain(n) for n in names]


def check_level(fit: Fit, level: str | None) -> None:
    """Raise a ValueError for a level that a fit does not have."""
    if level is None:
        return
    one_of("level", level, ("slow", "fast"))
    if fit.labels.levels is None:
        raise ValueError(
            f"level must be None for a model on one level, got {level!r}; leave it out"
        )


def check_kind(argument: str, value: Any, kind: type, fix: str) -> None:
    """Raise a TypeError if an argument is not of the kind that is drawn."""
    if not isinstance(value, kind):
        got = with_article(type(value))
        raise TypeError(f"{argument} must be {with_article(kind)}, got {got}; {fix}")


def plain(name: Hashable) -> str:
    """A name as it is written, where matplotlib would read TeX between dollars."""
    return str(name).replace("$", r"\$")


def axes_or_new(ax: "Axes | None", width: float, height: float) -> "Axes":
    """``ax``, or the axes of a new figure of this size in inches."""
    import matplotlib.pyplot as plt
    from matplotlib.axes import Axes

    if ax is not None:
        check_kind("ax", ax, Axes, "take one of a figure, such as fig.gca(), or none")
        return ax
    return plt.subplots(figsize=(width, height), layout="constrained")[1]


def legend_beside(ax: "Axes") -> None:
    """A legend right of the axes, where it hides nothing."""
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)


def legend_above(
    ax: "Axes", lines: Sequence["Artist"] | None = None, *, rise: float = 0.0
) -> None:
    """A legend above the axes, in as many columns as the panel has room for.

    Args:
        ax: the axes.
        lines: what it names, in this order; all that have a label by default.
        rise: how far above, in inches.
    """
    shown = ax.get_legend_handles_labels()[0] if lines is None else lines
    labels = [str(line.get_label()) for line in shown]
    inches = ax.bbox.width / ax.figure.dpi
    # Small letters; a line and the space around it are as wide as six of them.
    columns = int(1.5 * LETTERS_PER_INCH * inches / (max(map(len, labels)) + 6))
    ax.legend(
        handles=shown,
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0 + rise * ax.figure.dpi / ax.bbox.height),
        ncols=min(max(columns, 1), len(labels)),
        frameon=False,
        fontsize="small",
        borderaxespad=0.2,
        handlelength=1.4,
        columnspacing=1.0,
    )


def name_ticks(
    axis: "XAxis | YAxis",
    names: Sequence[Hashable],
    places: Sequence[int] | None = None,
) -> None:
    """Names along an x or y axis, every n-th where there are too many.

    Args:
        axis: ``ax.xaxis`` or ``ax.yaxis``.
        names: what to write.
        places: where; 0, 1, ... by default.
    """
    places = range(len(names)) if places is None else places
    every = -(-len(names) // MOST_NAMES)
    labels = [plain(name) for name in names][::every]
    axis.set_ticks(list(places)[::every], labels=labels)
    inches = axis.axes.bbox.width / axis.figure.dpi
    letters = sum(map(len, labels)) + 2 * len(labels)
    if axis.axis_name == "x" and letters > LETTERS_PER_INCH * inches:
        apart = every * inches / (max(places) - min(places) + 1)
        slant = 40 if apart > SLANTED else 90
        va = "top" if slant == 40 else "center"
        for label in axis.get_ticklabels():
            label.set(rotation=slant, ha="right", va=va, rotation_mode="anchor")


def hide_frame(ax: "Axes") -> None:
    """No lines at the top and on the right."""
    ax.spines[["top", "right"]].set_visible(False)


def write_numbers(
    ax: "Axes",
    values: np.ndarray,
    image: "AxesImage",
    digits: int = 2,
    sign: str = "",
    below: Sequence[Sequence[str]] | None = None,
    sizes: tuple[float, float] = (10.0, 7.0),
) -> None:
    """The value of every cell of an image, dark on light cells and light on dark.

    Args:
        ax: where the image is.
        values: of the cells, shape (rows, columns).
        image: what has their colours.
        digits: after the point.
        sign: ``"+"`` where positive numbers are to have one.
        below: what stands in smaller letters below every number.
        sizes: of the letters of both in points.
    """
    for (row, column), value in np.ndenumerate(values):
        red, green, blue, _ = image.to_rgba(value)
        luminance = 0.299 * red + 0.587 * green + 0.114 * blue
        colour = INK if luminance > 0.5 else "white"
        # Rounded first, plus 0: no "-0.00".
        text = f"{round(float(value), digits) + 0.0:{sign}.{digits}f}"
        said = "" if below is None else below[row][column]
        rest: Any = {"ha": "center", "color": colour}
        va = "bottom" if said else "center"
        ax.text(column, row, text, va=va, fontsize=sizes[0], **rest)
        if said:
            ax.text(column, row, said, va="top", fontsize=sizes[1], **rest)
