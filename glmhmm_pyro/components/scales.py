r"""Which parameters of a family are scales, found by asking its density.

A family of a user's own declares positive parameters, not what they mean. One is a
scale if emissions, weights and it may be measured in another unit together,

.. math:: p(2 y \mid 2 w, 2 s) = p(y \mid w, s) / 2

or, for positive emissions, if their logarithms may.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import biject_to, constraints

from glmhmm_pyro.broadcasting import unconstrained_shape
from glmhmm_pyro.components.least_squares import columns_of, observed_deviations
from glmhmm_pyro.components.limits import Bounds
from glmhmm_pyro.components.site import Site
from glmhmm_pyro.masking import emission_log_probs
from glmhmm_pyro.priors.filling import Prior
from glmhmm_pyro.ranks import Ranks
from glmhmm_pyro.sequences import Sequences

if TYPE_CHECKING:
    from glmhmm_pyro.components.emissions import Emission

# Numbers at which the density is asked.
_ASKED = (0.7, -1.3, 2.1, 0.4)


def scale_bounds(family: "Emission", data: Sequences) -> dict[str, Bounds]:
    """Floors of those positive parameters of a family that are scales, by attribute.

    Args:
        family: an ``Emission`` bound to the data.
        data: the data set, as the family views it.
    """
    positive = type(constraints.positive)
    names = [
        name
        for name, site in family.sites.items()
        if isinstance(site.support, positive) and bool(site.support.lower_bound == 0)
    ]
    found: dict[str, Bounds] = {}
    values, mask, ranks = columns_of(data)
    for name in names:
        if _is_scale(family, name, data, is_log=False):
            found[name] = _floor(family, name, values, mask, ranks)
        elif _is_scale(family, name, data, is_log=True):
            seen = values > 0 if mask is None else mask & (values > 0)
            logarithms = torch.where(seen, values, 1.0).log()
            found[name] = _floor(family, name, logarithms, seen, ranks)
    return found


def check_varies(family: "Emission", data: Sequences) -> None:
    """Raise a ValueError for outputs that are constant, for which no scale exists."""
    values, mask, ranks = columns_of(data)
    names = [n for n in family.bounds if n != "correlation"]
    flat = [n for n in names if _is_flat(family.sites[n].prior)]
    constant = observed_deviations(values, mask, ranks, constant=0.0) == 0
    for column in constant.nonzero().flatten():
        seen = values[:, column] if mask is None else values[mask[:, column], column]
        if len(seen) == 0 or (len(seen) == 1 and not flat):
            continue
        fix = "leave the output out, for it tells nothing of the states"
        where = f"all {len(seen)} steps"
        if len(seen) == 1:
            where = "the one step"
            prior = "Gamma(2, 0.1)" if "concentration" in flat else "InverseGamma(2, 1)"
            fix += f", or give its {flat[0]} a prior, such as {prior}"
        output = data.emission_names[column]
        raise ValueError(
            f"emissions must vary for {type(family).__name__}(), or its {names[0]} "
            f"runs off; got {seen[0]:.6g} at {where} where output {output!r} was "
            f"observed; {fix}"
        )


def _is_flat(prior: Prior) -> bool:
    return prior is None or not getattr(prior, "is_proper", True)


def _floor(
    family: "Emission", name: str, values: Tensor, mask: Tensor | None, ranks: Ranks
) -> Bounds:
    """Floor of a scale: one for every output, where it has an axis of outputs."""
    spreads = observed_deviations(values, mask, ranks, constant=0.0)
    axes = family.sites[name].axes
    by_output = len(spreads) > 1 and axes[-1:] not in ((), ("state",))
    if not by_output or family.shape(name)[-1:] != spreads.shape:
        spreads = spreads.amin()
    return Bounds.of_scale(spreads)


def _is_scale(family: "Emission", name: str, data: Sequences, is_log: bool) -> bool:
    """Whether doubling emissions (or their logarithms) doubles this parameter."""
    event = data.emissions.shape[1:]
    asked = torch.tensor(_ASKED, dtype=torch.float64)
    y = asked.reshape((-1,) + (1,) * len(event)).expand((-1,) + event)
    y = y * torch.arange(1.0, 1.0 + max(event.numel(), 1)).to(y).reshape(event)
    features = family.operator(data).shape[-1]
    design = torch.arange(len(y) * features).to(y).cos().reshape(len(y), features)
    params = {n: _interior_value(family, n) for n in family.sites}
    doubled = {
        n: 2 * value if n == name or _is_real(family.sites[n]) else value
        for n, value in params.items()
    }
    volume = math.log(2) * torch.ones_like(y)
    once, twice = y, 2 * y
    if is_log:
        once, twice, volume = y.exp(), (2 * y).exp(), volume + y
    volume = volume.reshape(len(y), -1).sum(1)
    try:
        before = _log_prob_table(family, design, params, once)
        after = _log_prob_table(family, design, doubled, twice)
    except (ValueError, RuntimeError, TypeError, NotImplementedError):
        return False
    if before is None or after is None:
        return False
    return torch.allclose(after + volume[:, None], before, rtol=1e-9, atol=1e-9)


def _log_prob_table(
    family: "Emission", design: Tensor, params: Mapping[str, Tensor], y: Tensor
) -> Tensor | None:
    """Table of a family at these parameters; ``None`` of emissions that are counts."""
    prefix = f"{family._pyro_name}." if family._pyro_name else ""
    named = {prefix + name: value for name, value in params.items()}
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        table = poutine.condition(family.table, data=named)(design)
        if table.support.is_discrete:
            return None
        return emission_log_probs(table, y, None)


def _interior_value(family: "Emission", name: str) -> Tensor:
    """A value inside the parameter's support, all entries different."""
    transform = biject_to(family.sites[name].support)
    shape = unconstrained_shape(transform, family.shape(name))
    free = torch.arange(shape.numel(), dtype=torch.float64).add(1.0).sin() / 2
    return transform(free.reshape(shape))


def _is_real(site: Site) -> bool:
    """Whether a parameter may be any number, as weights may."""
    return isinstance(site.support, type(constraints.real))
