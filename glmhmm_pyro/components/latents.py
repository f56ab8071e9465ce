"""What a component says of latents, whose shape follows the data, and of their law."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from glmhmm_pyro.components.rescaling import ColumnUnits
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.members import Members


class HasLatents:
    """Hooks for latents, with the answers of a component that has none."""

    sites: Any

    @property
    def random_effects(self) -> tuple[str, ...]:
        """Names of sites drawn from a law of its own, which are no parameters.

        They are its latents, and what else a law gives.
        """
        return tuple(name for name, site in self.sites.items() if site.latent)

    def law_in_units(self, columns: ColumnUnits) -> tuple[str, ...]:
        """Take a law of weights, which is no prior of a site, to columns' own units.

        Args:
            columns: units of the covariates that it reads.

        Returns:
            Attributes of the weights whose density is now another.
        """
        return ()

    def names_along(self, axis: str) -> tuple[str, ...] | None:
        """Names along an axis of its sites, where they are its own.

        Args:
            axis: name of the axis.
        """
        return None

    def carry(
        self, data: Sequences, fitted: Members, params: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Latents at other data than those fitted, by attribute.

        What is left out is drawn from its prior given the parameters.

        Args:
            data: the component is bound to them.
            fitted: the sessions fitted.
            params: values at these of all sites, by attribute.
        """
        return {}

    def forget_sessions(self) -> None:
        """Hook of a new fit: its latents will be those of the next data set."""

    def nested(self) -> Any:
        """The component without latents that this is when its law has scale 0."""
        return self

    def unlinked(self, data: Sequences, params: Mapping[str, Tensor]) -> Any:
        """A component of which a fit is another place to start from, if there is one.

        It has the weights of all units, which no law links, though a prior may hold
        them near those of the nested one.

        Args:
            data: the component is bound to them.
            params: values of its sites at which all units are alike, by attribute.
        """
        return None

    def spread_out(self, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Values at which this component equals the nested one, by attribute.

        Args:
            params: those of the nested one, or of the unlinked one.
        """
        return dict(params)
