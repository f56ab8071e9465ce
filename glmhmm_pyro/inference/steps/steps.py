"""The two steps of EM for a GLMHMM: all starts at once, component by component."""

import itertools
import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from glmhmm_pyro.chain import ExpectedCounts
from glmhmm_pyro.components.base import Component
from glmhmm_pyro.components.levels.level_tables import HalfStepsTable
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.runaways import runaways
from glmhmm_pyro.inference.steps.blocks import (
    Failure,
    as_taken,
    prior_sites,
    sample_sites,
)
from glmhmm_pyro.inference.steps.collapse import Collapse, at_bounds
from glmhmm_pyro.inference.steps.m_step import MStep
from glmhmm_pyro.inference.steps.tabled import Tabled, Tables, tables_of
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.optim import LBFGSOptions
from glmhmm_pyro.sequences import Sequences


class ComponentSteps:
    """E-steps and M-steps of several parameter sets of a GLMHMM.

    Args:
        model: bound to the data, its scales limited by them.
        data: the data set.
        options: of the M-step's L-BFGS; see :class:`MStep`.
    """

    def __init__(self, model: GLMHMM, data: Sequences, options: LBFGSOptions | None):
        self.model, self.data, self.options = model, data, options
        self.dtype = data.dtype
        self.m_steps = {
            name: MStep(component, component.view(data), options)
            for name, component in model.components.items()
        }
        self.transforms: dict[str, Any] = {}
        for step in self.m_steps.values():
            self.transforms |= step.transforms
        self.counts: ExpectedCounts | None = None
        self._tabled: Tabled | None = None

    @property
    def about(self) -> tuple[Any, ...]:
        """Key of these steps in a checkpoint; a search on a sample has another."""
        return self.data.num_steps, self.options, tuple(self.transforms)

    @cached_property
    def collapse(self) -> Collapse:
        """Finds the states that have collapsed."""
        return Collapse(self.model, self.data, self.m_steps)

    @property
    def is_discrete(self) -> bool:
        """Whether all emissions have probabilities, not densities."""
        return not self.collapse.continuous

    def expect(
        self, sets: Sequence[Params], beta: float = 1.0
    ) -> tuple[list[float], list[float]]:
        """E-steps: log-likelihoods and log-joints of the sets, nats.

        Args:
            beta: inverse temperature; below 1 the likelihoods are those of
                ``HiddenMarkov.expected_counts``.
        """
        params, chain = stack(sets), self._chain(len(sets)) if beta == 1.0 else None
        taken = _as_taken(self.model, params)
        with torch.no_grad():
            if chain is not None:
                sites = self._sites_at(taken)
                counts = chain.expected_counts(params)
            else:
                body = poutine.condition(self.model.hidden_markov, data=taken)
                trace = poutine.trace(body).get_trace(self.data)
                hidden = trace.nodes["_RETURN"]["value"]
                used = self._used_counts(len(sets))
                counts = hidden.expected_counts(self.data.emissions, used, beta)
                first = hidden.expansion.fold_first(counts.initial)
                counts = counts._replace(initial=first)
                sites = sample_sites(trace)
            log_prior: Tensor | float = 0.0
            for site in sites.values():
                log_prior = log_prior + _log_prior(self.model, site)
        self.counts = _with_sets(counts, len(sets))
        likelihoods = self.data.ranks.total(counts.log_marginal.sum(-1))
        likelihoods = likelihoods.expand(len(sets))
        joints = (likelihoods + log_prior).expand(len(sets))
        return likelihoods.tolist(), joints.tolist()

    def maximise(
        self, sets: Sequence[Params], rows: list[int], multiplier: float = 1.0
    ) -> list[Params]:
        """M-steps for these rows of the sets of the last ``expect``.

        Args:
            multiplier: of the log prior.
        """
        if self.counts is None:
            raise RuntimeError("an M-step must follow an E-step")
        params = stack([sets[row] for row in rows])
        counts = self.counts
        if rows != list(range(len(counts.emission))):
            counts = ExpectedCounts(*(value[rows] for value in counts))
        counts = scaled(counts, multiplier)
        updated = m_step(self.m_steps, counts, params)
        # Processors may differ in the last bit.
        updated = dict(zip(updated, self.data.ranks.first(*updated.values())))
        return [{n: v[i] for n, v in updated.items()} for i in range(len(rows))]

    def failure(self, number: int) -> Failure | None:
        """How M-step ``number`` of the last ``maximise`` failed, if it did."""
        found = [step.failure(number) for step in self.m_steps.values()]
        return next(filter(None, found), None)

    def runaways(self, first: Params, now: Params) -> tuple[str, ...]:
        """Sentences about scales of priors or emissions that diverge."""
        steps = [step.hyper_step for step in self.m_steps.values()]
        found = [runaways(step.scales, first, now) for step in steps if step]
        return tuple(itertools.chain(*found, self.collapse(now)))

    def at_bounds(self, params: Params) -> tuple[str, ...]:
        """Sentences about scales that have reached their lower bound."""
        return at_bounds(self.model.components, params)

    def infinite(self, params: Params) -> tuple[str, ...]:
        """Sentences about priors whose density is infinite at these values."""
        return tuple(
            f"the prior density of {name} is infinite at the end of its support"
            for step in self.m_steps.values()
            for name, site in prior_sites(
                step.component, as_taken(step.component, params)
            ).items()
            if (site["fn"].log_prob(site["value"]) == math.inf).any()
        )

    def _sites_at(self, params: Params) -> dict[str, dict[str, Any]]:
        """Sample sites of the parameters at these values, by name."""
        if self._fixed_sites is None:
            body = poutine.condition(self.model.draw, data=params)
            return sample_sites(poutine.trace(body).get_trace())
        fixed = self._fixed_sites.items()
        return {name: {**site, "value": params[name]} for name, site in fixed}

    @cached_property
    def _fixed_sites(self) -> dict[str, dict[str, Any]] | None:
        """Sample sites of the parameters, if no prior reads or samples another."""
        # The user's generator must not notice.
        with torch.random.fork_rng(devices=[]):
            sites = sample_sites(poutine.trace(self.model.draw).get_trace())
        fixed = all(c.has_fixed_priors for c in self.model.components.values())
        declared = {name for name, *_ in self.model.site_names()}
        return sites if fixed and sites.keys() == declared else None

    @cached_property
    def _tables(self) -> Tables | None:
        tables = tables_of(self.model, self.data)
        if tables is not None and isinstance(tables["transitions"], HalfStepsTable):
            tables["transitions"].without_slopes()
        return tables

    def _chain(self, sets: int) -> Tabled | None:
        """The chain by tables for ``sets`` parameter sets, if all parts have tables."""
        if self._tables is None:
            return None
        if self._tabled is None or len(self._tabled.passes) != sets:
            goes_on = self.model.transitions.goes_on(self.data)
            self._tabled = Tabled(self._tables, self.data, sets, goes_on)
        return self._tabled

    def _used_counts(self, sets: int) -> ExpectedCounts | None:
        """The last E-step's counts, to be overwritten, if they have the right shape."""
        if self.counts is None or self.dtype != torch.float64:
            return None
        return self.counts if len(self.counts.emission) == sets else None


