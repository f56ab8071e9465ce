"""The standardised units that a fit works in, and the maps to the user's.

A fit is of an equivalent model on standardised data: covariates and outputs divided by
their scales and, where a constant column or a free baseline can absorb it, centred;
parameters and priors are transformed to match (see ``components.rescaling``). Methods
do not know of it, and users never see it. The densities differ by constants, which are
kept here.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from glmhmm_pyro.components.base import Component
from glmhmm_pyro.components.least_squares import columns_of
from glmhmm_pyro.components.rescaling import (
    ColumnUnits,
    Gain,
    OutputUnits,
    Together,
)
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.priors.affine import (
    Affine,
    flat_columns,
    held_map,
    keeps_held,
    rescaled,
)
from glmhmm_pyro.priors.filling import is_positive, is_unbounded
from glmhmm_pyro.priors.partly import Partly
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.naming import names_of
from glmhmm_pyro.sequences.operators import kept

DESIGNS = ("covariates", "transition_covariates", "initial_covariates")

# Parameters that a component's maps of columns speak of.
_BY_COLUMN = (
    "weights",
    "weights_mean",
    "constant_weights",
    "dwell_weights",
    "jump_weights",
)


@dataclass(frozen=True)
class OwnUnits:
    """The maps from values of a fit's own model to the user's.

    Args:
        maps: from own values to the user's, by site; others are the same in both.
        log_likelihood: constant to add to a log-likelihood of the own data.
        log_joint: constant to add to a log-joint.
        log_volume: log determinant of the Jacobian of all maps together.
        log_effects: that of the maps of weights that a law gives, whose density, unlike
            a log-joint, an evidence has no part of.
        gains: linear functions of another site's values to add after a site's map;
            they preserve volume.
    """

    maps: Mapping[str, Affine] = field(default_factory=dict)
    log_likelihood: float = 0.0
    log_joint: float = 0.0
    log_volume: float = 0.0
    log_effects: float = 0.0
    gains: Mapping[str, Gain] = field(default_factory=dict)

    @property
    def bound(self) -> float:
        """Constant to add to a bound, or to the log of an importance weight."""
        return self.log_joint + self.log_volume

    def outward(self, own: Params) -> Params:
        """The user's values (*batch, *shape) from own ones."""
        mapped = {n: self.maps[n](v) if n in self.maps else v for n, v in own.items()}
        return self._gained(mapped, mapped, 1)

    def sources(self, name: str) -> list[str]:
        """Sites on whose own values the user's values of a site depend."""
        return [name] + ([self.gains[name].source] if name in self.gains else [])

    def moves(self, name: str, own: Tensor) -> Tensor:
        """Differences of the user's values of a site, from differences of own ones."""
        return self.maps[name].linear(own) if name in self.maps else own

    def inward(self, params: Params) -> Params:
        """Own values from the user's."""
        return {
            n: self.maps[n].inverse(value) if n in self.maps else value
            for n, value in self._gained(params, params, -1).items()
        }

    def _gained(self, values: Params, users: Params, sign: int) -> Params:
        """Values with their gains added (sign 1) or subtracted (sign -1)."""
        known = {n: g for n, g in self.gains.items() if {n, g.source} <= users.keys()}
        more = {
            n: values[n] + sign * g.linear(users[g.source]) for n, g in known.items()
        }
        return values | more


