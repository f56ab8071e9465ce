"""The raw columns that a design made covariates of: shown, exchanged, learnt anew."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .recipes import RawSource
from .validation import Selected, selected_sessions

if TYPE_CHECKING:
    import pandas as pd

    from .data import Sequences


def refit_design(data: "Sequences", sessions: Selected) -> "Sequences":
    """The same data, their covariates learnt from these sessions and no others.

    What a ``Standardised`` term of a :class:`Design` made is centred and scaled by the
    rows of these sessions. Other covariates stay as they are.

    Args:
        sessions: as for :meth:`subset`.

    Raises:
        ValueError: a column does not vary in these sessions.
    """
    if data.design_source is None:
        return data
    chosen = selected_sessions(sessions, data.session_names)
    fields = data.design_source.relearnt(data, chosen)
    return data._derive(**fields) if fields else data


def raw_columns(data: "Sequences") -> "pd.DataFrame":
    """The columns that a design was given, a row per step of these sessions.

    Raises:
        ValueError: the data were not made by a design.

    Example:
        >>> import pandas as pd
        >>> from glmhmm_pyro import Sequences
        >>> from glmhmm_pyro.covariates import Design, Lags
        >>> df = pd.DataFrame({"day": [1, 1, 2], "s": [0.5, 1, 2], "y": [0, 1, 1]})
        >>> design = Design(Lags("s", 2))
        >>> data = Sequences.from_dataframe(
        ...     df, session="day", emissions="y", covariates=design
        ... )
        >>> data["2"].raw_columns()
           day    s  y
        0    2  2.0  1
    """
    return _source(data).raw(data)


def with_raw(data: "Sequences", columns: Mapping[str, Any]) -> "Sequences":
    """The same data at other raw columns, their covariates made anew.

    The designs make what they have learnt of them; lags, interactions and bases move
    together. Emissions, sessions and masks stay, and so do covariates that no design
    made.

    Args:
        columns: a value for all steps, or one per step, by the raw column's name.

    Raises:
        ValueError: there is no such raw column, or the data were not made by a design.

    Example:
        >>> import pandas as pd
        >>> from glmhmm_pyro import Sequences
        >>> from glmhmm_pyro.covariates import Design, Lags
        >>> df = pd.DataFrame({"day": [1, 1, 2], "s": [0.5, 1, 2], "y": [0, 1, 1]})
        >>> design = Design(Lags("s", 2))
        >>> data = Sequences.from_dataframe(
        ...     df, session="day", emissions="y", covariates=design
        ... )
        >>> data.with_raw({"s": 3.0}).covariates.tolist()
        [[3.0, 0.0], [3.0, 3.0], [3.0, 0.0]]
    """
    return data._derive(**_source(data).with_raw(data, columns))


def _source(data: "Sequences") -> RawSource:
    """What the covariates are made of, refused where nothing is known of it."""
    if data.design_source is None:
        raise ValueError(
            "data must be made by a Design to have raw columns, got covariates as they "
            "are; make them by Sequences.from_dataframe(df, covariates=Design(...))"
        )
    return data.design_source
