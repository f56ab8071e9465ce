"""What a component says of latents: sites whose shape follows the data."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.members import Members


class HasLatents:
    """Hooks for latents, with the answers of a component that has none."""

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

    def spread_out(self, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Values at which this component equals the nested one, by attribute.

        Args:
            params: those of the nested one.
        """
        return dict(params)
