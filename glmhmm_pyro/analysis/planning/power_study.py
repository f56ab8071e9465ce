"""How many sessions an experiment needs: simulate, fit, and see what comes back."""

import warnings
from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from scipy.special import ndtri

from glmhmm_pyro.analysis.planning.result import DESIGN, Power
from glmhmm_pyro.analysis.refits import run_jobs, warn_of_interrupt, whole_fit
from glmhmm_pyro.analysis.selection import choose_num_states
from glmhmm_pyro.arguments import (
    has_items,
    one_of,
    real_number,
    seed_number,
    suggests_names,
    whole_number,
)
from glmhmm_pyro.concurrency import usual_modes
from glmhmm_pyro.inference import ConvergenceWarning, Fit
from glmhmm_pyro.inference.draws.alignment import state_probs
from glmhmm_pyro.inference.fits.checkpoint import Checkpoint
from glmhmm_pyro.inference.methods import Method, engine_of
from glmhmm_pyro.inference.program.program import Init
from glmhmm_pyro.inference.program.refusals import check_kept_together
from glmhmm_pyro.masking import steps_observed
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.members import MEMBER_AXES

if TYPE_CHECKING:
    import pandas as pd

CRITERIA = ("bic", "aic", "held_out")

# What a replicate is described by, in the order of its numbers.
_NUMBERS = ("estimate", "standard_error", "lower", "upper")


