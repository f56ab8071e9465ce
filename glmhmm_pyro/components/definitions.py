"""Whether the chain reads of a component what the component is defined to be.

The definition is ``forward``, which simulation and enumeration read. The chain reads
all steps at once, in ``table`` of emissions and in ``logits`` of transitions. A class
derived from one of the package's that writes one of them anew may leave the other as it
was, and would then be two models.
"""

import torch
from pyro.nn import pyro_method
from torch import Tensor

from glmhmm_pyro.components.base import Component
from glmhmm_pyro.components.emissions import Emission, GLMEmission
from glmhmm_pyro.components.transitions import Transitions
from glmhmm_pyro.distributions.log_probs import normalised
from glmhmm_pyro.masking import emission_log_probs, steps_observed
from glmhmm_pyro.sequences import Sequences

# Two ways to one log-probability may differ by its size times the precision to this
# power; the number of emissions that are compared.
_ROUNDING, _COMPARED = 0.4, 20

_HERE = __name__.partition(".")[0]


def check_definition(component: Component, data: Sequences) -> None:
    """Raise a ValueError if a class of the user's own says two things of its law.

    Args:
        component: bound to the data.
        data: what it reads of the data set.
    """
    read = "table" if isinstance(component, Emission) else "logits"
    name = type(component).__name__
    if not _is_ours(_home(component, "log_probs")):
        raise ValueError(
            f"{name} must say by {read} what the chain reads, got a method log_probs "
            f"of its own, which it does not read; move what it does to {name}.{read}"
        )
    if not _is_written_twice(component, read):
        return
    error = _difference(component, data)
    if error:
        fix = "write both alike"
        if isinstance(component, GLMEmission):
            fix += ", or distribution(predictor) alone, from which both follow"
        raise ValueError(
            f"{name}.{read} must have the law of {name}.forward, which is the "
            f"definition, got log-probabilities that differ by up to {error:.3g} nats; "
            f"{fix}"
        )


def _is_written_twice(component: Component, read: str) -> bool:
    """Whether neither method calls the other, and one of them is the user's own."""
    if not isinstance(component, Emission | Transitions):
        return False
    homes = _home(component, "forward"), _home(component, read)
    return not all(map(_is_ours, homes)) and not {Emission, Transitions} & {*homes}


def _home(component: Component, method: str) -> type:
    """The class that a component has a method from."""
    return next(kind for kind in type(component).__mro__ if method in vars(kind))


def _is_ours(kind: type) -> bool:
    """Whether a class is the package's."""
    return kind.__module__.partition(".")[0] == _HERE


def _difference(component: Component, data: Sequences) -> float:
    """Largest difference in nats at a draw of the priors, 0 if it is rounding."""
    compared = _emissions if isinstance(component, Emission) else _moves
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        read, defined = pyro_method(compared)(component, data)
    # Where both are infinite they agree.
    error = (read - defined).abs().nan_to_num(0.0)
    rounding = (1 + defined.abs()) * torch.finfo(read.dtype).eps ** _ROUNDING
    return float(torch.where(error > rounding, error, 0.0).max())


def _emissions(component: Emission, data: Sequences) -> tuple[Tensor, Tensor]:
    """Log-probabilities of some emissions, as read and as defined."""
    seen = steps_observed(data.mask)
    steps = torch.arange(data.num_steps) if seen is None else seen.nonzero().flatten()
    rows = steps[:_COMPARED].to(data.device)
    inputs, values = component.inputs(data)[rows], data.emissions[rows]
    mask = None if data.mask is None else data.mask[rows]
    tables = component.table(inputs), Emission.table(component, inputs)
    read, defined = (emission_log_probs(table, values, mask) for table in tables)
    return read, defined


def _moves(component: Transitions, data: Sequences) -> tuple[Tensor, Tensor]:
    """Log-probabilities of all moves, as read and as defined."""
    logits = component.logits(data), Transitions.logits(component, data)
    return normalised(logits[0]), normalised(logits[1])
