"""The fits of a study: every model in every fold and to all data, in any processes."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from glmhmm_pyro.analysis.folds import (
    Folds,
    check_folds,
    check_several,
    held_out,
    splits_of,
)
from glmhmm_pyro.analysis.held_out import (
    by_session,
    score_frame,
    scores_of,
    units_of,
)
from glmhmm_pyro.analysis.refits import run_jobs, warn_of_interrupt, whole_fit
from glmhmm_pyro.analysis.selection.study import study_table
from glmhmm_pyro.arguments import seed_number
from glmhmm_pyro.inference import Fit
from glmhmm_pyro.inference.fits.checkpoint import Checkpoint
from glmhmm_pyro.inference.methods import Method, engine_of
from glmhmm_pyro.inference.program.program import Model, Program
from glmhmm_pyro.masking import steps_observed
from glmhmm_pyro.sequences import Sequences

if TYPE_CHECKING:
    import pandas as pd

Part = tuple[Sequences, Sequences]


@dataclass
class SelectionWork:
    """What is to be fitted, and what has come of it.

    Attributes:
        models: by K or name, the simplest first.
        data: all sessions.
        splits: numbers of the sessions to fit and to hold out, by fold.
        parts: these sessions, by fold.
        engine: the method.
        options: of every fit.
        refits: whether every fold learns its covariates anew.
        results: of the jobs, by number: those of the folds first.
    """

    models: dict[Any, Any]
    data: Sequences
    splits: list[Any]
    parts: list[Part]
    engine: Method
    options: dict[str, Any]
    refits: bool
    results: dict[int, Any] = field(default_factory=dict)
    is_complete: bool = True

    @classmethod
    def of(
        cls,
        models: dict[Any, Any],
        data: Sequences,
        folds: Folds,
        refit_design: bool,
        method: str | Method,
        num_restarts: int,
        seed: int,
    ) -> "SelectionWork":
        """The work of a study, its arguments checked."""
        check_several(data, "divide it into sessions by lengths")
        seed, engine = seed_number(seed), engine_of(method, {})
        splits = splits_of(data, folds, None, seed)
        parts = [held_out(data, train, test, refit_design) for train, test in splits]
        for model in models.values():
            check_folds(data, parts, model)
        options = {"num_restarts": num_restarts, "seed": seed, "progress": False}
        return cls(models, data, splits, parts, engine, options, refit_design)

    def checkpoint(
        self, path: str | PathLike | None, call: str, argument: str
    ) -> Checkpoint | None:
        """The file that keeps the results, if there is to be one."""
        if path is None:
            return None
        options = (self.engine, self.options, self.splits, self.refits)
        key = {argument: list(self.models.items()), "data": self.data}
        return Checkpoint(path, call, {**key, "options": options})

    def run(
        self, label: str, num_jobs: int, keeper: Checkpoint | None, progress: bool
    ) -> None:
        """Make all fits, or those that are left."""
        models, whole = self.models.values(), self.data._derive(design_source=None)
        jobs: list[Any] = [(m, *part) for part in self.parts for m in models]
        jobs += [(model, whole, None) for model in models]
        self.results = run_jobs(self.fitted, jobs, num_jobs, label, progress, keeper)
        self.is_complete = warn_of_interrupt("fits", len(self.results), len(jobs))

    def fitted(self, model: Model, train: Sequences, test: Sequences | None) -> Any:
        """Scores of sessions held out and how the fit ended, or a fit to all data."""
        found = whole_fit(model, train, self.engine, **self.options)
        if test is None:
            names = [f.name for f in fields(found) if f.name != "model"]
            return {name: getattr(found, name) for name in names}
        scores = {**scores_of(found, test), "num_correct": _num_correct(found, test)}
        return scores, found.status.name

    @property
    def fits(self) -> dict[Any, Fit]:
        """Those to all data."""
        first = len(self.parts) * len(self.models)
        return {
            label: _fit_of(self.models[label], self.data, self.results[number])
            for number, label in enumerate(self.models, first)
            if number in self.results
        }

    def tables(self, name: str) -> "tuple[pd.DataFrame, pd.DataFrame]":
        """Scores by fold and session, and the table of the models.

        Args:
            name: what the models are called.
        """
        labels, rows = list(self.models), []
        endings: dict[Any, list[str]] = {label: [] for label in labels}
        for number, result in self.results.items():
            fold, place = divmod(number, len(labels))
            if fold < len(self.parts):
                sessions = self.parts[fold][1].session_names
                rows.append((labels[place], fold, sessions, result[0]))
                endings[labels[place]].append(result[1])
        frame = score_frame(rows, name, units_of(self.data))
        return frame, study_table(frame, labels, self.fits, endings, self.data)


def _fit_of(model: Model, data: Sequences, found: Mapping[str, Any]) -> Fit:
    """The fit of which these are the fields, its model bound to the data."""
    bound = Program.of(copy.deepcopy(model), data).users_model
    return Fit(model=bound, **found)


def _num_correct(fit: Fit, data: Sequences) -> np.ndarray:
    """By session, observed steps whose most probable class one step ahead came.

    NaN where emissions are no labels of a single output.
    """
    predicted = fit.predict(data)
    if getattr(predicted, "dims", None) != ("step", "class"):
        return np.full(data.num_sessions, np.nan)
    came = fit.as_fitted(data).emissions.cpu().numpy()
    correct = predicted.values.argmax(1) == came
    seen = steps_observed(data.mask)
    return by_session(correct if seen is None else correct & seen.cpu().numpy(), data)
