"""The bootstrap: how much estimates vary from one data set to the next."""

from collections import Counter
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from scipy.special import ndtr, stdtrit

from glmhmm_pyro.analysis.drawn_sessions import (
    DrawnSessions,
    draw_groups,
    draw_sessions,
)
from glmhmm_pyro.analysis.refits import (
    run_jobs,
    warm_start,
    warn_of_interrupt,
    whole_fit,
)
from glmhmm_pyro.arguments import (
    one_of,
    real_number,
    seed_number,
    suggests_all_names,
    suggests_names,
    whole_number,
)
from glmhmm_pyro.callers import warn_caller
from glmhmm_pyro.concurrency import usual_modes
from glmhmm_pyro.inference import ConvergenceWarning, Fit
from glmhmm_pyro.inference.draws.alignment import state_probs
from glmhmm_pyro.inference.fits.checkpoint import Checkpoint
from glmhmm_pyro.inference.methods import Method, engine_of
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.labels import named_draws
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.program.refusals import check_kept_together, check_order_kept
from glmhmm_pyro.inference.program.renumbering import StateAxes
from glmhmm_pyro.sequences import Sequences

if TYPE_CHECKING:
    import xarray as xr

KINDS = ("session", "group", "parametric")

# Methods whose fits are at a maximum, which a refit can look for again.
_MAXIMA = ("em", "map")


@suggests_all_names
@dataclass(frozen=True, repr=False)
class Bootstrap:
    """Estimates from resampled or simulated data sets.

    Attributes:
        replicates: values of every parameter in every replicate that converged, with
            the names and axes of ``fit.parameters`` after an axis ``replicate``.
        endings: how all replicates ended, one entry each: ``"CONVERGED"``, the name of
            another status, or the sentence of an error.
        kind: ``"session"``, ``"group"`` or ``"parametric"``.
        complete: whether there are as many replicates as were asked for; an interrupt
            leaves fewer.
        num_sessions: number of sessions that were drawn, or ``None`` where none were.
        num_groups: the same of groups.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.Sequences([0, 1, 1, 0, 1, 0], lengths=[3, 3])
        >>> model = gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(1.0)))
        >>> fit = gh.fit(model, data, num_restarts=1, progress=False)
        >>> found = gh.analysis.bootstrap(fit, data, num_samples=3, progress=False)
        >>> found.standard_errors["emissions.weights"].dims
        ('state', 'covariate')
    """

    replicates: "dict[str, xr.DataArray]"
    endings: tuple[str, ...]
    kind: str
    complete: bool = True
    num_sessions: int | None = None
    num_groups: int | None = None

    @property
    def num_converged(self) -> int:
        """Number of replicates that converged, of which all figures are made."""
        return self.endings.count("CONVERGED")

    @property
    def num_failed(self) -> int:
        """Number of replicates that did not converge, or gave no fit."""
        return len(self.endings) - self.num_converged

    @property
    def standard_errors(self) -> "dict[str, xr.DataArray]":
        """Standard deviation over replicates, as the fit's parameters are shown."""
        return {
            name: values.std("replicate", ddof=1)
            for name, values in self.replicates.items()
        }

    def intervals(self, level: float = 0.95) -> "dict[str, xr.DataArray]":
        """Percentile intervals, after an axis ``bound`` of ``"lower"`` and ``"upper"``.

        The ends are order statistics: of B replicates the k-th smallest counts as the
        k / (B + 1) quantile, for that is how often another one would be smaller. Where
        n sessions, or groups, were drawn they are further out than the level says, as
        those of Student's t with n - 1 degrees of freedom are: replicates of n of them
        spread too little by the factor sqrt((n - 1) / n), and know the spread itself
        from n alone. (Hesterberg 2015 calls it the expanded percentile interval.)

        The outermost replicates are the widest interval there is: at 95 % it takes 39
        of them, with ten sessions 116, and of five sessions 1048. With fewer an
        interval holds the truth less often than it says. Of 95 % intervals of 120
        replicates by ``benchmarks/intervals.py`` (two states, 1500 choices in ten
        sessions, 50 data sets) those of weights held the truth in 97.5 +- 1.3 % of
        cases where sessions were drawn and in 97.5 +- 1.1 % where data were simulated,
        of stay probabilities in 95.0 +- 2.1 % and 96.0 +- 1.9 %, of first probabilities
        in 100 % and 92.0 +- 3.9 %. Those of sessions are wide: about twice as wide as
        Wald's.

        Args:
            level: how often an interval should hold the true value.

        Source: Hesterberg 2015, The American Statistician 69, 371; Efron & Tibshirani
        1993, chapter 13.
        """
        level = real_number("level", level, 0.0, 1.0, fix="give one such as 0.95")
        drawn = self.num_groups or self.num_sessions
        below = _expanded((1 - level) / 2, drawn)
        return {
            name: values.quantile([below, 1 - below], "replicate", method="weibull")
            .rename(quantile="bound")
            .assign_coords(bound=["lower", "upper"])
            for name, values in self.replicates.items()
        }

    def __repr__(self) -> str:
        end = "" if self.complete else ", then interrupted"
        return f"{self.kind} bootstrap: {_counted(self.endings)}{end}"


