"""The strength of a penalty chosen by sessions held out, or by the evidence."""

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from glmhmm_pyro.analysis.evidence import NoEvidenceError, log_evidence, require_proper
from glmhmm_pyro.analysis.folds import (
    Folds,
    Splits,
    check_folds,
    check_several,
    held_out,
    splits_of,
)
from glmhmm_pyro.analysis.held_out import (
    RULES,
    chosen,
    compared,
    score_frame,
    scores_of,
    units_of,
)
from glmhmm_pyro.analysis.refits import (
    run_jobs,
    warm_start,
    warn_of_interrupt,
    whole_fit,
)
from glmhmm_pyro.arguments import one_of, seed_number, suggests_names
from glmhmm_pyro.callers import why_not_called
from glmhmm_pyro.concurrency import usual_modes
from glmhmm_pyro.displays import display, framed
from glmhmm_pyro.inference import Fit, fit
from glmhmm_pyro.inference.fits.checkpoint import Checkpoint
from glmhmm_pyro.inference.methods import Method, engine_of
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.arrays import as_array

if TYPE_CHECKING:
    import pandas as pd

CRITERIA = ("held_out", "evidence")


@dataclass(frozen=True, repr=False)
class CrossValidation:
    """How well a model does at every strength of a penalty, and the one chosen.

    Attributes:
        table: a row a strength, weakest first. Where sessions were held out:
            ``held_out_bits_per_step`` above the baseline (see :meth:`Fit.score`), sums
            over folds divided by sums, with ``standard_error``; ``difference`` from the
            best strength with ``difference_error``, which is that of paired differences
            over sessions, or over groups where there are any; ``num_converged``, the
            number of folds whose fit converged. By the evidence: ``log_evidence`` in
            nats, NaN where the ``message`` says why there is none.
        best: the strength chosen.
        fit: the model fitted to all sessions at that strength; ``None`` where an
            interrupt came before.
        criterion: ``"held_out"`` or ``"evidence"``.
        rule: ``"best"`` or ``"one_standard_error"``.
        complete: whether the table is of all folds, or strengths; an interrupt leaves
            fewer.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.datasets.load_rat().subset(range(4))
        >>> def ridge(strength):
        ...     return gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(strength**-0.5)))
        >>> quick = {"folds": 2, "num_restarts": 1, "progress": False}
        >>> found = gh.analysis.cross_validate(ridge, data, [0.1, 10.0], **quick)
        >>> found.table.index.tolist()
        [0.1, 10.0]
    """

    table: "pd.DataFrame"
    best: float
    fit: Fit | None
    criterion: str
    rule: str
    complete: bool = True

    def __repr__(self) -> str:
        end = "" if self.complete else " (interrupted)"
        return f"strength {self.best:g} chosen of{end}\n{self.table.to_string()}"

    def _repr_html_(self) -> str:
        end = "" if self.complete else "interrupted: not all was fitted"
        title = f"strength {self.best:g} chosen by {self.rule}"
        return display(title, end) + framed(self.table)


@dataclass(frozen=True)
class _StrengthPath:
    """Fits of one data set at every strength, each from where the one before ended."""

    make_model: Callable[[float], GLMHMM]
    strengths: tuple[float, ...]
    engine: Method
    options: dict[str, Any]

    def fits(self, data: Sequences) -> Iterator[Fit]:
        """A fit for every strength, one after the other."""
        before: Params | None = None
        for strength in self.strengths:
            model, options = made(self.make_model, strength), dict(self.options)
            if before is not None:
                priors = Program.of(copy.deepcopy(model), data).priors
                options["init"] = warm_start(before, priors)
            found = whole_fit(model, data, self.engine, **options)
            yield found
            before = found.params

    def scores(self, train: Sequences, test: Sequences) -> list[tuple[Any, bool]]:
        """Scores of the test sessions, and whether the fit converged, by strength."""
        return [
            (scores_of(found, test), found.status.is_success)
            for found in self.fits(train)
        ]

    def key(self, data: Sequences, splits: tuple[Splits, bool]) -> dict[str, Any]:
        """What the scores of folds follow from, for a checkpoint.

        Args:
            data: the sessions.
            splits: of these, and whether covariates are learnt in each.
        """
        models = [made(self.make_model, strength) for strength in self.strengths]
        options = (self.strengths, self.engine, self.options, splits)
        return {"make_model": models, "data": data, "options": options}


