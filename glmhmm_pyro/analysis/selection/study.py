"""Study: several models fitted to the same data, how well each does, the one chosen."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from glmhmm_pyro.analysis.held_out import compared
from glmhmm_pyro.arguments import suggests_all_names
from glmhmm_pyro.displays import display, framed, listed
from glmhmm_pyro.inference import Fit, Status
from glmhmm_pyro.inference.fits.criteria import penalised
from glmhmm_pyro.sequences import Sequences

if TYPE_CHECKING:
    import pandas as pd

# Columns of the table that follow from the fit to all data.
_OF_FITS = (
    "num_solutions",
    "num_parameters",
    "log_likelihood",
    "aic",
    "bic",
    "icl",
)


@suggests_all_names
@dataclass(frozen=True, repr=False)
class Study:
    """Models of a choice, each fitted in every fold and to all data.

    Attributes:
        table: a row a model (K, or its name). Of sessions held out:
            ``held_out_bits_per_step`` above the baseline (see :meth:`Fit.score`),
            sums over folds divided by sums, with ``standard_error``; ``difference``
            from the best of all, in bits per step, with ``difference_error``, which is
            that of paired differences over sessions, or over groups where the data have
            groups; ``accuracy``, the share of steps whose most probable class, one step
            ahead, came (NaN where emissions are no labels). Of the fit to all data:
            ``num_solutions``, how many distinct solutions its starts led to, free
            parameters ``num_parameters``, ``log_likelihood`` (nats), ``aic``, ``bic``,
            ``icl`` (NaN of a fit with draws). A ``note`` says where priors penalise a
            fit, so that its criteria are too large, what did not converge, and where
            the baseline was smoothed.
        folds: a row a model, fold and session held out: ``log_likelihood`` and that of
            the ``baseline`` in nats, ``num_observed`` steps, ``num_correct`` of them,
            and the ``unit`` of its errors, the session or its group.
        fits: the fits to all data, by K or name; an interrupt leaves fewer.
        best: the K, or name, that was chosen.
        rule: ``"best"`` or ``"one_standard_error"``.
        complete: whether all fits were made; an interrupt leaves fewer.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.datasets.load_rat().subset(range(4))
        >>> models = {"one": gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(2.0)))}
        >>> quick = {"folds": 2, "num_restarts": 1, "progress": False}
        >>> study = gh.analysis.compare_models(models, data, **quick)
        >>> "one" in study.fits
        True
    """

    table: "pd.DataFrame"
    folds: "pd.DataFrame"
    fits: dict[Any, Fit]
    best: Any
    rule: str
    complete: bool = True

    @property
    def fit(self) -> Fit | None:
        """The fit of the chosen model to all data; None if it was not made."""
        return self.fits.get(self.best)

    def __repr__(self) -> str:
        end = "" if self.complete else " (interrupted)"
        shown = self.table.drop(columns="note").to_string()
        return f"{self.table.index.name} {self.best} chosen of{end}\n{shown}"

    def _repr_html_(self) -> str:
        said = f"{self.table.index.name} {self.best} chosen by {self.rule}"
        end = "" if self.complete else "interrupted: not all fits were made"
        shown = framed(self.table.drop(columns="note"))
        notes = [
            f"{label}: {note}" for label, note in self.table["note"].items() if note
        ]
        return display(said, end, {"Notes": listed(notes)}) + shown


def study_table(
    folds: "pd.DataFrame",
    labels: list[Any],
    fits: Mapping[Any, Fit],
    endings: Mapping[Any, list[str]],
    data: Sequences,
) -> "pd.DataFrame":
    """The table of a study.

    Args:
        folds: scores of sessions held out.
        labels: of the models, the simplest first.
        fits: to all data.
        endings: names of the statuses of the fits of folds.
        data: all data.
    """
    import pandas as pd

    table = compared(folds, labels)
    sums = folds[["num_correct", "num_observed"]].groupby(level=0).sum(min_count=1)
    table["accuracy"] = sums["num_correct"] / sums["num_observed"]
    of_fits = {label: _of_fit(fit, data) for label, fit in fits.items()}
    whole = pd.DataFrame.from_dict(of_fits, orient="index", columns=list(_OF_FITS))
    table = table.join(whole)
    for name in ("num_solutions", "num_parameters"):
        table[name] = table[name].astype("Int64")
    table["note"] = [_note(label, fits, endings) for label in labels]
    return table


def _of_fit(fit: Fit, data: Sequences) -> list[Any]:
    known = [len(fit.solutions), fit.num_parameters, fit.log_likelihood]
    if fit.posterior is not None:
        return [*known, np.nan, np.nan, np.nan]
    return [*known, fit.aic, fit.bic, fit.icl(data)]


def _note(
    label: int | str, fits: Mapping[Any, Fit], endings: Mapping[Any, list[str]]
) -> str:
    """Sentences about a model in one line."""
    notes, ended = [], endings.get(label, [])
    astray = sum(not Status[name].is_success for name in ended)
    if astray:
        notes.append(f"{astray} of {len(ended)} folds did not converge")
    fit = fits.get(label)
    if fit is None:
        return "; ".join([*notes, "not fitted to all data"])
    if not fit.status.is_success:
        notes.append(f"all data: {fit.status.sentence}")
    if penalised(fit):
        sites = ", ".join(penalised(fit))
        notes.append(f"penalised by priors of {sites}: criteria are too large")
    if fit.baseline is not None:
        notes += [f"baseline: {note}" for note in fit.baseline.notes]
    return "; ".join(notes)