def _expanded(below: float, num_sessions: int | None) -> float:
    """Share of replicates beyond an end, where this share should be of truths."""
    if num_sessions is None:
        return below
    away = stdtrit(num_sessions - 1, below)
    return float(ndtr(away * (num_sessions / (num_sessions - 1)) ** 0.5))


class _Resampling(NamedTuple):
    """What every replicate is made of."""

    fit: Fit
    data: Sequences
    engine: Method
    start: Params
    kind: str
    seed: int
    state_axes: StateAxes | None

    @property
    def key(self) -> dict[str, Any]:
        """What replicates follow from, for a checkpoint."""
        fit = (self.fit.model, self.fit.params)
        options = (self.engine, self.kind, self.seed, self.state_axes)
        return {"fit": fit, "data": self.data, "options": options}

    def replicate(self, number: int) -> tuple[Params, str]:
        """Values of the sites, states numbered as in the fit, and how it ended."""
        rng = np.random.default_rng((self.seed, number))
        try:
            drawn = self._data(rng)
            found = whole_fit(
                self.fit.model,
                drawn.data,
                self.engine,
                num_restarts=1,
                init=drawn.params_of(self.fit.model, self.start),
                seed=self.seed,
                progress=False,
            )
            if not found.status.is_success:
                return {}, found.status.name
            params = drawn.params_of(self.fit.model, self.fit.params)
            reference = state_probs(self.fit.model, drawn.data, params)
            aligned = found.aligned(reference, drawn.data, self.state_axes)
            return aligned.params, found.status.name
        except Exception as error:  # Whatever these data do to the model.
            return {}, f"{type(error).__name__}: {error}"

    def _data(self, rng: np.random.Generator) -> DrawnSessions:
        if self.kind == "session":
            return draw_sessions(self.data, rng)
        if self.kind == "group":
            return draw_groups(self.data, rng)
        simulated, _ = self.fit.simulate(self.data, seed=int(rng.integers(2**31)))
        if self.data.mask is not None:
            simulated = simulated.with_mask(self.data.mask.cpu().numpy())
        return DrawnSessions(simulated)


