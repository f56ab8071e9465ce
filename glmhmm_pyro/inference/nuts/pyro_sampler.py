"""Pyro's No-U-Turn sampler, for densities that torch differentiates."""

from collections.abc import Callable
from typing import Any

import torch
from pyro.infer import NUTS
from torch import Tensor

from glmhmm_pyro.inference.nuts.potential import Potential
from glmhmm_pyro.inference.nuts.sampler import Draw, Settings

# What Pyro counts and remembers between two draws, in attributes of its own.
_COUNTS = ("_t", "_accept_cnt", "_mean_accept_prob")
_POINT = ("_z_last", "_potential_energy_last", "_z_grads_last")
_MASS = ("_inverse_mass_matrix", "_mass_matrix_sqrt", "_mass_matrix_sqrt_inverse")


class PyroSampler:
    """Draws of a chain.

    Args:
        settings: of all chains.
        potential: what is sampled, a function of the site ``z``.
        start: where the chain begins, shape (size,).

    Randomness is that of torch's generator.
    """

    def __init__(self, settings: Settings, potential: Potential, start: Tensor):
        self.settings, self.potential = settings, potential
        self.kernel = NUTS(
            potential_fn=potential,
            full_mass=settings.dense_mass,
            target_accept_prob=settings.target_accept,
            max_tree_depth=settings.max_tree_depth,
        )
        self.kernel.initial_params = {"z": start.clone()}
        self.kernel.setup(settings.num_warmup)
        self._kinetic: list[float] = []
        self._note_kinetic_energies(self.kernel._kinetic_energy)

    @property
    def iteration(self) -> int:
        """Number of draws so far."""
        found: int = self.kernel._t
        return found

    def draw(self) -> Draw:
        """The next draw."""
        kernel, before = self.kernel, self.potential.num_calls
        done, mean = self.iteration - self.settings.num_warmup, 0.0
        began = float(kernel._fetch_from_cache()[1])
        if done > 0:
            mean = kernel._mean_accept_prob
        self._kinetic.clear()
        vector = kernel.sample(kernel._fetch_from_cache()[0])["z"]
        # Pyro tells the mean acceptance of all draws: the last one's share.
        accepted = kernel._mean_accept_prob * (done + 1) - mean * done
        potential = float(kernel._fetch_from_cache()[1])
        stats = (
            potential,
            # That of the fresh momentum: Pyro does not keep that of the draw.
            began + self._kinetic[0],
            accepted,
            float(kernel.step_size),
            self.potential.num_calls - before,
            kernel._divergences[-1:] == [done],
        )
        return Draw(vector, stats)

    def _note_kinetic_energies(self, kinetic_energy: Callable[..., Tensor]) -> None:
        def noted(*momenta: Any) -> Tensor:
            found = kinetic_energy(*momenta)
            self._kinetic.append(float(found))
            return found

        self.kernel._kinetic_energy = noted

    def state(self) -> dict[str, Any]:
        """All that further draws follow from, torch's generator included."""
        kernel, mass = self.kernel, self.kernel.mass_matrix_adapter
        return {
            **{name: getattr(kernel, name) for name in (*_COUNTS, *_POINT)},
            "iteration": self.iteration,
            "divergences": list(kernel._divergences),
            "step_size": kernel._adapter.step_size,
            "window": kernel._adapter._current_window,
            "averaging": dict(vars(kernel._adapter._step_size_adapt_scheme)),
            "mass": [list(getattr(mass, name).values()) for name in _MASS],
            "covariances": [dict(vars(one)) for one in mass._adapt_scheme.values()],
            "random": torch.get_rng_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Bring this sampler to where another one was."""
        kernel, mass = self.kernel, self.kernel.mass_matrix_adapter
        for name in (*_COUNTS, *_POINT):
            setattr(kernel, name, state[name])
        kernel._divergences = list(state["divergences"])
        kernel._adapter.step_size = state["step_size"]
        kernel._adapter._current_window = state["window"]
        vars(kernel._adapter._step_size_adapt_scheme).update(state["averaging"])
        for name, values in zip(_MASS, state["mass"]):
            held = getattr(mass, name)
            held.update(zip(held, values))
        for one, known in zip(mass._adapt_scheme.values(), state["covariances"]):
            vars(one).update(known)
        torch.set_rng_state(state["random"])
