"""The log marginal of a chain, twice differentiable, and its expected counts.

The derivative of the log marginal with respect to a log potential is the potential's
posterior expectation (Fisher's identity; Eisner 2016, "Inside-outside and
forward-backward algorithms are just backprop"). Three functions are nested so that no
recursion is ever traced: the gradient of the first is the second, whose derivative
along a direction is the third. Where a gradient is wanted the first keeps what the
second needs: a value and its gradient are one pass. A Hessian is symmetric, so that one
tangent recursion serves forward and reverse mode. There are no third derivatives:
asking for one raises.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from glmhmm_pyro.chain import compiled, scan
from glmhmm_pyro.chain.shapes import Potentials, align

_ENGINES = {"compiled": compiled, "torch": scan}


class ExpectedCounts(NamedTuple):
    r"""Posterior expectations of a chain, and its log marginal by session.

    .. math::
        \gamma_t(j) = p(z_t = j \mid y), \qquad
        \xi_t(i, j) = p(z_{t-1} = i, z_t = j \mid y)

    Attributes:
        log_marginal: (\*batch, sessions) log probability of each session's emissions.
        initial: (\*batch, sessions|1, states) posterior of the first states, summed
            over sessions where the potential is shared.
        transition: (\*batch, steps|1, states, states) posterior of the pairs of
            consecutive states, summed over steps where the potential is shared. Row t
            is for the pair (t-1, t); rows at session starts are zero. Of half-steps it
            has their shape.
        emission: (\*batch, steps, states) posterior of the states.
    """

    log_marginal: Tensor
    initial: Tensor
    transition: Tensor
    emission: Tensor


def log_marginal(
    initial: Tensor,
    transition: Tensor,
    emission: Tensor,
    lengths: Tensor,
    *,
    engine: str | None = None,
) -> Tensor:
    r"""Log probability of each session's emissions, summed over all paths of states.

    .. math::
        \log \sum_{z} \pi(z_0) \ell_0(z_0)
        \prod_{t=1}^{T-1} A_t(z_{t-1}, z_t)\, \ell_t(z_t)

    Potentials are natural logarithms; they need not be normalised, and -inf forbids.
    Row t of ``transition`` leads from step t-1 to step t, and the rows at session
    starts are ignored. Batch axes, which stand for parameter sets, are broadcast.
    Differentiable twice, in reverse and forward mode and under :mod:`torch.func`; the
    gradient is the posterior expectation of each potential, 0 for what is impossible.

    Args:
        initial: (\*batch, sessions|1, states) log potentials of the first states.
        transition: (\*batch, steps|1, states, states): step, origin, destination; or
            two half-steps of pairs of states, as :mod:`glmhmm_pyro.chain.half_steps`
            puts them together.
        emission: (\*batch, steps, states); the sessions lie end to end. A row of zeros
            stands for a step that is not observed.
        lengths: (sessions,) numbers of steps, of type int64.
        engine: "compiled" or "torch"; by default compiled where tensors are on the CPU.

    Returns:
        (\*batch, sessions) log probabilities, -inf for an impossible session.

    Raises:
        ValueError: shapes that do not fit together.

    Example:
        >>> zeros = torch.zeros(1, 3), torch.zeros(1, 3, 3), torch.zeros(4, 3)
        >>> log_marginal(*zeros, torch.tensor([4])).exp()  # 3 ** 4 paths
        tensor([81.0000])
    """
    potentials = align(initial, transition, emission, lengths)
    wanted = torch.is_grad_enabled() and any(x.requires_grad for x in potentials)
    found = _LogMarginal.apply(*potentials, lengths, pick(engine, potentials), wanted)
    total: Tensor = found[0]
    return total


def expected_counts(
    initial: Tensor,
    transition: Tensor,
    emission: Tensor,
    lengths: Tensor,
    *,
    engine: str | None = None,
    out: ExpectedCounts | None = None,
    weights: Tensor | None = None,
) -> ExpectedCounts:
    """Expected counts of every potential: the E-step. Not differentiable.

    The counts have the shapes of the potentials, each with all batch axes: what is
    shared by an axis of size 1 is summed over the sessions or steps that share it, and
    never expanded. Arguments and errors are those of :func:`log_marginal`.

    Args:
        out: an earlier result for potentials of the same shapes, in float64, whose
            emission and transition counts are overwritten instead of allocating anew:
            memory fresh from the system costs a fifth of the time of a long chain.
        weights: how often every session counts, shape (sessions,); once by default.

    Example:
        >>> zeros = torch.zeros(1, 2), torch.zeros(1, 2, 2), torch.zeros(3, 2)
        >>> expected_counts(*zeros, torch.tensor([3])).transition
        tensor([[[0.5000, 0.5000],
                 [0.5000, 0.5000]]])
    """
    potentials = align(initial, transition, emission, lengths)
    module = engine_module(pick(engine, potentials))
    return ExpectedCounts(*module.counts(potentials, lengths, weights, out))


def pick(engine: str | None, potentials: Potentials) -> str:
    """Name of the engine: the one asked for, or the one for the potentials' device."""
    on_cpu = potentials.emission.device.type == "cpu"
    chosen = engine or ("compiled" if on_cpu else "torch")
    if chosen not in _ENGINES or (chosen == "compiled" and not on_cpu):
        raise ValueError(
            'engine must be "torch", "compiled" (on the CPU) or None, '
            f"got {engine!r} for tensors on {potentials.emission.device}; leave it out"
        )
    return chosen