@suggests_names
@usual_modes()
def bootstrap(
    fit: Fit,
    data: Sequences,
    num_samples: int = 200,
    *,
    kind: str = "session",
    method: str | Method | None = None,
    state_axes: StateAxes | None = None,
    num_jobs: int = 1,
    checkpoint: str | PathLike | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Bootstrap:
    """Standard errors and intervals from fits to resampled or simulated data.

    ``kind="session"`` draws as many sessions as there are, with replacement: it asks of
    the model no more than that sessions are independent. ``kind="group"`` draws as many
    groups (animals) as there are, each with all its sessions: where animals differ,
    their sessions are not independent, and drawn one by one they vary too little (Field
    & Welsh 2007). ``kind="parametric"`` simulates emissions from the fit at the same
    covariates, masked where the data are: it takes the model to be true (Efron &
    Tibshirani 1993, chapters 6 and 8; for hidden Markov models Zucchini, MacDonald &
    Langrock 2016, section 3.6.2). Where weights
    walk from session to session their order has to be kept, as it is in simulated data,
    and within groups.

    A group that is drawn twice counts as two, named ``'ann'`` and ``'ann (2)'``, as its
    sessions are. Only replicates of simulated data have latents, such as the weights of
    single sessions: what is drawn has others each time.

    Every refit begins at the fit's own parameters, so that it stays in the fit's
    optimum, and its states are renumbered to agree with the fit's on the same data: by
    what they do, also where a prior tells them apart. Replicates that did not converge
    are counted, and left out of the figures. An interrupt ends the call with the
    replicates that are done.

    Args:
        fit: a fit at a maximum, by EM or MAP.
        data: what the model was fitted to.
        num_samples: number of replicates; see :meth:`Bootstrap.intervals` for how many
            these need.
        kind: ``"session"``, ``"group"`` or ``"parametric"``.
        method: of the refits, see :func:`glmhmm_pyro.fit`; that of the fit by default.
        state_axes: see :class:`NUTS`; for sites of a model of the user's own.
        num_jobs: number of processes, -1 for all cores.
        checkpoint: path of a file that keeps the replicates as they are made. The same
            call goes on from it after it was interrupted or killed, to more
            ``num_samples`` too.
        seed: makes the replicates reproducible.
        progress: whether to show a progress bar.

    Raises:
        ValueError: an argument is wrong, or fewer than two replicates converged.

    Warns:
        ConvergenceWarning: some replicates did not converge, or an interrupt left
            fewer.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.datasets.load_rat().subset(range(8))
        >>> found = gh.fit(gh.GLMHMM(1, gh.Bernoulli()), data, progress=False)
        >>> errors = bootstrap(found, data, num_samples=5, progress=False)
        >>> errors
        session bootstrap: 5 CONVERGED
        >>> errors.intervals()["emissions.weights"].dims
        ('bound', 'state', 'covariate')
    """
    _check(fit, data, num_samples, kind)
    seed = seed_number(seed)
    data = fit.as_fitted(data)
    job = _Resampling(
        fit,
        data,
        _engine(fit, method),
        warm_start(fit.params, Program.of(fit.model, data).priors),
        kind,
        seed,
        state_axes,
    )
    numbers = [(number,) for number in range(num_samples)]
    kept = None if checkpoint is None else Checkpoint(checkpoint, "bootstrap", job.key)
    results = run_jobs(
        job.replicate, numbers, num_jobs, "bootstrap", progress, kept
    ).values()
    complete = warn_of_interrupt("replicates", len(results), num_samples)
    endings = tuple(ending for _, ending in results)
    found = [params for params, ending in results if ending == "CONVERGED"]
    stalled = _stalled_advice(fit, endings)
    if len(found) < 2:
        advice = stalled or "give the model priors, or the method more num_iters"
        raise ValueError(
            "num_samples must give at least two replicates that converge, got "
            f"{_counted(endings)}; {advice}"
        )
    if len(found) < len(results):
        left_out = _counted(endings) + (f"; {stalled}" if stalled else "")
        warn_caller(
            f"bootstrap figures leave out what did not converge: {left_out}",
            ConvergenceWarning,
        )
    units = () if kind == "parametric" else fit.labels.latents
    names = [name for name in found[0] if name not in units]
    draws = {name: torch.stack([p[name] for p in found])[None] for name in names}
    named = named_draws(fit.model, draws, fit.labels)
    replicates = {
        name: array.isel(chain=0, drop=True).rename(draw="replicate")
        for name, array in named.items()
    }
    drawn = data.num_sessions if kind == "session" else None
    groups = len(data.group_names) if kind == "group" else None
    return Bootstrap(replicates, endings, kind, complete, drawn, groups)


def _check(fit: Fit, data: Sequences, num_samples: int, kind: str) -> None:
    one_of("kind", kind, KINDS)
    whole_number("num_samples", num_samples, 2)
    if kind == "session":
        fix = "give kind='group' or 'parametric'"
        check_kept_together(fit.model, "kind", "'session'", fix)
    if kind == "group" and len(data.group_names) < 2:
        raise ValueError(
            "kind must be 'session' or 'parametric' for data of fewer than two groups, "
            f"got 'group' for {len(data.group_names)}; give groups to Sequences"
        )
    if kind == "session" and data.num_sessions < 2:
        raise ValueError(
            "kind must be 'parametric' for a single session, got 'session', which has "
            "no others to draw; give kind='parametric'"
        )
    components = Program.kind_of(fit.model).components_of(fit.model)
    if kind == "session":
        fix = "give kind='parametric', or 'group' where sessions have groups"
        check_order_kept(components, "kind", "'session', which draws them anew", fix)
    for component in components.values():
        by_session = "session" in component.varies_over
        if kind != "parametric" and (by_session or kind in component.varies_over):
            unit = "session" if by_session else "group"
            raise ValueError(
                f"kind must be 'parametric' where every {unit} has {component.varying}"
                f" of its own, got {kind!r}, which would mix them up; give "
                f"kind='parametric', or fit with {component.unvarying}"
            )


def _engine(fit: Fit, method: str | Method | None) -> Method:
    """The method of the refits."""
    if method is None:
        if fit.posterior is not None or fit.method not in _MAXIMA:
            raise ValueError(
                f"fit must be at a maximum, by {' or '.join(_MAXIMA)}, got one by "
                f"{fit.method}; give a method of the refits, method='map'"
            )
        method = fit.method
    return engine_of(method, {})


def _stalled_advice(fit: Fit, endings: tuple[str, ...]) -> str:
    """What to do about replicates whose weights have no single mode."""
    if not fit.labels.latents or "STALLED" not in endings:
        return ""
    return (
        "where data tell too little of weights that vary these have no single mode, "
        "and a search for their law stalls: let fewer of them vary, or take errors "
        "from method='nuts'"
    )


def _counted(endings: tuple[str, ...]) -> str:
    """How many replicates ended how, the commonest ending first."""
    counts = Counter(endings).most_common()
    return ", ".join(f"{count} {ending}" for ending, count in counts)
