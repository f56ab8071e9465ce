"""What a fit says of how well its parameters are known."""

from typing import TYPE_CHECKING, Any

from glmhmm_pyro.arguments import suggests_all_names
from glmhmm_pyro.concurrency import usual_modes
from glmhmm_pyro.inference.fits import tables
from glmhmm_pyro.inference.fits.named import Named
from glmhmm_pyro.inference.fits.posterior import Posterior
from glmhmm_pyro.inference.mode.uncertainty import (
    StandardErrors,
    covariance,
    standard_errors,
    warn_of,
)
from glmhmm_pyro.inference.program import Program

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


@suggests_all_names
class Errors(Named):
    """The part of a :class:`Fit` that speaks of standard errors and intervals."""

    method: str
    unbounded: tuple[str, ...]
    posterior: Posterior | None

    @usual_modes()
    def standard_errors(self, data: Any) -> "dict[str, xr.DataArray]":
        r"""Standard errors, with the names and axes of :attr:`parameters`.

        .. math:: \mathrm{se}(f) = \sqrt{\nabla f^\top (-H)^{-1} \nabla f}

        H holds the exact second derivatives of the log-joint, states summed out, by the
        unconstrained coordinates: observed information, mapped to the values by the
        delta method. Reference rows have 0. What has no standard error is NaN and
        named in a warning: values at the border of their support, where the log-joint
        is not quadratic, and those that data and priors do not determine.

        Args:
            data: what the model was fitted to.

        Raises:
            ValueError: the fit has draws, and so is at their mean, not at a maximum; or
                second derivatives are not finite.

        Warns:
            ConvergenceWarning: there is no standard error of some parameters, or the
                fit is not at a maximum of the log-joint of these data.
        """
        found = self._standard_errors(data)
        warn_of(found.notes + self.unbounded)
        return found.errors

    def _standard_errors(self, data: Any) -> StandardErrors:
        self._refuse_draws()
        program = Program.of(self.model, self.as_fitted(data)).in_own_units()
        return standard_errors(program, self.params, self.labels)

    @usual_modes()
    def covariance(
        self, data: Any, parameter: str = "emissions.weights"
    ) -> "xr.DataArray":
        """Covariance of the weights within every row, as in :meth:`standard_errors`.

        Its axes are those of ``parameters[parameter]``, and ``other_covariate``.

        Args:
            data: what the model was fitted to.
            parameter: name of weights by covariate.
        """
        self._refuse_draws()
        program = Program.of(self.model, self.as_fitted(data)).in_own_units()
        found, notes = covariance(program, self.params, self.labels, parameter)
        warn_of(notes + self.unbounded)
        return found

    def _refuse_draws(self) -> None:
        if self.posterior is not None:
            raise ValueError(
                "fit must be at a maximum to have standard errors, got one by "
                f"{self.method}, which is the mean of its draws; take their standard "
                "deviation, from fit.posterior"
            )

    @usual_modes()
    def summary(self, data: Any = None) -> "pd.DataFrame":
        """Every parameter on a row of its own: site, the names of its axes, value.

        Where there is a posterior, the value is its mean, and further columns are the
        standard deviation ``sd`` of the draws and their 2.5 % and 97.5 % quantiles,
        ``lower_95`` and ``upper_95``; ``attrs["notes"]`` are the fit's, which say of
        several modes or of chains that have not mixed.

        Args:
            data: what the model was fitted to, for a fit without a posterior; adds the
                columns ``standard_error``, ``lower_95`` and ``upper_95``. Intervals are
                1.96 standard errors wide to either side on a scale without borders:
                log-odds for probabilities, logarithms for positive numbers, Fisher's z
                for correlations. At a border of the support they are NaN. Of those in
                ``benchmarks/intervals.py`` (two states, 1500 choices) weights' held the
                truth in 95.2 +- 0.9 % of cases, stay probabilities' in 97.5 +- 0.9 %,
                first probabilities' in 99.0 +- 0.7 %.

        Warns:
            ConvergenceWarning: as :meth:`standard_errors` does, which names them.
        """
        if data is None or self.posterior is not None:
            return tables.summary(self, None)
        found = self._standard_errors(data)
        warn_of(found.notes + self.unbounded)
        return tables.summary(self, found)