@suggests_names
@usual_modes()
def cross_validate(
    make_model: Callable[[float], GLMHMM],
    data: Sequences,
    strengths: Sequence[float],
    *,
    criterion: str = "held_out",
    rule: str = "best",
    folds: Folds = 5,
    groups: Sequence[Any] | None = None,
    refit_design: bool = True,
    method: str | Method = "map",
    num_restarts: int = 5,
    init: str | Mapping[str, Any] | None = None,
    seed: int = 0,
    num_jobs: int = 1,
    checkpoint: str | PathLike | None = None,
    progress: bool = True,
) -> CrossValidation:
    r"""Choose the strength of a penalty, of any prior of any component.

    Sessions are held out whole, for a step held out of a session leaks into it through
    covariates made of the behaviour. In every fold one path of fits goes from the
    weakest strength to the strongest, for a penalty that has merged states leads
    nowhere else: the first fit begins from ``num_restarts`` starts, every other one
    from the end of the one before and from ``num_restarts - 1`` points around it. The
    strength chosen is fitted to all sessions from starts of its own.

    By ``rule="one_standard_error"`` it is the strongest one whose difference from the
    best is within the standard error of that paired difference (Breiman et al. 1984;
    Hastie, Tibshirani & Friedman 2009, section 7.10, of unpaired ones). By
    ``criterion="evidence"`` nothing is held out, and it is the one with the largest
    :func:`log_evidence`.

    Args:
        make_model: from a strength to a model; more must mean a stronger penalty, as
            in ``lambda strength: gh.GLMHMM(2, gh.Bernoulli(gh.priors.Ridge(strength **
            -0.5)))``.
        data: the sessions.
        strengths: at least two, in any order.
        criterion: ``"held_out"`` or ``"evidence"``, which needs proper priors.
        rule: ``"best"`` or ``"one_standard_error"``.
        folds: see :func:`choose_num_states`.
        groups: of every session, e.g. its animal, to hold out a group as a whole.
        refit_design: whether each fold centres and scales covariates that a ``Design``
            has standardised by its own training sessions, so that those held out lend
            it nothing; see :meth:`Sequences.refit_design`.
        method: see :func:`fit`.
        num_restarts: number of starts of every fit.
        init: see :func:`fit`; where paths and the last fit begin.
        seed: makes folds and fits reproducible.
        num_jobs: number of processes that folds run in, -1 for all cores.
        checkpoint: path of a file that keeps the scores of folds as they are found. The
            same call goes on from it after it was interrupted or killed.
        progress: whether to show progress bars.

    Raises:
        ValueError: an argument is wrong, or the data do not fit the model.

    Warns:
        ConvergenceWarning: see :func:`fit`; of the last fit alone. Or an interrupt
            left fewer folds.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.datasets.load_rat().subset(range(6))
        >>> def ridge(strength):
        ...     prior = gh.priors.Ridge(strength**-0.5)
        ...     return gh.GLMHMM(1, gh.Bernoulli(prior))
        >>> found = cross_validate(
        ...     ridge, data, [0.01, 1, 1000], folds=3, num_restarts=1, progress=False
        ... )
        >>> found.best, found.table.index.tolist()
        (1.0, [0.01, 1.0, 1000.0])
    """
    _check(data, criterion, rule)
    seed = seed_number(seed)
    if criterion == "evidence" and checkpoint is not None:
        raise ValueError(
            "checkpoint must be None with criterion='evidence', whose fits are one "
            f"path and no folds, got {checkpoint!r}; leave it out"
        )
    engine = engine_of(method, {})
    path = _StrengthPath(
        make_model,
        _checked_strengths(strengths),
        engine,
        {"num_restarts": num_restarts, "init": init, "seed": seed, "progress": False},
    )
    options = {**path.options, "progress": progress}
    if criterion == "evidence":
        table, fits = _by_evidence(path, data)
        complete = warn_of_interrupt("strengths", len(fits), len(path.strengths))
        best = float(table["log_evidence"].idxmax())
        kept: Fit | None = fits[path.strengths.index(best)]
        return CrossValidation(table, best, kept, criterion, rule, complete)
    first = made(make_model, path.strengths[0])
    _check_shared(first)
    splits = splits_of(data, folds, groups, seed)
    jobs = [held_out(data, train, test, refit_design) for train, test in splits]
    check_folds(data, jobs, first)
    keeper = None
    if checkpoint is not None:
        key = path.key(data, (splits, refit_design))
        keeper = Checkpoint(checkpoint, "cross_validate", key)
    scores = run_jobs(path.scores, jobs, num_jobs, "folds", progress, keeper)
    complete = warn_of_interrupt("folds", len(scores), len(jobs))
    rows = {fold: (jobs[fold][1], found) for fold, found in scores.items()}
    table = _table(path.strengths, rows, units_of(data, groups))
    # The strongest penalty is the simplest model.
    best = float(chosen(table[::-1], rule, "make_model"))
    kept = fit(make_model(best), data, engine, **options) if complete else None
    return CrossValidation(table, best, kept, criterion, rule, complete)


