r"""Derivatives by the weights of sessions through whose borders slow states go on.

Given the slow states at its borders a session is independent of all others. With

.. math:: L_n(i, j) = \log p(y_n, s_n = j \mid s_{n-1} = i)

of the last slow states of sessions, a chain of sessions is one of few states, and its
log-likelihood a function Z of all L. Since :math:`L_n` reads the weights of its session
alone, second derivatives between sessions are

.. math:: \partial_n \partial_m \log p(y) = \sum_{ij, kl} \partial L_n(i, j) \,
    \frac{\partial^2 Z}{\partial L_n(i, j) \, \partial L_m(k, l)} \,
    \partial L_m(k, l)^\top

and those within sessions are what is left of derivatives along a coordinate of all
sessions together. So no direction has to be followed for each session of a chain.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from glmhmm_pyro.chain import log_marginal
from glmhmm_pyro.chain.half_steps import HalfSteps, either
from glmhmm_pyro.distributions import HiddenMarkov
from glmhmm_pyro.inference.marginal.curvatures import ByUnit

if TYPE_CHECKING:
    from glmhmm_pyro.inference.marginal.problem import MarginalProblem

# Log-probability that stands for none.
_NONE = -1e30


class ByChain(ByUnit):
    """Derivatives where units are sessions that chains of states go through.

    Second derivatives are those of all units, (units, size, units, size), and so is the
    covariance that third ones are taken with.

    Args:
        problem: whose units are sessions.
        goes_on: which sessions go on from the one before, (sessions,).
    """

    is_apart = False

    def __init__(self, problem: "MarginalProblem", goes_on: Tensor):
        super().__init__(problem)
        self.numbers = torch.arange(len(goes_on))
        first = torch.where(goes_on, 0, self.numbers).cummax(0).values
        self.chain, self.place = (~goes_on).cumsum(0) - 1, self.numbers - first
        self.shape = int(self.chain[-1]) + 1, int(self.place.max()) + 1
        linked = self.chain[:, None] == self.chain
        self.pairs = (linked & ~torch.eye(len(goes_on), dtype=torch.bool)).nonzero().T

    @classmethod
    def of(cls, problem: "MarginalProblem") -> "ByChain | None":
        """Those of a program whose states go on between the units, if they do."""
        data = problem.program.data
        goes_on = problem.program.model.transitions.goes_on(data)
        rows = problem.number - problem.layout.shared
        if goes_on is None or rows != data.num_sessions:
            return None
        return cls(problem, goes_on)

    def blocks(self, columns: Tensor) -> Tensor:
        """Sums of second derivatives over the units that they are taken along."""
        return columns.movedim(0, -1)

    def hessian(self, w: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Value, slope by the units, and second derivatives by all pairs of units."""
        value, slope, sums = super().hessian(w, v)
        whole = self._between(_Borders(self, w, v))
        own = sums - whole.sum(2)
        whole[self.numbers, :, self.numbers] = (own + own.mT) / 2
        return value, slope, whole

    def _between(self, borders: "_Borders") -> Tensor:
        """Second derivatives by pairs of different units, 0 within each."""
        slopes = borders.slopes
        found = torch.einsum("cpka,cpkql,cqlb->cpaqb", slopes, borders.bends, slopes)
        one, other = self.pairs
        size = slopes.shape[-1]
        whole = found.new_zeros(len(self.numbers), size, len(self.numbers), size)
        places = self.chain[one], self.place[one], self.place[other]
        whole[one, :, other] = found[places[0], places[1], :, places[2]]
        return whole

    def third(self, w: Tensor, v: Tensor, within: Tensor) -> tuple[Tensor, Tensor]:
        r"""Slopes of :math:`\tfrac12 \mathrm{tr}(V H)` by units and parameters.

        Displacing all units of a chain together takes their covariance for that of one
        root. What it is otherwise goes by second derivatives between units.
        """
        own = within[self.numbers, :, self.numbers]
        by_unit, by_parameter = super().third(w, v, own)
        roots = self.roots(own)
        left = within - torch.einsum("nak,mbk->namb", roots, roots)
        one, other = self.pairs
        count, longest = self.shape
        size = w.shape[1]
        spread = left.new_zeros(count, longest, longest, size, size)
        where = self.chain[one], self.place[one], self.place[other]
        spread[where] = left[one, :, other]
        more = _Borders(self, w, v).third(spread)
        return by_unit + more[0], by_parameter + more[1]


