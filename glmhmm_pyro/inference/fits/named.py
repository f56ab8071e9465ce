"""What a fit knows by name: its parameters, and the data that it reads."""

from typing import TYPE_CHECKING, Any

from torch import Tensor

from glmhmm_pyro.arguments import suggests_all_names
from glmhmm_pyro.inference.fits.labels import Labels, named_parameters

if TYPE_CHECKING:
    import xarray as xr


@suggests_all_names
class Named:
    """The part of a :class:`Fit` that goes by names."""

    model: Any
    params: dict[str, Tensor]
    labels: Labels

    @property
    def parameters(self) -> "dict[str, xr.DataArray]":
        """Parameters with reference rows in place and names on every axis."""
        return named_parameters(self.model, self.params, self.labels)

    def as_fitted(self, data: Any) -> Any:
        """Data with all that has a name where the data of the fit had it.

        Every method of a fit reads its data so: covariates, outputs and classes are put
        in the order of the fit, and covariates that it does not read are left out. What
        has no name (a column of an array, a class that is a number) is taken by its
        place. Sessions are matched by name by those models alone that have parameters
        for each.

        Args:
            data: as the model takes it; the same is returned if nothing changes.

        Raises:
            ValueError: a name that the fit reads is lacking.

        Warns:
            MatchingWarning: what has a name on one side only is taken by its place.
        """
        return self.labels.as_fitted(self.model, data)
