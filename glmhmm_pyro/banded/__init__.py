"""Block-tridiagonal systems: what links each unit to the one before, and to no other.

Precisions of walks are such, and posteriors under them; where units hang together
otherwise, one dense matrix has the same face. Tensors in, tensors out; nothing here
knows what made them.
"""

from glmhmm_pyro.banded.algebra import CholeskyFactor, factor, log_det, solve
from glmhmm_pyro.banded.bordered import Bordered, Factor, schur_complement
from glmhmm_pyro.banded.joint_factor import JointFactor, joint_factor

__all__ = [
    "Bordered",
    "CholeskyFactor",
    "Factor",
    "JointFactor",
    "factor",
    "joint_factor",
    "log_det",
    "schur_complement",
    "solve",
]
