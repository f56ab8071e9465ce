"""minFunc's L-BFGS with its line searches: a minimiser that is useful alone.

One problem is :func:`minimize`, many in lockstep :func:`minimize_batched`, a PyTorch
user's :class:`LBFGS`; all of them run the coroutine :func:`lbfgs`.
"""

from glmhmm_pyro.displays import listing
from glmhmm_pyro.optim.drivers import minimize, minimize_batched, value_and_grad
from glmhmm_pyro.optim.lbfgs import lbfgs
from glmhmm_pyro.optim.minfunc import minfunc_options
from glmhmm_pyro.optim.minimum import MinimizeResult, Termination, Trace
from glmhmm_pyro.optim.options import LBFGSOptions
from glmhmm_pyro.optim.torch_face import LBFGS

# The name it had when fits had no status of their own.
Status = Termination

__all__ = [
    "LBFGS",
    "LBFGSOptions",
    "MinimizeResult",
    "Status",
    "Termination",
    "Trace",
    "lbfgs",
    "minfunc_options",
    "minimize",
    "minimize_batched",
    "value_and_grad",
]

__dir__ = listing(__all__)
