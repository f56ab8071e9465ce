r"""Second and third derivatives of a log-likelihood by the weights of units.

Where sessions are independent given the units' weights,

.. math:: \partial^2 \log p(y \mid w) / \partial w_u \partial w_v = 0
    \text{ for } u \ne v,

with the states summed out, so that a derivative along one coordinate of *all* units
together has those of every unit side by side. Where slow states go on from session to
session, :mod:`glmhmm_pyro.inference.marginal.linked` has those between units as well,
and :mod:`glmhmm_pyro.inference.marginal.shared_rows` those by weights of all units.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from glmhmm_pyro.components.base import Component
from glmhmm_pyro.distributions import HiddenMarkov
from glmhmm_pyro.inference.kinds.direct_likelihood import direct_likelihood

if TYPE_CHECKING:
    from glmhmm_pyro.inference.marginal.problem import MarginalProblem

# Step of second differences, in standard deviations of the posterior; and of first
# ones, in parts of the largest number of a direction.
_STEP, _SMALL = 0.005, 1e-4


class ByUnit:
    """Derivatives by the chain's tangents, one coordinate of all units at a time.

    Args:
        problem: whose sessions are independent given the units' weights.
    """

    # Whether second derivatives cost about as much as slopes, and whether those between
    # units are 0.
    is_cheap, is_apart = False, True

    def __init__(self, problem: "MarginalProblem"):
        self.problem = problem
        self.mapped = True
        self.rows = problem.number - problem.layout.shared
        program = problem.program
        self.direct = direct_likelihood(program.model, program.data, problem.theta)

    def value(self, w: Tensor, v: Tensor) -> Tensor:
        """Log-likelihood of all that is observed."""
        return self._traced(w, v) if self.direct is None else self.slopes(w, v)[0]

    def _traced(self, w: Tensor, v: Tensor) -> Tensor:
        """The same, for automatic differentiation."""
        hidden, emissions = self.hidden(w, v)
        return hidden.log_prob(emissions)

    def hidden(self, w: Tensor, v: Tensor) -> tuple[HiddenMarkov, Tensor]:
        """The distribution of the emissions, and these."""
        program, params = self.problem.program, self.problem.params(w, v)
        hidden = program.model.hidden_markov_at(params, program.data)
        return hidden, program.data.emissions

    def slopes(self, w: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Value and derivatives by units and parameters."""
        if self.direct is not None:
            value, by_parameter, own = self.direct(v, self.problem.latents(w))
            return value, self.problem.layout.slopes(own), by_parameter
        leaves = w.detach().requires_grad_(), v.detach().requires_grad_()
        with torch.enable_grad():
            value = self._traced(*leaves)
            found: Any = torch.autograd.grad(
                value, leaves, allow_unused=True, materialize_grads=True
            )
        return value.detach(), *found

    def hessian(self, w: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Value, slope by the units, and second derivatives within each.

        Shapes (), (rows, size) and (units, size, size); units are the first rows.
        """
        own = torch.eye(w.shape[1], dtype=w.dtype)[:, None].expand(-1, self.rows, -1)
        columns = self.bends_along(w, v, self.spread(own, w))
        blocks = self.blocks(columns[:, : self.rows])
        # Those of all points are added up in one order, down to the last bit.
        return *self.slopes(w, v)[:2], blocks

    def spread(self, own: Tensor, w: Tensor) -> Tensor:
        """Directions (directions, rows, size) of the units, 0 in all other rows."""
        return torch.nn.functional.pad(own, (0, 0, 0, len(w) - self.rows))

    def blocks(self, columns: Tensor) -> Tensor:
        """Second derivatives from those along the directions (directions, ...)."""
        blocks = columns.movedim(0, -1)
        return (blocks + blocks.mT) / 2

    def bends_along(self, w: Tensor, v: Tensor, directions: Tensor) -> Tensor:
        """Derivatives of the slope by w along directions (directions, rows, size)."""
        leaf = w.detach().requires_grad_()
        with torch.enable_grad():
            value = self._traced(leaf, v.detach())
            (slope,) = torch.autograd.grad(value, leaf, create_graph=True)
            return self._along(slope, leaf, directions)

    def _along(self, slope: Tensor, leaf: Tensor, directions: Tensor) -> Tensor:
        """Derivatives of slopes along directions, (directions, rows, size).

        As many together as memory holds, for which the chain is filtered once.
        """

        def along(direction: Tensor) -> Tensor:
            found: Any = torch.autograd.grad(
                slope, leaf, direction.expand_as(slope), retain_graph=True
            )
            return found[0]

        if not self.mapped:
            return torch.stack([along(direction) for direction in directions])
        try:
            chunks = directions.split(self.problem.program.num_together)
            return torch.cat([torch.func.vmap(along)(chunk) for chunk in chunks])
        except RuntimeError:
            # Not all distributions can be mapped over.
            self.mapped = False
            return self._along(slope, leaf, directions)

    def third(self, w: Tensor, v: Tensor, within: Tensor) -> tuple[Tensor, Tensor]:
        r"""Slopes of :math:`\tfrac12 \mathrm{tr}(V H)` by units and parameters.

        By second differences of slopes along the columns of a root of V, which are a
        standard deviation of the posterior long: no third derivative of the chain.

        Args:
            w: units' weights.
            v: parameters.
            within: V, the covariance of every unit, (units, size, size).
        """
        return self.third_along(w, v, self.spread(self.roots(within).movedim(-1, 0), w))

    def third_along(
        self, w: Tensor, v: Tensor, directions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Slopes of half the sum of second derivatives along directions."""
        _, *centre = self.slopes(w, v)
        found = [torch.zeros_like(w), torch.zeros_like(v)]
        for direction in directions:
            _, *ahead = self.slopes(w + _STEP * direction, v)
            _, *behind = self.slopes(w - _STEP * direction, v)
            for total, a, b, c in zip(found, ahead, behind, centre):
                total += (a + b - 2 * c) / (2 * _STEP**2)
        return found[0], found[1]

    def roots(self, within: Tensor) -> Tensor:
        """Columns of a root of the covariance, in all units at once."""
        found: Tensor = torch.linalg.cholesky(within)
        return found

    def mixed(self, w: Tensor, v: Tensor, along: Tensor) -> Tensor:
        """Derivative by the parameters of the slope along a direction of the units."""
        step = _SMALL / along.abs().max().clamp(min=1e-300)
        ahead, behind = (self.slopes(w + s * step * along, v)[2] for s in (1, -1))
        return (ahead - behind) / (2 * step)


class ByPredictor:
    """Derivatives of a single state's GLM, by linear predictors, exact in all orders.

    Args:
        problem: the problem.
        component: emissions whose weights vary.
    """

    is_cheap, is_apart = True, True

    def __init__(self, problem: "MarginalProblem", component: Component):
        self.problem, self.component = problem, component
        data = component.view(problem.program.data)
        self.data = data
        self.design, self.units = component.split(component.inputs(data))
        self.design = self.design.double()
        self.columns = self.design[:, component.places[0]]
        weights = data.session_weights
        self.weights: Any = 1.0
        if weights is not None:
            self.weights = weights.repeat_interleave(data.lengths)[:, None].double()
        self.is_whole = problem.number == len(self.units)

    @classmethod
    def of(cls, problem: "MarginalProblem") -> "ByPredictor | None":
        """Those of a program of one state whose emissions alone vary."""
        component = problem.program.components.get("emissions")
        if problem.names != ("emissions.weights",) or component is None:
            return None
        if component.num_states != 1:
            return None
        return cls(problem, component) if hasattr(component, "log_probs_at") else None

    def value(self, w: Tensor, v: Tensor) -> Tensor:
        """Log-likelihood of all that is observed."""
        return self._at(self._scores(w), v)

    def slopes(self, w: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Value and derivatives by units and parameters."""
        scores, v = self._scores(w).requires_grad_(), v.detach().requires_grad_()
        with torch.enable_grad():
            value = self._at(scores, v)
            by_score, by_parameter = _gradients(value, (scores, v))
        return value.detach(), self._summed(by_score), by_parameter

    def hessian(self, w: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Value, slope by the units, and second derivatives within each."""
        scores = self._scores(w).requires_grad_()
        with torch.enable_grad():
            value = self._at(scores, v.detach())
            (slope,) = _gradients(value, (scores,), create_graph=True)
            bends = self._bends(slope, scores)
        return value.detach(), self._summed(slope.detach()), self._blocks(bends)

    def third(self, w: Tensor, v: Tensor, within: Tensor) -> tuple[Tensor, Tensor]:
        r"""Slopes of :math:`\tfrac12 \mathrm{tr}(V H)` by units and parameters."""
        scores, v = self._scores(w).requires_grad_(), v.detach().requires_grad_()
        spread = self._spread(within)
        with torch.enable_grad():
            (slope,) = _gradients(self._at(scores, v), (scores,), create_graph=True)
            bends = self._bends(slope, scores, create_graph=True)
            by_score, by_parameter = _gradients((bends * spread).sum() / 2, (scores, v))
        return self._summed(by_score), by_parameter

    def mixed(self, w: Tensor, v: Tensor, along: Tensor) -> Tensor:
        """Derivative by the parameters of the slope along a direction of the units."""
        scores, v = self._scores(w).requires_grad_(), v.detach().requires_grad_()
        with torch.enable_grad():
            (slope,) = _gradients(self._at(scores, v), (scores,), create_graph=True)
            (found,) = _gradients((slope * self._scores(along)).sum(), (v,))
        return found

    def _at(self, scores: Tensor, v: Tensor) -> Tensor:
        """Log-likelihood at predictors (steps, outputs) of what varies."""
        unit = self.problem.units["emissions.weights"]
        shaped = scores.reshape(len(scores), *unit[:-1])
        with self.problem.program.model.at(self.problem.theta.unpack(v)):
            if self.component.constant:
                shaped = shaped + self.component.constant_scores(self.design)
            log_probs = self.component.log_probs_at(shaped, self.data)
        total: Tensor = (self.weights * log_probs).sum()
        return total

    def _rows(self, w: Tensor) -> Tensor:
        """Numbers of every step's unit, (steps, outputs, features)."""
        rows = w if self.is_whole else w[self.units]
        return rows.unflatten(1, (-1, self.columns.shape[1]))

    def _scores(self, w: Tensor) -> Tensor:
        """Linear predictors (steps, outputs)."""
        return (self._rows(w) * self.columns[:, None]).sum(-1).detach()

    def _bends(self, slope: Tensor, scores: Tensor, **options: Any) -> Tensor:
        """Second derivatives by predictors, (steps, outputs, outputs)."""
        columns = [
            _gradients(column.sum(), (scores,), retain_graph=True, **options)[0]
            for column in slope.unbind(1)
        ]
        return torch.stack(columns, -1)

    def _summed(self, by_score: Tensor) -> Tensor:
        """Derivatives by the units' numbers from those by predictors."""
        by_step = (by_score[..., None] * self.columns[:, None]).flatten(1)
        return self._by_unit(by_step)

    def _blocks(self, bends: Tensor) -> Tensor:
        """Second derivatives within units from those by predictors."""
        x, size = self.columns, self.problem.size
        whole = (bends[:, :, None, :, None] * x[:, None, :, None, None]) * x[
            :, None, None, None, :
        ]
        return self._by_unit(whole.reshape(len(x), size, size))

    def _spread(self, within: Tensor) -> Tensor:
        """Covariance of the predictors of every step, (steps, outputs, outputs)."""
        features = self.columns.shape[1]
        shape = (-1, features)
        by_step = within if self.is_whole else within[self.units]
        by_step = by_step.unflatten(2, shape).unflatten(1, shape)
        return torch.einsum("taibj,ti,tj->tab", by_step, self.columns, self.columns)

    def _by_unit(self, by_step: Tensor) -> Tensor:
        if self.is_whole:
            return by_step
        total = by_step.new_zeros(self.problem.number, *by_step.shape[1:])
        return total.index_add(0, self.units, by_step)


def _gradients(value: Tensor, leaves: tuple[Tensor, ...], **options: Any) -> Any:
    """Derivatives of a value, 0 by what it does not depend on."""
    if not value.requires_grad:
        return tuple(torch.zeros_like(leaf) for leaf in leaves)
    return torch.autograd.grad(
        value, leaves, allow_unused=True, materialize_grads=True, **options
    )
