"""Where a chain of Pyro's NUTS is, as plain numbers, from which it goes on.

Pyro keeps a sampler's state in attributes of its own: point and gradient, step size and
its dual averaging, mass matrix and its running covariance.
"""

import os
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from pyro.infer import NUTS

from glmhmm_pyro.inference import journal

# What Pyro counts and remembers between two draws.
_COUNTS = ("_t", "_accept_cnt", "_mean_accept_prob")
_POINT = ("_z_last", "_potential_energy_last", "_z_grads_last")
_MASS = ("_inverse_mass_matrix", "_mass_matrix_sqrt", "_mass_matrix_sqrt_inverse")


class ChainFile:
    """Where one chain notes its state, every few seconds, whole or not at all.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path):
        self.path = path
        self._due = monotonic() + journal.EVERY

    def read(self) -> dict[str, Any] | None:
        """What was noted last, if anything; nothing in a file is executed."""
        if not self.path.exists():
            return None
        known: dict[str, Any] = torch.load(self.path, weights_only=True)
        return known

    def write(self, state: dict[str, Any]) -> None:
        """Note a state."""
        beside = self.path.with_suffix(".tmp")
        torch.save(state, beside)
        os.replace(beside, self.path)

    def note(self, kernel: NUTS, **more: Any) -> None:
        """Note where the sampler is, if it is time."""
        before = monotonic()
        if before >= self._due:
            self.write({**state_of(kernel), **more})
            self._due = monotonic() + journal.pause(before)


def state_of(kernel: NUTS) -> dict[str, Any]:
    """All that further draws follow from, torch's generator included."""
    mass = kernel.mass_matrix_adapter
    return {
        **{name: getattr(kernel, name) for name in (*_COUNTS, *_POINT)},
        "divergences": list(kernel._divergences),
        "step_size": kernel._adapter.step_size,
        "window": kernel._adapter._current_window,
        "averaging": dict(vars(kernel._adapter._step_size_adapt_scheme)),
        "mass": [list(getattr(mass, name).values()) for name in _MASS],
        "covariances": [dict(vars(one)) for one in mass._adapt_scheme.values()],
        "random": torch.get_rng_state(),
    }


def restore(kernel: NUTS, state: dict[str, Any]) -> None:
    """Bring a sampler that has been set up to where another one was."""
    for name in (*_COUNTS, *_POINT):
        setattr(kernel, name, state[name])
    kernel._divergences = list(state["divergences"])
    kernel._adapter.step_size = state["step_size"]
    kernel._adapter._current_window = state["window"]
    vars(kernel._adapter._step_size_adapt_scheme).update(state["averaging"])
    mass = kernel.mass_matrix_adapter
    for name, values in zip(_MASS, state["mass"]):
        held = getattr(mass, name)
        held.update(zip(held, values))
    for one, known in zip(mass._adapt_scheme.values(), state["covariances"]):
        vars(one).update(known)
    torch.set_rng_state(state["random"])
