"""What is left of emissions that were not observed, or of which a part was not."""

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Distribution

from glmhmm_pyro.zeros import exact_log_prob, zeros_allowed


def check_mask(mask: Tensor | None, shape: torch.Size) -> None:
    """Raise a ValueError if a mask does not fit emissions (steps, *event)."""
    allowed = dict.fromkeys([tuple(shape[:1]), tuple(shape)])
    if mask is None or (mask.dtype == torch.bool and tuple(mask.shape) in allowed):
        return
    raise ValueError(
        f"mask must be a boolean tensor of shape {' or '.join(map(str, allowed))}, got "
        f"{mask.dtype} of shape {tuple(mask.shape)}; give one entry for each step"
    )


def steps_observed(mask: Tensor | None) -> Tensor | None:
    """Steps of which something was observed, (steps,); ``None`` if all of them."""
    return mask if mask is None or mask.dim() == 1 else mask.any(-1)


def count_observed(
    mask: Tensor | None, lengths: Tensor, weights: Tensor | None = None
) -> float:
    """Steps of which something was observed.

    Args:
        mask: of the emissions, or ``None``.
        lengths: steps of every session.
        weights: how often every session counts; once by default.
    """
    seen = steps_observed(mask)
    if weights is None:
        return int(lengths.sum()) if seen is None else int(seen.sum())
    steps = weights.repeat_interleave(lengths)
    return float((steps if seen is None else steps[seen]).sum())


def log_prob_of(emission_dist: Distribution, value: Tensor) -> Tensor:
    """Log density, by code that may take logarithms of structural zeros."""
    with zeros_allowed(emission_dist):
        return exact_log_prob(emission_dist, value)


def emission_log_probs(
    emission_dist: Distribution, value: Tensor, mask: Tensor | None
) -> Tensor:
    """log p(y_t | z_t = k), 0 where masked, whatever the value stands at masked steps.

    Args:
        emission_dist: batch shape (*batch, steps, states).
        value: shape (steps, *emission event).
        mask: shape (steps,), or that of ``value``; False where it is not observed.
    """
    if not isinstance(value, Tensor) or value.is_meta:
        raise TypeError(
            "value must be a tensor that holds emissions, got "
            f"{type(value).__name__}; convert it by torch.as_tensor"
        )
    event = emission_dist.event_shape
    shape = emission_dist.batch_shape[-2:-1] + event
    if value.shape[-len(shape) :] != shape:
        raise ValueError(
            f"value must have shape {tuple(shape)}, (steps, ...), got "
            f"{tuple(value.shape)}; give the emissions of all steps"
        )
    axis = -1 - len(event)
    if not value.is_floating_point():
        value = value.double()
    if mask is None:
        return log_prob_of(emission_dist, value.unsqueeze(axis))
    if not mask.any():
        return torch.zeros(
            emission_dist.batch_shape, dtype=value.dtype, device=mask.device
        )
    value = _with_fillers(value, mask)
    if mask.dim() == 1:
        log_probs = log_prob_of(emission_dist, value.unsqueeze(axis))
        return torch.where(mask[:, None], log_probs, log_probs.new_zeros(()))
    return observed_log_prob(emission_dist, value.unsqueeze(axis), mask.unsqueeze(axis))


def observed_log_prob(
    emission_dist: Distribution, value: Tensor, mask: Tensor
) -> Tensor:
    """Log density of those outputs alone that a mask leaves.

    A distribution of several outputs that depend on each other says by a method
    ``log_prob_observed(value, mask)`` what is left of it.

    Args:
        emission_dist: its batch shape broadcasts with those of value and mask.
        value: legal everywhere, also where it was not observed.
        mask: shape of ``value``.
    """
    if hasattr(emission_dist, "log_prob_observed"):
        left: Tensor = emission_dist.log_prob_observed(value, mask)
        return left
    if not emission_dist.event_shape:
        log_probs = log_prob_of(emission_dist, value)
        return torch.where(mask, log_probs, log_probs.new_zeros(()))
    single = getattr(emission_dist, "base_dist", None)
    if single is None or single.event_shape:
        raise ValueError(
            f"mask must have shape (steps,) for {type(emission_dist).__name__}, whose "
            "outputs depend on each other, got one entry for every output; give the "
            "distribution a method log_prob_observed(value, mask)"
        )
    axes = tuple(range(-len(emission_dist.event_shape), 0))
    return observed_log_prob(single, value, mask).sum(axes)


class ObservedPart(TorchDistribution):
    """A distribution of which only what a mask leaves counts.

    Args:
        emission_dist: the distribution.
        mask: that of whole values, or with the shape of a value.
    """

    arg_constraints: dict = {}

    def __init__(self, emission_dist: Distribution, mask: Tensor):
        self.emission_dist, self.mask = emission_dist, mask
        shapes = emission_dist.batch_shape, emission_dist.event_shape
        super().__init__(*shapes, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of what was observed."""
        if self.mask.dim() == value.dim():
            return observed_log_prob(self.emission_dist, value, self.mask)
        log_probs = exact_log_prob(self.emission_dist, value)
        return torch.where(self.mask, log_probs, log_probs.new_zeros(()))


def _with_fillers(value: Tensor, mask: Tensor) -> Tensor:
    """Legal values where none was observed: an illegal one raises, or gives a NaN."""
    filler = value[mask.to(torch.uint8).argmax(0)]
    if mask.dim() == 1:
        observed = mask.reshape(mask.shape + (1,) * (value.dim() - 1))
        return torch.where(observed, value, filler)
    first = filler.diagonal() if filler.dim() > 1 else filler
    return torch.where(mask | ~mask.any(0), value, first)
