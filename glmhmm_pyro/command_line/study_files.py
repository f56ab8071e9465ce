"""A study in a TOML file: which table, which columns, which model, which options.

[data]
path = "trials.csv"                  # or .parquet, from the folder of this file
session = "session"
group = "animal"
emissions = "choice"
covariates = ["stim", {PreviousChoice = "choice"}, "Intercept"]

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
from glmhmm_pyro.command_line.written import built, component, design
from glmhmm_pyro.components import Emission, InitialState, Transitions
from glmhmm_pyro.covariates import Design
from glmhmm_pyro.inference import Fit, fit
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.sequences import Sequences

if TYPE_CHECKING:
    import pandas as pd

_SECTIONS = ("data", "model", "fit", "select")
_KINDS = {"emissions": Emission, "transitions": Transitions, "initial": InitialState}
_MODEL = ("num_states", *_KINDS)
# Entries that say by a formula what these arguments are.
_FORMULAS = {
    "covariates": "formula",
    "transition_covariates": "transition_formula",
    "initial_covariates": "initial_formula",
}
_ARGUMENTS = list(inspect.signature(Sequences.from_dataframe).parameters)[1:]
_DATA = ("path", *_ARGUMENTS, *_FORMULAS.values())


@dataclass(frozen=True)
class StudyFile:
    """What a TOML file says of a study.

    Attributes:
        folder: from which paths in it are read.
        data: arguments of ``Sequences.from_dataframe``, ``path`` and formulas.
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
        """The sessions of the study's table, or of another with the same columns.

        What designs learn, such as means and levels, they learn from the study's own.
        """
        own = self._path("path", self.data["path"])
        table = read_table(own if path is None else path)
        told = {name: self.data[name] for name in self.data if name in _ARGUMENTS}
        designs = self._designs(list(table.columns))
        if path is not None and any(isinstance(d, Design) for d in designs.values()):
            Sequences.from_dataframe(read_table(own), **{**told, **designs})
        return Sequences.from_dataframe(table, **{**told, **designs})

    def _designs(self, columns: list[str]) -> dict[str, Any]:
        """What is written of covariates: a design, or names of columns."""
        made = {}
        for argument, formula in _FORMULAS.items():
            if formula in self.data:
                made[argument] = Design.from_formula(self.data[formula])
            elif argument in self.data:
                made[argument] = design(argument, self.data[argument], columns)
        return made

    def make_model(self, num_states: int | None = None) -> GLMHMM:
        """The model, with as many states as the study says, or as are asked for."""
        parts = {
            name: component(f"model.{name}", self.model[name], kind)
            for name, kind in _KINDS.items()
            if name in self.model
        }
        states = num_states or built("model.num_states", self.model["num_states"])
        return GLMHMM(states, **parts)

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
        if isinstance(options["num_states"], list):
            found = [built("select.num_states", n) for n in options["num_states"]]
            options["num_states"] = found
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
    for argument, formula in _FORMULAS.items():
        if argument in data and formula in data:
            raise ValueError(
                f"entries of [data] must have {argument} or {formula}, got both; leave "
                "one of them out"
            )
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
