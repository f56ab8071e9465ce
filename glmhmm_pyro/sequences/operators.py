"""The designs of a data set as what is multiplied with, each made once."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from torch import Tensor

from glmhmm_pyro.designs import DesignMatrix, design_of

from .construction import names_of

if TYPE_CHECKING:
    from .data import Sequences


def operator_of(data: "Sequences", design: str) -> DesignMatrix:
    """A design of a data set; transitions share that of the emissions if they can."""
    names = getattr(data, names_of(design))
    if design == "transition_covariates" and names == data.covariate_names:
        if data.transition_covariates is data.covariates:
            return operator_of(data, "covariates")
    made: dict[str, DesignMatrix] = data.__dict__.setdefault("_operators", {})
    if design not in made:
        made[design] = design_of(getattr(data, design), names)
    return made[design]


def operators_at(
    data: "Sequences", steps: Tensor, sessions: Tensor
) -> dict[str, DesignMatrix]:
    """Those made already, at some steps or, of first states, at some sessions."""
    made: dict[str, DesignMatrix] = data.__dict__.get("_operators", {})
    return {
        name: design.at(sessions if name == "initial_covariates" else steps)
        for name, design in made.items()
    }


def kept_operators(
    data: "Sequences", changed: Collection[str]
) -> dict[str, DesignMatrix]:
    """Those made already of designs that have not changed."""
    made: dict[str, DesignMatrix] = data.__dict__.get("_operators", {})
    fields = {name: {name, names_of(name)} for name in made}
    return {n: made[n] for n in made if fields[n].isdisjoint(changed)}
