"""fit: one function for every inference method."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from glmhmm_pyro.arguments import suggestion, suggests_names
from glmhmm_pyro.callers import warn_caller
from glmhmm_pyro.chain.announcing import watched
from glmhmm_pyro.concurrency import seeded, usual_modes
from glmhmm_pyro.inference.checks.after import unusable_states_warning
from glmhmm_pyro.inference.em.em import EM
from glmhmm_pyro.inference.fits.baseline import Baseline
from glmhmm_pyro.inference.fits.checkpoint import FitCheckpoint
from glmhmm_pyro.inference.fits.digests import digest
from glmhmm_pyro.inference.fits.fit import Fit
from glmhmm_pyro.inference.journal import journal_section
from glmhmm_pyro.inference.mode.laplace import Laplace
from glmhmm_pyro.inference.mode.map import MAP
from glmhmm_pyro.inference.nuts.nuts import NUTS
from glmhmm_pyro.inference.program.program import Data, Model, Program
from glmhmm_pyro.inference.program.refusals import (
    check_init,
    check_is_model,
    check_spread,
)
from glmhmm_pyro.inference.program.starts_by_name import values_by_name
from glmhmm_pyro.inference.search.runs import Findings, Restart
from glmhmm_pyro.inference.search.search import Search
from glmhmm_pyro.inference.status import ConvergenceWarning
from glmhmm_pyro.inference.svi.svi import SVI
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.ranks import ALONE, Ranks, ranks_of
from glmhmm_pyro.sequences.spreading import check_alike, spread_over_ranks

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


@runtime_checkable
class Method(Protocol):
    """An inference method with its options; one of the user's own may be written.

    One with an attribute ``in_own_units`` that is true gets a program whose covariates
    and outputs are centred and scaled; what it finds is given back in the user's units.
    """

    name: ClassVar[str]

    def fit(self, program: Program, search: Search) -> Findings:
        """What is found of a model with its data, from the starts of a search."""


METHODS: dict[str, type] = {
    "em": EM,
    "map": MAP,
    "laplace": Laplace,
    "svi": SVI,
    "nuts": NUTS,
}

# Arguments of fit itself, which may be meant by the name of an option.
_ARGUMENTS = (
    "num_restarts",
    "init",
    "init_noise",
    "seed",
    "progress",
    "checkpoint",
    "process_group",
    "method",
)


@suggests_names
@usual_modes()
def fit(
    model: Model,
    data: Data,
    method: str | Method = "em",
    *,
    num_restarts: int = 10,
    init: "str | Mapping[str, Any] | Fit | None" = None,
    init_noise: float = 0.5,
    seed: int = 0,
    progress: bool = True,
    checkpoint: str | PathLike | None = None,
    process_group: "ProcessGroup | str | None" = None,
    **options: Any,
) -> Fit[Data]:
    """Fit a model to data.

    Fits in several threads are made one after the other, and are what they are alone.
    In a forked process torch computes in one thread. A :class:`GLMHMM` is fitted in
    units of the fit's own, to covariates and outputs scaled, and centred where a
    constant column allows it, while priors are evaluated in the user's and all results
    are in these: units are no matter of accuracy.

    Args:
        model: a :class:`GLMHMM`, or any Pyro model: a function or ``PyroModule`` of the
            data with observed :class:`HiddenMarkov` sites. It is not changed; the fit
            holds a copy bound to the data. A site whose shape follows the data is told
            from parameters by ``infer={"latent": True}``.
        data: a :class:`Sequences`; a model of the user's own may take anything else.
        method: ``"em"``, ``"map"``, ``"laplace"``, ``"svi"``, ``"nuts"``, or an
            :class:`EM`, :class:`MAP`, :class:`Laplace`, :class:`SVI`, :class:`NUTS`
            with options of its own, or a method of the user's own.
        num_restarts: number of independent starts. The one with the best log-joint is
            kept; the more there are, the more is tried.
        init: ``None`` searches: starts of unlike kinds, of which those that decode the
            same states are pruned, then kicks from the best until they gain nothing;
            on sampled sessions first where there are many steps. ``"glm"``,
            ``"kmeans"``, ``"random"``, a mapping from site names to values, or an
            earlier fit, whose covariates are matched by name, mean exactly those runs,
            all to their ends; see :func:`make_starts`. So does a single start, which is
            a ``"glm"``. In a model of the user's own nothing is pruned or kicked.
        init_noise: standard deviation of the noise that tells starts apart, in units of
            1 over the root mean square of a weight's covariate.
        seed: makes the fit reproducible.
        progress: whether to show a progress bar.
        checkpoint: path of a file, such as ``"fit.nc"``, that keeps what the fit has
            come to every few seconds. The same call goes on from it after it was
            interrupted or killed, and ends in the same numbers. In the end the file
            holds the fit, as :meth:`Fit.save` writes it; the same call returns it
            then. A model of the user's own is known by its code and all that it reads.
        process_group: of ``torch.distributed``, over whose ranks the sessions are
            spread; ``"world"`` is torch's default one. Each rank calls this with
            sessions of its own, all else being alike, and gets the fit of all sessions.
            An error on one rank is raised on all. For a :class:`GLMHMM` by all
            methods but NUTS; ``None`` is this process alone.
        options: of the method, which ``help(gh.EM)`` and so on explain. ``"em"``:
            ``num_iters``, ``tol``, ``accelerate``, ``m_step``, ``keep_weights``,
            ``inverse_temperatures``, ``prior_multipliers``. ``"map"``: ``num_iters``,
            ``tol``, ``em_iters``. ``"laplace"``: ``num_samples``, ``num_iters``,
            ``tol``. ``"svi"``: ``guide``, ``num_steps``, ``learning_rate``,
            ``num_particles``, ``subsample_sessions``, ``num_samples``, ``window``,
            ``patience``, ``tol``, ``decay``, ``num_decays``. ``"nuts"``:
            ``num_samples``, ``num_warmup``, ``num_chains``, ``target_accept``,
            ``max_tree_depth``, ``parallel``, ``dense_mass``, ``state_axes``.

    Raises:
        ValueError: an option or a start is wrong, or the data do not fit the model; or
            ``checkpoint`` is no such file, or of another model, data or options, or
            of another version of this package, as the sentence says.

    Warns:
        ConvergenceWarning: the best start did not converge, weights are unbounded, or
            draws are missing or not what they should be, or there may be no posterior;
            or a single one of several starts led to the best solution; or some states
            are never visited, or are one state twice.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.datasets.load_rat().subset(range(5))
        >>> model = gh.GLMHMM(2, gh.Bernoulli(prior=gh.priors.Ridge(2.0)))
        >>> result = gh.fit(model, data, num_restarts=2, progress=False)
        >>> result.decode(data).smoothed_probs.dims
        ('step', 'state')
    """
    with ranks_of(process_group).together() as ranks:
        check_is_model(model, data)
        check_init(model, init)
        engine = engine_of(method, options)
        shown = progress if not ranks.number else False
        search = Search(num_restarts, init, init_noise, seed, shown)
        unseen = replace(search, progress=False)
        key = {"model": model, "data": data, "options": (engine, unseen)}
        if ranks is not ALONE:
            data = _spread(data, model, engine, unseen, checkpoint, ranks)
        kept = FitCheckpoint(checkpoint, key) if checkpoint is not None else None
        if kept is not None and kept.made is not None:
            result, cautions = kept.made
        else:
            noted = (
                journal_section(lambda: digest(key)) if kept is None else kept.noted()
            )
            with noted, seeded(search.seed), watched(search.progress):
                given = Program.of(_for_new_fit(model), data)
                given.check()
                if isinstance(init, Fit):
                    start = values_by_name(init.model, init.params, given.model)
                    search = replace(search, init=start)
                undetermined, baseline = given.undetermined(), Baseline.of(given)
                in_own_units = getattr(engine, "in_own_units", False)
                program = given.in_own_units() if in_own_units else given
                result = Fit.of(program, engine.fit(program, search), baseline)
                cautions = undetermined + unusable_states_warning(given, result.params)
                cautions += _failed_starts(result.restarts)
            result = replace(result, notes=result.notes + cautions)
            if kept is not None:
                kept.finish(result, cautions)
    if result.status.is_success and cautions:
        warn_caller(f"{'; '.join(cautions)}.", ConvergenceWarning)
    elif not result.status.is_success:
        advice = result.status.advice_for(result.labels.num_states)
        details = "; ".join((result.status.sentence,) + result.unbounded + result.notes)
        warn_caller(f"{details}. {advice}", ConvergenceWarning)
    if result.doubt:
        warn_caller(f"{result.doubt}.", ConvergenceWarning)
    return result


def engine_of(
    method: str | Method, options: dict[str, Any], argument: str = "method"
) -> Method:
    """The method asked for, with these options; ``argument`` is its name in errors."""
    if isinstance(method, Method) and not isinstance(method, type):
        if options:
            raise ValueError(
                f"options must be given to the method itself, got "
                f"{', '.join(options)}; write {type(method).__name__}(...)"
            )
        return method
    if not isinstance(method, str) or method not in METHODS:
        fix = suggestion(getattr(method, "__name__", str(method)), METHODS)
        raise ValueError(
            f"{argument} must be one of {', '.join(METHODS)}, or an object such as "
            f"EM(...), got {method!r:.80}{fix or '; give one of these'}"
        )
    kind: Any = METHODS[method]
    known = [option.name for option in fields(kind)]
    unknown = [name for name in options if name not in known]
    if unknown:
        near = suggestion(unknown[0], [*known, *_ARGUMENTS])
        raise ValueError(
            f"options of {method!r} must be among {', '.join(known)}, got "
            f"{unknown[0]!r}{near or '; leave it out'}"
        )
    made: Method = kind(**options)
    return made


def _spread(
    data: Any,
    model: Callable[..., Any],
    engine: Method,
    search: Search,
    checkpoint: str | PathLike | None,
    ranks: Ranks,
) -> Any:
    """The sessions of this rank as a part of all, if this call can be spread."""
    name = type(engine).__name__
    if not getattr(engine, "is_spreadable", False):
        raise ValueError(
            "method must be em, map, laplace, or svi with all sessions at a step and a "
            f"guide by name, over a process_group, got {name}; give one of these, or "
            "leave out process_group"
        )
    if checkpoint is not None:
        raise ValueError(
            "checkpoint must be None over a process_group, got a path; leave one of "
            "the two out"
        )
    check_spread(model, data, ranks)
    try:
        said = digest((model, engine, search))
    except ValueError:
        said = name  # Parts of the user's own, which cannot be told from others.
    check_alike(ranks, "model and options", said, f"a {type(model).__name__}")
    return spread_over_ranks(data, ranks)


def _failed_starts(restarts: Sequence[Restart]) -> tuple[str, ...]:
    """A sentence about starts that failed, if there are any."""
    reasons = [restart.reason for restart in restarts if restart.reason]
    if not reasons:
        return ()
    failed = f"{len(reasons)} of {len(restarts)} starts failed, the others went on"
    return (f"{failed}: {reasons[0]}",)


def _for_new_fit(model: Model) -> Model:
    """A copy of a model that an earlier fit may have bound to other sessions."""
    made = copy.deepcopy(model)
    if isinstance(made, GLMHMM):
        made.forget_sessions()
    return made
