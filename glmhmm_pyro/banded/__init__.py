"""Block-tridiagonal systems: what links each unit to the one before, and to no other.

Precisions of walks are such, and posteriors under them. Tensors in, tensors out;
nothing here knows what made them.
"""

from glmhmm_pyro.banded.algebra import CholeskyFactor, factor, log_det, solve
from glmhmm_pyro.banded.bordered import Bordered, schur_complement

__all__ = [
    "Bordered",
    "CholeskyFactor",
    "factor",
    "log_det",
    "schur_complement",
    "solve",
]
