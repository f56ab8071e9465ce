"""What pictures of tables take: the table, or a fit and the data to make it of."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from glmhmm_pyro.analysis import DwellTimes
from glmhmm_pyro.arguments import with_article
from glmhmm_pyro.inference import Fit
from glmhmm_pyro.sequences import Sequences

if TYPE_CHECKING:
    import pandas as pd

Tabular: TypeAlias = "pd.DataFrame | DwellTimes | Fit"


class _Form(NamedTuple):
    """What the table of an analysis looks like.

    Attributes:
        begins, ends: levels with which its index begins, or ends.
        numbers: of all levels of its index.
        column: beside estimates and intervals, which tables of others do not have.
    """

    begins: tuple[str, ...]
    ends: tuple[str, ...]
    numbers: tuple[int, ...]
    column: str | None


_STATE = ("state",)
# Pictures of effects and of responses look at their tables themselves.
_FORMS = {
    "occupancy": _Form((), _STATE, (1, 2), None),
    "accuracy_by_state": _Form((), _STATE, (1,), "steps"),
    "column_by_state": _Form((), _STATE, (1,), "steps"),
    "psychometric": _Form(("source", "state"), (), (3,), "effective_count"),
    "states_in_session": _Form((), _STATE, (2,), "sessions"),
    "switch_triggered": _Form(("state", "lag"), (), (2,), "switches"),
}
_ESTIMATES = {"estimate", "lower", "upper"}
# Of tables that none of these pictures takes, such as that of dwell times.
_OTHERS = {"exits", "standard_error"}


def table_or_made(
    name: str,
    found: Tabular,
    data: Sequences | None,
    make: Callable[..., Any],
    options: Mapping[str, Any],
    argument: str = "found",
) -> Any:
    """A table as it is, or the one that is made of a fit and data.

    Args:
        name: of the picture and of the analysis.
        found: the table or a fit.
        data: for a fit.
        make: the analysis.
        options: of the analysis.
        argument: what the picture calls the table.
    """
    if isinstance(found, Fit):
        return make(found, data, **options)
    is_table = isinstance(found, DwellTimes) or hasattr(found, "columns")
    is_its = is_table and _is_of(name, found)
    if is_its and data is None and not options:
        return found
    got = "a table and more" if is_its else with_article(type(found))
    if is_table and not is_its and not isinstance(found, DwellTimes):
        got = f"a table of {', '.join(map(str, found.columns))}"
    raise TypeError(
        f"{argument} must be what analysis.{name} returns, alone, or a fit, got {got}; "
        f"write {name}(fit, data)"
    )


def _is_of(name: str, found: Any) -> bool:
    """Whether a table is of an analysis, as far as can be told."""
    is_dwell = isinstance(found, DwellTimes)
    if name not in _FORMS or is_dwell:
        return is_dwell == (name == "dwell_times")
    form, columns, levels = _FORMS[name], {*found.columns}, (*found.index.names,)
    begins, ends = len(form.begins), len(levels) - len(form.ends)
    telling = {other.column for other in _FORMS.values()} | _OTHERS
    # Tables that were written to a file and read again have no attributes.
    tells_steps = form.column == "steps" and "level" in found.attrs
    is_column = ("statistic" in found.attrs) == (name == "column_by_state")
    return (
        _ESTIMATES <= columns
        and telling & columns == {form.column} - {None}
        and len(levels) in form.numbers
        and (levels[:begins], levels[ends:]) == (form.begins, form.ends)
        and (is_column or not tells_steps)
    )


def states_of(table: "pd.DataFrame") -> list[str]:
    """Names of the states of a table, in their order."""
    return list(table.index.get_level_values("state").unique())
