"""Sessions left out, by fits without them where importance sampling does not do."""

from collections import Counter
from os import PathLike
from typing import Any, NamedTuple

import numpy as np

from glmhmm_pyro.analysis.folds import check_several
from glmhmm_pyro.analysis.refits import (
    run_jobs,
    warm_start,
    warn_of_interrupt,
    whole_fit,
)
from glmhmm_pyro.arguments import (
    real_number,
    seed_number,
    suggests_names,
    whole_number,
)
from glmhmm_pyro.callers import warn_caller
from glmhmm_pyro.concurrency import usual_modes
from glmhmm_pyro.inference import ConvergenceWarning, Fit
from glmhmm_pyro.inference.draws.arviz_versions import (
    leave_one_out,
    pareto_shapes,
    with_exact,
)
from glmhmm_pyro.inference.fits.checkpoint import Checkpoint
from glmhmm_pyro.inference.fits.criteria import log_probs_as_counted
from glmhmm_pyro.inference.methods import Method, engine_of
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.program.refusals import check_kept_together
from glmhmm_pyro.sequences import Sequences

# Shape of the Pareto tail above which importance sampling is not to be trusted
# (Vehtari, Simpson, Gelman, Yao & Gabry 2024).
GOOD = 0.7


@suggests_names
@usual_modes()
def leave_out_sessions(
    fit: Fit,
    data: Sequences,
    *,
    threshold: float = GOOD,
    method: str | Method | None = None,
    num_restarts: int = 1,
    num_jobs: int = 1,
    checkpoint: str | PathLike | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Any:
    r"""Leave-one-session-out cross-validation, with refits where they are needed.

    .. math:: \mathrm{elpd} = \sum_s \log p(y_s \mid y_{-s})

    Draws given all sessions serve for every session left out, weighted by the inverse
    of the probability that they give it (Pareto-smoothed importance sampling, as
    ``az.loo`` of ``fit.to_arviz(data, unit="session")`` does it). Where the tail of
    these weights is too heavy, k above 0.7, the session had too much to say: there the
    model is fitted anew without it, and k is then 0 (Vehtari, Gelman & Gabry 2017,
    section 2.1). A session of weight w is left out with all its copies: its term is the
    logarithm of the mean of :math:`p(y_s \mid \theta)^{w}`.

    Args:
        fit: a fit with draws.
        data: what it was fitted to, of two sessions at least.
        threshold: k above which a session is left out by a fit of its own.
        method: of the refits, see :func:`glmhmm_pyro.fit`; that of the fit, with its
            usual options, by default. Give the object that the fit was made with if it
            had others.
        num_restarts: number of starts of every refit, which are near ``fit.params``.
        num_jobs: number of processes, -1 for all cores.
        checkpoint: path of a file that keeps what is done. The same call goes on from
            it after it was interrupted or killed.
        seed: makes the refits reproducible.
        progress: whether to show a progress bar.

    Returns:
        What ``az.loo`` returns, with all terms: ``az.compare({"name": it, ...})`` takes
        it.

    Raises:
        ValueError: the fit has no draws, or the model has parameters of every session.

    Warns:
        ConvergenceWarning: a refit did not end as it should, or an interrupt left some
            undone.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.datasets.load_rat().subset(range(4))
        >>> model = gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(2.0)))
        >>> fit = gh.fit(model, data, method="laplace", progress=False)
        >>> loo = gh.analysis.leave_out_sessions(fit, data, progress=False)
        >>> bool((loo.pareto_k <= 0.7).all())
        True
    """
    _check(fit, data)
    threshold = real_number("threshold", threshold, -1e3, 1e3, fix="give 0.7")
    num_restarts = whole_number("num_restarts", num_restarts, 1)
    seed, data = seed_number(seed), fit.as_fitted(data)
    engine = engine_of(fit.method if method is None else method, {})
    groups = ["posterior", "log_likelihood"]
    loo = leave_one_out(fit.to_arviz(data, groups, unit="session"))
    left = np.flatnonzero(~(pareto_shapes(loo) <= threshold)).tolist()
    start = None
    if not fit.labels.latents:
        start = warm_start(fit.params, Program.of(fit.model, data).priors)
    work = _Refits(fit, data, engine, start, num_restarts, seed)
    kept = None
    if checkpoint is not None:
        kept = Checkpoint(checkpoint, "leave_out_sessions", {**work.key, "left": left})
    jobs = [(session,) for session in left]
    results = run_jobs(work.without, jobs, num_jobs, "refits", progress, kept)
    warn_of_interrupt("refits", len(results), len(jobs))
    exact = {left[number]: term for number, (term, _) in results.items()}
    failed = [
        f"{data.session_names[left[number]]} ({ending})"
        for number, (_, ending) in results.items()
        if ending
    ]
    if failed:
        warn_caller(
            f"refits without some sessions did not end as they should: "
            f"{', '.join(failed[:8])}; give a method with more iterations or draws",
            ConvergenceWarning,
        )
    return with_exact(loo, exact)


class _Refits(NamedTuple):
    """What every refit is made of."""

    fit: Fit
    data: Sequences
    engine: Method
    start: Params | None
    num_restarts: int
    seed: int

    @property
    def key(self) -> dict[str, Any]:
        """What refits follow from, for a checkpoint."""
        fit = (self.fit.model, self.fit.draws)
        return {"fit": fit, "data": self.data, "options": list(self[2:])}

    def without(self, session: int) -> tuple[float, str]:
        """log p(y_s | all other sessions), and how the fit ended if not well."""
        others = [s for s in range(self.data.num_sessions) if s != session]
        found = whole_fit(
            self.fit.model,
            self.data.subset(others),
            self.engine,
            num_restarts=self.num_restarts,
            init=self.start,
            seed=self.seed,
            progress=False,
        )
        term = log_probs_as_counted(found, self.data.subset([session]))
        return float(term), "" if found.status.is_success else found.status.name


def _check(fit: Fit, data: Sequences) -> None:
    check_several(data, "divide it into sessions by lengths")
    fix = "take cross_validate(..., folds='group')"
    check_kept_together(fit.model, "leave_out_sessions", "a fit of such a model", fix)
    if fit.posterior is None:
        raise ValueError(
            f"fit must have draws, which are weighted, got one by {fit.method}; fit by "
            "method='nuts' or 'laplace', or take cross_validate"
        )
    alone = 1 in Counter(data.groups or ()).values()
    for component in Program.kind_of(fit.model).components_of(fit.model).values():
        axes = component.varies_over
        if "session" in axes or ("group" in axes and alone):
            raise ValueError(
                "fit must have no parameters that a session left out alone tells of, "
                f"got {component.varying}; fit with {component.unvarying}"
            )
