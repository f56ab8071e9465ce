"""What pictures of tables take: the table, or a fit and the data to make it of."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from glmhmm_pyro.analysis import DwellTimes
from glmhmm_pyro.arguments import with_article
from glmhmm_pyro.inference import Fit
from glmhmm_pyro.sequences import Sequences

if TYPE_CHECKING:
    import pandas as pd

Tabular: TypeAlias = "pd.DataFrame | DwellTimes | Fit"


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
    if is_table and data is None and not options:
        return found
    got = "a table and more" if is_table else with_article(type(found))
    raise TypeError(
        f"{argument} must be what analysis.{name} returns, alone, or a fit, got {got}; "
        f"write {name}(fit, data)"
    )


def states_of(table: "pd.DataFrame") -> list[str]:
    """Names of the states of a table, in their order."""
    return list(table.index.get_level_values("state").unique())
