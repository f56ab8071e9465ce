"""One model fitted by several inference methods: times, likelihoods, estimates."""

import copy
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from glmhmm_pyro.analysis.refits import quiet_fit
from glmhmm_pyro.arguments import has_items, plain_number, suggests_names
from glmhmm_pyro.concurrency import exclusively, usual_modes
from glmhmm_pyro.displays import display, framed, listed, with_level
from glmhmm_pyro.inference import ConvergenceWarning, Fit, Status
from glmhmm_pyro.inference.methods import METHODS, Method, engine_of
from glmhmm_pyro.inference.program.labels import named_parameters
from glmhmm_pyro.inference.program.program import Data, Model, Program
from glmhmm_pyro.inference.program.refusals import (
    carries_states_over,
    check_is_model,
    check_kept_together,
)
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.joining import distinct_names

if TYPE_CHECKING:
    import pandas as pd


# Columns of scores of what is held out, by their units.
_SCORES = {"nats": "held_out_nats_per_step", "bits": "held_out_bits_per_step"}


@dataclass(frozen=True, repr=False)
class Comparison:
    """What several inference methods make of one model and one data set.

    Attributes:
        table: a row a method: ``seconds`` of wall clock, ``log_likelihood`` of the data
            fitted (nats), ``held_out_nats_per_step`` and, above the baseline,
            ``held_out_bits_per_step`` (see :meth:`Fit.score`; NaN for a model of the
            user's own, which has no baseline), ``num_draws`` (0 for a point estimate),
            ``status`` (``FAILED`` where the method gave no fit), ``message`` in words.
        estimates: a row a parameter, reference rows left out; three columns a method,
            ``estimate``, ``lower`` and ``upper``, the ends of a 95 % interval (NaN
            where the fit has none).
        fits: by method, states numbered as in the first.
        train: the data fitted.
        test: the data held out, or ``None``.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.Sequences([0, 1, 1, 0, 1, 0], lengths=[3, 3])
        >>> model = gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(1.0)))
        >>> found = gh.analysis.compare_methods(model, data, ["em"], progress=False)
        >>> list(found.fits)
        ['em']
    """

    table: "pd.DataFrame"
    estimates: "pd.DataFrame"
    fits: dict[str, Fit]
    train: Any = None
    test: Any = None

    def __repr__(self) -> str:
        return self.table.drop(columns="message").to_string()

    def _repr_html_(self) -> str:
        notes = [f"{label}: {m}" for label, m in self.table["message"].items() if m]
        parts = {"Messages": listed(notes), "Estimates": framed(self.estimates)}
        shown = framed(self.table.drop(columns="message"))
        return display("Methods compared", "", parts) + shown


