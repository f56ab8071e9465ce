"""Standard errors of the weights: exact ones, and the original's figures."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from pyro import poutine
from torch import Tensor

from glmhmm_pyro.chain import ExpectedCounts
from glmhmm_pyro.distributions import HiddenMarkov
from glmhmm_pyro.estimator.original import TRANSITIONS, output_of, weights_of
from glmhmm_pyro.estimator.penalties import Penalties
from glmhmm_pyro.estimator.problem import Iteration, Problem
from glmhmm_pyro.inference.curvature.uncertainty import Information, Uncertainty
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.masking import steps_observed


def exact_errors(
    problem: Problem, iteration: Iteration, fixed: tuple[str, ...] = ()
) -> dict[str, np.ndarray]:
    r"""Standard errors from the exact curvature of the penalised log-likelihood.

    .. math:: \mathrm{se} = \sqrt{\mathrm{diag}\big((-H)^{-1}\big)}

    H holds the second derivatives by all weights of both parts together and by the
    distributions of the first states, hidden states summed out.

    Args:
        problem: what was fitted.
        iteration: where it ended.
        fixed: sites that were not fitted, which have no error.

    Returns:
        ``emit_std`` and ``trans_std`` of all rows of X: 0 for what is fixed by
        definition or was not fitted, NaN for what data and penalties do not determine.
    """
    values = dict(iteration.params)
    known = {name: values.pop(name) for name in fixed}
    model: Any = problem.model(iteration.penalties)
    program = Program.of(
        poutine.condition(model, known) if known else model, problem.data
    )
    vector = program.coordinates.pack(values)
    information = Information.of(program, vector, jacobian=False)
    errors = Uncertainty.of(program, vector, information).errors
    nothing = {name: torch.zeros_like(v) for name, v in iteration.params.items()}
    whole = nothing | errors
    zeros = problem.layout.read(problem.start)
    zeros = replace(zeros, transitions=np.zeros(zeros.transitions.shape))
    found = problem.layout.spread(weights_of(whole, zeros))
    errors_of = {
        "emit_std": found.emissions,
        "trans_std": without_staying(found.transitions),
    }
    if problem.start.sizes[2]:
        errors_of["analog_emit_std"] = found.analog
    return errors_of


def diagonal_figures(problem: Problem, iteration: Iteration) -> dict[str, np.ndarray]:
    r"""The original's variances, which know of one covariate at a time.

    .. math:: \Big[\Big(\sum_t \gamma_t x_{td}^2
        (\mathrm{diag}\, p_t - p_t p_t^\top) + T Q_{dd} I\Big)^{-1}\Big]_{cc}

    gamma is the posterior of the state at t, or at t-1 for transitions, and p the
    probability of every label, or state, but the reference. States count as known and
    covariates as unrelated, so that they are too small; the errors of
    :func:`exact_errors` are not. The original's variances of transitions are negative,
    and its penalty is in other units (see the README); both are put right here.

    Returns:
        ``hess_diag_emit`` and ``hess_diag_trans`` of all rows of X, 0 for staying.
    """
    start = problem.layout.read(problem.start)
    hidden = problem.distribution(iteration)
    with torch.no_grad():
        counts = hidden.expected_counts(problem.data.emissions)
    figures = replace(
        start,
        emissions=np.zeros(start.emissions.shape),
        transitions=np.zeros(start.transitions.shape),
    )
    if start.sizes[1]:
        found = _of_labels(problem, iteration, hidden, counts)
        figures = replace(figures, emissions=found.numpy())
    if TRANSITIONS in iteration.params:
        found = _of_moves(problem, iteration, hidden, counts)
        figures = replace(figures, transitions=found.numpy())
    spread = problem.layout.spread(figures)
    return {"hess_diag_emit": spread.emissions, "hess_diag_trans": spread.transitions}


def _of_labels(
    problem: Problem, iteration: Iteration, hidden: HiddenMarkov, counts: ExpectedCounts
) -> Tensor:
    """Variances of the labels' weights, rows of X that are read."""
    data, penalties = problem.data, iteration.penalties
    outputs = hidden.outputs(data.emissions)
    output = outputs[output_of("symb", problem.start.sizes)]
    seen = steps_observed(output.mask)
    visits = counts.emission if seen is None else counts.emission * seen[:, None]
    labels = output.emission_dist.enumerate_support()
    probs = output.emission_dist.log_prob(labels).exp().movedim(0, -1)[..., 1:]
    ridge, columns = penalties.emit_lambda, problem.layout.emissions
    penalty = _ridge(penalties, ridge, columns, data.num_steps)
    return _variances(visits, probs, data.covariates, penalty)


def _of_moves(
    problem: Problem, iteration: Iteration, hidden: HiddenMarkov, counts: ExpectedCounts
) -> Tensor:
    """Variances of the transitions' weights, rows of X that are read."""
    data, penalties = problem.data, iteration.penalties
    ridge, columns = penalties.trans_lambda, problem.layout.transitions
    penalty = _ridge(penalties, ridge, columns, data.num_steps)
    moves, origins = hidden.transition_logits.exp(), counts.transition.sum(-1)
    states = origins.shape[-1]
    figures = torch.zeros(states, states, len(columns), dtype=torch.float64)
    for origin in range(states):
        others = [i for i in range(states) if i != origin]
        probs, visits = moves[:, [origin]][..., others], origins[:, [origin]]
        found = _variances(visits, probs, data.transition_covariates, penalty)
        figures[origin, others] = found[0]
    return figures


def without_staying(transitions: np.ndarray) -> np.ndarray:
    """Transition figures (origin, destination, feature) with 0 for staying."""
    states = np.arange(len(transitions))
    figures = transitions.copy()
    figures[states, states] = 0.0
    return figures


def _ridge(
    penalties: Penalties, ridge: float, columns: tuple[int, ...], num_steps: int
) -> Tensor:
    """Diagonal of the penalty on the log-likelihood's scale, shape (features,)."""
    return torch.from_numpy(np.diag(penalties.matrix(ridge, columns)) * num_steps)


def _variances(counts: Tensor, probs: Tensor, design: Tensor, ridge: Tensor) -> Tensor:
    """Diagonals of the inverses, shape (states, outcomes - 1, features).

    Args:
        counts: expected visits (steps, states).
        probs: of all outcomes but the reference, (steps, states, outcomes - 1).
        design: covariates (steps, features).
        ridge: precision of the prior (features,).
    """
    squares = design.square()
    own = torch.einsum("tk,tkc,td->kdc", counts, probs, squares).diag_embed()
    information = own - torch.einsum(
        "tk,tkc,tke,td->kdce", counts, probs, probs, squares
    )
    outcomes = torch.eye(probs.shape[-1], dtype=torch.float64)
    information = information + ridge[:, None, None] * outcomes
    # Pseudo-inverse: a covariate that is always 0 has no information.
    inverse = torch.linalg.pinv(information, hermitian=True)
    return inverse.diagonal(dim1=-2, dim2=-1).transpose(-1, -2)
