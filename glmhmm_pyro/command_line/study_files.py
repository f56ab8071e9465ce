"""A study in a TOML file: which table, which columns, which model, which options.

[data]
path = "trials.csv"                  # or .parquet, from the folder of this file
session = "session"
group = "animal"
emissions = "choice"
covariates = ["stim", "prev_choice"]
intercept = true

[model]
num_states = 3
emissions = {Bernoulli = {prior = {Ridge = 2.0}}}
transitions = {Stationary = {prior = {Sticky = {stay = 20, move = 2}}}}

[fit]
method = "em"
num_restarts = 10
seed = 0
"""

import inspect
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmhmm_pyro.analysis.selection import Study, choose_num_states
from glmhmm_pyro.arguments import suggestion
from glmhmm_pyro.command_line.written import component
from glmhmm_pyro.components import Emission, InitialState, Transitions
from glmhmm_pyro.inference import Fit, fit
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.sequences import Sequences

if TYPE_CHECKING:
    import pandas as pd

_SECTIONS = ("data", "model", "fit", "select")
_KINDS = {"emissions": Emission, "transitions": Transitions, "initial": InitialState}
_MODEL = ("num_states", *_KINDS)
_DATA = ("path", *list(inspect.signature(Sequences.from_dataframe).parameters)[1:])


@dataclass(frozen=True)
class StudyFile:
    """What a TOML file says of a study.

    Attributes:
        folder: from which paths in it are read.
        data: arguments of ``Sequences.from_dataframe``, and ``path``.
        model: arguments of ``GLMHMM``, as they are written.
        options: of ``gh.fit``.
        selection: of ``gh.analysis.choose_num_states``.
    """

    folder: Path
    data: dict[str, Any]
    model: dict[str, Any]
    options: dict[str, Any] = field(default_factory=dict)
    selection: dict[str, Any] = field(default_factory=dict)

    def read_data(self, path: str | Path | None = None) -> Sequences:
        """The sessions of the study's table, or of another with the same columns."""
        columns = dict(self.data)
        own = self._path("path", columns.pop("path"))
        return Sequences.from_dataframe(read_table(path or own), **columns)

    def make_model(self, num_states: int | None = None) -> GLMHMM:
        """The model, with as many states as the study says, or as are asked for."""
        parts = {
            name: component(f"model.{name}", self.model[name], kind)
            for name, kind in _KINDS.items()
            if name in self.model
        }
        return GLMHMM(num_states or self.model["num_states"], **parts)

    def fitted(
        self, data: Sequences, checkpoint: str | None = None, progress: bool = False
    ) -> Fit:
        """The model fitted to data by the study's options.

        Args:
            data: the sessions.
            checkpoint: file to go on from, in the place of the study's own.
            progress: whether to show a progress bar.
        """
        options = self._with_checkpoint(self.options, checkpoint)
        return fit(self.make_model(), data, **{"progress": progress, **options})

    def selected(
        self, data: Sequences, checkpoint: str | None = None, progress: bool = False
    ) -> Study:
        """Numbers of states compared by the options of [select]; see :meth:`fitted`."""
        if "num_states" not in self.selection:
            raise ValueError(
                "entries of [select] must have num_states, got "
                f"{', '.join(self.selection) or 'none'}; write num_states = [1, 2, 3]"
            )
        options = self._with_checkpoint(self.selection, checkpoint)
        options = {"progress": progress, **options}
        return choose_num_states(self.make_model, data, **options)

    def _with_checkpoint(
        self, options: dict[str, Any], checkpoint: str | None
    ) -> dict[str, Any]:
        """Options with a path of a checkpoint; the study's own is from its folder."""
        if checkpoint is not None:
            return {**options, "checkpoint": checkpoint}
        if "checkpoint" not in options:
            return options
        own = self._path("checkpoint", options["checkpoint"])
        return {**options, "checkpoint": own}

    def _path(self, entry: str, written: Any) -> Path:
        """A path that an entry of the study has, from its folder."""
        if not isinstance(written, str):
            raise TypeError(
                f"{entry} must be a path in quotation marks, got {written!r:.60}; "
                f'write such as {entry} = "name"'
            )
        return self.folder / written


def read_study(path: str | Path) -> StudyFile:
    """Read a study from a TOML file.

    Args:
        path: the file; the head of ``glmhmm_pyro/command_line/study_files.py`` has one.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no TOML, or says what is not known or not enough.
    """
    path = Path(path)
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # no TOML, or no text
        raise ValueError(
            f"study must be a TOML file, got {path.name}: {error}; write entries such "
            'as session = "day" below headings such as [data]'
        ) from error
    _check_names("sections of a study", said, _SECTIONS, required=("data", "model"))
    tables = {name: said.get(name, {}) for name in _SECTIONS}
    for name, table in tables.items():
        if not isinstance(table, Mapping):
            raise ValueError(
                f"{name} must be a section, got {table!r:.60}; write [{name}] above "
                "its entries"
            )
    data, model = tables["data"], tables["model"]
    needed = ("path", "session", "emissions")
    _check_names("entries of [data]", data, _DATA, required=needed)
    _check_names("entries of [model]", model, _MODEL, required=_MODEL[:2])
    return StudyFile(path.parent, data, model, tables["fit"], tables["select"])


def read_table(path: str | Path) -> "pd.DataFrame":
    """A table from CSV or Parquet, told by the ending of its name."""
    import pandas as pd

    readers = {".csv": pd.read_csv, ".gz": pd.read_csv, ".parquet": pd.read_parquet}
    ending = Path(path).suffix.lower()
    if ending not in readers:
        raise ValueError(
            f"a table must be a file .csv, .csv.gz or .parquet, got {Path(path).name}"
            "; save it as one of these"
        )
    try:
        return readers[ending](path)
    except ValueError as error:
        raise ValueError(
            f"a table must hold rows below the names of its columns, got "
            f"{Path(path).name}: {error}; look into it"
        ) from error


def write_table(table: "pd.DataFrame", path: str | Path) -> None:
    """A table as CSV or Parquet, told by the ending of its name."""
    ending = Path(path).suffix.lower()
    if ending not in (".csv", ".parquet"):
        raise ValueError(
            f"a table must go to a file .csv or .parquet, got {Path(path).name}; give "
            "it one of these endings"
        )
    if ending == ".csv":
        table.to_csv(path, index=False)
    else:
        table.to_parquet(path, index=False)


def _check_names(
    what: str, given: Mapping[str, Any], known: tuple[str, ...], required: tuple
) -> None:
    """Raise a ValueError for unknown names, and for names that are missing."""
    for name in given:
        if name not in known:
            raise ValueError(
                f"{what} must be among {', '.join(known)}, got {name!r}"
                f"{suggestion(name, known) or '; leave it out'}"
            )
    missing = [name for name in required if name not in given]
    if missing:
        raise ValueError(
            f"{what} must have {', '.join(required)}, got no {missing[0]}; add it"
        )