def own_units(
    model: GLMHMM, data: Sequences, priors: Mapping[str, Any]
) -> tuple[GLMHMM, Sequences, OwnUnits]:
    """An equivalent model and data in units of their own, and the way back.

    Args:
        model: bound to the data; it is not changed.
        data: the data set; it is not changed.
        priors: distributions of the sites, for their supports and shapes.
    """
    columns = {name: _design_units(model, data, priors, name) for name in DESIGNS}
    designs = {
        name: found(data.operator(name))
        for name, found in columns.items()
        if not found.are_as_given
    }
    if "transition_covariates" in designs:
        moves = designs["transition_covariates"].silenced(
            model.transitions.first_steps(data)
        )
        designs["transition_covariates"] = moves
    maps: dict[str, Affine] = {}
    outputs: dict[str, OutputUnits] = {}
    gains: dict[str, Gain] = {}
    for name, component in model.components.items():
        own = _units_read(component, data, columns[component.covariates_of])
        maps |= _by_site(name, component.own_maps(own))
        found = _by_site(name, component.own_gains(own))
        gains |= {n: g._replace(source=f"{name}.{g.source}") for n, g in found.items()}
        units = component.own_outputs(own, component.view(data))
        if units is not None and _fits(_by_site(name, units.maps), priors):
            maps |= _by_site(name, units.maps)
            outputs[name] = units
    if not maps:
        return model, data, OwnUnits()
    maps = {n: held_map(m, priors[n]) for n, m in maps.items()}
    # Transitions may share a tensor with emissions, but not their units.
    changes: dict[str, Any] = {
        "transition_covariates": kept(data, "transition_covariates"),
        **designs,
    }
    changes |= _scaled_emissions(model, data, outputs)
    own_model, declared = _with_priors(model, maps)
    effects = _laws_in_units(own_model, data, columns)
    gain = _log_scale(model, data, outputs)
    volumes = {
        n: float(m.log_volume(priors[n].shape(), len(priors[n].shape())))
        for n, m in maps.items()
    }
    joint = gain - sum(volumes[name] for name in [*declared, *effects])
    return (
        own_model,
        data._derive(**changes),
        OwnUnits(
            maps,
            gain,
            joint,
            sum(volumes.values()),
            sum(volumes[name] for name in effects),
            gains,
        ),
    )


