"""fit_groups: one fit a group (an animal), begun where the fit to all of them ended."""

import copy
from dataclasses import dataclass, fields, replace
from os import PathLike
from typing import TYPE_CHECKING, Any

from glmhmm_pyro.analysis.groups.group_tables import facts_of, group_table
from glmhmm_pyro.analysis.refits import (
    run_jobs,
    warm_start,
    warn_of_interrupt,
    whole_fit,
)
from glmhmm_pyro.arguments import seed_number, suggests_all_names, suggests_names
from glmhmm_pyro.callers import warn_caller
from glmhmm_pyro.concurrency import usual_modes
from glmhmm_pyro.displays import display, framed, listed
from glmhmm_pyro.inference import ConvergenceWarning, Fit, fit
from glmhmm_pyro.inference.checks.after import unusable_states_warning
from glmhmm_pyro.inference.fits.checkpoint import Checkpoint
from glmhmm_pyro.inference.methods import Method, engine_of
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.sequences import Sequences

if TYPE_CHECKING:
    import pandas as pd

# Methods of a fit to all that fits to groups take over; others draw, and take long.
_MAXIMA = ("em", "map")


@suggests_all_names
@dataclass(frozen=True, repr=False)
class GroupFits:
    """A fit for every group of sessions, states numbered and named as in that to all.

    Attributes:
        fits: by group, in the order of the data; a group without a fit is left out.
        whole: the fit to all groups.
        facts: by group, what :meth:`table` says of it beside parameters.
        messages: by group, how its fit ended, in words; or why there is none.
        complete: whether all groups were fitted; an interrupt leaves fewer.

    Example:
        >>> import glmhmm_pyro as gh
        >>> animals = ["ann", "bob"]
        >>> data = gh.Sequences([0, 1, 1, 0, 1, 0], lengths=[3, 3], groups=animals)
        >>> model = gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(1.0)))
        >>> fit = gh.fit(model, data, num_restarts=1, progress=False)
        >>> each = gh.analysis.fit_groups(fit, data, progress=False)
        >>> each.table().index.tolist()
        [('ann', '0'), ('bob', '0')]
    """

    fits: dict[str, Fit]
    whole: Fit
    facts: dict[str, dict[str, Any]]
    messages: dict[str, str]
    complete: bool = True

    def table(self) -> "pd.DataFrame":
        """Every group's states: how often each is, its weights, how good the fit is.

        Returns:
            A row a group and state. ``num_sessions``, ``num_observed`` steps,
            ``bits_per_step`` of the group's sessions, which were fitted, and those of
            the fit to all, ``bits_per_step_whole``: both above the group's own
            baseline (see :meth:`Fit.score`). ``occupancy`` is the mean of the smoothed
            probabilities, ``stay`` the probability of staying where transitions are
            the same at all steps. Then a column for every weight of the emissions, by
            its covariate, and by its class where there are several; last a
            ``message``, in which a group without a fit says why.
        """
        return group_table(self.fits, self.facts, self.messages, self.whole)

    def __repr__(self) -> str:
        end = "" if self.complete else " (interrupted)"
        failed = len(self.messages) - len(self.fits)
        number = f"fits of {len(self.fits)} groups{end}"
        return f"{number}, {failed} without one" if failed else number

    def _repr_html_(self) -> str:
        said = [f"{name}: {message}" for name, message in self.messages.items()]
        return display(repr(self), "", {"How they ended": listed(said)}) + framed(
            self.table()
        )


@suggests_names
@usual_modes()
def fit_groups(
    fit: Fit | GLMHMM,
    data: Sequences,
    *,
    model: GLMHMM | None = None,
    method: str | Method | None = None,
    num_restarts: int = 1,
    seed: int = 0,
    num_jobs: int = 1,
    checkpoint: str | PathLike | None = None,
    progress: bool = True,
) -> GroupFits:
    """Fit every group of sessions (every animal) by itself, from the fit to all.

    Each fit begins where that to all ended, so that states mean the same in all of
    them as far as the data allow (Ashwood et al. 2022, Methods), and its states are
    then numbered by what they do in the group's sessions, and named as in the fit to
    all.

    Args:
        fit: the fit to all groups; or a model, which is fitted to them first by
            :func:`fit` as it is by default.
        data: the sessions, with groups.
        model: another model for the groups, with priors of its own: stronger ones, for
            a group has fewer sessions. Of the same parameters; that of the fit by
            default.
        method: of the fits to groups, see :func:`fit`; that of the fit to all by
            default, or ``"map"`` where that one has draws.
        num_restarts: number of starts of every group's fit; 1 is that from the fit to
            all, others begin around it.
        seed: makes the fits reproducible.
        num_jobs: number of processes, -1 for all cores; see :func:`choose_num_states`.
        checkpoint: path of a file that keeps what is done. The same call goes on from
            it after it was interrupted or killed.
        progress: whether to show a progress bar.

    Raises:
        ValueError: an argument is wrong, or the data have no groups.

    Warns:
        ConvergenceWarning: an interrupt left fewer fits, or states are never visited
            in the fit of a group, or are one state twice. How each ended stands in the
            messages of the table.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.datasets.load_rat().subset(range(4))
        >>> data = data.replace(groups=["ann", "bob", "ann", "bob"])
        >>> model = gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(2)))
        >>> whole = gh.fit(model, data, num_restarts=1, progress=False)
        >>> each = fit_groups(whole, data, progress=False)
        >>> each.table().index.tolist()
        [('ann', '0'), ('bob', '0')]
    """
    if len(data.group_names) < 1:
        raise ValueError(
            "data must have groups to be fitted one by one, got none; give groups to "
            "Sequences, or group= to Sequences.from_dataframe"
        )
    whole = _whole(fit, data, seed, progress)
    model = whole.model if model is None else model
    job = _Job.of(whole, model, data, _engine(whole, method), num_restarts, seed)
    keeper = None
    if checkpoint is not None:
        keeper = Checkpoint(checkpoint, "fit_groups", job.key(data))
    plain = data._derive(design_source=None)
    names = data.group_names
    jobs = [(plain.subset(groups=name),) for name in names]
    found = run_jobs(job.fitted, jobs, num_jobs, "fit_groups", progress, keeper)
    complete = warn_of_interrupt("groups", len(found), len(names))
    results = {names[number]: result for number, result in found.items()}
    _warn_of_unusable_states(
        {name: said for name, (*_, said) in results.items() if said}
    )
    return GroupFits(
        fits={
            name: job.fit_of(result[0], data.subset(groups=name))
            for name, result in results.items()
            if result[0]
        },
        whole=whole,
        facts={n: facts for n, (_, facts, *_) in results.items()},
        messages={n: message for n, (*_, message, _) in results.items()},
        complete=complete,
    )