@suggests_names
@usual_modes()
def compare_methods(
    model: Model,
    data: Data,
    methods: Sequence[str | Method] | Mapping[str, str | Method] | None = None,
    *,
    held_out: Data | float | None = None,
    num_restarts: int = 10,
    init: str | Mapping[str, Any] | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Comparison:
    r"""Fit one model by several inference methods and lay the results side by side.

    Held-out log-likelihoods are those of whole sessions, and average the likelihood of
    each over the draws where a method has any (``fit.score(test, marginal=True)``):

    .. math:: \sum_s \log \frac{1}{D} \sum_{d=1}^D p(y_s \mid \theta_d)

    Intervals are the central 95 % of the draws; for a point estimate they are those of
    :meth:`Fit.summary`, and the message names what has none. States are numbered as in
    the first fit: by the assignment under which their smoothed probabilities agree
    best, a view by label where priors tell states apart, as the message says then. A
    method that fails is a row with the sentence of its error, and the others are kept;
    after an interrupt the methods that are left are not begun.

    Args:
        model: a :class:`GLMHMM`, or any Pyro model with ``HiddenMarkov`` sites.
        data: as the model takes it.
        methods: names, or objects such as ``MAP(tol=1e-6)``, or a mapping from labels
            to these; ``None`` is every method there is.
        held_out: share of the sessions to hold out, drawn at random, for data that are
            ``Sequences``; or the data to hold against the fits; ``None`` for neither.
        num_restarts: number of starts of every method.
        init: see :func:`fit`.
        seed: makes fits and the choice of sessions reproducible.
        progress: whether to show progress bars.

    Raises:
        ValueError: an argument is wrong, or the data do not fit the model.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.datasets.load_rat().subset(range(6))
        >>> model = gh.GLMHMM(1, gh.Bernoulli())
        >>> found = compare_methods(
        ...     model, data, ["em", "map"], held_out=0.3, num_restarts=1, progress=False
        ... )
        >>> found.table.index.tolist(), found.test.session_names
        (['em', 'map'], ('3', '6'))
    """
    check_is_model(model, data)
    engines = _labelled(methods)
    train, test = _split(model, data, held_out, seed)
    # What is wrong with model or data would fail every method.
    Program.of(copy.deepcopy(model), train)
    options = {
        "num_restarts": num_restarts,
        "init": init,
        "seed": seed,
        "progress": progress,
    }
    fits: dict[str, Fit] = {}
    frames: "dict[str, pd.DataFrame]" = {}
    rows: dict[str, dict[str, Any]] = {}
    for label, engine in engines.items():
        began = time.perf_counter()
        try:
            found = quiet_fit(model, train, engine, **options)
        except Exception as error:
            rows[label] = {"status": "FAILED", "message": _sentence(error)}
            continue
        seconds = time.perf_counter() - began
        notes = [found.status.sentence, *found.unbounded]
        first = next(iter(fits.values()), found)
        fits[label] = _aligned(found, first, train, notes)
        held_out_scores = _scores(found, test, notes)
        frames[label] = _with_interval(fits[label], train, notes)
        rows[label] = {
            "seconds": seconds,
            "log_likelihood": found.log_likelihood,
            **held_out_scores,
            "num_draws": _num_draws(found),
            "status": found.status.name,
            "message": "; ".join(notes),
        }
        if found.status is Status.INTERRUPTED:
            break
    return Comparison(_table(rows), _estimates(frames), fits, train, test)


def _labelled(
    methods: Sequence[str | Method] | Mapping[str, str | Method] | None,
) -> dict[str, Method]:
    """The methods asked for, each under a label of its own."""
    if isinstance(methods, Mapping):
        return {label: engine_of(m, {}, "methods") for label, m in methods.items()}
    given = METHODS if methods is None else methods
    listed = [] if isinstance(given, str) or not has_items(given) else list(given)
    if not listed:
        fix = (
            f"write [{given!r}]" if isinstance(given, str | Method) else "write ['em']"
        )
        raise ValueError(
            f"methods must be a list of methods, at least one, got {given!r:.80}; {fix}"
        )
    engines = [engine_of(method, {}, "methods") for method in listed]
    return dict(zip(distinct_names([engine.name for engine in engines]), engines))


def _split(
    model: Callable[..., Any], data: Data, held_out: Data | float | None, seed: int
) -> tuple[Any, Any]:
    """The data to fit, and those to score if any, by whole sessions.

    Or by whole groups, where sessions of one go on from one another.
    """
    held_out = plain_number("held_out", held_out)
    if held_out is None or not isinstance(held_out, int | float):
        known = held_out is None or isinstance(held_out, Sequences)
        if isinstance(data, Sequences) and not known:
            raise TypeError(
                "held_out must be a share of the sessions, or a Sequences as the data, "
                f"got {held_out!r:.80}; give 0.25 for a quarter"
            )
        return data, held_out
    if not isinstance(data, Sequences):
        raise TypeError(
            "held_out must be data of its own where data are not a Sequences, got "
            f"{held_out!r}; give other data, or None"
        )
    if not 0 < held_out < 1 or data.num_sessions < 2:
        raise ValueError(
            "held_out must be a share between 0 and 1 of at least 2 sessions, got "
            f"{held_out!r} of {data.num_sessions}; give 0.25 for a quarter"
        )
    from sklearn.model_selection import GroupShuffleSplit, ShuffleSplit

    numbers, groups = np.arange(data.num_sessions), data.groups
    options: dict[str, Any] = {"test_size": held_out, "random_state": seed}
    if not carries_states_over(model):
        train, test = next(ShuffleSplit(n_splits=1, **options).split(numbers))
    elif len(data.group_names) > 1:
        splits = GroupShuffleSplit(n_splits=1, **options)
        train, test = next(splits.split(numbers, groups=groups))
    else:
        fix = "give data of several groups, other data, or None"
        check_kept_together(model, "held_out", f"{held_out!r} of a single group", fix)
    # Sessions held out lend their means and scales to no covariate.
    kept, left = sorted(train.tolist()), sorted(test.tolist())
    sessions = data.refit_design(kept)
    return sessions.subset(kept), sessions.subset(left)


def _sentence(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _aligned(
    found: Fit[Data], first: Fit[Data], data: Data, notes: list[str]
) -> Fit[Data]:
    """The fit numbered as the first, or as it is with a note why."""
    try:
        view = found.aligned(first, data)
    except ValueError as error:
        notes.append(f"its states are not numbered as in the first fit: {error}")
        return found
    if not np.isclose(view.log_joint, found.log_joint) or view.notes != found.notes:
        notes.append("priors tell its states apart, which are numbered by what they do")
    return view


def _scores(found: Fit[Data], test: Data | None, notes: list[str]) -> dict[str, float]:
    """Held-out log-likelihood per step in both units, or NaN with a note why."""
    scores = dict.fromkeys(_SCORES.values(), math.nan)
    if test is None:
        return scores
    try:
        for units, name in _SCORES.items():
            scores[name] = found.score(test, marginal=True, units=units)
    except ValueError as error:
        notes.append(f"what is held out cannot be scored: {error}")
    return scores


def _num_draws(found: Fit) -> int:
    posterior = found.posterior
    return 0 if posterior is None else posterior.num_chains * posterior.num_draws


def _table(rows: dict[str, dict[str, Any]]) -> "pd.DataFrame":
    import pandas as pd

    columns = [
        "seconds",
        "log_likelihood",
        *_SCORES.values(),
        "num_draws",
        "status",
        "message",
    ]
    table = pd.DataFrame(list(rows.values()), index=list(rows), columns=columns)
    table["num_draws"] = table["num_draws"].astype("Int64")
    return table.rename_axis("method")


def _estimates(frames: "dict[str, pd.DataFrame]") -> "pd.DataFrame":
    """All parameters by all methods."""
    import pandas as pd

    if not frames:
        return pd.DataFrame()
    table = pd.concat(frames, axis=1, names=["method", "quantity"])
    return with_level(table)


def _with_interval(found: Fit[Data], data: Data, notes: list[str]) -> "pd.DataFrame":
    """Estimate and 95 % interval of every parameter that is free; what lacks one."""
    with exclusively(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        try:
            table = found.summary(data)
        except ValueError as error:
            table = found.summary().assign(lower=math.nan, upper=math.nan)
            notes.append(f"without intervals: {_sentence(error)}")
    said = [w for w in caught if issubclass(w.category, ConvergenceWarning)]
    notes += [str(warning.message) for warning in said]
    ones = {name: torch.ones_like(value) for name, value in found.params.items()}
    shown = named_parameters(found.model, ones, found.labels).values()
    table = table[np.concatenate([array.values.ravel() for array in shown]) > 0]
    axes = list(table.columns[: table.columns.get_loc("estimate")])
    return table.set_index(axes)[["estimate", "lower", "upper"]]