def _by_site(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by name of site, from values by attribute of a component."""
    return {f"{prefix}.{name}": value for name, value in values.items()}


def _design_units(
    model: GLMHMM, data: Sequences, priors: Mapping[str, Any], name: str
) -> ColumnUnits:
    """Units of one of the designs."""
    if kept(data, name) is None:
        return ColumnUnits.none(0)
    design = data.operator(name)
    readers, takers = _readers(model, data, priors, name)
    if None in readers or not readers + takers:
        return ColumnUnits.none(design.shape[1])
    # Rows at the starts of chains drive no transition.
    rows = torch.ones(len(design), dtype=torch.bool, device=design.device)
    if name == "transition_covariates":
        rows[model.transitions.first_steps(data)] = False
    found = ColumnUnits.of(design.at(rows), readers)
    still = _columns_kept_still(model, data, priors, name, found)
    if still:
        found = ColumnUnits.of(design.at(rows), [*readers, Together(still, [])])
    names = getattr(data, names_of(name))
    as_given = [names.index(c) for c in model.kept_columns if c in names]
    return found.kept(as_given) if name == "transition_covariates" else found


def _readers(
    model: GLMHMM, data: Sequences, priors: Mapping[str, Any], name: str
) -> tuple[list[Together | None], list[Together | None]]:
    """Columns of a design that components read; ``None`` for one of unknown use.

    Components that absorb means without a constant column come second.
    """
    wholes = (model.initial, model.transitions, model.emissions)
    found: list[Together | None] = [None for w in wholes if not w.has_own_units]
    takers: list[Together | None] = []
    for prefix, component in model.components.items():
        if component.covariates_of == name and component.num_features is not None:
            is_free = all(map(is_unbounded, _priors_by_column(prefix, priors)))
            readers = takers if is_free and component.takes_centres else found
            readers += _columns_together(component, data) if is_free else [None]
    return found, takers


def _priors_by_column(prefix: str, priors: Mapping[str, Any]) -> list[Any]:
    """Priors of a component's weights of columns."""
    names = (f"{prefix}.{attribute}" for attribute in _BY_COLUMN)
    return [priors[name] for name in names if name in priors]


def _columns_kept_still(
    model: GLMHMM,
    data: Sequences,
    priors: Mapping[str, Any],
    name: str,
    found: ColumnUnits,
) -> list[int]:
    """Columns that may not be centred, for what takes it up is held, or has a prior.

    A prior of one site cannot be on what another adds to it.
    """
    still: list[int] = []
    for prefix, component in model.components.items():
        if component.covariates_of != name or component.num_features is None:
            continue
        read = _columns_read(component, data)
        own = _units_read(component, data, found)
        maps = _by_site(prefix, component.own_maps(own))
        for site, affine in maps.items():
            if isinstance(priors[site].support, Partly):
                kept = keeps_held(affine, priors[site].support.value)
                still += [] if kept else read
        for site, gain in _by_site(prefix, component.own_gains(own)).items():
            if gain.column is not None:
                flat = torch.as_tensor(flat_columns(priors[site]))
                is_free = bool(flat.expand(priors[site].shape()[-1:])[gain.column])
                still += [] if is_free else [read[i] for i in gain.centred]
    return still


def _columns_read(component: Component, data: Sequences) -> list[int]:
    """Numbers of the columns that a component reads of its design."""
    if component.columns_read is None:
        return list(range(component.num_features or 0))
    names = getattr(data, names_of(component.covariates_of))
    return [names.index(name) for name in component.columns_read]


def _columns_together(component: Component, data: Sequences) -> list[Together | None]:
    """Those numbers, by the site of their weights."""
    parts = component.columns_together
    read = _columns_read(component, data) if parts else []
    return [part and part.among(read) for part in parts]


def _units_read(
    component: Component, data: Sequences, columns: ColumnUnits
) -> ColumnUnits:
    """Units of the columns that a component reads, from those of its design."""
    if not component.has_own_units or not component.columns_together:
        return ColumnUnits.none(component.num_features or 0)
    return columns.chosen(_columns_read(component, data))


def _fits(maps: Mapping[str, Affine], priors: Mapping[str, Any]) -> bool:
    """Whether the supports of all sites stay the same under these maps."""
    return all(
        is_unbounded(priors[name]) or (is_positive(priors[name]) and affine.keeps_signs)
        for name, affine in maps.items()
    )


def _scaled_emissions(
    model: GLMHMM, data: Sequences, outputs: Mapping[str, OutputUnits]
) -> dict[str, Tensor]:
    """The emissions in units of their own, as a field of the data."""
    if not outputs:
        return {}
    whole = data.emissions.to(data.dtype, copy=True)
    for name, units in outputs.items():
        component = model.components[name]
        values = units(component.view(data).emissions).to(whole)
        if component.selection is None or whole.dim() == 1:
            whole = values
        else:
            places = _output_places(component, data)
            whole[:, places] = values.reshape(len(values), -1)
    return {"emissions": whole}


def _output_places(component: Component, data: Sequences) -> list[int]:
    outputs = component.selection.outputs if component.selection else ()
    return [data.emission_names.index(name) for name in outputs]


def _log_scale(
    model: GLMHMM, data: Sequences, outputs: Mapping[str, OutputUnits]
) -> float:
    """Log density of the emissions in the user's units over that of their own."""
    total = 0.0
    for name, units in outputs.items():
        values, mask, _ = columns_of(model.components[name].view(data))
        seen = torch.ones_like(values) if mask is None else mask.to(values)
        total -= float((seen * units.scale.log()).sum())
    return data.ranks.total(total)


def _laws_in_units(
    own: GLMHMM, data: Sequences, columns: Mapping[str, ColumnUnits]
) -> list[str]:
    """Take laws of a fit's own model to its units; the weights whose law that is."""
    found: list[str] = []
    for name, component in own.components.items():
        units = _units_read(component, data, columns[component.covariates_of])
        found += [f"{name}.{site}" for site in component.law_in_units(units)]
    return found


def _with_priors(model: GLMHMM, maps: Mapping[str, Affine]) -> tuple[GLMHMM, list[str]]:
    """The model with priors of own values, and the sites whose priors have changed."""
    own, declared = copy.deepcopy(model), []
    for name, component, attribute in own.site_names():
        if name in maps:
            site = component.sites[attribute]
            given, site.prior = site.prior, rescaled(site.prior, maps[name])
            if site.prior is not given:
                declared.append(name)
    return own, declared