_SUCH_AS = "lambda strength: GLMHMM(2, Bernoulli(gh.priors.Ridge(strength ** -0.5)))"


def check_makes(make_model: Callable[..., Any], such_as: str = _SUCH_AS) -> None:
    """Raise a TypeError unless it is a function that makes models."""
    if isinstance(make_model, GLMHMM) or not callable(make_model):
        raise TypeError(
            "make_model must be a function that makes a model, got a "
            f"{type(make_model).__name__}; write such as {such_as}"
        )


def made(make_model: Callable[..., Any], *args: Any, **kwargs: Any) -> GLMHMM:
    """What a user's function makes, if that is a model."""
    check_makes(make_model)
    _check_takes(make_model, *args, **kwargs)
    model = make_model(*args, **kwargs)
    if not isinstance(model, GLMHMM):
        raise TypeError(
            f"make_model must return a GLMHMM, got {type(model).__name__} for "
            f"{', '.join(map(str, [*args, *kwargs.values()]))}"
            "; return GLMHMM(...) from it"
        )
    return model


def _check_takes(make_model: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """Raise a TypeError unless a function can be called with these arguments."""
    reason = why_not_called(make_model, *args, **kwargs)
    if reason:
        wanted = f"arguments called {', '.join(kwargs)}" if kwargs else "one argument"
        raise TypeError(
            f"make_model must take {wanted}, got {reason}; write such as "
            f"{f'lambda {next(iter(kwargs))}: ...' if kwargs else _SUCH_AS}"
        )


def _check(data: Sequences, criterion: str, rule: str) -> None:
    one_of("criterion", criterion, CRITERIA)
    one_of("rule", rule, RULES)
    if criterion == "evidence" and rule != "best":
        raise ValueError(
            f"rule must be 'best' with criterion='evidence', got {rule!r}: the "
            "evidence has no standard error over folds; leave it out"
        )
    if criterion == "held_out":
        check_several(data, "use criterion='evidence'")


def _check_shared(model: GLMHMM) -> None:
    for component in model.components.values():
        if "session" in component.varies_over:
            raise ValueError(
                f"make_model must give all sessions the same {component.varying}, for "
                "sessions held out have none of their own, got "
                f"{type(component).__name__} by session; use {component.unvarying}, or "
                "criterion='evidence'"
            )


def _checked_strengths(strengths: Sequence[float]) -> tuple[float, ...]:
    """The strengths, weakest first."""
    given = as_array("strengths", strengths)
    if given.ndim != 1 or given.dtype.kind not in "iuf":
        raise ValueError(
            f"strengths must be a list of numbers, got {strengths!r:.80}; give such as "
            "[0.1, 1, 10]"
        )
    numbers = sorted(set(given.astype(float).tolist()))
    if len(numbers) < 2 or not all(map(math.isfinite, numbers)):
        raise ValueError(
            "strengths must be at least two different, finite numbers, got "
            f"{given.tolist()}; give such as [0.1, 1, 10]"
        )
    return tuple(numbers)


def _table(
    strengths: tuple[float, ...],
    folds: Mapping[int, tuple[Sequences, list[tuple[Any, bool]]]],
    units: dict[str, Any],
) -> "pd.DataFrame":
    """Scores of all strengths over the folds, each with its test sessions."""
    rows = [
        (strength, fold, test.session_names, scores)
        for fold, (test, found) in folds.items()
        for strength, (scores, _) in zip(strengths, found)
    ]
    table = compared(score_frame(rows, "strength", units), strengths)
    converged = [[is_success for _, is_success in found] for _, found in folds.values()]
    return table.assign(num_converged=np.sum(converged, 0))


def _by_evidence(
    path: _StrengthPath, data: Sequences
) -> tuple["pd.DataFrame", list[Fit]]:
    """The evidence of every strength, or why it has none; the fits."""
    import pandas as pd

    for strength in path.strengths:
        require_proper(Program.of(copy.deepcopy(made(path.make_model, strength)), data))
    fits: list[Fit] = []
    try:
        for found in path.fits(data):
            fits.append(found)
    except KeyboardInterrupt:
        if not fits:
            raise
    values, messages = [], []
    for found in fits:
        try:
            values.append(log_evidence(found, data))
            messages.append("" if found.status.is_success else found.status.sentence)
        except NoEvidenceError as error:
            values.append(math.nan)
            messages.append(str(error))
    if all(map(math.isnan, values)):
        raise NoEvidenceError(f"no strength has an evidence: {messages[0]}")
    columns = {"log_evidence": values, "message": messages}
    done = pd.Index(path.strengths[: len(fits)], name="strength")
    return pd.DataFrame(columns, index=done), fits