def engine_module(name: str) -> ModuleType:
    """The module of an engine; both have the same functions."""
    return _ENGINES[name]


class _Context(Protocol):
    """What torch hands from a function's forward pass to its derivatives."""

    engine: str
    saved_tensors: tuple[Tensor, ...]
    needs_input_grad: tuple[bool, ...]

    def save_for_backward(self, *tensors: Tensor) -> None:
        """Keep tensors for :attr:`saved_tensors` of reverse mode."""

    def save_for_forward(self, *tensors: Tensor) -> None:
        """Keep tensors for :attr:`saved_tensors` of forward mode."""

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Say which results have no derivative."""

    def set_materialize_grads(self, value: bool) -> None:
        """Say whether gradients that are lacking are zeros, or None."""


class _LogMarginal(torch.autograd.Function):
    """(initial, transition, emission, lengths, engine, with counts) -> log marginals.

    With counts, one pass gives those of every session beside its log marginal, for the
    gradient; else the counts returned are empty.
    """

    @staticmethod
    def forward(
        initial: Tensor,
        transition: Tensor,
        emission: Tensor,
        lengths: Tensor,
        engine: str,
        with_counts: bool,
    ) -> tuple[Tensor, ...]:
        potentials = Potentials(initial, transition, emission)
        module = engine_module(engine)
        if with_counts:
            found: tuple[Tensor, ...] = module.counts(potentials, lengths, None)
            return found
        nothing = (emission.new_empty(0) for _ in potentials)
        return module.log_marginal(potentials, lengths), *nothing

    @staticmethod
    def setup_context(
        ctx: _Context, inputs: tuple[Any, ...], output: tuple[Tensor, ...]
    ) -> None:
        *tensors, ctx.engine, _ = inputs
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*tensors, *output[1:])
        ctx.save_for_forward(*tensors, *output[1:])

    @staticmethod
    def backward(
        ctx: _Context, grad: Tensor | None, *_: None
    ) -> tuple[Tensor | None, ...]:
        if grad is None:
            return (None,) * 6
        tensors, known = ctx.saved_tensors[:4], ctx.saved_tensors[4:]
        counts = _ExpectedCounts.apply(*tensors, grad, ctx.engine, *known)
        return *_sum_to(counts, tensors[:3], ctx.needs_input_grad), None, None, None

    @staticmethod
    def jvp(ctx: _Context, *tangents: Any) -> tuple[Tensor | None, ...]:
        *potentials, lengths = ctx.saved_tensors[:4]
        directions = _with_zeros(tangents[:3], potentials)
        ones = _unit_weights(potentials, lengths)
        arguments = (*potentials, *directions, lengths, ones, ctx.engine)
        return _Tangents.apply(*arguments)[0], None, None, None

    @staticmethod
    def vmap(
        info: NamedTuple, in_dims: tuple[int | None, ...], *arguments: Any
    ) -> tuple[Any, tuple[Any, ...]]:
        result = _LogMarginal.apply(*_lead(arguments, in_dims))
        return result, (0, *(0 if arguments[-1] else None for _ in result[1:]))


class _ExpectedCounts(torch.autograd.Function):
    """(..., lengths, session weights, engine, known) -> counts weighted by session.

    ``known`` are the counts of sessions that weigh one each, or empty: where all weigh
    the same they are multiplied, elsewhere the recursion runs again.
    """

    @staticmethod
    def forward(
        initial: Tensor,
        transition: Tensor,
        emission: Tensor,
        lengths: Tensor,
        weights: Tensor,
        engine: str,
        *known: Tensor,
    ) -> tuple[Tensor, ...]:
        # The gradient of a sum over sessions is one number, expanded: no value is read.
        if known[0].numel() and (len(lengths) == 1 or weights.stride(-1) == 0):
            weight = weights[..., :1, None]
            return known[0] * weight, known[1] * weight[..., None], known[2] * weight
        potentials = Potentials(initial, transition, emission)
        module = engine_module(engine)
        counts: tuple[Tensor, ...] = module.counts(potentials, lengths, weights)
        return counts[1:]

    @staticmethod
    def setup_context(
        ctx: _Context, inputs: tuple[Any, ...], output: tuple[Tensor, ...]
    ) -> None:
        ctx.engine = inputs[5]
        ctx.save_for_backward(*inputs[:5], *inputs[6:])
        ctx.save_for_forward(*inputs[:5], *inputs[6:])

    @staticmethod
    def backward(ctx: _Context, *grads: Tensor) -> tuple[Tensor | None, ...]:
        *potentials, lengths, weights = ctx.saved_tensors[:5]
        arguments = (*potentials, *grads, lengths, weights, ctx.engine)
        by_session, *hessian = _Tangents.apply(*arguments)
        needs = ctx.needs_input_grad
        return (
            *_sum_to(hessian, potentials, needs),
            None,
            by_session.sum_to_size(weights.shape) if needs[4] else None,
            *[None] * 4,
        )

    @staticmethod
    def jvp(ctx: _Context, *tangents: Any) -> tuple[Tensor, ...]:
        *potentials, lengths, weights = ctx.saved_tensors[:5]
        directions = _with_zeros(tangents[:3], potentials)
        arguments = (*potentials, *directions, lengths, weights, ctx.engine)
        moved: tuple[Tensor, ...] = _Tangents.apply(*arguments)[1:]
        if tangents[4] is None:
            return moved
        arguments = (*potentials, lengths, tangents[4], ctx.engine)
        by_weight = _ExpectedCounts.apply(*arguments, *ctx.saved_tensors[5:])
        return tuple(a + b for a, b in zip(moved, by_weight))

    @staticmethod
    def vmap(
        info: NamedTuple, in_dims: tuple[int | None, ...], *arguments: Any
    ) -> tuple[Any, tuple[int, ...]]:
        return _ExpectedCounts.apply(*_lead(arguments, in_dims)), (0, 0, 0)


class _Tangents(torch.autograd.Function):
    """(potentials, directions, lengths, session weights, engine) -> derivatives.

    Of the log marginals, and of the weighted counts: a Hessian times the direction.
    """

    @staticmethod
    def forward(*arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        *tensors, lengths, weights, engine = arguments
        potentials, directions = Potentials(*tensors[:3]), Potentials(*tensors[3:])
        result: tuple[Tensor, Tensor, Tensor, Tensor] = engine_module(engine).tangents(
            potentials, directions, lengths, weights
        )
        return result

    @staticmethod
    def setup_context(
        ctx: _Context, inputs: tuple[Any, ...], output: tuple[Tensor, ...]
    ) -> None:
        """Nothing is kept: the chain of derivatives ends here."""

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, *grads: Tensor) -> Any:
        raise NotImplementedError(
            "third derivatives of a chain's log marginal are not available"
        )

    @staticmethod
    def vmap(
        info: NamedTuple, in_dims: tuple[int | None, ...], *arguments: Any
    ) -> tuple[Any, tuple[int, ...]]:
        return _Tangents.apply(*_lead(arguments, in_dims)), (0, 0, 0, 0)


def _lead(arguments: tuple[Any, ...], in_dims: tuple[Any, ...]) -> list[Any]:
    """Make the axis that is mapped over the first batch axis, of size 1 if missing."""
    moved = []
    for value, dim in zip(arguments, in_dims):
        batched = isinstance(value, Tensor) and value.dtype.is_floating_point
        if dim is not None:
            value = value.movedim(dim, 0)
        elif batched:
            value = value[None]
        moved.append(value)
    return moved


def _with_zeros(tangents: tuple[Any, ...], potentials: list[Tensor]) -> list[Tensor]:
    """Directions of forward mode, zero for what does not move."""
    return [
        torch.zeros_like(potential) if tangent is None else tangent
        for tangent, potential in zip(tangents, potentials)
    ]


def _unit_weights(potentials: list[Tensor], lengths: Tensor) -> Tensor:
    emission = potentials[2]
    ones = torch.ones(len(lengths), dtype=emission.dtype, device=emission.device)
    return ones.reshape(*[1] * (emission.dim() - 2), -1)


def _sum_to(
    counts: Iterable[Tensor], potentials: Sequence[Tensor], needed: tuple[bool, ...]
) -> list[Tensor | None]:
    """Gradients of the potentials that need one, summed over broadcast batch axes."""
    return [
        count.sum_to_size(potential.shape) if need else None
        for count, potential, need in zip(counts, potentials, needed)
    ]
