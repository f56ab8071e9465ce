"""What every picture does with its arguments."""

import functools
import inspect
from collections.abc import Callable
from typing import TypeVar, cast

from glmhmm_pyro.arguments import suggests_names

Drawing = TypeVar("Drawing", bound=Callable[..., object])


def picture(drawing: Drawing) -> Drawing:
    """A function that takes its ``ax`` at any place, and checks its arguments.

    Pictures are called ``(fit, data=None, ..., ax=None)``. An ``Axes`` that stands
    where something else belongs is the ``ax``: ``weights(fit, ax)``. So is a last
    ``None`` in the place of what is given by its name, as in
    ``weights(fit, None, data=data)``.
    """
    checked = suggests_names(drawing)
    names = list(inspect.signature(drawing).parameters)

    @functools.wraps(checked)
    def drawn(*args: object, **options: object) -> object:
        from matplotlib.axes import Axes

        if args and args[-1] is None and names[: len(args)][-1] in options:
            args = args[:-1]
        _check_ax(args, names)
        given = next((value for value in args if isinstance(value, Axes)), None)
        if given is not None and "ax" not in options:
            args = tuple(value for value in args if value is not given)
            options["ax"] = given
        return checked(*args, **options)

    return cast(Drawing, drawn)


def _check_ax(args: tuple[object, ...], names: list[str]) -> None:
    """Raise a TypeError if what is no Axes stands where the ``ax`` does."""
    from matplotlib.axes import Axes

    place = names.index("ax") if "ax" in names else len(args)
    if len(args) <= place or isinstance(args[place], Axes | None):
        return
    if not any(isinstance(value, Axes) for value in args):
        raise TypeError(
            f"ax must be a matplotlib Axes, got {type(args[place]).__name__} as "
            f"argument {place + 1}; give what comes after data by its name, such as "
            "correct=..."
        )
