"""What other programs have not made, given to importers and to the optimiser."""

from pathlib import Path

import numpy as np
import torch

import glmhmm_pyro as gh
from glmhmm_pyro.importers import from_dynamax, from_matlab, from_pyglmhmm, from_ssm

from .row import Row

TEXT = Path(__file__)
ENTRY = {"emit_w": np.ones((2, 1, 3)), "trans_w": np.zeros((2, 2, 3))}
SSM = {
    "init_state_distn": {"log_pi0": np.log([0.5, 0.5])},
    "transitions": {"log_Ps": np.log([[0.9, 0.1], [0.2, 0.8]]), "Ws": np.ones((2, 1))},
    "observations": {"Wk": np.ones((2, 1, 1))},
}
ITERATION = ("iteration", "must be among the 1 of output")
OUTPUT = ("output", "must be dictionaries with emit_w and trans_w")
VALUE_AND_GRAD = "value_and_grad makes"
PARAMS = ("params", "must be tensors to be optimised")


def parameters():
    """One parameter of two numbers."""
    return [torch.nn.Parameter(torch.ones(2))]


ROWS = {
    "from_matlab: a number": Row(
        lambda: from_matlab(3),
        *("path", "must be the path of the output file", "got 3", "give a string"),
        TypeError,
    ),
    "from_matlab: nothing": Row(
        lambda: from_matlab(None),
        *("path", "must be the path of the output file", "None", "give a string"),
        TypeError,
    ),
    "from_matlab: another file": Row(
        lambda: from_matlab(TEXT),
        *("path", "must name the output file", "importers.py", "that holds outvars"),
    ),
    "from_pyglmhmm: a number": Row(
        lambda: from_pyglmhmm(3), *OUTPUT, "got 3", "give what fit returned"
    ),
    "from_pyglmhmm: a list of numbers": Row(
        lambda: from_pyglmhmm([3]), *OUTPUT, "got [3]", "give what fit returned"
    ),
    "from_pyglmhmm: a name for an iteration": Row(
        lambda: from_pyglmhmm(ENTRY, "last"), *ITERATION, "got 'last'", "such as -1"
    ),
    "from_pyglmhmm: too late an iteration": Row(
        lambda: from_pyglmhmm(ENTRY, 7), *ITERATION, "got 7", "give one of these"
    ),
    "from_pyglmhmm: words for weights": Row(
        lambda: from_pyglmhmm(ENTRY | {"emit_w": "many"}),
        *("emit_w", "must be an array of numbers", "got str", "numpy.asarray"),
        TypeError,
    ),
    "from_dynamax: a number": Row(
        lambda: from_dynamax(3),
        *("params", "must have 'emissions'", "got int", "give the object"),
    ),
    "from_ssm: a number": Row(
        lambda: from_ssm(3),
        *("hmm", "must have 'observations'", "got int", "give the object"),
    ),
    "from_ssm: a name for the intercept": Row(
        lambda: from_ssm(SSM, "bias"),
        *("intercept", "must be the number of a column", "'bias'", "give one of"),
    ),
    "LBFGS: a number": Row(
        lambda: gh.optim.LBFGS(3), *PARAMS, "got 3", "model.parameters()", TypeError
    ),
    "LBFGS: words": Row(
        lambda: gh.optim.LBFGS(["w"]), *PARAMS, "'w'", "model.parameters()", TypeError
    ),
    "LBFGS: nothing": Row(
        lambda: gh.optim.LBFGS([]), *PARAMS, "got []", "model.parameters()", TypeError
    ),
    "minimize: a tensor without values": Row(
        lambda: gh.optim.minimize(lambda x: (x.sum(), x), torch.ones(2, device="meta")),
        *("x0", "must be a tensor that holds values", "'meta'", "make it on the CPU"),
        TypeError,
    ),
    "minimize: complex numbers": Row(
        lambda: gh.optim.minimize(lambda x: (x.sum(), x), torch.ones(2) * 1j),
        *("x0", "must hold real numbers", "complex64", "torch.view_as_real"),
        TypeError,
    ),
    "minimize: a value alone": Row(
        lambda: gh.optim.minimize(torch.sum, torch.ones(2)),
        *("fun", "must return the value and its gradient", "a Tensor", VALUE_AND_GRAD),
        TypeError,
    ),
    "minimize: three values": Row(
        lambda: gh.optim.minimize(lambda x: (1.0, x, x), torch.ones(2)),
        *("fun", "must return the value and its gradient", "of 3", VALUE_AND_GRAD),
        TypeError,
    ),
    "minimize_batched: nothing": Row(
        lambda: gh.optim.minimize_batched(lambda x, i: None, np.ones((2, 2))),
        *("fun", "must return the value and its", "a NoneType", VALUE_AND_GRAD),
        TypeError,
    ),
    "minimize: a complex gradient": Row(
        lambda: gh.optim.minimize(lambda x: (1.0, x * 1j), torch.ones(2)),
        *("fun", "must return a real gradient", "got dtype torch.complex", "real part"),
        TypeError,
    ),
    "value_and_grad: a vector": Row(
        lambda: gh.optim.value_and_grad(torch.exp)(torch.ones(2)),
        *("fun", "must return a tensor of one element", "got shape (2,)", "sum it"),
        TypeError,
    ),
    "value_and_grad: a number": Row(
        lambda: gh.optim.value_and_grad(lambda x: x.sum().item())(torch.ones(2)),
        *("fun", "must return a tensor of one element", "got a float", "sum it"),
        TypeError,
    ),
    "value_and_grad: cut off": Row(
        lambda: gh.optim.value_and_grad(lambda x: x.sum().detach())(torch.ones(2)),
        *("fun", "must return a tensor of one element", "detach()", "stay with torch"),
        TypeError,
    ),
    "LBFGSOptions: Armijo's constant above Wolfe's": Row(
        lambda: gh.optim.LBFGSOptions(armijo_constant=0.9, wolfe_constant=0.1),
        *("armijo_constant", "must be below wolfe_constant", "0.9 and 0.1", "1e-4"),
    ),
    "LBFGS: a learning rate in a group": Row(
        lambda: gh.optim.LBFGS([{"params": parameters(), "lr": 1.0}]),
        *("params", "must hold options among", "'lr'", "leave it out"),
        TypeError,
    ),
    "LBFGS: a closure without gradients": Row(
        lambda: gh.optim.LBFGS(parameters()).step(lambda: 1.0),
        *("closure", "must leave gradients", "got none", "loss.backward()"),
    ),
}
