"""The objective of a mode search: minus a log density per step, with its gradient."""

import copy
import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from glmhmm_pyro.inference.journal import LongLoop, remembered
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.evaluated import Evaluated
from glmhmm_pyro.inference.program.program import Program

# Part of a log density that its rounding errors may amount to.
ROUNDING = 1e-13


class Descent:
    """Minus the log density per step and its gradient; records every new lowest point.

    Args:
        program: the model with its data.
        params: where the search starts.
        jacobian: whether the density is that of the vector.
        kept: checkpointed loop that notes the evaluations, if any.

    Attributes:
        steps: number of steps of all sites together.
        path: values, log-likelihood and log density of every point lower than before.
        was_lost: whether some evaluation was not finite.
    """

    def __init__(
        self,
        program: Program,
        params: Params,
        jacobian: bool,
        kept: LongLoop | None = None,
    ):
        self.program = program
        sites = program.observed(params).values()
        own = sum(site.hidden.event_shape[0] for site in sites)
        self.steps = program.ranks.total(own)
        self.evaluate: Callable[[Tensor], Evaluated]
        self.evaluate = partial(program.evaluated, jacobian=jacobian)
        if kept is not None and kept.is_kept:
            self.evaluate = _noted(self.evaluate, kept)
        self.path: list[tuple[Params, float, float]] = []
        self.has_begun = self.was_lost = False
        self.centre: Tensor | None = None
        self.units: Tensor | None = None

    def __call__(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """Value and gradient at a point."""
        centre, units = self.centre, self.units
        vector = point
        if centre is not None and units is not None:
            vector = centre + (units @ point if units.ndim == 2 else units * point)
        try:
            found = self.evaluate(vector)
        except ValueError:
            # Far out a distribution may refuse its own parameters: no number there.
            if not self.has_begun:
                raise
            self.was_lost = True
            return torch.tensor(math.nan), torch.zeros_like(point)
        density, self.has_begun = found.log_density, True
        self.was_lost |= not math.isfinite(density)
        if density > (self.path[-1][2] if self.path else -math.inf):
            with torch.no_grad():
                params = self.program.coordinates.unpack(vector)
            self.path.append((params, found.log_likelihood, density))
        value = torch.tensor(-density / self.steps, dtype=torch.float64)
        slope = -found.slope / self.steps
        if units is not None:
            slope = slope @ units if units.ndim == 2 else units * slope
        return value, slope

    def seen_from(self, centre: Tensor, units: Tensor) -> "Descent":
        """The objective as a function of scaled steps from ``centre``.

        Args:
            centre: shape (size,).
            units: of the steps, shape (size,), or a matrix of them (size, size).
        """
        moved = copy.copy(self)
        moved.centre, moved.units = centre, units
        moved.has_begun = moved.was_lost = False
        return moved

    def end(self, vector: Tensor) -> None:
        """Record the end of the search, even if it is no new lowest point."""
        found = self.program.evaluated(vector, jacobian=False)
        joint = found.log_density
        if self.path and joint >= self.path[-1][2] - ROUNDING * abs(joint):
            self.path[-1] = (found.params, found.log_likelihood, joint)


def _noted(
    evaluate: Callable[[Tensor], Evaluated], kept: LongLoop
) -> Callable[[Tensor], Evaluated]:
    """The density, its evaluations noted in a checkpoint, without values of sites."""

    def numbers(vector: Tensor) -> tuple[Tensor, Tensor]:
        found = evaluate(vector)
        parts = [found.log_likelihood, found.log_prior, found.log_volume]
        return torch.tensor(parts, dtype=torch.float64), found.slope

    known = remembered(numbers, kept)

    def noted(vector: Tensor) -> Evaluated:
        parts, slope = known(vector)
        likelihood, prior, volume = parts.tolist()
        return Evaluated({}, likelihood, prior, volume, slope)

    return noted
