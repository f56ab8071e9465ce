"""SVI: a family of distributions fitted to the posterior by stochastic gradients."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pyro
import torch
from pyro import poutine
from pyro.infer.autoguide import AutoGuide
from tqdm import tqdm

from glmhmm_pyro.arguments import keep_real, keep_whole, suggests_names
from glmhmm_pyro.concurrency import seeded
from glmhmm_pyro.inference.draws.estimate import point_estimate
from glmhmm_pyro.inference.draws.importance import poor_draws_warning
from glmhmm_pyro.inference.draws.posterior import Posterior
from glmhmm_pyro.inference.marginal.problem import MarginalProblem
from glmhmm_pyro.inference.mode.map import MAP
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.search.runs import Findings
from glmhmm_pyro.inference.search.search import Search
from glmhmm_pyro.inference.status import Status
from glmhmm_pyro.inference.svi.elbo import ElboAscent, StepSchedule, TracedELBO
from glmhmm_pyro.inference.svi.guides import Guide, check_guide_option, make_guide
from glmhmm_pyro.inference.svi.minibatches import MiniBatches

# The search for the mode of the guide's coordinates, which need not be exact.
_SETTLING = MAP(num_iters=100, tol=1e-5)


@suggests_names
@dataclass(frozen=True)
class SVI:
    r"""Stochastic variational inference: the guide closest to the posterior.

    .. math:: \max_q E_q[\log p(y, \theta) - \log q(\theta)]

    The states are summed out exactly; the guide is a distribution of the parameters
    alone. It begins at a MAP fit, moved to the mode of the unconstrained coordinates,
    and is fitted by Adam with Pyro's estimator of the bound (Kucukelbir et al. 2017).
    When the bound, averaged over windows of steps, rises no more, the learning rate
    falls; when that has happened ``num_decays`` times, the fit has converged.

    A mean-field guide (``"normal"``) makes every interval too narrow where parameters
    are correlated; its states are those of one mode, as are those of all these guides.
    By ``benchmarks/calibration.py`` (60 simulations of 60 choices, two states) the
    ranks of weights spread 1.25 to 1.31 times as much as they should, with Monte Carlo
    errors of 0.06; those of probabilities 0.95 to 1.03 times.
    The Pareto shape k of the importance weights tells how near the draws are to the
    posterior, as for :class:`Laplace`; the status says so where it is above 0.7. It is
    judged from 96 draws on.

    Args:
        guide: ``"normal"`` (independent coordinates), ``"multivariate_normal"``,
            ``"low_rank"``, ``"sparse_precision"`` (of weights that a law links, see
            :func:`gh.Varying`: each unit beside the ones before and after, and all
            parameters); something that makes a guide, which takes an argument called
            ``model`` and perhaps Pyro's ``init_loc_fn``, such as an autoguide's class
            or ``partial(AutoLowRankMultivariateNormal, rank=5)``; or a guide, called
            with the data. A guide is copied before it is fitted.
        num_steps: largest number of steps.
        learning_rate: of Adam, per step and unconstrained parameter of the guide.
        num_particles: number of draws from the guide at every step.
        subsample_sessions: number of sessions that a step reads; ``None`` is all. Its
            bounds are noisier, so that a longer ``window`` is needed to see the same
            rise.
        num_samples: number of draws from the fitted guide.
        window: number of steps whose bounds are averaged.
        patience: number of windows without a rise that count as a plateau.
        tol: smallest rise of the average that counts, nats; one within two standard
            errors never does.
        decay: factor on the learning rate at a plateau.
        num_decays: number of plateaus that lower the learning rate.

    Raises:
        ValueError: an option is out of its range; on fitting, the guide's sites are not
            the model's, or the sessions cannot be subsampled.

    Example:
        >>> import glmhmm_pyro as gh
        >>> from torch.distributions import Dirichlet, Normal
        >>> row = Dirichlet(torch.ones(2))
        >>> model = gh.GLMHMM(
        ...     2,
        ...     gh.Bernoulli(prior=Normal(0.0, 2.0)),
        ...     gh.Stationary(prior=row),
        ...     gh.Initial(prior=row),
        ... )
        >>> data = gh.datasets.load_rat().subset(range(3))
        >>> svi = SVI(learning_rate=0.05, window=20, patience=1, num_samples=50)
        >>> fit = gh.fit(model, data, svi, num_restarts=2, progress=False)
        >>> fit.posterior.draws["emissions.weights"].shape
        torch.Size([1, 50, 2, 6])
    """

    guide: Guide = "normal"
    num_steps: int = 20_000
    learning_rate: float = 0.01
    num_particles: int = 1
    subsample_sessions: int | None = None
    num_samples: int = 1000
    window: int = 100
    patience: int = 3
    tol: float = 0.01
    decay: float = 0.1
    num_decays: int = 2

    name: ClassVar[str] = "svi"

    def __post_init__(self) -> None:
        check_guide_option(self.guide)
        counts = {"num_steps": 1, "num_particles": 1, "num_samples": 1, "patience": 1}
        counts |= {"window": 2, "num_decays": 0}
        if self.subsample_sessions is not None:
            counts["subsample_sessions"] = 1
        keep_whole(self, **counts)
        keep_real(
            self,
            learning_rate=(0.0, np.inf, False),
            tol=(0.0, np.inf, True),
            decay=(0.0, 1.0, False),
        )

    @property
    def in_own_units(self) -> bool:
        """Whether a program may come in units of its own.

        Not for a guide of the user's own, which may speak of values in the user's.
        """
        maker = getattr(self.guide, "func", self.guide)
        made_here = isinstance(maker, type) and issubclass(maker, AutoGuide)
        return isinstance(maker, str) or made_here

    @property
    def is_spreadable(self) -> bool:
        """Whether a fit may be made over a process group: all sessions at every step.

        A guide of the user's own might read the sessions of its rank.
        """
        return self.subsample_sessions is None and self.in_own_units

    def fit(self, program: Program, search: Search) -> Findings:
        """Fit the guide, beginning at the best mode that the starts lead to."""
        mode = MAP().fit(program, search)
        if mode.status is Status.INTERRUPTED:
            return mode
        try:
            with _isolated_from_pyro(search.seed):
                return self._from_mode(program, mode, search.progress)
        except KeyboardInterrupt:
            return replace(mode, status=Status.INTERRUPTED)

    def _from_mode(self, program: Program, mode: Findings, progress: bool) -> Findings:
        """The guide fitted and drawn from; the mode's history is kept."""
        inside = program.coordinates.pack(mode.params)
        if MarginalProblem.of(program) is None:
            # The joint mode of latents and their scales would be at 0.
            inside, _ = _SETTLING.density_mode(program, mode.params)
        ascent = self._ascent(program, program.coordinates.unpack(inside))
        with tqdm(
            total=self.num_steps, desc="SVI, fit", unit="step", disable=not progress
        ) as bar:
            status = self._schedule().climb(ascent, bar)
        posterior = draws_from(ascent.guide, program, self.num_samples)
        if posterior.num_draws < self.num_samples:
            status = Status.INTERRUPTED
        notes = [] if ascent.problem is None else [ascent.problem]
        flat = program.improper
        if flat:
            status = Status.IMPROPER if status is Status.CONVERGED else status
            notes.append(f"the priors of {', '.join(flat)} are flat")
        poor = _poor_draws(posterior)
        if poor and status is Status.CONVERGED:
            status = Status.POOR_DRAWS
        notes += poor
        return mode.at(
            point_estimate(program, posterior),
            status=status,
            method=self.name,
            posterior=replace(posterior, elbo=np.array(ascent.history)),
            notes=notes,
        )

    def _schedule(self) -> StepSchedule:
        return StepSchedule(
            self.num_steps,
            self.window,
            self.patience,
            self.tol,
            self.decay,
            self.num_decays,
        )

    def _ascent(self, program: Program, params: Params) -> ElboAscent:
        """The guide at its first parameters, and what its bound is estimated from."""
        batches = MiniBatches(program, self.subsample_sessions, params)
        guide = make_guide(self.guide, program, params)
        # A guide of the user's own need not know of axes that it did not make.
        known = isinstance(self.guide, str) and program.is_batched
        together = known and self.num_particles > 1
        estimator = TracedELBO(
            num_particles=self.num_particles,
            max_plate_nesting=0 if known else float("inf"),
            vectorize_particles=together,
        )
        gain = program.units.bound
        return ElboAscent(guide, batches, estimator, self.learning_rate, gain)


