"""Designs: terms put together into named covariates, learnt from training sessions."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import ArrayLike

from glmhmm_pyro.arguments import suggests_all_names
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.dataframes import as_pandas
from glmhmm_pyro.sequences.frames import Columns as Names
from glmhmm_pyro.sequences.recipes import Recipe
from glmhmm_pyro.sequences.validation import unique_names

from .formula import from_formula
from .making import data_set
from .replay import BoundHistory, Replay, replayed
from .sources import Source
from .table import Classes, Lists, Raw, RawTable, check_data, is_frame, read_table
from .terms import Term, all_columns, as_term
from .time_units import filter_frame

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

# Stands for an argument that was left out, where None means something.
REMEMBERED: Any = object()


@suggests_all_names
class Design(Recipe):
    """Terms put together: from raw columns to named covariates in groups.

    Like a transformer of scikit-learn, a design learns from training sessions and then
    transforms any: means and standard deviations, the classes of labels, and which
    column tells sessions apart. Of the data themselves it keeps nothing. Designs can be
    added; a sum is to be fitted anew.

    Args:
        terms: terms and sources of this room; a bare name is a numeric column as it
            is.

    Example:
        >>> import pandas as pd
        >>> import glmhmm_pyro as gh
        >>> from glmhmm_pyro.covariates import Design, Intercept, Lags, PreviousChoice
        >>> trials = pd.DataFrame(
        ...     {"day": [1, 1, 2], "sound": [0.5, 1.0, -1.0], "right": [1, 0, 1]}
        ... )
        >>> design = Design(Lags("sound", 2), PreviousChoice("right"), Intercept())
        >>> data = design.sequences(trials, session="day", emissions="right")
        >>> data.covariate_names
        ('sound_lag0', 'sound_lag1', 'previous_right', 'intercept')
        >>> walk = gh.priors.RandomWalk(0.5)
        >>> prior = gh.priors.Grouped({design.groups["sound"]: walk})
    """

    def __init__(self, *terms: Term | Source | str):
        self._recipes = tuple(as_term(term) for term in terms)
        if not terms:
            raise ValueError(
                "a Design must have at least one term, got none; Intercept() is one"
            )
        labels = tuple(term.label for term in self._recipes)
        unique_names("names of the terms of a Design (give name=...)", labels)
        self._fitted: tuple[Term, ...] | None = None
        self._classes: dict[str, Classes] = {}
        self._session: Names | None = None
        self._columns: Sequence[str] | None = None

    from_formula = classmethod(from_formula)

    def __add__(self, other: "Design") -> "Design":
        if not isinstance(other, Design):
            return NotImplemented
        return Design(*self._recipes, *other._recipes)

    def __repr__(self) -> str:
        fitted = "" if self._fitted is None else f", {len(self.names)} columns"
        return f"Design({', '.join(term.label for term in self._recipes)}{fitted})"

    @property
    def terms(self) -> tuple[Term, ...]:
        """The terms, with what they learnt once the design is fitted."""
        return self._recipes if self._fitted is None else self._fitted

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all columns of a fitted design."""
        return tuple(name for names in self.groups.values() for name in names)

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """Names of the columns of each term, by the name of the term.

        A value can be a key of :class:`glmhmm_pyro.priors.Grouped`.
        """
        return {term.label: term.names() for term in self._known()}

    def _known(self) -> tuple[Term, ...]:
        if self._fitted is None:
            raise ValueError(
                "design must be fitted before it is used, got one that is not; call "
                "design.fit(training_data, session=...)"
            )
        return self._fitted

    def fit(
        self,
        data: Raw,
        *,
        session: Names | None = REMEMBERED,
        columns: Sequence[str] | None = None,
        emissions: Names | Lists | None = None,
    ) -> "Design":
        """Learn from the rows of these sessions, and of no others.

        Args:
            data: a data frame with a row per step, the rows of a session together and
                in the order of time; or a list of arrays (steps, columns), one per
                session.
            session: column of the data frame that tells sessions apart, or several;
                None for a single session.
            columns: names of the columns of the arrays; 'x0', 'x1', ... by default.
            emissions: beside arrays, a list of arrays (steps,) or (steps, outputs);
                terms read them as columns 'y', or 'y0', 'y1', ...

        Returns:
            The design itself.

        Raises:
            ValueError: a column is unknown, or not finite; lags are longer than the
                longest session; a standardised column does not vary.
        """
        data = as_pandas(data)
        session = self._session_of(data, session)
        self._learn(read_table(data, session, columns, emissions, {}))
        self._session, self._columns = session, columns
        return self

    def _learn(self, table: RawTable) -> None:
        """Fit the terms to a table."""
        fitted = tuple(term.fitted(table) for term in self._recipes)
        names = tuple(name for term in fitted for name in term.names())
        unique_names("column names of a Design (give terms a name=...)", names)
        self._fitted, self._classes = fitted, dict(table.classes)

    def _session_of(self, data: Raw, session: Names | None) -> Names | None:
        """The session column given, or the one of fit; lists need none."""
        check_data(data)
        if not is_frame(data):
            if session is not REMEMBERED and session is not None:
                raise ValueError(
                    "session must be left out where data are lists with one array per "
                    f"session, got {session!r}; leave it out"
                )
            return None
        if session is REMEMBERED and self._fitted is None:
            raise ValueError(
                "session must name the column that tells the sessions of the data frame"
                " apart, got nothing; session=None is a single session"
            )
        return self._session if session is REMEMBERED else session

    def _table(
        self,
        data: Raw,
        session: Names | None,
        columns: Sequence[str] | None,
        emissions: Names | Lists | None,
    ) -> RawTable:
        data = as_pandas(data)
        session = self._session_of(data, session)
        columns = self._columns if columns is None else columns
        return read_table(data, session, columns, emissions, self._classes)

    def transform(
        self,
        data: Raw,
        *,
        session: Names | None = REMEMBERED,
        columns: Sequence[str] | None = None,
        emissions: Names | Lists | None = None,
    ) -> "pd.DataFrame":
        """The covariates of these sessions, one row per step, by what was learnt.

        Args:
            data: as for :meth:`fit`.
            session: by default the column that :meth:`fit` was told.
            columns: by default the names that :meth:`fit` was told.
            emissions: as for :meth:`fit`.
        """
        self._known()
        return self.frame_of(self._table(data, session, columns, emissions))

    def frame_of(self, table: RawTable) -> "pd.DataFrame":
        """The covariates of a table."""
        import pandas as pd

        matrix = all_columns(self._known(), table)
        return pd.DataFrame(matrix, table.index, list(self.names))

    def fit_transform(self, data: Raw, **options: Any) -> "pd.DataFrame":
        """:meth:`fit`, then :meth:`transform` of the same data."""
        self.fit(data, **options)
        options.pop("session", None)
        return self.transform(data, **options)

    def sequences(
        self,
        data: Raw,
        *,
        emissions: Names | Lists,
        session: Names | None = REMEMBERED,
        group: Names | None = None,
        transition_design: "Design | None" = None,
        columns: Sequence[str] | None = None,
        mask: Names | Lists | None = None,
        initial_covariates: "Design | Names | ArrayLike | None" = None,
        time: str | None = None,
        class_names: Sequence[str] | None = None,
        as_array: bool | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> Sequences:
        """A data set with the design's covariates.

        A design that is not fitted yet is fitted to these data first, so that the
        training sessions come first and held-out ones are read by what was learnt.
        Emissions that ``mask`` hides are missing for terms of the past too. The data
        keep a copy of the raw columns and the design (:meth:`Sequences.raw_columns`,
        :meth:`Sequences.with_raw`), so that folds of :func:`cross_validate` fit the
        design anew. ``Sequences.from_dataframe(..., covariates=design)`` is the same.

        Args:
            data: as for :meth:`fit`.
            emissions: column of the emissions, or several; beside lists of arrays, a
                list of arrays.
            session: by default the column that :meth:`fit` was told.
            group: as for ``Sequences.from_dataframe``; beside lists, the name of the
                group of every session.
            transition_design: what drives the transitions; this design by default.
            columns: by default the names that :meth:`fit` was told.
            mask: as for ``Sequences.from_dataframe``; beside lists, a list of arrays.
            initial_covariates: as for ``Sequences.from_dataframe``, or for lists
                (sessions, features), or a design.
            time: column by which the order of the rows is checked, if there is one.
            class_names: as for ``Sequences``.
            as_array: whether columns on lags are put into an array; by default where
                all columns take at most a gigabyte. Otherwise they are made of the raw
                columns as they are read, and memory does not grow with the lags.
            dtype: floating type of everything that is not a class or a mask.
            device: where the tensors go.

        Raises:
            ValueError: a term reads an emission at its own step, which would explain
                itself; or what :meth:`fit` raises.
        """
        if emissions is None:
            raise TypeError(
                "emissions must name a column of a data frame, or be a list with one "
                "array per session, got None; they may not be left out"
            )
        if transition_design is not None and not isinstance(transition_design, Design):
            raise TypeError(
                "transition_design must be a Design, got "
                f"{type(transition_design).__name__}; write Design(...)"
            )
        designs: dict[str, Any] = {"covariates": self}
        if transition_design is not None:
            designs["transition_covariates"] = transition_design
        if initial_covariates is not None:
            designs["initial_covariates"] = initial_covariates
        return self._data_set(
            data,
            designs,
            session=session,
            columns=columns,
            emissions=emissions,
            group=group,
            mask=mask,
            time=time,
            class_names=class_names,
            as_array=as_array,
            dtype=dtype,
            device=device,
        )

    def _data_set(
        self, data: Raw, designs: Mapping[str, Any], **options: Any
    ) -> Sequences:
        """A data set of these designs; options are those of :meth:`sequences`."""
        data = as_pandas(data)
        options["session"] = self._session_of(data, options["session"])
        if options.get("columns") is None:
            options["columns"] = self._columns
        return data_set(data, designs, **options)

    def learnt_from(
        self,
        data: Raw,
        sources: tuple[Any, Any, Any],
        hidden: Mapping[str, Any],
        known: Mapping[str, Classes],
    ) -> RawTable:
        """The table of these data; a design that is not fitted yet learns from it.

        Args:
            data: a data frame, or lists.
            sources: session columns, names of columns, and emissions of lists.
            hidden: rows that a mask hides of every emission, by name.
            known: classes of label columns that were given.
        """
        if self._fitted is None:
            self._learn(read_table(data, *sources, known).hiding(hidden))
            self._session, self._columns = sources[:2]
        return self._table(data, *sources).hiding(hidden)

    def is_like(self, other: "Design") -> bool:
        """Whether the other one makes the same columns of the same classes."""
        return (self._recipes, self._classes) == (other._recipes, other._classes)

    def reading(self, table: RawTable) -> RawTable:
        """A table whose labels are the classes that this design has learnt."""
        return replace(table, classes=dict(self._classes))

    def relearnt(self, table: RawTable) -> "Design":
        """This design with the numbers that its terms learn from other rows."""
        again = copy.copy(self)
        table = self.reading(table)
        again._fitted = tuple(term.relearnt(table) for term in self._known())
        return again

    def filters(
        self,
        weights: "xr.DataArray",
        bin_width: float = 1.0,
        covariance: "xr.DataArray | None" = None,
    ) -> "pd.DataFrame":
        r"""Filters on lags in time units, from the weights of their covariates.

        .. math:: f(l) = \sum_j B_{lj} w_j / s_j

        B is the term's basis (1 at its own lag for ``Lags``) and s what
        ``Standardised`` divided by, so that f is per unit of the raw column.

        Args:
            weights: with an axis ``covariate`` that names this design's columns among
                others, such as ``fit.parameters["emissions.weights"]``; with axes
                ``chain`` and ``draw`` they are draws, such as
                ``fit.to_arviz(data).posterior["emissions.weights"]``.
            bin_width: length of a step, such as 1 / 30 for seconds at 30 Hz.
            covariance: of the weights of each row, of shape (*weights.shape,
                covariates), as ``fit.covariance(data)`` gives it.

        Returns:
            One row per term, row of weights and lag: ``term``, the other axes (state,
            class), ``lag`` and ``estimate``; with a covariance ``standard_error``,
            ``lower`` and ``upper`` (95 %); of draws their means, standard deviations
            and quantiles in these columns.
        """
        return filter_frame(self._known(), weights, bin_width, covariance)

    def history(
        self,
        data: Raw,
        *,
        session: Names | None = REMEMBERED,
        columns: Sequence[str] | None = None,
        emissions: Names | Lists | None = None,
    ) -> BoundHistory:
        """The design with the raw columns of the sessions to be simulated.

        For ``fit.simulate(..., history=...)`` where a term needs more than past
        emissions, such as the correct answers. The arguments are those of
        :meth:`transform`.
        """
        self._known()
        return BoundHistory(self, self._table(data, session, columns, emissions))

    def replay(self, data: Sequences, table: RawTable | None = None) -> Replay:
        """Functions that give the columns made from past emissions, step by step.

        Args:
            data: what is simulated; terms of its emissions are the ones recomputed.
            table: its raw columns, where a term needs them.

        Returns:
            By the names of a term's columns, a fresh function of the emissions so far
            (simulations, steps so far, *event) and of the rows of the step.
        """
        return replayed(self._known(), self._classes, data, table)
