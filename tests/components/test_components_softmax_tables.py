"""Compiled tables of softmaxes, against softmaxes written out."""

import numpy as np
import pytest
import torch
from torch.nn.functional import pad

from glmhmm_pyro.components import table_kernels

# Fewer rows than a tile holds, one tile, and several with a part of one.
SIZES = [(3, 2, 1), (64, 3, 2), (150, 2, 3)]
every_size = pytest.mark.parametrize("steps, rows, free", SIZES)


def made(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 3.0 * torch.randn(shape, generator=generator, dtype=torch.float64)


def is_close(found, expected):
    torch.testing.assert_close(
        torch.as_tensor(found), torch.as_tensor(expected), rtol=1e-13, atol=1e-12
    )


@every_size
def test_labels_have_the_logarithms_of_their_softmaxes(steps, rows, free):
    scores, logs = made(steps, rows, free), np.empty((steps, rows))
    labels = torch.arange(steps) % (free + 2) - 1
    whole = pad(scores, (1, 0)).log_softmax(-1)
    table_kernels.label_logs(probs := scores.clone().numpy(), labels.numpy(), logs)
    seen = labels.clamp(min=0)[:, None, None].expand(steps, rows, 1)
    expected = torch.where(labels[:, None] < 0, 0.0, whole.gather(-1, seen)[..., 0])
    is_close(logs, expected)
    is_close(probs, whole[..., 1:].exp())


@pytest.mark.parametrize("as_logs", [True, False])
@pytest.mark.parametrize("steps, states", [(3, 2), (64, 4), (150, 3)])
def test_moves_stay_at_a_score_of_0(steps, states, as_logs):
    scores = made(steps, states, states - 1)
    scores[:, 1, 0] = -torch.inf
    whole = torch.zeros(steps, states, states, dtype=torch.float64)
    others = ~torch.eye(states, dtype=torch.bool)
    whole[:, others] = scores.flatten(1)
    expected = whole.log_softmax(-1)
    places = np.empty((steps, states, states + 2))
    out = places[..., 1:-1].transpose(0, 2, 1)
    probs = scores.clone().numpy()
    table_kernels.move_table(probs, out, as_logs)
    is_close(np.ascontiguousarray(out), expected if as_logs else expected.exp())
    is_close(probs.reshape(steps, -1), expected.exp()[:, others])


@every_size
def test_expected_log_probabilities_have_the_slopes_of_autograd(steps, rows, free):
    scores = made(steps, rows, free).requires_grad_()
    counts = made(rows, free + 1, steps, seed=1).abs()
    terms = counts.permute(2, 0, 1) * pad(scores, (1, 0)).log_softmax(-1)
    expected = terms.sum((0, 2))
    (slope,) = torch.autograd.grad(expected.sum(), scores)
    values, found = np.ones(rows), scores.detach().clone().numpy()
    total = counts.sum(1).numpy()
    table_kernels.soft_residuals(found, counts[:, 1:].clone().numpy(), total, values)
    is_close(values - 1.0, expected.detach())
    is_close(found, slope)