def _poor_draws(posterior: Posterior) -> tuple[str, ...]:
    """A sentence about the draws if they are far from the posterior."""
    weights = posterior.stats["log_joint"] - posterior.stats["log_guide"]
    return poor_draws_warning(torch.from_numpy(weights[0]))


def draws_from(
    guide: Callable[[Any], Any], program: Program, num_samples: int
) -> Posterior:
    """Independent draws of a guide, fewer after an interrupt.

    Their ``stats`` are the log-joint and the guide's own log density, both of the
    values: the difference is the logarithm of an importance weight.
    """
    draws: list[Params] = []
    logs: list[tuple[float, float]] = []
    with torch.no_grad():
        for _ in range(num_samples):
            try:
                trace = poutine.trace(guide).get_trace(program.data)
                values = {n: trace.nodes[n]["value"] for n in program.priors}
                params = {n: v.to(torch.float64) for n, v in values.items()}
                joint = program.log_joint(params).item()
                logs.append((joint, float(trace.log_prob_sum())))
                draws.append(params)
            except KeyboardInterrupt:
                if not draws:
                    raise
                break
    joints, guides = np.array(logs[: len(draws)]).T
    return Posterior(
        {n: torch.stack([d[n] for d in draws])[None] for n in program.priors},
        {"log_joint": joints[None], "log_guide": guides[None]},
    )


@contextmanager
def _isolated_from_pyro(seed: int) -> Iterator[None]:
    """Neither torch's generator nor Pyro's store nor its checks are touched outside.

    Without Pyro's checks a value that is not finite comes through to the bound, where
    it is told of by the status.
    """
    with ExitStack() as stack:
        stack.enter_context(seeded(seed))
        stack.enter_context(pyro.get_param_store().scope())
        stack.enter_context(pyro.validation_enabled(False))
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", "Encountered (NaN|[+-]?inf)")
        yield
