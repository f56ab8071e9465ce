"""Data in which a column is what it was not, and probabilities of a component there."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.arguments import one_of
from glmhmm_pyro.components.levels import ByLevel
from glmhmm_pyro.distributions import inner_name
from glmhmm_pyro.inference import Fit
from glmhmm_pyro.inference.curvature.intervals import SupportBounds
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.weights import by_session, by_step

PARTS = ("transitions", "initial", "emissions")
_DESIGNS = ("covariates", "transition_covariates", "initial_covariates")


def exchanged(
    data: Sequences, columns: Mapping[str, Any], argument: str = "covariate"
) -> Sequences:
    """The same data with other values in some columns.

    Raw columns of a ``Design`` are exchanged where there is one, and all terms made of
    them move together; else the covariates of these names, in every design.

    Args:
        data: the data set.
        columns: a value for all steps, or one per step, by name.
        argument: in which the caller was given the names.
    """
    if data.design_source is not None:
        known_raw = data.raw_columns().columns
        raw = {n: value for n, value in columns.items() if n in known_raw}
        data = data.with_raw(raw) if raw else data
        columns = {n: value for n, value in columns.items() if n not in raw}
    if not columns:
        return data
    fields: dict[str, Any] = {}
    known: dict[str, None] = {}
    for design in _DESIGNS:
        matrix, names = getattr(data, design), getattr(data, f"{design[:-1]}_names")
        if matrix is None:
            continue
        known |= dict.fromkeys(names)
        moved = matrix.clone()
        for name, value in columns.items():
            if name in names:
                rows = torch.as_tensor(np.asarray(value, dtype=float)).to(moved)
                first = design == "initial_covariates" and rows.dim()
                moved[:, names.index(name)] = rows[data.starts] if first else rows
        if set(columns) & set(names):
            fields[design] = moved
    for name in columns:
        one_of(argument, name, list(known))
    shared = data._transitions_share_covariates
    if shared and "covariates" in fields:
        fields["transition_covariates"] = fields["covariates"]
    return data._derive(**fields)


def present(data: Sequences, column: str) -> np.ndarray:
    """The values of a raw column or a covariate, shape (steps,)."""
    if data.design_source is not None:
        raw = data.raw_columns()
        if column in raw:
            if raw[column].dtype.kind not in "biuf":
                raise ValueError(
                    f"covariate must name a column of numbers, got {column!r} of "
                    f"{raw[column].dtype}; take a column that a design made of it"
                )
            return np.asarray(raw[column], dtype=float)
    names = {d: getattr(data, f"{d[:-1]}_names") or () for d in _DESIGNS}
    one_of(
        "covariate", column, list(dict.fromkeys(sum(map(tuple, names.values()), ())))
    )
    design = next(d for d in _DESIGNS if column in names[d])
    values = getattr(data, design)[:, names[design].index(column)].cpu().numpy()
    by_session = design == "initial_covariates"
    return np.repeat(values, data.lengths.cpu()) if by_session else values


def rows_of(data: Sequences, part: str, goes_on: Tensor | None = None) -> Tensor:
    """Rows at which a part of the model acts: not all lead INTO a step.

    Args:
        data: the data set.
        part: of the model.
        goes_on: sessions whose first states are not those of ``part="initial"`` alone.
    """
    if part == "initial":
        numbers = torch.arange(data.num_sessions)
        return numbers if goes_on is None else numbers[~goes_on.cpu()]
    inside = torch.ones(data.num_steps, dtype=torch.bool)
    if part == "transitions":
        inside[data.starts.cpu()] = False
    if not inside.any():
        raise ValueError(
            "data must have a session of at least 2 steps, for part='transitions' is "
            f"about moves from one to the next, got {data.num_sessions} of 1; take "
            "part='emissions'"
        )
    return inside.nonzero().flatten()


def spread(rows: Tensor, most: int) -> Tensor:
    """At most so many of the rows, evenly spaced."""
    if len(rows) <= most:
        return rows
    return rows[torch.arange(most) * len(rows) // most]


class ModelPart:
    """Probabilities that one part of a model gives at rows of some data sets.

    Args:
        fit: of a ``GLMHMM``.
        part: ``"transitions"``, ``"initial"`` or ``"emissions"``.
        output: name of the output, of several.
        versions: data sets that differ in their covariates alone.
        rows: rows of each.

    Attributes:
        weights: how often every row counts, by the weight of its session, (rows,).
    """

    def __init__(
        self,
        fit: Fit,
        part: str,
        output: str | None,
        versions: list[Sequences],
        rows: Tensor,
    ):
        self.model, self.part = fit.model, part
        self.versions, self.rows = [fit.as_fitted(data) for data in versions], rows
        self.component, self.column = component_of(fit, part, output)
        weigh = by_session if part == "initial" else by_step
        self.weights = weigh(versions[0])[rows].double()
        if part != "initial":
            inputs = [self.component.inputs(data)[rows] for data in self.versions]
            self.inputs = torch.stack(inputs)

    def __call__(self, params: Params) -> Tensor:
        """Probabilities, or expected emissions, at values of the sites.

        Shape (versions, rows, origins, destinations) of transitions, (versions, rows,
        states) of first states, (versions, rows, states, classes or outputs) of
        emissions.
        """
        with self.model.at(params):
            if self.part == "initial":
                return torch.stack([self._initial(data) for data in self.versions])
            found = self._distribution()
        if self.part == "transitions":
            return found.probs
        if found.has_enumerate_support:
            values = found.enumerate_support()
            return found.log_prob(values).exp().movedim(0, -1)
        means = found.mean.reshape(*found.batch_shape, -1)
        return means if self.column is None else means[..., [self.column]]

    def has_classes(self, params: Params) -> bool:
        """Whether what is emitted is one of several classes."""
        with self.model.at(params):
            return bool(self._distribution().has_enumerate_support)

    def borders(self, params: Params) -> SupportBounds:
        """What the mean of an emission can be, by the support of the family."""
        with self.model.at(params):
            lower, upper = SupportBounds.of(self._distribution().support, ())
        return SupportBounds(np.min(lower), np.max(upper))

    def _distribution(self) -> Any:
        found = self.component(self._states(), self.inputs.unsqueeze(-2))
        if not hasattr(found, "outputs"):
            return found
        each = found.outputs(torch.zeros((1,) + found.event_shape), None)
        if self.column is None:
            one_of("output", None, list(each))
        return list(each.values())[self.column or 0].emission_dist

    def _states(self) -> Tensor:
        """The component's state at every state of the model: a pair has its level's."""
        emissions = self.model.emissions
        if self.part == "emissions" and isinstance(emissions, ByLevel):
            return emissions.laws(self.inputs.device)
        return self.component.all_states(self.inputs.device)

    def _initial(self, data: Sequences) -> Tensor:
        probs = self.component.log_probs(data).exp()
        return probs.expand(data.num_sessions, -1)[self.rows]


def component_of(fit: Fit, part: str, output: str | None) -> tuple[Any, int | None]:
    """The component that gives these probabilities, if it can be asked for them.

    Returns:
        Beside it which of its outputs is asked for, if one is.
    """
    one_of("part", part, PARTS)
    if not Program.kind_of(fit.model).components_of(fit.model):
        raise TypeError(
            "fit must be of a GLMHMM, whose parts are known, got one of "
            f"{type(fit.model).__name__}; compute what your model says by "
            "fit.distribution(data)"
        )
    if part == "transitions" and fit.model.transitions.emits is not None:
        raise ValueError(
            "part must be of states of the model, got transitions of "
            f"{type(fit.model.transitions).__name__}, whose chain has others; take "
            "dwell_times and simulate"
        )
    if part == "transitions" and fit.model.transitions.num_features is None:
        raise ValueError(
            "part must be one that covariates drive, got transitions of "
            f"{type(fit.model.transitions).__name__}; fit gh.InputDriven(), or take "
            "part='emissions'"
        )
    if part != "emissions":
        return getattr(fit.model, part), None
    parts: dict[str, Any] = fit.model.emissions.parts
    if output is None and len(parts) == 1:
        return next(iter(parts.values())), None
    known: dict[str, tuple[Any, int | None]]
    known = {name: (family, None) for name, family in parts.items() if name}
    for name, family in parts.items():
        if getattr(family, "num_outputs", None) is not None:
            for column, own in enumerate(family.output_names or ()):
                known[inner_name(name, own)] = family, column
    return known[one_of("output", output, list(known or parts))]