class _Borders:
    """Log-likelihoods between borders at one point, and what chains make of them.

    Axes are chains, places of sessions in them, and pairs of slow states, those before
    a session with those at its end.

    Args:
        problem: which sessions are where.
        w: units' weights.
        v: parameters.
    """

    def __init__(self, problem: ByChain, w: Tensor, v: Tensor):
        self.problem = problem
        self.leaves = w.detach().requires_grad_(), v.detach().requires_grad_()
        with torch.enable_grad():
            hidden, value = problem.hidden(*self.leaves)
            self.by_pair = log_probs_between(hidden, value)
            self.by_unit = [
                torch.autograd.grad(logs.sum(), self.leaves[0], create_graph=True)[0]
                for logs in self.by_pair
            ]
        weights = hidden.weights
        firsts = problem.place == 0
        self.weights = None if weights is None else weights[firsts]
        logs = torch.stack(self.by_pair, 1).detach().clamp(min=_NONE)
        states = round(logs.shape[1] ** 0.5)
        # Chains that are shorter end with sessions that change nothing.
        stays = torch.eye(states, dtype=logs.dtype).log().clamp(min=_NONE)
        self.logs = self._by_place(logs, stays.flatten())
        by_unit = torch.stack(self.by_unit, 1).detach()[: problem.rows]
        self.slopes = self._by_place(by_unit, 0.0)
        self.bends = self._bends(self.logs)

    def _by_place(self, by_session: Tensor, missing: Tensor | float) -> Tensor:
        shape = (*self.problem.shape, *by_session.shape[1:])
        found = by_session.new_zeros(shape) + missing
        found[self.problem.chain, self.problem.place] = by_session
        return found

    def _bends(self, logs: Tensor) -> Tensor:
        """Second derivatives of the log-likelihoods of chains by those of sessions."""
        bends = torch.func.jacrev(torch.func.grad(_chained))
        found: Tensor = torch.func.vmap(bends)(logs)
        if self.weights is None:
            return found
        return found * self.weights.reshape(-1, 1, 1, 1, 1)

    def third(self, spread: Tensor) -> tuple[Tensor, Tensor]:
        """Slopes of half the sum of second derivatives between units times numbers.

        Args:
            spread: by pairs of places (chains, places, places, size, size), symmetric
                and 0 where both are the same.
        """
        slopes = self.slopes
        moved = torch.einsum("cpqab,cqlb->cpaql", spread, slopes)
        by_bend = torch.einsum("cpka,cpaql->cpkql", slopes, moved)
        by_slope = 2 * torch.einsum("cpkql,cpaql->cpka", self.bends, moved)
        total: Callable[[Tensor], Tensor] = lambda x: (self._bends(x) * by_bend).sum()
        by_log: Tensor = torch.func.grad(total)(self.logs)
        where = self.problem.chain, self.problem.place
        with torch.enable_grad():
            own = by_log[where].unbind(1), by_slope[where].unbind(1)
            parts = zip(own[0], self.by_pair, own[1], self.by_unit)
            sums = [
                (a * torch.where(logs.isfinite(), logs, 0.0)).sum()
                + (b * slope[: self.problem.rows]).sum()
                for a, logs, b, slope in parts
            ]
            found: Any = torch.autograd.grad(
                torch.stack(sums).sum() / 2,
                self.leaves,
                allow_unused=True,
                materialize_grads=True,
            )
        return found


def log_probs_between(hidden: HiddenMarkov, value: Tensor) -> list[Tensor]:
    """Log-likelihoods of sessions between slow states, (sessions,) of every pair.

    Those of sessions that go on are given the slow state before them, those of others
    are the same whichever that is; both are joint with the slow state at the end. Where
    slow moves may go by the fast state left, both states stand in the place of it.

    Args:
        hidden: whose chains go through borders of sessions.
        value: the emissions.
    """
    initial, moves = hidden.initial_logits, hidden.moves
    emission, lengths = hidden.emission_log_probs(value), hidden.lengths
    kind = HalfSteps.needed(moves, initial.shape[-1])
    pairs, ends = torch.arange(kind.states), lengths.cumsum(0)
    slow = left = pairs // kind.fast
    into = moves[ends - lengths][..., : kind.place]
    if kind.renews:
        left, into = pairs, either(*into.split(kind.states, -1))
    goes_on = torch.as_tensor(hidden.goes_on).unsqueeze(-1)
    found = []
    for before in range(into.shape[-1]):
        entered = initial + into[:, slow, before]
        first = torch.where(goes_on, entered, initial)
        for after in range(into.shape[-1]):
            ended = torch.zeros_like(emission)
            ended[ends - 1] = ended[0].masked_fill(left != after, -torch.inf)
            found.append(log_marginal(first, moves, emission + ended, lengths))
    return found


def _chained(logs: Tensor) -> Tensor:
    """Log-likelihood of a chain by those between borders, (places, pairs)."""
    states = round(logs.shape[-1] ** 0.5)
    first, *later = logs.unflatten(-1, (states, states))
    message = first[0]
    for moves in later:
        message = (message.unsqueeze(-1) + moves).logsumexp(0)
    return message.logsumexp(0)
