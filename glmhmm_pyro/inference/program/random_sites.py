"""Which sites of a model are no parameters: what a law gives, given parameters.

Latents are those whose shape follows the data: other data have others. Weights that are
pooled over states are random, too, but the same in all data.
"""

from collections.abc import Mapping
from typing import Any

from glmhmm_pyro.components.base import Component
from glmhmm_pyro.sequences import Sequences

Components = Mapping[str, Component]


def latents_of(
    components: Components, sites: Mapping[str, Any], data: Any
) -> tuple[str, ...]:
    """Names of the sites that are declared as latents.

    Args:
        components: of the model, by name.
        sites: of a trace of it, by name.
        data: what the model was called with.

    Raises:
        ValueError: there are some, and the data are no ``Sequences``.
    """
    declared = {
        f"{prefix}.{attribute}"
        for prefix, component in components.items()
        for attribute, site in component.sites.items()
        if site.latent
    }
    found = _among(sites, declared)
    if found and not isinstance(data, Sequences):
        raise ValueError(
            f"data must be a Sequences for a model with the latent {found[0]!r}, "
            f"got {type(data).__name__}; sessions tell which values are whose"
        )
    return found


def random_effects_of(
    components: Components, sites: Mapping[str, Any]
) -> tuple[str, ...]:
    """Names of the latents, and of what else components say that a law gives.

    Args:
        components: of the model, by name.
        sites: of a trace of it, by name.
    """
    declared = {
        f"{prefix}.{attribute}"
        for prefix, component in components.items()
        for attribute in component.random_effects
    }
    return _among(sites, declared)


def _among(sites: Mapping[str, Any], declared: set[str]) -> tuple[str, ...]:
    """Names of sites that are declared, by a component or by the site itself."""
    return tuple(
        name
        for name, site in sites.items()
        if not site["is_observed"] and (name in declared or site["infer"].get("latent"))
    )
