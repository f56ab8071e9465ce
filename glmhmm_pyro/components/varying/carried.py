"""Weights that vary at other data than those fitted, by the law that links units."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from glmhmm_pyro.components.base import Component
from glmhmm_pyro.components.varying.unit_laws import WEIGHTS
from glmhmm_pyro.components.varying.units import Units
from glmhmm_pyro.priors.markov import GaussianMarkov
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.members import Members
from glmhmm_pyro.sequences.sessions import rows_of_sessions, sessions_of


class CarriesWeights(Component):
    """What a component whose weights vary says of units that were not fitted.

    Attributes:
        units: those of the data at hand.
        unit_axes: of the weights of one unit.
        fitted_lengths: numbers of steps of the sessions fitted.
    """

    link: Any
    over: str
    units: Units
    unit_axes: tuple[str, ...]
    fitted_lengths: tuple[int, ...] | None

    def _law_at(self, values: Mapping[str, Tensor]) -> Any:
        """The law of all units at values of its parameters, by the ends of names."""
        raise NotImplementedError

    def carry(
        self, data: Sequences, fitted: Members, params: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Weights at other data than those fitted, which are drawn where they are new.

        Units that were fitted keep their weights. New sessions come after all those
        fitted of their group, from whose last one a walk goes on; a new group begins
        anew.

        Args:
            data: bound to this component.
            fitted: the sessions fitted.
            params: values of all sites at the data fitted, by attribute.
        """
        if self.link is None:
            return {}
        names = [f"{WEIGHTS}_{end}" for end in ("mean", *self.link.scales)]
        values = {
            name.removeprefix(f"{WEIGHTS}_"): params[name]
            for name in names
            if name in params
        }
        law = self._law_at(values)
        found, old = law.rsample().detach(), params[WEIGHTS]
        steps, ends = law.steps(found), self._ends(fitted, old)
        for session, known in enumerate(self._known(data, fitted)):
            rows = self.units.rows(session)
            here = slice(rows.start, rows.stop)
            group = data.groups[session] if data.groups else None
            if known is not None and len(known) == len(rows):
                found[here] = old[known.start : known.stop]
            elif law.walks:
                own = steps[here]
                if group in ends:
                    if not law.follows[rows.start]:
                        own[0] = self._border_step(law, values)
                    found[here] = ends[group] + own.cumsum(0)
                ends[group] = found[rows.stop - 1]
        return {WEIGHTS: found}

    def _border_step(self, law: GaussianMarkov, values: Mapping[str, Tensor]) -> Tensor:
        """A step from the last unit fitted to the first of a new session."""
        scales = self.link.scales
        end = "border_scale" if "border_scale" in scales else "step_scale"
        scale = scales[end].at(values.get(end), self.unit_axes).expand(law.unit)
        return scale * torch.randn(law.unit, dtype=scale.dtype)

    def _known(self, data: Sequences, fitted: Members) -> list[range | None]:
        """The units fitted that each session of the data is, if it is one of them."""
        if self.over == "group":
            names = {n: range(i, i + 1) for i, n in enumerate(fitted.names("group"))}
            return [names.get(group) for group in data.groups or ()]
        places, _ = rows_of_sessions(fitted.sessions, sessions_of(data))
        ends = self._last_units(len(fitted.sessions))
        first = [0, *(end + 1 for end in ends)]
        return [None if p is None else range(first[p], ends[p] + 1) for p in places]

    def _last_units(self, number: int) -> list[int]:
        """The last unit of every session fitted."""
        lengths = self.fitted_lengths if self.over == "step" else [1] * number
        return [int(end) - 1 for end in torch.tensor(lengths).cumsum(0)]

    def _ends(self, fitted: Members, old: Tensor) -> dict[Any, Tensor]:
        """Weights of the last unit fitted of every group."""
        if self.over == "group":
            return {}
        ends = self._last_units(len(fitted.sessions))
        return {o.group: old[end] for (_, o), end in zip(fitted.sessions, ends)}
