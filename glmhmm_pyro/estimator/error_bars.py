"""Standard errors of the weights: exact ones, and the original's figures."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pyro import poutine
from torch import Tensor

from glmhmm_pyro.designs import DesignMatrix
from glmhmm_pyro.estimator.original import TRANSITIONS, output_of
from glmhmm_pyro.estimator.original_em import Iteration, OriginalProblem
from glmhmm_pyro.estimator.rows import Weights
from glmhmm_pyro.inference.curvature.uncertainty import Information, Uncertainty
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.masking import steps_observed


def error_bars(
    problem: OriginalProblem, iteration: Iteration, fit_emissions: bool
) -> dict[str, np.ndarray]:
    """Both, by the names that users read; of all rows of X.

    Args:
        problem: what was fitted.
        iteration: where it ended.
        fit_emissions: whether the emissions were fitted.
    """
    names = [] if fit_emissions else list(iteration.params)
    fixed = [name for name in names if name.startswith("emissions")]
    figures = diagonal_figures(problem, iteration)
    return exact_errors(problem, iteration, fixed) | {
        "hess_diag_emit": figures.emit_w,
        "hess_diag_trans": figures.trans_w,
    }


def exact_errors(
    problem: OriginalProblem, iteration: Iteration, fixed: Sequence[str]
) -> dict[str, np.ndarray]:
    r"""Standard errors from the exact curvature of the penalised log-likelihood.

    .. math:: \mathrm{se} = \sqrt{\mathrm{diag}\big((-H)^{-1}\big)}

    H holds the second derivatives by all weights of both parts together and by the
    distributions of the first states, hidden states summed out.

    Args:
        fixed: sites that were not fitted, which have no error.

    Returns:
        ``emit_std``, ``trans_std`` and ``analog_emit_std``: 0 for what is fixed by
        definition or was not fitted, NaN for what data and penalties do not determine.
    """
    values = dict(iteration.params)
    known = {name: values.pop(name) for name in fixed}
    model: Any = problem.model(iteration.penalties)
    model = poutine.condition(model, known) if known else model
    program = Program.of(model, problem.data)
    vector = program.coordinates.pack(values)
    information = Information.of(program, vector, jacobian=False)
    errors = Uncertainty.of(program, vector, information).errors
    nothing = {name: torch.zeros_like(v) for name, v in iteration.params.items()}
    found = problem.layout.weights(nothing | errors, _zero_weights(problem))
    states = np.arange(len(found.trans_w))
    found.trans_w[states, states] = 0.0
    names = {name: f"{name.removesuffix('_w')}_std" for name in found.shown}
    names.pop("analog_emit_scale", None)
    return {name: found.shown[of] for of, name in names.items()}


def diagonal_figures(problem: OriginalProblem, iteration: Iteration) -> Weights:
    r"""The original's variances, which know of one covariate at a time.

    .. math:: \Big[\Big(\sum_t \gamma_t x_{td}^2
        (\mathrm{diag}\, p_t - p_t p_t^\top) + T Q_{dd} I\Big)^{-1}\Big]_{cc}

    gamma is the posterior of the state at t, or at t-1 for transitions, and p the
    probability of every label, or state, but the reference. States count as known and
    covariates as unrelated, so that they are too small; the errors of
    :func:`exact_errors` are not. The original's variances of transitions are negative,
    and its penalty is in other units (see the README); both are put right here.

    Returns:
        Variances in the place of the weights, 0 for staying.
    """
    data, layout, penalties = problem.data, problem.layout, iteration.penalties
    hidden, figures = problem.distribution(iteration), _zero_weights(problem)
    with torch.no_grad():
        counts = hidden.expected_counts(data.emissions)
    if problem.start.sizes[1]:
        output = hidden.outputs(data.emissions)[output_of("symb", problem.start.sizes)]
        seen = steps_observed(output.mask)
        visits = counts.emission if seen is None else counts.emission * seen[:, None]
        labels = output.emission_dist.enumerate_support()
        probs = output.emission_dist.log_prob(labels).exp().movedim(0, -1)[..., 1:]
        form = penalties.matrix(penalties.emit_lambda, layout.emissions)
        prior = form.diagonal() * data.num_steps
        found = _variances(visits, probs, data.operator("covariates"), prior)
        figures.emit_w[..., layout.columns("emit_w")] = found
    if TRANSITIONS in iteration.params:
        leaving = ~np.eye(hidden.num_states, dtype=bool)
        probs = hidden.transition_logits.exp()[:, leaving]
        probs = probs.unflatten(-1, (hidden.num_states, -1))
        form = penalties.matrix(penalties.trans_lambda, layout.transitions)
        prior = form.diagonal() * data.num_steps
        design = data.operator("transition_covariates")
        found = _variances(counts.transition.sum(-1), probs, design, prior)
        rows = np.argwhere(leaving).T[..., None]
        place = (*rows, layout.columns("trans_w"))
        figures.trans_w[place] = found.reshape(-1, found.shape[-1])
    return figures


def _zero_weights(problem: OriginalProblem) -> Weights:
    """Zeros in the place of all weights."""
    return Weights(*map(np.zeros_like, vars(problem.start).values()))


def _variances(
    counts: Tensor, probs: Tensor, design: DesignMatrix, prior: np.ndarray
) -> np.ndarray:
    """Diagonals of the inverses, shape (states, outcomes - 1, features).

    Args:
        counts: expected visits (steps, states).
        probs: of all outcomes but the reference, (steps, states, outcomes - 1).
        design: covariates (steps, features).
        prior: its precision, by feature.
    """
    squares, ridge = design.mapped(torch.square), torch.from_numpy(prior)
    expected = counts.unsqueeze(-1) * probs
    spread = expected.diag_embed() - expected.unsqueeze(-1) * probs.unsqueeze(-2)
    information = (spread.movedim(0, -1) @ squares).movedim(-1, 1)
    outcomes = torch.eye(probs.shape[-1], dtype=torch.float64)
    information = information + ridge[:, None, None] * outcomes
    # Pseudo-inverse: a covariate that is always 0 has no information.
    inverse = torch.linalg.pinv(information, hermitian=True)
    return inverse.diagonal(dim1=-2, dim2=-1).transpose(-1, -2).numpy()
