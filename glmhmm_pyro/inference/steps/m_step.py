"""The M-step of a component: L-BFGS on its expected log-probability plus log prior.

All problems that are independent (states, restarts) are solved in lockstep: a round of
the optimiser evaluates those still running in one go.

Hyperparameters come after the weights, and given them; see
:mod:`~glmhmm_pyro.inference.steps.hyper_step`.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.components.base import Component
from glmhmm_pyro.components.formulas import exact_update, fast_objective
from glmhmm_pyro.components.objectives import BlockObjective
from glmhmm_pyro.components.tables import LogTable
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.steps.blocks import (
    Ends,
    Failure,
    LogPrior,
    PackedRows,
    as_taken,
    log_probs_and_sites,
    majorised,
    prior_sites,
)
from glmhmm_pyro.inference.steps.expected_joint import Box, ExpectedJoint
from glmhmm_pyro.inference.steps.hyper_step import HyperStep
from glmhmm_pyro.inference.steps.whitened_rows import WhitenedRows
from glmhmm_pyro.optim import LBFGSOptions, minimize_batched
from glmhmm_pyro.optim.preconditioning import Evaluation, Objective, Preconditioned
from glmhmm_pyro.priors.answers import core
from glmhmm_pyro.priors.filling import is_positive, is_real
from glmhmm_pyro.ranks import ALONE
from glmhmm_pyro.sequences import Sequences

# Of the first gradient, the part that may remain when an M-step ends.
_REMAINING_GRADIENT = 0.05

# That of sessions, or steps, in counts that may be the same for all of them.
_AXES = {"initial": -2, "transition": -3}

# Number of axes of a single law; of moves by the state of another level there is one
# more, and tables are of each of these states by itself.
_DIMS = {"initial": 2, "transition": 3, "emission": 2}

# The M-step where there is no curvature to precondition with, and the part that may
# remain of the largest entry of a problem's first gradient.
_PLAIN = LBFGSOptions(max_iters=200, gradient_tol=1e-9, progress_tol=1e-15)
_REMAINING_PLAINLY = 0.01

# The same by moves of one size, half whose square are the nats that a step may gain.
_WHITENED = replace(_PLAIN, gradient_tol=1e-6)


class MStep:
    """Maximises the expected log-joint of one component, given expected counts.

    The objective of the optimiser is minus the expected log-joint divided by the number
    of steps.

    Args:
        component: bound to the data.
        data: the data set.
        options: of the optimiser, for a plain run of it on the weights themselves;
            ``None`` for coordinates of its own choice (see ``preconditioning``), ended
            when nearly all is gained that this M-step can gain.
    """

    def __init__(
        self, component: Component, data: Sequences, options: LBFGSOptions | None = None
    ):
        self.component, self.data, self.options = component, data, options
        self.scale = 1.0 / data.ranks.total(data.num_steps)
        # Reading the sites draws them; the user's generator must not notice.
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            if component.counts_of == "emission" and component.is_plain:
                self.is_same, sites = False, prior_sites(component, {})
                is_one_law = True
            else:
                log_probs, sites = log_probs_and_sites(component, data, {})
                self.is_same = self._is_same(log_probs.shape)
                is_one_law = log_probs.dim() == _DIMS[component.counts_of]
        # Of what is the same at all steps, counts are summed at once.
        self.ranks = ALONE if self.is_same else data.ranks
        self.prefix = component._pyro_name + "." if component._pyro_name else ""
        names = hyperparameters(component, data, sites, self.prefix)
        hyper = {name: sites.pop(name) for name in names}
        declared = {self.prefix + name for name in component.sites}
        separates = component.separates() and set(sites) == declared
        self.blocks = PackedRows(component, sites, separates)
        self.hyper_step = HyperStep(component, hyper, self.blocks) if hyper else None
        self.ends = Ends()
        simple = self._is_simple(sites)
        self.fast = fast_objective(component, data) if simple else None
        self.table = self._table(set(sites) == declared and is_one_law)
        self.has_fixed_prior = component.has_fixed_priors and set(sites) == declared
        self.has_fixed_prior &= not hyper
        self.known_prior: LogPrior | None = None

    def __call__(self, counts: Tensor, params: Params) -> Params:
        """Parameters (sets, *shape) that maximise, starting from ``params``.

        Hyperparameters are maximised after the weights, and given them.
        """
        counts = self.component.own_counts(counts, self.data)
        counts = self._gathered(self.component.counted(counts, self.data))
        self.ends = Ends()
        updated = self._weights(counts, params)
        if self.hyper_step is not None:
            updated |= self.hyper_step(params | updated)
            self.ends |= self.hyper_step.ends
        return updated

    def _is_same(self, shape: torch.Size) -> bool:
        """Whether the distribution is the same in all sessions, or at all steps."""
        axis = _AXES.get(self.component.counts_of)
        return axis is not None and not self.data.ranks.any(shape[axis] > 1)

    def _gathered(self, counts: Tensor) -> Tensor:
        """Counts, summed over steps and ranks if the distribution is the same."""
        if not self.is_same:
            return counts
        axis = _AXES[self.component.counts_of]
        if counts.shape[axis] > 1:
            counts = counts.sum(axis, keepdim=True)
        return self.data.ranks.total(counts)

    def failure(self, number: int) -> Failure | None:
        """How the last call failed for parameter set ``number``, if it did."""
        return self.ends.of_set(number)

    @property
    def transforms(self) -> dict[str, Any]:
        """From unconstrained numbers to values, for all parameters by name."""
        hyper = self.hyper_step.blocks.transforms if self.hyper_step else {}
        return self.blocks.transforms | hyper

    @property
    def shapes(self) -> dict[str, torch.Size]:
        """Shapes of the unconstrained numbers, by name."""
        hyper = self.hyper_step.blocks.shapes if self.hyper_step else {}
        return self.blocks.shapes | hyper

    @property
    def supports(self) -> dict[str, Any]:
        """Supports of the values, by name."""
        hyper = self.hyper_step.blocks.supports if self.hyper_step else {}
        return self.blocks.supports | hyper

    def start(self) -> Params:
        """Start values: the component's own, else unconstrained zeros.

        Own values outside the support of their prior are not used.
        """
        hyper = self.hyper_step.blocks.zeros() if self.hyper_step else {}
        values = self.blocks.zeros() | hyper
        with torch.no_grad():
            given = self.component.start(self.data)
        for name, value in given.items():
            name = self.prefix + name
            if self.supports[name].check(value).all():
                values[name] = value.unsqueeze(0)
        return values

    def _is_simple(self, sites: dict) -> bool:
        """Whether all sites are blocks of real or positive numbers, on the CPU."""
        priors = [site["fn"] for site in sites.values()]
        simple = all(map(is_real, priors[:1])) and all(map(is_positive, priors[1:]))
        separates = bool(priors) and self.blocks.separates
        return simple and separates and self.data.device.type == "cpu"

    def _weights(self, counts: Tensor, params: Params) -> Params:
        if not self.blocks.transforms:
            return {}
        present = {n.removeprefix(self.prefix): v for n, v in params.items()}
        known = exact_update(self.component, counts, self.data, present)
        exact = {self.prefix + name: value for name, value in known.items()}
        blocks = self.blocks.without(exact)
        if not blocks.transforms:
            return exact
        start = blocks.pack(params).numpy()
        if not start.shape[1]:
            return exact | {name: params[name] for name in blocks.transforms}
        if exact or (self.fast is None and self.table is None):
            objective = self._differentiated(counts, params | exact, blocks)
            rows = self._solve_jointly(objective, start, blocks, counts)
        elif self.fast is None:
            objective = self._tabled(counts, params)
            rows = self._solve_jointly(objective, start, blocks, counts)
        else:
            rows = self._solve_fast(self.fast, counts, params)
        return exact | blocks.unpack(torch.from_numpy(rows).to(counts.device))

    def _solve_jointly(
        self,
        objective: Objective,
        start: np.ndarray,
        blocks: PackedRows,
        counts: Tensor,
    ) -> np.ndarray:
        """Minimum of an objective, by moves of one size where these are known."""
        white, found = None, None
        if self.options is None:
            found = self.component.whitening(counts, self.data)
        if found is not None:
            given = blocks, self.prefix, found, self._scale(counts)
            white = WhitenedRows.of(*given)
        if white is None:
            return self._solve_plainly(objective, start, _PLAIN)
        moved = white.seen(objective, start)
        numbers = self._solve_plainly(moved, np.zeros_like(start), _WHITENED)
        return start + white.moves(numbers, np.arange(len(start)))

    def _solve_plainly(
        self, objective: Objective, start: np.ndarray, usual: LBFGSOptions
    ) -> np.ndarray:
        """Minimum of an objective as a function of its own numbers."""
        options: Any = self.options
        if options is None:
            _, gradient = objective(start, np.arange(len(start)))
            enough = _REMAINING_PLAINLY * np.abs(gradient).max(1)
            # Of what is not finite the search itself will tell.
            enough = np.where(np.isfinite(enough), enough, 0.0)
            options = [
                replace(usual, gradient_tol=max(usual.gradient_tol, float(most)))
                for most in enough
            ]
        return self._minimum(objective, start, options, plain=True)

    def _solve_fast(
        self, fast: BlockObjective, counts: Tensor, params: Params
    ) -> np.ndarray:
        """Minimum of a block objective with derivatives of its own."""
        start = self.blocks.pack(params).numpy()
        sets = len(counts)
        objective = ExpectedJoint(
            fast,
            fast.prepare(counts),
            self._prior(sets, params),
            Box(*(np.tile(end, (sets, 1)) for end in self.blocks.free_bounds())),
            self.scale,
            self.ranks,
        )
        if self.options is not None:
            return self._minimum(objective, start, self.options)
        problem = Preconditioned(objective, start, *objective.begin(start))
        tolerance = _REMAINING_GRADIENT / max(1.0, np.sqrt(start.shape[1]))
        options = LBFGSOptions(max_iters=20, gradient_tol=tolerance)
        found = self._minimum(problem, np.zeros_like(start), options)
        return problem.original(found, np.arange(len(start)))

    def _prior(self, sets: int, params: Params) -> LogPrior | None:
        """The smooth prior at the present parameters of all sets, unless it is flat."""
        if self.blocks.is_flat:
            return None
        if self.known_prior is not None and self.known_prior.sets == sets:
            return self.known_prior
        taken = as_taken(self.component, params)
        given = prior_sites(self.component, taken)
        sites = majorised(given, taken)
        prior = LogPrior(self.blocks, sites, sets)
        is_smooth = all(
            core(site["fn"]) is core(sites[name]["fn"]) for name, site in given.items()
        )
        if self.has_fixed_prior and is_smooth:
            self.known_prior = prior
        return prior

    def _minimum(
        self,
        objective: Objective,
        start: np.ndarray,
        options: LBFGSOptions | list[LBFGSOptions],
        plain: bool = False,
    ) -> np.ndarray:
        """End points of all problems, solved in lockstep.

        Args:
            plain: whether the gradient is that of the objective per step, by which it
                can be told whether a search that found nothing lower has arrived.
        """
        results = minimize_batched(objective, start, options)
        name = self.prefix.removesuffix(".")
        self.ends = Ends.of(name, results, self.blocks.num_blocks, plain)
        return np.stack([result.x for result in results])

    def _table(self, is_whole: bool) -> LogTable | None:
        """The component's table for a joint problem, if it is of the whole of it."""
        on_cpu = self.data.device.type == "cpu" and self.data.dtype == torch.float64
        if self.fast is not None or self.blocks.separates or not (is_whole and on_cpu):
            return None
        return self.component.log_table(self.data)

    def _tabled(self, counts: Tensor, params: Params) -> Objective:
        """Expected log-joint of every set, by the component's table."""
        table: Any = self.table
        prior, scale = self._prior(len(counts), params), self._scale(counts)

        def objective(points: np.ndarray, which: np.ndarray) -> Evaluation:
            values = np.zeros(len(points))
            leaf = torch.tensor(points, requires_grad=True)
            unpacked = self.blocks.unpack(leaf)
            own = {n.removeprefix(self.prefix): v for n, v in unpacked.items()}
            slopes = {name: torch.empty_like(value) for name, value in own.items()}
            for i, number in enumerate(which):
                logs = table({n: v[i].detach().numpy() for n, v in own.items()})
                count = counts[number].numpy()
                # 0 counts times log 0 is 0.
                terms, expected = np.zeros_like(count), count > 0
                values[i] += np.multiply(count, logs, out=terms, where=expected).sum()
                for name, slope in table.slopes(count.copy()).items():
                    slopes[name][i] = torch.from_numpy(slope)
            moved = [(own[name] * slopes[name]).sum() for name in own]
            (more,) = torch.autograd.grad(moved, leaf)
            values, gradient = self.ranks.totals(values, more.numpy())
            if prior is not None:
                prior_values, prior_gradient = prior(points, which)
                values, gradient = values + prior_values, gradient + prior_gradient
            return -scale * values, -scale * gradient

        return objective

    def _scale(self, counts: Tensor) -> float:
        """Factor of objectives that do not choose their own coordinates."""
        if self.options is not None:
            return self.scale
        # Per event: of first states there are few, however many the steps.
        return 1 / max(self.ranks.total(float(counts.sum())) / len(counts), 1.0)

    def _differentiated(
        self, counts: Tensor, params: Params, blocks: PackedRows
    ) -> Objective:
        """Expected log-joint of what ``blocks`` pack, differentiated automatically."""
        rows = blocks.pack(params).numpy()
        first = rows.copy()
        start = as_taken(self.component, params)
        scale = self._scale(counts)

        def objective(points: np.ndarray, which: np.ndarray) -> Evaluation:
            rows[which] = points
            leaf = torch.from_numpy(rows.copy()).to(counts.device).requires_grad_()
            values = blocks.unpack(leaf)
            values = as_taken(self.component, params | values)
            try:
                log_probs, sites = log_probs_and_sites(
                    self.component, self.data, values
                )
            except ValueError:
                # Far out a distribution may refuse its own parameters.
                if np.array_equal(leaf.detach().cpu().numpy(), first):
                    raise
                none, flat = np.full(len(points), np.nan), np.zeros_like(points)
                found, slopes = self.ranks.totals(none, flat)
                return found, slopes
            objectives = blocks.sum_counts(counts, log_probs.expand(counts.shape))
            prior = blocks.log_prior(majorised(sites, start))
            objectives = objectives + prior / self.ranks.size
            (gradient,) = torch.autograd.grad(objectives.sum(), leaf)
            own = objectives.detach().cpu().numpy()[which]
            found, slopes = self.ranks.totals(own, gradient.cpu().numpy()[which])
            return -scale * found, -scale * slopes

        return objective


def hyperparameters(
    component: Component, data: Sequences, sites: dict, prefix: str
) -> list[str]:
    """Names of the sites that a component reads in its priors only.

    Those that recipes declare, and what a prior function samples.

    Args:
        sites: all of its sample sites.
        prefix: what their names begin with.
    """
    own = {prefix + name for name in component.sites}
    declared = {prefix + name for name in component.hyperparameters}
    found = [name for name in sites if name in declared]
    unknown = [name for name in sites if name not in own | declared]
    if not unknown:
        return found
    values = {name: site["value"].detach() for name, site in sites.items()}
    leaves = {name: values[name].clone().requires_grad_() for name in unknown}
    log_probs, _ = log_probs_and_sites(component, data, values | leaves)
    if not log_probs.requires_grad:
        return found + unknown
    gradients = torch.autograd.grad(
        log_probs.sum(), list(leaves.values()), allow_unused=True
    )
    return found + [n for n, slope in zip(unknown, gradients) if slope is None]
