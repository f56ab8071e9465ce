"""Standard errors of the weights: exact ones, and the original's figures."""

from typing import Any

import numpy as np
import torch
from pyro import poutine
from torch import Tensor

from glmhmm_pyro.components.pairs import free_pairs, insert_staying_rows
from glmhmm_pyro.designs import DesignMatrix
from glmhmm_pyro.estimator.original_em import Ended
from glmhmm_pyro.inference.curvature.information import Information
from glmhmm_pyro.inference.curvature.uncertainty import Uncertainty
from glmhmm_pyro.inference.kinds.separated import label_probs
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.masking import steps_observed


def exact_errors(ended: Ended, fit_emissions: bool) -> dict[str, np.ndarray]:
    """``emit_std``, ``trans_std``, ``analog_emit_std``, in the shapes of the weights.

    They are by the exact curvature in all weights that were fitted and distributions of
    first states, hidden states summed out: 0 for what is fixed by definition or was not
    fitted, NaN for what data and penalties do not determine.
    """
    values, problem = dict(ended.run.params), ended.steps.problem
    errors = {name: torch.zeros_like(value) for name, value in values.items()}
    fixed = [name for name in values if name.startswith("emissions")]
    known = {} if fit_emissions else {name: values.pop(name) for name in fixed}
    model: Any = ended.steps.model
    program = Program.of(
        poutine.condition(model, known) if known else model, problem.data
    )
    vector = program.coordinates.pack(values)
    information = Information.of(program, vector, jacobian=False)
    errors |= Uncertainty.of(program, vector, information).errors
    zeros = {name: np.zeros_like(value) for name, value in problem.start.items()}
    found = problem.original.weights(errors, zeros)
    found["trans_w"][np.diag_indices(len(found["trans_w"]))] = 0.0
    return {f"{n.removesuffix('_w')}_std": found[n] for n in problem.original.rows}


def diagonal_figures(ended: Ended) -> dict[str, np.ndarray]:
    r"""The original's variances, which know of one covariate at a time.

    .. math:: \Big[\Big(\sum_t \gamma_t x_{td}^2
        (\mathrm{diag}\, p_t - p_t p_t^\top) + T Q_{dd} I\Big)^{-1}\Big]_{cc}

    gamma is the posterior of the state at t, or at t-1 for transitions, and p the
    probability of every label, or state, but the reference. States count as known and
    covariates as unrelated, so that they are too small. The original's variances of
    transitions are negative, and its penalty is in other units; both are right here.

    They are ``hess_diag_emit`` and ``hess_diag_trans``, in the shapes of the weights.
    """
    steps, problem = ended.steps, ended.steps.problem
    data, original, penalties = problem.data, problem.original, steps.penalties
    hidden, parts = steps.at(ended.run.params), {}
    with torch.no_grad():
        counts = hidden.expected_counts(data.emissions)
    if original.free:
        output = hidden.outputs(data.emissions)[original.output("symb")]
        seen = steps_observed(output.mask)
        visits = counts.emission if seen is None else counts.emission * seen[:, None]
        parts["emit"] = visits, label_probs(output)[..., 1:]
    if original.states > 1:
        leaving = free_pairs(hidden.transition_logits).exp()
        parts["trans"] = counts.transition.sum(-1), leaving
    found = {n: np.zeros_like(problem.start[f"{n}_w"]) for n in ("emit", "trans")}
    for name, outcomes in parts.items():
        read = original.columns(f"{name}_w")
        form = penalties.matrix(getattr(penalties, f"{name}_lambda"), read)
        design = data.operator("covariates").columns(read)
        prior = torch.from_numpy(form).diagonal() * data.num_steps
        variances = _variances(*outcomes, design, prior)
        if name == "trans":
            variances = insert_staying_rows(variances)
        found[name][..., read] = variances
    return {f"hess_diag_{name}": figures for name, figures in found.items()}


def _variances(
    counts: Tensor, probs: Tensor, design: DesignMatrix, prior: Tensor
) -> Tensor:
    """Diagonals of the inverses (states, outcomes - 1, features).

    Of visits (steps, states), and probabilities (steps, states, outcomes - 1).
    """
    expected = counts.unsqueeze(-1) * probs
    spread = expected.diag_embed() - expected.unsqueeze(-1) * probs.unsqueeze(-2)
    information = (spread.movedim(0, -1) @ design.mapped(torch.square)).movedim(-1, 1)
    outcomes = torch.eye(probs.shape[-1], dtype=torch.float64)
    information = information + prior[:, None, None] * outcomes
    # Pseudo-inverse: a covariate that is always 0 has no information.
    inverse = torch.linalg.pinv(information, hermitian=True)
    return inverse.diagonal(dim1=-2, dim2=-1).transpose(-1, -2)
