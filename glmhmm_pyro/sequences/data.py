"""Sequences: sessions of emissions and covariates, end to end, checked once.

Row t of the transition covariates drives the step from t - 1 INTO t; the row at the
start of a session drives nothing. Sessions may have any length from one step on.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from glmhmm_pyro.arguments import suggests_all_names
from glmhmm_pyro.designs import DesignMatrix

from . import frames, joining, raw, time_series, weights
from .changes import (
    intercept_fields,
    kept_identity,
    moved_fields,
    replaced_arguments,
    subset_fields,
)
from .construction import DESIGNS, checked_fields, summary, summary_html
from .dataframes import as_pandas
from .facts import Facts
from .leaks import warn_of_leaks
from .operators import are_shared, operator_of, with_fields
from .reading import narrowed
from .recipes import RawSource, Recipe, recipe_among
from .sessions import Session
from .validation import (
    Rows,
    Selected,
    check_rows,
    one_session,
    selected_sessions,
    sessions_of_groups,
)

if TYPE_CHECKING:
    import pandas as pd
    from narwhals.typing import IntoDataFrame


@suggests_all_names
@dataclass(frozen=True, eq=False, repr=False, init=False)
class Sequences(Facts):
    """A data set of one or more sessions, which never changes once it is made.

    All that is passed is copied: arrays, tensors, lists and pandas objects alike. A
    missing emission is a mask, never a sentinel: NaN and None become ``mask=False``,
    and what stood there is overwritten by the first observed value of its column, so
    that it can change no number anywhere. Whole numbers, booleans and labels are stored
    as int64 classes; floats stay floats, and :attr:`is_integer` tells whether they can
    be read as classes.

    Args:
        emissions: numbers (steps,) or (steps, outputs), or labels (steps,).
        covariates: (steps, features); None is one constant column, the plain HMM.
        lengths: steps of every session; None is a single session.
        transition_covariates: (steps, features); None takes ``covariates``.
        initial_covariates: (sessions, features), or None.
        mask: boolean, True = observed, of shape (steps,) or that of the emissions;
            None observes all that is not missing.
        session_names: names without repetition; the default is '0', '1', ...
        groups: the group of every session, such as the animal; sessions of two groups
            may have one name. None is no groups.
        covariate_names: the default is a DataFrame's columns, or 'x0', 'x1', ...
        transition_covariate_names: the default is 'u0', 'u1', ..., or those of the
            covariates where the two are the same.
        initial_covariate_names: the default is 'v0', 'v1', ...
        class_names: names of classes 0, 1, ... of a single output.
        emission_names: one name per output; the default is 'y', or 'y0', 'y1', ...
        dtype: floating type of everything that is not a class or a mask.
        device: where the tensors go.

    Attributes:
        emissions: (steps,) or (steps, outputs), int64 or floating.
        covariates: (steps, features).
        transition_covariates: (steps, features); row t drives t - 1 -> t. The very
            tensor ``covariates`` where none were given.
        initial_covariates: (sessions, features) or None.
        mask: (steps,) or (steps, outputs), or None where everything was observed.
        lengths: (sessions,) int64, all at least 1.
        starts: (sessions,) int64, the first row of every session.
        session_names: names that differ; 'group/name' where two groups have one name.
        session_origins: which session each is, whatever a copy of it is called.
        generated_names: the names that nobody gave, by argument; none is an identity.
        design_source: the designs and raw columns that covariates were made of, if any.

    Raises:
        ValueError: naming the argument, what it must be, what came and how to mend it.
        TypeError: for arguments and arrays of the wrong type.

    Warns:
        LeakageWarning: a covariate is the choice of the step before, but in the first
            step of every session that step's own.

    Example:
        >>> data = Sequences([1, 0, 1], [[0.5], [0.1], [0.3]], lengths=[2, 1])
        >>> data.num_sessions, data[1].covariates
        (2, tensor([[0.3000]], dtype=torch.float64))
    """

    emissions: Tensor
    covariates: Tensor
    transition_covariates: Tensor
    initial_covariates: Tensor | None
    mask: Tensor | None
    lengths: Tensor
    starts: Tensor
    session_names: tuple[str, ...]
    covariate_names: tuple[str, ...]
    transition_covariate_names: tuple[str, ...]
    initial_covariate_names: tuple[str, ...] | None
    class_names: tuple[str, ...] | None
    emission_names: tuple[str, ...]
    session_origins: tuple[Session, ...]
    generated_names: dict[str, frozenset[str]]
    design_source: RawSource | None = field(default=None, compare=False)

    def __init__(
        self,
        emissions: ArrayLike,
        covariates: ArrayLike | None = None,
        *,
        lengths: ArrayLike | None = None,
        transition_covariates: ArrayLike | None = None,
        initial_covariates: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        session_names: Sequence[str] | None = None,
        groups: Sequence[str] | None = None,
        covariate_names: Sequence[str] | None = None,
        transition_covariate_names: Sequence[str] | None = None,
        initial_covariate_names: Sequence[str] | None = None,
        class_names: Sequence[str] | None = None,
        emission_names: Sequence[str] | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> None:
        with torch.inference_mode(False):
            checked = checked_fields(
                emissions,
                mask,
                lengths,
                class_names=class_names,
                emission_names=emission_names,
                session_names=session_names,
                groups=groups,
                designs={
                    "covariates": (covariates, covariate_names),
                    "transition_covariates": (
                        transition_covariates,
                        transition_covariate_names,
                    ),
                    "initial_covariates": (initial_covariates, initial_covariate_names),
                },
                dtype=dtype,
                device=device,
            )
        warn_of_leaks(checked)
        self.__dict__.update(with_fields(self, checked))

    @classmethod
    def from_lists(
        cls,
        emissions: Sequence[Any],
        covariates: Sequence[Any] | None = None,
        *,
        transition_covariates: Sequence[Any] | None = None,
        masks: Sequence[Any] | None = None,
        **options: Any,
    ) -> "Sequences":
        """A data set from lists with one array per session.

        Args:
            emissions: arrays of shape (steps,) or (steps, outputs).
            covariates: arrays of shape (steps, features), or None.
            transition_covariates: arrays of shape (steps, features), or None.
            masks: boolean arrays, True = observed, each as long as its session.
            options: the other arguments of :class:`Sequences`.

        Example:
            >>> Sequences.from_lists([[0, 1, 1], [1]]).lengths
            tensor([3, 1])
        """
        designs = {
            "covariate": covariates,
            "transition_covariate": transition_covariates,
        }
        return cls(**joining.joined_arguments(emissions, designs, masks, options))

    @classmethod
    def from_dataframe(
        cls,
        df: "IntoDataFrame",
        *,
        session: frames.Columns | None,
        group: frames.Columns | None = None,
        emissions: frames.Columns,
        covariates: frames.Columns | Recipe | None = None,
        transition_covariates: frames.Columns | Recipe | None = None,
        initial_covariates: frames.Columns | Recipe | None = None,
        mask: frames.Columns | None = None,
        time: str | None = None,
        intercept: bool = False,
        class_names: Sequence[str] | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> "Sequences":
        """A data set from the columns of a data frame, one row per step.

        The rows of a session must stand together, in the order of time. Labels become
        classes in the order of ``class_names``, of a categorical's categories, or of
        the alphabet; NaN and None are masked. Only the columns named are used: without
        ``intercept=True`` no constant is added to them.

        Args:
            df: a data frame of pandas, polars, pyarrow or another kind that narwhals
                knows; it is not changed.
            session: column that tells sessions apart, or several (animal and day);
                None for a single session.
            group: column that tells which group a session belongs to (the animal), or
                several; the same in all rows of a session.
            emissions: column of the emissions, or several.
            covariates: numeric columns, or a :class:`glmhmm_pyro.covariates.Design`,
                which is fitted to these rows if it is not yet; None is one constant
                column.
            transition_covariates: the same; None takes ``covariates``.
            initial_covariates: the same, read at the first row of a session.
            mask: boolean column, True = observed, or one per output.
            time: column by which the order of the rows is checked, if there is one.
            intercept: adds a last column 'intercept' (:meth:`add_intercept`).
            class_names: names of classes 0, 1, ... in the order wanted.
            dtype: floating type of everything that is not a class or a mask.
            device: where the tensors go.

        Example:
            >>> import pandas as pd
            >>> df = pd.DataFrame({"day": [1, 1], "side": ["right", "left"]})
            >>> Sequences.from_dataframe(df, session="day", emissions="side").emissions
            tensor([1, 0])
        """
        df = as_pandas(df)
        named: dict[str, Any] = {
            "session": session,
            "group": group,
            "emissions": emissions,
            "mask": mask,
            "time": time,
            "class_names": class_names,
        }
        given = frames.given_designs(
            covariates=covariates,
            transition_covariates=transition_covariates,
            initial_covariates=initial_covariates,
        )
        where: dict[str, Any] = {"dtype": dtype, "device": device}
        recipe = recipe_among(given)
        if recipe is None:
            data = cls(**frames.arrays_from_dataframe(df, given, **named), **where)
        else:
            data = recipe._data_set(df, given, **named, **where)
        return data.add_intercept(list(given)) if intercept else data

    def __len__(self) -> int:
        return self.num_sessions

    def __iter__(self) -> Iterator["Sequences"]:
        return (self.subset(session) for session in range(self.num_sessions))

    def __getitem__(self, sessions: Selected) -> "Sequences":
        return self.subset(sessions)

    def __repr__(self) -> str:
        return summary(self)

    def _repr_html_(self) -> str:
        return summary_html(self)

    def session_rows(self, session: int | str) -> slice:
        """Rows of one session in every array that has one row per step."""
        session = one_session(session, self.session_names)
        start = int(self.starts[session])
        return slice(start, start + int(self.lengths[session]))

    def split(self, values: Rows) -> list[Rows]:
        """One view per session of anything with a row per step (states, say)."""
        check_rows(values, self.num_steps)
        return [values[self.session_rows(i)] for i in range(self.num_sessions)]

    def subset(
        self, sessions: Selected | None = None, *, groups: Selected | None = None
    ) -> "Sequences":
        """The sessions selected, in the order in which they are named.

        Args:
            sessions: a number, name or slice, a list of numbers or names, or one
                boolean per session. A session may come twice (a bootstrap); its copies
                are then named 'name', 'name (2)', ...
            groups: instead, the name of a group or a list of names: all their sessions.

        Example:
            >>> data = Sequences([1, 0, 1], lengths=[1, 1, 1], groups=["a", "b", "a"])
            >>> data.subset(groups="a").session_names
            ('0', '2')
        """
        if groups is None:
            chosen = selected_sessions(sessions, self.session_names)
        else:
            chosen = sessions_of_groups(groups, self.groups, sessions)
        return self._derive(**subset_fields(self, chosen))

    refit_design = raw.refit_design
    raw_columns = raw.raw_columns
    with_raw = raw.with_raw
    weighted = weights.weighted
    from_time_series = classmethod(time_series.from_time_series)

    def operator(self, design: str) -> DesignMatrix:
        """A design as what is multiplied with; see :mod:`glmhmm_pyro.designs`.

        Args:
            design: 'covariates', 'transition_covariates' or 'initial_covariates'.
        """
        return operator_of(self, design)

    @property
    def _transitions_share_covariates(self) -> bool:
        return are_shared(self)

    def _derive(self, **changes: Any) -> "Sequences":
        """A copy with some fields exchanged, for changes that need no new checks."""
        if "covariates" in changes and self._transitions_share_covariates:
            changes.setdefault("transition_covariates", changes["covariates"])
        derived = object.__new__(type(self))
        derived.__dict__.update(with_fields(self, changes))
        return derived

    def to(
        self,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> "Sequences":
        """The same data in another floating type, on another device, or both."""
        return self._derive(**moved_fields(self, dtype, device))

    def with_mask(self, mask: ArrayLike) -> "Sequences":
        """The same data, with what this mask hides hidden as well.

        What was missing before stays missing.

        Args:
            mask: boolean, True = observed, (steps,) or the shape of the emissions.
        """
        before = None if self.mask is None else self.mask.cpu().numpy()
        narrow = narrowed(self.emissions.cpu().numpy(), before, mask)
        emissions = torch.as_tensor(narrow.values, device=self.device)
        hidden = narrow.mask is not None
        seen = torch.as_tensor(narrow.mask, device=self.device) if hidden else None
        return self._derive(emissions=emissions, mask=seen)

    def replace(self, **changes: Any) -> "Sequences":
        """A data set with some arguments of :class:`Sequences` exchanged, checked anew.

        A simulator gives the same sessions other emissions by
        ``data.replace(emissions=...)``; what was masked stays masked.
        """
        replaced = type(self)(**replaced_arguments(self, changes))
        return replaced._derive(**kept_identity(self, replaced, changes))

    def add_intercept(self, designs: Sequence[str] = tuple(DESIGNS)) -> "Sequences":
        """The same data with a last column 'intercept' of ones in these designs.

        Args:
            designs: of 'covariates', 'transition_covariates', 'initial_covariates';
                those that the data do not have are passed over.

        Raises:
            ValueError: where a design has a constant column already.
        """
        return self._derive(**intercept_fields(self, designs))

    def to_dataframe(self) -> "pd.DataFrame":
        """One row per step: session (and group), step, emissions and covariates.

        Masked emissions are missing; named classes are a categorical. A column whose
        name is taken by another one comes as 'transition_covariates.name', say.
        """
        return frames.dataframe_from(self)

    @staticmethod
    def concatenate(parts: Sequence["Sequences"]) -> "Sequences":
        """The sessions of several data sets that have the same columns, end to end."""
        parts = joining.listed_parts(parts, Sequences)
        return parts[0]._derive(**joining.joined_fields(parts))
