"""Weights that are large and hardly bound by the data: states nearly separated.

Where covariates predict the outcomes of a state almost without error, the likelihood is
flat along growing weights long before its maximum, if there is one. Such a weight is
many times what a covariate's spread can need, and its information is next to nothing.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from glmhmm_pyro.distributions import Output
from glmhmm_pyro.inference.coordinates import Params
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.sequences import Sequences

# Change of log-odds by one standard deviation of a covariate from which a weight is
# large: it takes one label from 1 to 99 percent within less than two of them.
_LARGE = 5.0

# A weight is hardly bound if it is less than so many of its standard errors.
_ERRORS = 2.0

# Information that is none, times the weight squared.
_NOTHING = 1e-2


def label_probs(output: Output) -> Tensor:
    """Probabilities of every label, shape (steps, states, labels)."""
    labels = output.emission_dist.enumerate_support(expand=False)
    return output.emission_dist.log_prob(labels).exp().movedim(0, -1)


def large_weights(
    model: GLMHMM,
    data: Sequences,
    params: Params,
    name: str,
    probs: Tensor,
    counts: Tensor,
) -> dict[int, str]:
    """A sentence about the largest weight that is hardly bound, by state.

    Args:
        model: bound to the data.
        data: what it was fitted to.
        params: the fitted parameters.
        name: of a component whose weights are those of a softmax.
        probs: of its outcomes, shape (steps or 1, states, outcomes).
        counts: expected numbers of outcomes, shape (steps, states).
    """
    component = model.components[name]
    view = component.view(data)
    weights, axes = component.display("weights", params[f"{name}.weights"])
    if axes[-1] != "covariate" or weights.shape[0] != counts.shape[1]:
        return {}
    if weights.dim() == 2 and probs.shape[-1] == 2:
        weights = pad(weights.unsqueeze(1), (0, 0, 1, 0))
    if weights.shape[:-1] != probs.shape[1:]:
        return {}
    design, size = _standardised(component.design(view).to(counts))
    relative = weights * size
    hardly = torch.zeros_like(relative, dtype=torch.bool)
    for state, outcome in (relative.abs() > _LARGE).any(-1).nonzero().tolist():
        own = probs[:, state, outcome]
        large = relative[state, outcome].abs()
        ridge = _NOTHING / large.max() ** 2
        errors = _standard_errors(design, counts[:, state] * own * (1 - own), ridge)
        hardly[state, outcome] = (large > _LARGE) & (large < _ERRORS * errors)
    columns = component.covariate_names or range(len(size))
    outcomes = "to state" if name == "transitions" else "of class"
    found = {}
    for state in hardly.flatten(1).any(1).nonzero().flatten().tolist():
        sizes = torch.where(hardly[state], relative[state].abs(), 0.0)
        outcome, column = divmod(int(sizes.argmax()), sizes.shape[-1])
        found[state] = (
            f"the weight of {columns[column]!r} {outcomes} {outcome} is "
            f"{relative[state, outcome, column]:.3g} in units of the covariate's "
            "spread, which the data hardly bound"
        )
    return found


def _standardised(design: Tensor) -> tuple[Tensor, Tensor]:
    """Columns of standard deviation 1, and what that was; 1 at all of a constant one.

    They are centred where a constant column takes up their means.
    """
    spread = design.std(0, correction=0)
    is_constant = spread <= 1e-9 * design.abs().amax(0)
    centre = design.mean(0) if is_constant.any() else torch.zeros_like(spread)
    size = torch.where(is_constant, design.square().mean(0).sqrt(), spread)
    size = torch.where(size > 0, size, 1.0)
    return torch.where(is_constant, design, design - centre) / size, size


def _standard_errors(design: Tensor, noise: Tensor, ridge: Tensor) -> Tensor:
    """Those of the weights of one outcome, those of all others being known.

    Args:
        design: shape (steps, features).
        noise: expected number of outcomes times their variance, shape (steps,).
        ridge: information that is none.
    """
    information = (noise[:, None] * design).T @ design
    information = information + ridge * torch.eye(len(information)).to(information)
    return torch.linalg.inv(information).diagonal().clamp(min=0).sqrt()
