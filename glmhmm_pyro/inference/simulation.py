"""New behaviour from a fit."""

from typing import Any

import numpy as np
import torch

from glmhmm_pyro.inference.search import seeded
from glmhmm_pyro.sequences import Sequences


def simulated(fit: Any, data: Any, seed: int) -> tuple[Sequences, np.ndarray]:
    """What :meth:`Fit.simulate` returns."""
    if not isinstance(data, Sequences):
        raise TypeError(
            f"data must be a Sequences to be simulated, got {type(data).__name__}; "
            "take fit.distribution(data, site).sample_with_states()"
        )
    with seeded(seed), torch.no_grad():
        emissions, states = fit.distribution(data).sample_with_states()
    if data.is_integer:
        emissions = emissions.to(data.emissions.dtype)
    return data.replace(emissions=emissions, mask=None), states.cpu().numpy()
