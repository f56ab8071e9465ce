"""How many states, and which model: chosen by sessions held out."""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any

from glmhmm_pyro.analysis.cross_validation import check_makes, made
from glmhmm_pyro.analysis.folds import Folds
from glmhmm_pyro.analysis.held_out import RULES, chosen
from glmhmm_pyro.analysis.selection.measures import check_comparable
from glmhmm_pyro.analysis.selection.study import Study
from glmhmm_pyro.analysis.selection.work import SelectionWork
from glmhmm_pyro.arguments import (
    has_items,
    one_of,
    suggests_names,
    whole_number,
    with_article,
)
from glmhmm_pyro.components import Bernoulli, Categorical, Lapsing
from glmhmm_pyro.components.levels import ByLevel, Levels
from glmhmm_pyro.concurrency import usual_modes
from glmhmm_pyro.inference.methods import Method
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.sequences import Sequences


@suggests_names
@usual_modes()
def choose_num_states(
    make_model: Callable[[Any], GLMHMM],
    data: Sequences,
    num_states: Sequence[int | Levels],
    *,
    folds: Folds = 5,
    rule: str = "one_standard_error",
    refit_design: bool = True,
    method: str | Method = "em",
    num_restarts: int = 10,
    seed: int = 0,
    num_jobs: int = 1,
    checkpoint: str | PathLike | None = None,
    progress: bool = True,
) -> Study:
    r"""Choose the number of states by sessions held out.

    For every K and fold a model is fitted anew, by a search of its own, to the sessions
    that the fold leaves, and scored by those held out, whole sessions all of them; and
    one is fitted to all data. By ``rule="one_standard_error"`` the smallest K is chosen
    whose difference from the best is within the standard error of that *paired*
    difference: sessions are hard or easy for all K alike, which would hide what is
    better (Hastie, Tibshirani & Friedman 2009, section 7.10, of unpaired ones).

    Args:
        make_model: from a number of states to a model of as many.
        data: the sessions.
        num_states: the numbers to choose among, such as ``range(1, 6)``. 1 is the
            baseline without states. States on two levels are among them as ``Levels``,
            which stand in the tables as ``"2 x 3"``.
        folds: number of folds, drawn at random, in each of which every group has its
            share where the data have groups; ``"group"`` to hold out one group (an
            animal) after the other; the fold of every session, a list; or a splitter of
            scikit-learn, which is given the groups of the data.
        rule: ``"one_standard_error"`` or ``"best"``.
        refit_design: whether covariates that a ``Design`` has standardised are centred
            and scaled anew by the training sessions of every fold.
        method: see :func:`fit`.
        num_restarts: number of starts of every fit.
        seed: makes folds and fits reproducible.
        num_jobs: number of processes, -1 for all cores; inside a
            ``joblib.parallel_config`` with another backend, such as dask's, of its
            workers.
        checkpoint: path of a file that keeps what is done. The same call goes on from
            it after it was interrupted or killed.
        progress: whether to show a progress bar.

    Raises:
        ValueError: an argument is wrong, or the data do not fit a model.

    Warns:
        ConvergenceWarning: an interrupt left fewer fits. What did not converge stands
            in the notes of the table.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.datasets.load_rat().subset(range(6))
        >>> def make_model(num_states):
        ...     return gh.GLMHMM(num_states, gh.Bernoulli(gh.priors.Ridge(2)))
        >>> quick = {"folds": 2, "num_restarts": 1, "progress": False}
        >>> study = choose_num_states(make_model, data, [1, 2], **quick)
        >>> study.table.index.tolist(), study.fits[2].model.num_states
        ([1, 2], 2)
    """
    one_of("rule", rule, RULES)
    check_makes(make_model, "lambda K: GLMHMM(K, Bernoulli(gh.priors.Ridge(2)))")
    numbers = _numbers(num_states)
    models: dict[Any, Any] = {
        str(k) if isinstance(k, Levels) else k: _of_size(make_model, k) for k in numbers
    }
    work = SelectionWork.of(
        models, data, folds, refit_design, method, num_restarts, seed
    )
    keeper = work.checkpoint(checkpoint, "choose_num_states", "make_model")
    work.run("choose_num_states", num_jobs, keeper, progress)
    frame, table = work.tables("num_states")
    best = chosen(table, rule, "make_model")
    return Study(table, frame, work.fits, best, rule, work.is_complete)


