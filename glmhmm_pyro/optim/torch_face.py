"""minFunc's L-BFGS as a :class:`torch.optim.Optimizer`."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from glmhmm_pyro.arguments import suggests_names
from glmhmm_pyro.optim.drivers import minimize
from glmhmm_pyro.optim.minimum import MinimizeResult
from glmhmm_pyro.optim.options import LBFGSOptions, resolve_options


@suggests_names
class LBFGS(torch.optim.Optimizer):
    """Minimise a closure over parameters, all taken as one vector, by minFunc's L-BFGS.

    One :meth:`step` is one whole minimisation: from the parameters as they are, up to
    ``max_iters`` iterations, to a stopping rule. It starts with an empty history, so
    steps do not resume one another, and a closure may change between them. The closure
    must be deterministic: no new noise or mini-batch within a step. Parameters in
    single precision round every trial, so that a step may end early, in a failed line
    search, near its optimum; make them float64 where the last digits matter.

    Args:
        params: the parameters, or one dictionary with ``params`` and options.
        options: minFunc's defaults if not given.
        named: fields of :class:`LBFGSOptions`, which override ``options``.

    Attributes:
        result: the :class:`MinimizeResult` of the last step, over one float64 vector;
            None before the first.

    Example:
        >>> weights = torch.zeros(2, requires_grad=True)
        >>> optimizer = LBFGS([weights], max_iters=50)
        >>> def closure():
        ...     optimizer.zero_grad()
        ...     loss = ((weights - 3) ** 2).sum()
        ...     loss.backward()
        ...     return loss
        >>> loss = optimizer.step(closure)
        >>> weights.detach(), optimizer.result.status.name
        (tensor([3., 3.]), 'CONVERGED_GRADIENT')
    """

    def __init__(
        self,
        params: Iterable[Any],
        options: LBFGSOptions | None = None,
        **named: Any,
    ) -> None:
        fields = dataclasses.asdict(resolve_options(options, named))
        try:
            super().__init__(params, fields)
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise TypeError(
                "params must be tensors to be optimised, or one dictionary with them, "
                f"got {params!r:.80}, of which torch says: {error}; give such as "
                "model.parameters()"
            ) from error
        if len(self.param_groups) != 1:
            raise ValueError(
                f"params must be one group, as all parameters are one vector, "
                f"got {len(self.param_groups)} groups; join their lists"
            )
        unknown = sorted(self.param_groups[0].keys() - fields - {"params"})
        if unknown:
            raise TypeError(
                f"params must hold options among {sorted(fields)}, got {unknown[0]!r}; "
                "leave it out"
            )
        self.result: MinimizeResult[Tensor] | None = None

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Minimise the closure and leave its end point in the parameters.

        Args:
            closure: clears the gradients, computes the loss, calls ``backward`` and
                returns the loss.

        Returns:
            The loss at the start, as :class:`torch.optim.LBFGS` does; the end point's
            is in ``result``, with its status.
        """
        if closure is None:
            raise ValueError(
                "closure must be given to step, got None; L-BFGS evaluates it often"
            )
        closure = torch.enable_grad()(closure)
        group = self.param_groups[0]
        parameters: list[Tensor] = group["params"]
        losses: list[Any] = []

        def fun(x: Tensor) -> tuple[Any, Tensor]:
            _assign_parts(parameters, x)
            loss = closure()
            losses[1:] = [loss]
            if all(p.grad is None for p in parameters):
                raise ValueError(
                    "closure must leave gradients in the parameters, got none of any; "
                    "call loss.backward() before it returns the loss"
                )
            return loss, _gather([_gradient(p) for p in parameters])

        fields = LBFGSOptions.__dataclass_fields__
        options = LBFGSOptions(**{name: group[name] for name in fields})
        x0 = _gather([p.detach() for p in parameters])
        try:
            self.result = minimize(fun, x0, options)
        except BaseException:
            _assign_parts(parameters, x0)
            raise
        _assign_parts(parameters, self.result.x)
        return losses[0]


def _gather(tensors: list[Tensor]) -> Tensor:
    """Tensors end to end as one float64 vector on the first one's device."""
    device = tensors[0].device
    flat = [tensor.reshape(-1).to(device, torch.float64) for tensor in tensors]
    return torch.cat(flat)


def _gradient(parameter: Tensor) -> Tensor:
    """The gradient that ``backward`` left, zero where the loss did not depend on it."""
    if parameter.grad is None:
        return torch.zeros_like(parameter)
    return parameter.grad.to_dense() if parameter.grad.is_sparse else parameter.grad


def _assign_parts(parameters: list[Tensor], x: Tensor) -> None:
    """Write the parts of a vector into the parameters."""
    parts = x.split([parameter.numel() for parameter in parameters])
    for parameter, part in zip(parameters, parts):
        parameter.copy_(part.view_as(parameter))