@suggests_names
@usual_modes()
def power(
    fit: Fit,
    data: Sequences,
    num_sessions: Sequence[int],
    *,
    num_trials: Sequence[int] | None = None,
    num_states: Sequence[int] | None = None,
    criterion: str = "bic",
    num_replicates: int = 100,
    level: float = 0.05,
    method: str | Method = "em",
    num_restarts: int = 5,
    init: Init = None,
    num_jobs: int = 1,
    checkpoint: str | PathLike | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Power:
    r"""What experiments of these sizes would find, were this fit the truth.

    For every number of sessions, and of trials in each, behaviour is simulated from the
    fit and fitted anew by a search of its own, again and again. What comes back is held
    against the truth: errors of the weights, how often their intervals hold it, how
    often an effect is found, which states are decoded, and, with ``num_states``, how
    often as many states are chosen as there are (for hidden Markov models by
    simulation see Zucchini, MacDonald & Langrock 2016, section 3.6).

    Covariates are those of sessions of ``data``, drawn with replacement. Columns that a
    ``Design`` made of past behaviour are made anew from what is simulated. States are
    numbered as in the truth, by what they do.

    Args:
        fit: the truth: of earlier data, of a pilot, or one whose parameters were given,
            ``dataclasses.replace(fit, params={...})``.
        data: sessions whose covariates are used, such as those fitted.
        num_sessions: numbers of sessions to try, such as ``[5, 10, 20]``.
        num_trials: the same of the first trials of every session; all by default.
        num_states: numbers of states to choose among, such as ``range(1, 5)``, by
            models of the same components; each takes fits of its own.
        criterion: by which these are chosen: ``"bic"``, ``"aic"``, or ``"held_out"``
            by :func:`choose_num_states`, which takes five times as long.
        num_replicates: data sets simulated of every size.
        level: of the test that a weight is not 0.
        method: of the fits, see :func:`glmhmm_pyro.fit`.
        num_restarts: number of starts of every fit.
        init: how the fits of the true number of states begin, see
            :func:`glmhmm_pyro.fit`; ``fit.params`` with ``num_restarts=1`` is many
            times faster than a search, and tells nothing of what a search would miss.
        num_jobs: number of processes, -1 for all cores.
        checkpoint: path of a file that keeps what is done. The same call goes on from
            it after it was interrupted or killed.
        seed: makes the simulations reproducible.
        progress: whether to show a progress bar.

    Raises:
        ValueError: an argument is wrong, sessions are shorter than ``num_trials``, or
            some of the parameters are of single groups, sessions or steps.

    Warns:
        ConvergenceWarning: an interrupt left fewer replicates.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.datasets.load_rat().subset(range(4))
        >>> model = gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(2.0)))
        >>> fit = gh.fit(model, data, method="map", progress=False)
        >>> quick = {"num_replicates": 2, "method": "map", "progress": False}
        >>> found = gh.analysis.power(fit, data, [2, 4], **quick)
        >>> found.table().index.tolist()[0][0], found.effects().columns[-2:].tolist()
        (2, ['power', 'power_error'])
    """
    _check(fit, data)
    fix = "simulate and fit whole groups: fit.simulate(data)"
    check_kept_together(fit.model, "num_sessions", "sessions drawn one by one", fix)
    sizes = _numbers("num_sessions", num_sessions)
    longest = int(data.lengths.max())
    trials = [longest] if num_trials is None else _numbers("num_trials", num_trials)
    shortest = int(data.lengths.min())
    if num_trials is not None and max(trials) > shortest:
        raise ValueError(
            "num_trials must be at most the length of the shortest session, "
            f"{shortest}, got {max(trials)}; leave short sessions out of data, or take "
            "fewer trials"
        )
    states = [] if num_states is None else _numbers("num_states", num_states)
    one_of("criterion", criterion, CRITERIA)
    num_replicates = whole_number("num_replicates", num_replicates, 1)
    level = real_number("level", level, 0.0, 1.0, fix="give one such as 0.05")
    num_restarts = whole_number("num_restarts", num_restarts, 1)
    options = {"num_restarts": num_restarts}
    engine, seed = engine_of(method, {}), seed_number(seed)
    own = fit.as_fitted(data)
    work = _Replicates(fit, own, engine, options, init, tuple(states), criterion, seed)
    jobs = [
        (size, length, number)
        for number in range(num_replicates)
        for size in sizes
        for length in trials
    ]
    kept = None if checkpoint is None else Checkpoint(checkpoint, "power", work.key)
    results = run_jobs(work.replicate, jobs, num_jobs, "power", progress, kept)
    complete = warn_of_interrupt("replicates", len(results), len(jobs))
    done = {jobs[number]: result for number, result in results.items()}
    replicates, estimates = _frames(fit, done, level, bool(states))
    return Power(replicates, estimates, level, fit.model.num_states, complete)


class _Replicates(NamedTuple):
    """What every replicate is made of."""

    fit: Fit
    data: Sequences
    engine: Method
    options: dict[str, Any]
    init: Init
    states: tuple[int, ...]
    criterion: str
    seed: int

    @property
    def key(self) -> dict[str, Any]:
        """What replicates follow from, for a checkpoint."""
        return {
            "fit": (self.fit.model, self.fit.params),
            "data": self.data,
            "options": list(self[2:]),
        }

    def replicate(self, size: int, length: int, number: int) -> dict[str, Any]:
        """How a fit of one simulated data set ended, and what it found."""
        rng = np.random.default_rng((self.seed, size, length, number))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            try:
                data, states = self._simulated(rng, size, length)
                found = self._fitted(self.fit.model, data, number, self.init)
                result: dict[str, Any] = {"ending": found.status.name}
                if found.status.is_success:
                    result |= self._figures(found, data, states)
                if self.states:
                    result["chosen"] = self._chosen(data, number)
            except Exception as error:  # Whatever these data do to the model.
                return {"ending": f"{type(error).__name__}: {error}"}
        return result

    def _simulated(
        self, rng: np.random.Generator, size: int, length: int
    ) -> tuple[Sequences, np.ndarray]:
        """So many sessions of so many trials: what comes later is not observed."""
        chosen = rng.integers(self.data.num_sessions, size=size).tolist()
        part = self.data.subset(chosen)
        source = part.design_source
        closed = True if source is not None and source.histories(part) else None
        seed = int(rng.integers(2**31))
        data, states = self.fit.simulate(part, seed, history=closed)
        steps = torch.arange(part.num_steps) - part.starts.cpu().repeat_interleave(
            part.lengths.cpu()
        )
        mask = steps < length
        if part.mask is not None:
            seen = part.mask.cpu()
            mask = mask if seen.dim() == 1 else mask[:, None].expand(seen.shape)
            mask = mask & seen
        return data.with_mask(mask.numpy()), states

    def _fitted(
        self, model: GLMHMM, data: Sequences, number: int, init: Init = None
    ) -> Fit:
        options = {**self.options, "seed": self.seed + number, "init": init}
        return whole_fit(model, data, self.engine, progress=False, **options)

    def _figures(
        self, found: Fit, data: Sequences, states: np.ndarray
    ) -> dict[str, Any]:
        """Estimates with their intervals, and how well states are decoded."""
        truth = state_probs(self.fit.model, data, self.fit.params)
        found = found.aligned(truth, data)
        own = state_probs(found.model, data, found.params)
        mask = steps_observed(data.mask)
        seen: Any = slice(None) if mask is None else mask.cpu().numpy()
        hits = [(p.argmax(-1).numpy() == states)[seen].mean() for p in (own, truth)]
        return {"numbers": _estimates(found, data), "accuracy": np.array(hits)}

    def _chosen(self, data: Sequences, number: int) -> int:
        """The number of states that the criterion prefers."""
        if self.criterion == "held_out":
            study = choose_num_states(
                self._of_size,
                data,
                list(self.states),
                method=self.engine,
                seed=self.seed + number,
                progress=False,
                **self.options,
            )
            return int(study.best)
        fits = {k: self._fitted(self._of_size(k), data, number) for k in self.states}
        return min(fits, key=lambda k: float(getattr(fits[k], self.criterion)))

    def _of_size(self, number: int) -> GLMHMM:
        """A model of the same components with so many states."""
        model = self.fit.model
        if number == model.num_states:
            return model
        parts: list[Any] = [model.transitions, model.initial]
        return GLMHMM(
            number, model.emissions, *([] if model.num_states == 1 else parts)
        )


def _estimates(found: Fit, data: Sequences) -> np.ndarray:
    """Estimate, standard error and 95 % interval of every number (numbers, 4)."""
    frame = found.summary(data)
    columns = ["estimate", "standard_error", "lower", "upper"]
    return frame[columns].to_numpy(dtype=float)


def _frames(
    fit: Fit, done: dict[tuple, dict[str, Any]], level: float, chose: bool
) -> "tuple[pd.DataFrame, pd.DataFrame]":
    """Tables of the replicates, and of the estimates in each."""
    import pandas as pd

    names = [*DESIGN, "replicate"]
    known = fit.summary()
    axes = list(known.columns)[: list(known.columns).index("estimate")]
    truth = known[[*axes, "estimate"]].rename(columns={"estimate": "truth"})
    is_weight = truth["parameter"].str.endswith("weights").to_numpy()
    rows, parts = {}, {}
    for key, result in done.items():
        accuracy = result.get("accuracy", np.full(2, np.nan))
        rows[key] = {
            "ending": result["ending"],
            "is_success": "numbers" in result,
            "accuracy": accuracy[0],
            "accuracy_of_truth": accuracy[1],
        }
        if chose:
            rows[key]["chosen"] = result.get("chosen", -1)
        if "numbers" in result:
            numbers = pd.DataFrame(result["numbers"], columns=list(_NUMBERS))
            part = pd.concat([truth, numbers], axis=1)
            # Reference rows are 0 and have no error: nothing is estimated there.
            free = ~(part["standard_error"] == 0)
            parts[key] = part.assign(found=_found(part, is_weight, level))[free]
    replicates = pd.DataFrame.from_dict(rows, orient="index")
    replicates.index = pd.MultiIndex.from_tuples(replicates.index, names=names)
    if not parts:
        raise ValueError(
            "num_replicates must give a fit that ends well, got "
            f"{replicates['ending'].value_counts().to_dict()}; give the model priors, "
            "or more sessions"
        )
    estimates = pd.concat(parts, names=names).droplevel(-1)
    return replicates.sort_index(), estimates.sort_index(kind="stable")


def _found(part: "pd.DataFrame", is_weight: np.ndarray, level: float) -> np.ndarray:
    """Whether weights differ from 0 by Wald's test; None for what is no weight."""
    size = part["estimate"].abs() / part["standard_error"]
    found = (size > ndtri(1 - level / 2)).to_numpy(dtype=object)
    found[~is_weight] = None
    return found


def _check(fit: Fit, data: Sequences) -> None:
    if not isinstance(fit.model, GLMHMM):
        raise TypeError(
            f"fit must be one of a GLMHMM, got one of {type(fit.model).__name__}; fit "
            "such a model to earlier data"
        )
    for name, component in fit.model.components.items():
        own = [
            f"{name}.{attribute}"
            for attribute, site in component.sites.items()
            if site.latent or {*site.axes} & {*MEMBER_AXES}
        ]
        if own:
            raise ValueError(
                "fit must have parameters that all sessions share, for sessions are "
                f"drawn from those of data, got {own[0]}, which have units of their "
                "own; take a fit without Varying, or simulate(data) and fit by hand"
            )


def _numbers(name: str, given: int | Sequence[int]) -> list[int]:
    """Different whole numbers, smallest first."""
    if isinstance(given, str) or not has_items(given) or not len(list(given)):
        raise ValueError(
            f"{name} must be a list of whole numbers, got {given!r:.80}; write such as "
            "[5, 10, 20]"
        )
    return sorted({whole_number(name, number, 1) for number in given})
