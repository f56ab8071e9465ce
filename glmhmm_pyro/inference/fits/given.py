"""A fit at parameters that were given, not found."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from glmhmm_pyro.inference.fits.baseline import Baseline
from glmhmm_pyro.inference.fits.fit import Fit
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Data, Program
from glmhmm_pyro.inference.search.runs import Findings, Restart
from glmhmm_pyro.inference.status import Status


def fit_at(
    model: Callable[[Data], Any], data: Data, params: Params, method: str
) -> Fit[Data]:
    """A fit at these values of the sites, with the likelihood of the data.

    Args:
        model: as for :func:`glmhmm_pyro.fit`; it is bound to the data.
        data: as the model takes it.
        params: values by name of all sites, reference rows left out.
        method: who found them.

    Raises:
        ValueError: a site has no value, or one of another shape than the model's.
    """
    program = Program.of(model, data)
    shapes = {name: prior.shape() for name, prior in program.priors.items()}
    given = {name: value.shape for name, value in params.items()}
    if shapes != given:
        raise ValueError(
            "params must have one value for every site of the model, of shapes "
            f"{_with_shapes(shapes)}, got {_with_shapes(given)}; the data must have "
            "the covariates that the model was fitted to"
        )
    with torch.no_grad():
        likelihood, prior = (float(part) for part in program.log_parts(params))
    only = Restart(np.array([likelihood]), np.array([likelihood + prior]), Status.GIVEN)
    found = Findings(
        method=method,
        params=params,
        log_likelihood=likelihood,
        log_joint=likelihood + prior,
        status=Status.GIVEN,
        restarts=(only,),
        best=0,
    )
    return Fit.of(program, found, Baseline.of(program))


def _with_shapes(shapes: Mapping[str, torch.Size]) -> str:
    """Names of sites with their shapes, for a message."""
    return ", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items())