@dataclass(frozen=True)
class _Job:
    """What the fit of every group is made of."""

    whole: Fit
    model: GLMHMM
    start: Params
    engine: Method
    options: dict[str, Any]

    @classmethod
    def of(
        cls,
        whole: Fit,
        model: GLMHMM,
        data: Sequences,
        engine: Method,
        num_restarts: int,
        seed: int,
    ) -> "_Job":
        """Checked: the model has the parameters that the fit has."""
        for component in Program.kind_of(model).components_of(model).values():
            if component.varies_over:
                raise ValueError(
                    "model must have the same parameters in all sessions of a group, "
                    f"got {component.varying} of its own for every "
                    f"{component.varies_over[0]}; use {component.unvarying}"
                )
        program = Program.of(copy.deepcopy(model), data)
        shapes = {name: tuple(prior.shape()) for name, prior in program.priors.items()}
        given = {name: tuple(value.shape) for name, value in whole.params.items()}
        if shapes != given:
            raise ValueError(
                f"model must have the parameters of the fit, {given}, got {shapes}; "
                "change its priors alone"
            )
        # What follows the data has other sizes for a group: its law gives a start.
        shared = {n: v for n, v in whole.params.items() if n not in program.latents}
        start = warm_start(shared, program.priors)
        options = {"num_restarts": num_restarts, "seed": seed_number(seed)}
        return cls(whole, model, start, engine, options)

    def key(self, data: Sequences) -> dict[str, Any]:
        """What the fits follow from, for a checkpoint."""
        fit = (self.whole.model, self.whole.params)
        options = (self.engine, self.options)
        return {"fit": fit, "model": self.model, "data": data, "options": options}

    def fitted(
        self, data: Sequences
    ) -> tuple[Any, dict[str, Any], str, tuple[str, ...]]:
        """Fields of a group's fit, facts about it, how it ended, states of no use."""
        try:
            found = whole_fit(
                self.model,
                data,
                self.engine,
                init=self.start,
                progress=False,
                **self.options,
            )
            found = found.aligned(self.whole, data)
            labels = replace(found.labels, states=self.whole.labels.states)
            found = replace(found, labels=labels)
            facts = facts_of(found, self.whole, data)
        except Exception as error:  # Whatever these data do to the model.
            return None, {}, f"{type(error).__name__}: {error}", ()
        names = [f.name for f in fields(found) if f.name != "model"]
        useless = unusable_states_warning(Program.of(found.model, data), found.params)
        message = "; ".join([found.status.sentence, *found.unbounded, *useless])
        return {name: getattr(found, name) for name in names}, facts, message, useless

    def fit_of(self, found: dict[str, Any], data: Sequences) -> Fit:
        """The fit of which these are the fields, its model bound to its sessions."""
        bound = Program.of(copy.deepcopy(self.model), data).users_model
        return Fit(model=bound, **found)


def _warn_of_unusable_states(said: dict[str, tuple[str, ...]]) -> None:
    """A warning that names the groups in whose fits states are of no use."""
    if said:
        first, (sentence, *_) = next(iter(said.items()))
        others = f", and so of {', '.join(list(said)[1:9])}" if len(said) > 1 else ""
        warn_caller(
            f"in the fit of {first!r}{others}, {sentence}; pictures show such states "
            "where their prior has them",
            ConvergenceWarning,
        )


def _whole(given: Fit | GLMHMM, data: Sequences, seed: int, progress: bool) -> Fit:
    """The fit to all groups, made if a model was given."""
    if isinstance(given, Fit):
        return given
    return fit(given, data, seed=seed, progress=progress)


def _engine(whole: Fit, method: str | Method | None) -> Method:
    """The method of the fits to groups."""
    if method is None:
        method = whole.method if whole.method in _MAXIMA else "map"
    return engine_of(method, {})
