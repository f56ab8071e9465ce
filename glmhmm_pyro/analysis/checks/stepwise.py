"""One-step forecasts of a fit against what came: in bins, and step by step."""

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

from glmhmm_pyro.arguments import seed_number, suggests_names, whole_number
from glmhmm_pyro.inference import Fit
from glmhmm_pyro.inference.checks.step_checks import calibration_table
from glmhmm_pyro.inference.fits.fit_checking import forecasts
from glmhmm_pyro.sequences import Sequences

if TYPE_CHECKING:
    import pandas as pd


@suggests_names
def calibration_of_steps(
    fit: Fit, data: Sequences, *, num_bins: int = 10
) -> "pd.DataFrame":
    """One-step forecasts against what came, in bins of about equally many steps.

    Bins too small to tell anything (20 steps, and of a class 5 of them expected, and
    5 not) are joined.

    Args:
        fit: the fit; of one with draws, at ``params``.
        data: the data set.
        num_bins: most bins of every forecast.

    Returns:
        Columns ``predicted``, the mean forecast; ``estimate``, the mean of what came,
        or the share of a class; ``lower`` and ``upper``, 95 % (Wilson 1927 of a share);
        ``count`` of steps. Index ``emission`` and ``bin``.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.datasets.load_rat().subset(range(5))
        >>> fit = gh.fit(gh.GLMHMM(1, gh.Bernoulli()), data, progress=False)
        >>> len(gh.analysis.calibration_of_steps(fit, data, num_bins=4)) <= 4
        True
    """
    num_bins = whole_number("num_bins", num_bins, 1)
    return calibration_table(forecasts(fit, data)[0], num_bins)


@suggests_names
def residuals(fit: Fit, data: Sequences, *, seed: int = 0) -> "pd.DataFrame":
    r"""Residuals of one-step forecasts, for every column of the emissions.

    Args:
        fit: the fit; of one with draws, at ``params``.
        data: the data set.
        seed: of the randomisation of counts and classes.

    Returns:
        Columns ``pearson``, what came less its mean over the standard deviation; and
        ``quantile``, :math:`\Phi^{-1}(F(y_t \mid y_{<t}))`, which is standard normal
        and independent of the past at the right parameters, at random between both ends
        of a jump of F (Dunn & Smyth 1996; Zucchini, MacDonald & Langrock 2016, section
        6.2), NaN where the law has no F. Of labels one class against the rest. Index
        ``emission`` and ``step``.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.Sequences([0, 1, 1, 0, 1, 0], lengths=[3, 3])
        >>> model = gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(1.0)))
        >>> fit = gh.fit(model, data, num_restarts=1, progress=False)
        >>> len(residuals(fit, data))
        6
    """
    import pandas as pd

    rng = np.random.default_rng(seed_number(seed))
    found = {}
    for forecast in forecasts(fit, data)[0]:
        unknown = forecast.up_to is None
        uniform = np.nan if unknown else forecast.uniform(rng)
        columns = {"pearson": forecast.pearson, "quantile": ndtri(uniform)}
        index = pd.Index(forecast.steps, name="step")
        found[forecast.name] = pd.DataFrame(columns, index=index)
    return pd.concat(found, names=["emission"])
