"""Whether scores of models can be compared: probabilities, or densities, all of them.

A density has a unit, one over that of the emissions, and a probability has none: their
difference is that of a change of units, and says nothing of the models.
"""

import copy
from collections.abc import Mapping
from typing import Any

import torch

from glmhmm_pyro.inference.program.program import Model, Program
from glmhmm_pyro.sequences import Sequences


def check_comparable(models: Mapping[str, Any], data: Sequences) -> None:
    """Raise a ValueError if some models give densities where others do not.

    Args:
        models: by name.
        data: that all of them can be fitted to.
    """
    measures = {name: _measures(model, data) for name, model in models.items()}
    (first, own), *others = measures.items()
    for name, other in others:
        if other != own:
            raise ValueError(
                "models must all give emissions probabilities, or all densities, for "
                f"their scores to be compared, got {_said(own)} by {first!r} and "
                f"{_said(other)} by {name!r}; compare families of counts or labels "
                "with each other, and those of real numbers, or look at how well each "
                "predicts: gh.analysis.predictive_check"
            )


def _measures(model: Model, data: Sequences) -> tuple[bool, ...]:
    """Whether outputs have probabilities, in their order by name."""
    program = Program.of(copy.deepcopy(model), data)
    # Supports alone are read of the distribution.
    start = torch.zeros(program.coordinates.size, dtype=torch.float64)
    with torch.no_grad():
        sites = program.observed(program.coordinates.unpack(start))
        return tuple(
            output.is_discrete
            for _, (hidden, value) in sorted(sites.items())
            for _, output in sorted(hidden.outputs(value).items())
        )


def _said(measures: tuple[bool, ...]) -> str:
    """What outputs are given, in words."""
    if len(set(measures)) == 1:
        return "probabilities" if measures[0] else "densities"
    words = (
        "a probability" if is_discrete else "a density" for is_discrete in measures
    )
    return f"({', '.join(words)})"
