"""Normal outputs that are correlated, some of which may not have been observed."""

import numpy as np
import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions.utils import tril_matrix_to_vec, vec_to_tril_matrix
from torch.nn.functional import pad

from glmhmm_pyro.components.least_squares import LEAST_SCALE
from glmhmm_pyro.components.log_gamma import HALF_LOG_2_PI

# Correlations are never taken to be nearer to 1, where a density is infinite.
_NEARLY_ONE = 1 - 1e-13


class PartlyObservedNormal(dist.MultivariateNormal):
    """Normal of several outputs, some of which may not have been observed."""

    def log_prob_observed(self, value: Tensor, mask: Tensor) -> Tensor:
        """Marginal log density of the outputs observed.

        Others are replaced by independent standard normals at 0.
        """
        seen = mask.to(value.dtype)
        both = seen.unsqueeze(-1) * seen.unsqueeze(-2)
        covariance = both * self.covariance_matrix + (1 - seen).diag_embed()
        residual = seen * (value - self.loc)
        joint = dist.MultivariateNormal(
            torch.zeros_like(residual),
            covariance_matrix=covariance,
            validate_args=False,
        ).log_prob(residual)
        standard = dist.Normal(torch.zeros_like(seen), 1.0).log_prob(seen * 0)
        return joint - ((1 - seen) * standard).sum(-1)


class CorrelatedLaw:
    """The same of one step, in numpy; see :class:`EmissionLaw`.

    Args:
        mean: shape (sets, 1, states, outputs).
        factor: Cholesky factors of the covariances, (sets, 1, states, outputs,
            outputs).
    """

    def __init__(self, mean: np.ndarray, factor: np.ndarray):
        self.mean, self.factor = mean, factor

    def accepts(self, value: np.ndarray, seen: np.ndarray) -> bool:
        """Whether all are finite."""
        return bool((np.isfinite(value) | ~seen).all())

    def log_probs(self, value: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """Marginal log density of the outputs that were seen."""
        residual, factor = value - self.mean, self.factor
        if not seen.all():
            rows = factor[..., seen, :]
            residual = residual[..., seen]
            factor = np.linalg.cholesky(rows @ rows.swapaxes(-1, -2))
        white = np.linalg.solve(factor, residual[..., None])[..., 0]
        scales = np.diagonal(factor, axis1=-2, axis2=-1)
        found: np.ndarray = -(white**2 / 2 + HALF_LOG_2_PI + np.log(scales)).sum(-1)
        return found

    def expected(self) -> dict[str, np.ndarray]:
        """The means."""
        return {"": self.mean}


def factor_of(correlations: Tensor, num_outputs: int) -> Tensor:
    """Cholesky factor of a correlation matrix, (..., outputs, outputs).

    Args:
        correlations: given the outputs before both, (..., pairs).
    """
    given = vec_to_tril_matrix(correlations, diag=-1)
    left = (1 - given.square()).sqrt().cumprod(-1)
    eye = torch.eye(num_outputs, dtype=given.dtype, device=given.device)
    return (given + eye) * pad(left[..., :-1], (1, 0), value=1.0)


def correlations_of(matrices: Tensor) -> Tensor:
    """The inverse of :func:`factor_of`, from matrices (..., outputs, outputs).

    Singular ones are moved inside. Those without any data are of independent outputs.
    """
    eye = torch.eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device)
    matrices = torch.where(eye > 0, eye, torch.nan_to_num(matrices))
    factors, failed = torch.linalg.cholesky_ex(matrices)
    inside = torch.linalg.cholesky_ex((1 - LEAST_SCALE) * matrices + LEAST_SCALE * eye)
    factors = torch.where((failed > 0)[..., None, None], inside[0], factors)
    before = pad(factors.square().cumsum(-1)[..., :-1], (1, 0))
    given = factors / (1 - before).clamp(min=torch.finfo(factors.dtype).tiny).sqrt()
    return tril_matrix_to_vec(given, diag=-1).clamp(-_NEARLY_ONE, _NEARLY_ONE)
