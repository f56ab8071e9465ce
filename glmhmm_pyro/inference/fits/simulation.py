"""New behaviour from a fit, open loop or with the animal's own past fed back."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.arguments import flag, seed_number, whole_number
from glmhmm_pyro.distributions import typed_by_support
from glmhmm_pyro.inference.coordinates import Params
from glmhmm_pyro.inference.fits.closed_loop import Drawn, closed_loop
from glmhmm_pyro.inference.program import Program
from glmhmm_pyro.inference.search import seeded
from glmhmm_pyro.sequences import Sequences


def simulated(
    fit: Any,
    data: Any,
    seed: int,
    history: Any,
    num_samples: int | None,
    draws: bool,
) -> tuple[Sequences, np.ndarray]:
    """What :meth:`Fit.simulate` returns."""
    _check(fit, data, history, num_samples, draws)
    seed = seed_number(seed)
    histories = history if isinstance(history, (list, tuple)) else [history]
    parts = []
    with seeded(seed), torch.no_grad():
        for params, number in _parameters(fit, int(num_samples or 1), draws):
            if history is not None:
                drawn = closed_loop(fit.model, params, data, histories, number)
            else:
                hidden = replace(fit, params=params).distribution(data)
                emissions, states = hidden.sample_with_states((number,))
                emissions = typed_by_support(emissions, hidden.emission_dist)
                drawn = Drawn(emissions, states, {})
            parts.append(drawn)
    designs = {
        name: torch.cat([part.designs[name] for part in parts]).flatten(0, 1)
        for name in parts[0].designs
    }
    emissions = torch.cat([part.emissions for part in parts]).flatten(0, 1)
    states = torch.cat([part.states for part in parts]).flatten()
    return _as_sequences(data, emissions, designs), states.cpu().numpy()


def _check(fit: Any, data: Any, history: Any, num_samples: Any, draws: bool) -> None:
    if not isinstance(data, Sequences):
        raise TypeError(
            f"data must be a Sequences to be simulated, got {type(data).__name__}; "
            "take fit.distribution(data, site).sample_with_states()"
        )
    if num_samples is not None:
        whole_number("num_samples", num_samples, 1)
    flag("draws", draws)
    if draws and fit.posterior is None:
        raise ValueError(
            f"draws must be False for a fit without draws, got one by {fit.method}; "
            'fit by method="laplace", "svi" or "nuts", or leave draws out'
        )
    if history is not None and not Program.kind_of(fit.model).components_of(fit.model):
        raise ValueError(
            "history must come with a GLMHMM, whose components can be stepped, got "
            f"{type(fit.model).__name__}; simulate without it"
        )


def _parameters(fit: Any, number: int, draws: bool) -> Iterator[tuple[Params, int]]:
    """Parameters, and how many samples are drawn at each; draws are evenly spaced."""
    if not draws:
        yield fit.params, number
        return
    flat = fit.posterior.flattened()
    size = len(next(iter(flat.values())))
    chosen, counts = np.unique(np.arange(number) * size // number, return_counts=True)
    for draw, count in zip(chosen, counts):
        yield {name: value[draw] for name, value in flat.items()}, int(count)


def _as_sequences(
    data: Sequences, emissions: Tensor, designs: Mapping[str, Tensor]
) -> Sequences:
    """The sessions of all samples, sample after sample."""
    copies = len(emissions) // data.num_steps
    whole = data
    if copies > 1:
        whole = data.subset(list(range(data.num_sessions)) * copies)
    changes: dict[str, Any] = {"emissions": emissions, "mask": None}
    for name, values in designs.items():
        changes[name] = values
        changes[f"{name[:-1]}_names"] = getattr(data, f"{name[:-1]}_names")
    return whole.replace(**changes)