@suggests_names
@usual_modes()
def compare_models(
    models: Mapping[str, Any],
    data: Sequences,
    *,
    baselines: bool = True,
    folds: Folds = 5,
    rule: str = "best",
    refit_design: bool = True,
    method: str | Method = "em",
    num_restarts: int = 10,
    seed: int = 0,
    num_jobs: int = 1,
    checkpoint: str | PathLike | None = None,
    progress: bool = True,
) -> Study:
    """Compare models by sessions held out, as :func:`choose_num_states` compares K.

    All are held against the baseline of the first, so that bits of families that differ
    can be compared: of counts or labels with each other, whose scores are
    probabilities, or of real numbers, whose scores are densities.

    Args:
        models: by name: each a :class:`GLMHMM`, or a Pyro model of a ``Sequences``.
        data: the sessions.
        baselines: whether to add what states are held against: ``"one state"`` of the
            first model's emissions, and ``"lapses"``, one that guesses now and then
            (:class:`Lapsing`), where they are labels.
        folds: see :func:`choose_num_states`, as for the other arguments.
        rule: ``"best"``, or ``"one_standard_error"`` for the model of the fewest free
            parameters that is near the best.
        refit_design: as there.
        method: as there.
        num_restarts: as there.
        seed: as there.
        num_jobs: as there.
        checkpoint: as there.
        progress: as there.

    Raises:
        ValueError: an argument is wrong, the data do not fit a model, or some models
            give probabilities and others densities.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.datasets.load_rat().subset(range(6))
        >>> ridge = gh.priors.Ridge(2)
        >>> models = {"two states": gh.GLMHMM(2, gh.Bernoulli(ridge))}
        >>> quick = {"folds": 2, "num_restarts": 1, "progress": False}
        >>> compare_models(models, data, **quick).table.index.tolist()
        ['one state', 'lapses', 'two states']
    """
    if not models:
        raise ValueError(
            "models must hold a model at least by its name, got none; write such as "
            "{'two states': GLMHMM(2, Bernoulli())}"
        )
    one_of("rule", rule, RULES)
    for name, model in models.items():
        if not callable(model) or isinstance(model, type):
            raise TypeError(
                f"models[{name!r}] must be a GLMHMM or a Pyro model, got "
                f"{with_article(type(model))}; give such as GLMHMM(2, Bernoulli()), or "
                "fit.model of a fit"
            )
    with_baselines = {**(_baselines(models) if baselines else {}), **models}
    work = SelectionWork.of(
        with_baselines, data, folds, refit_design, method, num_restarts, seed
    )
    check_comparable(models, data)
    keeper = work.checkpoint(checkpoint, "compare_models", "models")
    work.run("compare_models", num_jobs, keeper, progress)
    frame, table = work.tables("model")
    simplest_first = table.sort_values("num_parameters", kind="stable")
    best = chosen(simplest_first, rule, "models")
    return Study(table, frame, work.fits, best, rule, work.is_complete)


def _baselines(models: Mapping[str, Any]) -> dict[str, GLMHMM]:
    """A single state of the first model's emissions, and one that lapses."""
    first = next(iter(models.values()))
    if not Program.kind_of(first).components_of(first):
        return {}
    family = first.emissions
    if isinstance(family, ByLevel):
        family = family.family
    found = {"one state": GLMHMM(1, family)}
    if isinstance(family, Bernoulli | Categorical):
        found["lapses"] = GLMHMM(1, Lapsing(family))
    return found


def _numbers(num_states: Sequence[int | Levels]) -> list[int | Levels]:
    """The numbers of states, smallest first; as many states of one level come first."""
    if isinstance(num_states, str) or not has_items(num_states):
        raise ValueError(
            f"num_states must be a list of numbers of states, got {num_states!r:.80}"
            "; write range(1, 6)"
        )
    numbers = {
        n if isinstance(n, Levels) else whole_number("num_states", n, 1)
        for n in num_states
    }
    if not numbers:
        raise ValueError(
            "num_states must hold a number of states at least, got none; write "
            "range(1, 6)"
        )
    return sorted(
        numbers, key=lambda n: (n.size, n.slow) if isinstance(n, Levels) else (n, 0)
    )


def _of_size(make_model: Callable[[Any], GLMHMM], num_states: int | Levels) -> GLMHMM:
    """The model of so many states, if it is one."""
    model = made(make_model, num_states)
    if num_states not in (model.num_states, model.levels):
        raise ValueError(
            f"make_model must return a model of {num_states} states for {num_states}, "
            f"got one of {model.num_states}; hand the number on, as in lambda K: "
            "GLMHMM(K, Bernoulli())"
        )
    return model
