"""A model at many values of its parameters, as many together as memory allows."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Data, Observed, Program

Item = TypeVar("Item")


def num_together(model: Callable[[Data], Any], data: Data, most: int) -> int:
    """Number of parameter sets to evaluate together; 1 if the model is unbatched.

    Args:
        model: any model; parameter sets are a capability that components declare.
        data: the data set.
        most: how many there are.
    """
    return min(most, Program.kind_of(model).most_sets(model, data))


def chunks_of(program: Program, items: Sequence[Item]) -> list[Sequence[Item]]:
    """Items with a parameter set each, in chunks that are evaluated together."""
    width = num_together(program.model, program.data, len(items) or 1)
    return [items[first : first + width] for first in range(0, len(items), width)]


def sites_at_draws(
    model: Callable[[Data], Any], data: Data, draws: Params
) -> Iterator[dict[str, Observed]]:
    """Every ``HiddenMarkov`` site, batch by batch of draws.

    Args:
        model: as a fit holds it.
        data: as the model takes it.
        draws: values (draws, *shape) by site.

    Yields:
        Sites with a batch shape of (draws,), or () where one draw comes alone.
    """
    number = len(next(iter(draws.values())))
    width = num_together(model, data, number)
    for first in range(0, number, width):
        chosen = slice(first, first + width) if width > 1 else first
        some = {name: value[chosen] for name, value in draws.items()}
        with torch.no_grad():
            yield Program.kind_of(model).observed_sites(model, data, some)


def at_draws(
    model: Callable[[Data], Any],
    data: Data,
    draws: Params,
    function: Callable[[Observed], Tensor],
) -> Tensor:
    """A function of every site at every draw, concatenated, (draws, values).

    Args:
        model: as a fit holds it.
        data: as the model takes it.
        draws: values (draws, *shape) by site.
        function: from a site to a tensor (*batch, values).
    """
    found = []
    for sites in sites_at_draws(model, data, draws):
        with torch.no_grad():
            values = torch.cat([function(site) for site in sites.values()], -1)
        found.append(values.reshape(-1, values.shape[-1]))
    return torch.cat(found)
