"""Data sets of sessions, or of groups of them, drawn with replacement."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.components.varying.units import OVER, Units
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.sessions import distinct_names


@dataclass(frozen=True)
class DrawnSessions:
    """Sessions drawn from a data set.

    Attributes:
        data: the sessions drawn, copies of one under names of their own.
        source: the data set they are drawn from; ``None`` where all of its sessions
            stand in their places.
        chosen: for every session of ``data``, its number in ``source``.
    """

    data: Sequences
    source: Sequences | None = None
    chosen: tuple[int, ...] = ()

    def params_of(self, model: Callable[..., Any], params: Params) -> Params:
        """Values of all sites, latents over units being those of the units drawn.

        Args:
            model: that the values belong to.
            params: values fitted to ``source``.
        """
        found = dict(params)
        components = Program.kind_of(model).components_of(model)
        for prefix, component in components.items():
            for attribute, site in component.sites.items():
                name = f"{prefix}.{attribute}"
                if site.latent and site.axes and site.axes[0] in OVER:
                    found[name] = params[name][self._units(site.axes[0])]
        return found

    def _units(self, over: str) -> Tensor:
        """For every unit of ``data``, its number in ``source``."""
        if self.source is None:
            return torch.arange(len(Units.of(self.data, over)))
        old, new = Units.of(self.source, over), Units.of(self.data, over)
        found = torch.empty(len(new), dtype=torch.long)
        for session, drawn in enumerate(self.chosen):
            rows, known = new.rows(session), old.rows(drawn)
            found[rows.start : rows.stop] = torch.arange(known.start, known.stop)
        return found


def draw_sessions(data: Sequences, rng: np.random.Generator) -> DrawnSessions:
    """As many sessions as there are.

    Args:
        data: what they are drawn from.
        rng: source of randomness.
    """
    chosen = rng.integers(data.num_sessions, size=data.num_sessions)
    return _taken(data, chosen)


def draw_groups(data: Sequences, rng: np.random.Generator) -> DrawnSessions:
    """As many groups as there are, each with its sessions in their order.

    Args:
        data: what they are drawn from; it has groups.
        rng: source of randomness.
    """
    names = data.group_names
    drawn = rng.integers(len(names), size=len(names))
    members = [np.flatnonzero(np.array(data.groups) == name) for name in names]
    found = _taken(data, np.concatenate([members[i] for i in drawn]))
    # A group drawn twice is two groups.
    copies = distinct_names([names[i] for i in drawn])
    groups = [name for name, i in zip(copies, drawn) for _ in members[i]]
    return replace(found, data=found.data.replace(groups=groups))


def _taken(data: Sequences, chosen: np.ndarray) -> DrawnSessions:
    numbers = chosen.tolist()
    return DrawnSessions(data.subset(numbers), data, tuple(numbers))
