"""Families of one output, or of several of one kind, independent given the state.

A family says what is so of one output: where to start, what its M-step maximises, which
parameters it has without covariates. Here that is said of all of them, side by side.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from glmhmm_pyro.arguments import whole_number
from glmhmm_pyro.components.emission_checks import check_outputs, refuse_labels
from glmhmm_pyro.components.emissions import GLMEmission
from glmhmm_pyro.components.marginal_laws import Marginal
from glmhmm_pyro.components.objectives import BlockObjective
from glmhmm_pyro.components.regressions import SideBySide
from glmhmm_pyro.components.step_laws import EmissionLaw, LabelLaw, LabelsLaw
from glmhmm_pyro.designs import DesignMatrix
from glmhmm_pyro.distributions import LabelsApart
from glmhmm_pyro.priors.filling import Prior
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.changes import Selection


class OutputsAlike(GLMEmission):
    """A family of a number or a label, or of several that are independent.

    Every parameter has an axis ``"output"`` after that of the states, where there are
    several.

    Args:
        axes: those of the predictor of one output, as (name, size).
        num_outputs: number of outputs, at least 2; ``None`` for emissions (steps,).
        prior: distribution that broadcasts to the weights, or ``None`` for flat.
        covariates: names of the covariates that the family reads; all by default.

    Attributes:
        output_names: names of the outputs, bound by the first data set.
    """

    def __init__(
        self,
        *axes: tuple[str, int],
        num_outputs: int | None = None,
        prior: Prior = None,
        covariates: Sequence[str] | None = None,
    ):
        if num_outputs is not None:
            alone = "leave it out, None, for emissions (steps,)"
            num_outputs = whole_number("num_outputs", num_outputs, 2, alone)
        outputs = () if num_outputs is None else (("output", num_outputs),)
        super().__init__(*outputs, *axes, prior=prior, covariates=covariates)
        self.num_outputs, self.output_axes = num_outputs, outputs
        self.output_names: tuple[str, ...] | None = None

    def bind(self, data: Sequences) -> None:
        """Record or check the covariates; check the emissions."""
        super().bind(data)
        check_outputs(data, self.num_outputs, type(self).__name__)
        self.check(data)
        self.output_names = data.emission_names

    def check(self, data: Sequences) -> None:
        """Raise a ValueError for emissions that the family cannot speak of."""
        refuse_labels(data, f"{type(self).__name__}()")

    def names_along(self, axis: str) -> tuple[str, ...] | None:
        """Names of the outputs, where they have been given any."""
        names = self.output_names
        if axis != "output" or names is None or names == numbered(len(names)):
            return super().names_along(axis)
        return names

    def independent(self, single: TorchDistribution) -> TorchDistribution:
        """The law of all outputs, from that of each, batch shape (..., outputs)."""
        if self.num_outputs is None:
            return single
        if not single.has_enumerate_support:
            return single.to_event(1)
        return LabelsApart(single, self.output_names or numbered(self.num_outputs))

    def law_of_labels(self, log_probs: np.ndarray) -> EmissionLaw:
        """The law of a step, from log-probabilities (sets, 1, states, ..., classes)."""
        if self.num_outputs is None:
            return LabelLaw(log_probs)
        return LabelsLaw(log_probs, self.output_names or numbered(self.num_outputs))

    def side_by_side(self, values: Sequence[Tensor]) -> Tensor:
        """A parameter of all outputs, from that of each; states are its first axis."""
        return values[0] if self.num_outputs is None else torch.stack([*values], 1)

    def by_output(self, values: Tensor, inner: int = 0) -> Tensor:
        """Numbers (outputs,) beside a parameter with so many axes after the outputs."""
        own = values.squeeze(0) if self.num_outputs is None else values
        return own.reshape(own.shape + (1,) * inner)

    def start_of(self, data: Sequences) -> dict[str, Tensor]:
        """Where optimisers set out in a single output, alike in all states (1, ...)."""
        return {}

    def start(self, data: Sequences) -> dict[str, Tensor]:
        """Where they set out in all outputs."""
        found = [self.start_of(one) for one in single_outputs(data)]
        return {
            name: self.side_by_side([one[name] for one in found]).expand(
                self.shape(name)
            )
            for name in found[0]
        }

    def marginal_of(self, data: Sequences) -> Marginal | None:
        """What :meth:`marginal` says of a single output."""
        return None

    def marginal(self, data: Sequences) -> Marginal | None:
        """Parameters of one state at a constant column, if there is a formula."""
        known = [self.marginal_of(one) for one in single_outputs(data)]
        found = [one for one in known if one is not None]
        if len(found) < len(known):
            return None
        params = {
            name: self.side_by_side([values[name] for values, _ in found])
            for name in found[0][0]
        }
        said = [
            note if self.num_outputs is None else f"{name}: {note}"
            for name, (_, note) in zip(data.emission_names, found)
            if note
        ]
        return params, "; ".join(said)

    def objective_of(self, data: Sequences, design: DesignMatrix) -> Any:
        """The M-step's objective of a single output, if there is a fast one."""
        return None

    def block_objective(self, data: Sequences) -> BlockObjective | None:
        """All states' regressions evaluated together, one output after the other."""
        design = self.operator(data)
        parts = [(self.objective_of(d, design), d.mask) for d in single_outputs(data)]
        if self.num_outputs is None or parts[0][0] is None:
            return parts[0][0]
        return SideBySide(parts, others=len(self.sites) - 1)


def numbered(num_outputs: int) -> tuple[str, ...]:
    """Names of outputs that nobody named."""
    return tuple(f"y{number}" for number in range(num_outputs))


def single_outputs(data: Sequences) -> list[Sequences]:
    """The data with one output at a time."""
    names = data.emission_names
    return (
        [data] if len(names) == 1 else [Selection((n,), None).of(data) for n in names]
    )