def m_step(m_steps: dict[str, MStep], counts: ExpectedCounts, params: Params) -> Params:
    """Parameters that maximise the expected log-joint, component by component."""
    updated: Params = {}
    for name, step in m_steps.items():
        own = {n: v for n, v in params.items() if n.startswith(name + ".")}
        updated.update(step(getattr(counts, step.component.counted_from), own))
    return updated


def scaled(counts: ExpectedCounts, multiplier: float) -> ExpectedCounts:
    """Counts for an M-step whose log prior is multiplied by this number.

    Multiplying the log prior by c and dividing the counts by c have the same maximum.
    """
    if multiplier == 1.0:
        return counts
    return ExpectedCounts(
        counts.log_marginal, *(count / multiplier for count in counts[1:])
    )


def check_possible(log_joint: float) -> None:
    """Raise a ValueError if the log-joint is not finite at the start of EM."""
    if not math.isfinite(log_joint):
        raise ValueError(
            "the emissions must be possible under the start of EM, their log-joint is "
            f"{log_joint}; give finite covariates of moderate size (standardise them), "
            "other starting weights, or, where states are known or moves are forbidden,"
            " states that follow one another as the transitions allow"
        )


def stack(sets: Sequence[Params]) -> Params:
    """The sets stacked along a leading axis."""
    return {name: torch.stack([s[name] for s in sets]) for name in sets[0]}


def _with_sets(counts: ExpectedCounts, sets: int) -> ExpectedCounts:
    """Counts expanded to a leading axis of ``sets``."""
    axes = {"log_marginal": 1, "initial": 2, "transition": 3, "emission": 2}
    return ExpectedCounts(
        **{
            name: getattr(counts, name).expand(
                (sets,) + getattr(counts, name).shape[-count:]
            )
            for name, count in axes.items()
        }
    )


def _as_taken(model: GLMHMM, params: Params) -> Params:
    """The sets as the components take them: without their axis if unbatched."""
    taken: Params = {}
    for name, value in params.items():
        taken |= as_taken(_component(model, name), {name: value})
    return taken


def _log_prior(model: GLMHMM, site: dict[str, Any]) -> Tensor:
    """Log prior density of one site, for every set."""
    log_prob = site["fn"].log_prob(site["value"])
    takes_sets = _component(model, site["name"]).takes_sets()
    return log_prob if takes_sets else log_prob.sum()


def _component(model: GLMHMM, name: str) -> Component:
    """The component that a site belongs to."""
    return model.component_of(name)[1]
