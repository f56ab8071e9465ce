r"""What data cannot tell of states on two levels.

A slow state that is rarely left says little of what makes it be left; and when it was
left is known only to some steps, over which a covariate that changes from step to step
is blurred. With w_t = p(s_t-1 != s_t | y) a switch is spread over so many steps:

.. math:: W = \sum_t w_t \Big/ \sum_t w_t^2

Emissions and fast moves that are both free in every slow state leave open which states
are slow: the pairs are those of one level, cut in two, unless every slow state is
entered by a law of its own, or emissions are pooled over slow states. Of a level on
which nothing depends data say nothing.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from glmhmm_pyro.inference.checks.report import WARNING, Finding
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Observed
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.priors.answers import is_flat
from glmhmm_pyro.sequences import Sequences

# Expected switches of slow states that each of their parameters needs.
_SWITCHES = 10


def fewer_of(model: Any) -> str:
    """What a model of fewer states than this one has, in words."""
    is_flat = getattr(model, "levels", None) is None
    return "fewer states" if is_flat else "fewer slow or fast states"


def free_levels(model: Any) -> Iterator[Finding]:
    """Whether data can tell the states of both levels, and which are the slow ones."""
    if getattr(model, "levels", None) is None:
        return
    yield from _idle_levels(model)
    moves = model.transitions
    is_held = moves.has_clock or moves.entry is not None
    if moves.fast_depends_on_slow and not is_held and model.emissions.over == "both":
        yield Finding(
            "free-levels",
            WARNING,
            "emissions and fast transitions are both free in every slow state, so that "
            "the pairs are as good as one level of as many states, and which of them "
            'are slow is open: take ByLevel(family, over="fast"), or Varying(family, '
            'over="slow", law="pooled"), or give slow states a clock',
        )


def _idle_levels(model: Any) -> Iterator[Finding]:
    """Levels on which neither emissions nor the other level depend."""
    moves, over = model.transitions, model.emissions.over
    if model.emissions.is_pooled:
        return
    slow_acts = moves.fast_depends_on_slow or moves.entry is not None
    if over == "fast" and not slow_acts:
        yield Finding(
            "idle-level",
            WARNING,
            "nothing depends on slow states, so that data say nothing of them: take "
            'ByLevel(family, over="both"), or leave fast_depends_on_slow at True',
        )
    if over == "slow" and not moves.slow_depends_on_fast:
        yield Finding(
            "idle-level",
            WARNING,
            "nothing depends on fast states, so that data say nothing of them: take "
            'ByLevel(family, over="both") or "fast", or slow_depends_on_fast=True',
        )


def level_findings(
    model: Any,
    data: Any,
    observed: Observed,
    params: Params,
    latents: Sequence[str] = (),
) -> Iterator[Finding]:
    """What a fit of two levels says too little of.

    Args:
        model: of the fit.
        data: laid out as those fitted.
        observed: its only site, at ``params``.
        params: the fitted parameters.
        latents: names of those that are no parameters, as weights that vary.
    """
    if getattr(model, "levels", None) is None:
        return
    yield from free_levels(model)
    with torch.no_grad():
        switches = _switches(model, observed)
    expected = float(switches.sum())
    moves = [n for n in params if n.startswith("transitions.slow.")]
    number = sum(_free(n, params[n]) for n in moves if n not in latents)
    if expected < _SWITCHES * number:
        yield Finding(
            "few-slow-switches",
            WARNING,
            f"slow states are left {expected:.0f} times, fewer than {_SWITCHES} times "
            f"for each of their {number} parameters, so that what makes them be left "
            f"is a guess: {_prior_advice(model)}take fewer covariates, or more data",
        )
    yield from _blurred(model, data, switches)


def _switches(model: GLMHMM, observed: Observed) -> Tensor:
    """Probability that the slow state has changed into a step, (steps,)."""
    pairs = observed.hidden.pairwise_probs(observed.value)
    levels: Any = model.levels
    split = pairs.reshape(-1, levels.slow, levels.fast, levels.slow, levels.fast)
    moves = split.sum((2, 4))
    return moves.sum((1, 2)) - moves.diagonal(dim1=1, dim2=2).sum(1)


def _free(name: str, value: Tensor) -> int:
    """Free numbers of a parameter: rows of probabilities sum to 1."""
    rows = value.numel() // value.shape[-1] if name.endswith(".probs") else 0
    return value.numel() - rows


def _prior_advice(model: GLMHMM) -> str:
    """To give slow moves a prior, where any has none."""
    sites = model.transitions.parts["slow"].sites.values()
    return "give these a prior, " if any(is_flat(s.prior) for s in sites) else ""


def _blurred(model: GLMHMM, data: Sequences, switches: Tensor) -> Iterator[Finding]:
    """Covariates that change faster than a switch can be timed."""
    slow = model.transitions.parts["slow"]
    squares = float((switches**2).sum())
    if "weights" not in slow.sites or not squares:
        return
    width = float(switches.sum()) / squares
    design = slow.design(data).to(torch.float64)
    times = _memory(design, data)
    names = slow.covariate_names or tuple(map(str, range(len(times))))
    fast = [n for n, time in zip(names, times.tolist()) if time < width]
    if fast:
        yield Finding(
            "blurred-switches",
            WARNING,
            f"slow states may look at {', '.join(fast)}, which change within fewer "
            f"steps than the {width:.0f} over which it is open when a slow state was "
            "left, so that their weights mean little: smooth these covariates, have "
            "fast states look at them, or give slow states a clock",
        )


def _memory(design: Tensor, data: Sequences) -> Tensor:
    """Steps over which columns stay alike, infinite of constant ones.

    It is (1 + r) / (1 - r), r being the correlation of neighbours in a session.
    """
    first = torch.zeros(len(design), dtype=torch.bool, device=design.device)
    first[data.starts] = True
    centred = design - design.mean(0)
    spread = (centred**2).mean(0)
    products = (centred[1:] * centred[:-1])[~first[1:]]
    if not len(products):
        return torch.full_like(spread, torch.inf)
    r = (products.mean(0) / spread.clamp(min=1e-300)).clamp(-0.99, 1 - 1e-9)
    is_constant = spread <= 1e-12 * (design**2).mean(0).clamp(min=1e-300)
    return torch.where(is_constant, torch.inf, (1 + r) / (1 - r))
