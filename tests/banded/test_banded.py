"""Block-tridiagonal algebra against dense Cholesky, and against a known smoother."""

import numpy as np
import pytest
import torch

from glmhmm_pyro.banded import (
    Bordered,
    CholeskyFactor,
    factor,
    joint_factor,
    log_det,
    schur_complement,
    solve,
)


def matrices(batch=(), units=5, size=3, seed=0):
    """Blocks of positive definite matrices, and the dense matrices."""
    generator = torch.Generator().manual_seed(seed)
    shape = (*batch, units, size, size)
    lower = torch.randn(shape, generator=generator, dtype=torch.float64)
    diag = torch.randn(shape, generator=generator, dtype=torch.float64)
    diag = diag @ diag.mT + 6 * torch.eye(size)
    return diag, lower, dense(diag, lower)


def dense(diag, lower):
    *batch, units, size, _ = diag.shape
    whole = diag.new_zeros(*batch, units * size, units * size)
    for unit in range(units):
        here = slice(unit * size, (unit + 1) * size)
        whole[..., here, here] = diag[..., unit, :, :]
        if unit:
            before = slice((unit - 1) * size, unit * size)
            whole[..., here, before] = lower[..., unit, :, :]
            whole[..., before, here] = lower[..., unit, :, :].mT
    return whole


def test_matrices_are_positive():
    assert torch.linalg.eigvalsh(matrices((2,))[2]).min() > 0


@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
@pytest.mark.parametrize("units, size", [(5, 3), (1, 2), (4, 1)])
def test_a_factor_says_what_dense_algebra_says(batch, units, size):
    diag, lower, whole = matrices(batch, units, size)
    made, inverse = factor(diag, lower), torch.linalg.inv(whole)
    close = {"rtol": 1e-11, "atol": 1e-12}
    own = whole.diagonal(dim1=-2, dim2=-1)
    torch.testing.assert_close(made.diagonal.flatten(-2), own, **close)
    assert made.is_positive.all() and made.is_positive.shape == batch
    torch.testing.assert_close(made.log_det, torch.logdet(whole), **close)
    vectors = torch.randn(*batch, units, size, dtype=torch.float64)
    wanted = (inverse @ vectors.flatten(-2)[..., None])[..., 0]
    torch.testing.assert_close(made.solve(vectors).flatten(-2), wanted, **close)
    square = (vectors.flatten(-2) * wanted).sum(-1)
    torch.testing.assert_close(
        made.halfway(vectors).square().sum((-2, -1)), square, **close
    )
    within, between = made.selected_inverse()
    blocks = inverse.unflatten(-1, (units, size)).unflatten(-3, (units, size))
    for unit in range(units):
        wanted = blocks[..., unit, :, unit, :]
        torch.testing.assert_close(within[..., unit, :, :], wanted, **close)
        before = blocks[..., unit, :, unit - 1, :] if unit else 0 * wanted
        torch.testing.assert_close(between[..., unit, :, :], before, **close)


def test_draws_have_the_inverse_for_their_covariance():
    diag, lower, whole = matrices((2,))
    # All of white noise's unit vectors give a root of the covariance.
    noise = torch.eye(15, dtype=torch.float64).reshape(15, 1, 5, 3).expand(15, 2, 5, 3)
    drawn = factor(diag, lower).draw(noise)
    root = drawn.flatten(-2).movedim(0, -1)
    torch.testing.assert_close(root @ root.mT, torch.linalg.inv(whole))
    torch.testing.assert_close(factor(diag, lower).whiten(drawn), noise)


def test_the_blocks_below_alone_are_read():
    diag, lower, _ = matrices()
    made = factor(diag, lower)
    lower[0] = torch.nan
    found = factor(diag.tril(), lower)
    torch.testing.assert_close(found.solve(diag[:, 0]), made.solve(diag[:, 0]))


@pytest.mark.parametrize("batch, draws", [((), ()), ((2,), ()), ((2,), (4,))])
def test_draws_are_differentiated_by_the_factor_and_the_noise(batch, draws):
    diag, lower, _ = matrices(batch, units=3, size=2)
    noise = torch.randn(*draws, *batch, 3, 2, dtype=torch.float64)
    made = factor(diag, lower)
    leaves = [x.clone().requires_grad_() for x in (*made, noise)]
    leaves[1].data[..., 0, :, :] = 0.0

    def drawn(roots, links, noise):
        return CholeskyFactor(roots.tril(), links).draw(noise)

    assert torch.autograd.gradcheck(drawn, leaves)


def test_gradients_are_those_of_the_matrix():
    diag, lower, _ = matrices((2,), units=3, size=2)
    vectors = torch.randn(2, 3, 2, dtype=torch.float64)

    def symmetric(blocks):
        return (blocks + blocks.mT) / 2

    leaves = [x.clone().requires_grad_() for x in (diag, lower, vectors)]
    assert torch.autograd.gradcheck(
        lambda d, low: log_det(symmetric(d), low), leaves[:2]
    )
    assert torch.autograd.gradcheck(
        lambda d, low, v: solve(symmetric(d), low, v), leaves
    )


def test_a_matrix_that_is_not_positive_is_told_of():
    diag, lower, _ = matrices((2,))
    diag[1, 3] -= 100 * torch.eye(3)
    made = factor(diag, lower)
    assert made.is_positive.tolist() == [True, False]
    assert made.log_det[0].isfinite() and made.log_det[1].isnan()
    with pytest.raises(ValueError, match="must have one shape"):
        factor(diag, lower[:, 1:])


def all_linked():
    """The factor of a matrix whose units all hang together, and the matrix."""
    diag, lower, whole = matrices()
    lower[0] = torch.nan
    _, _, other = matrices((1,), seed=1)
    more = other[0] @ other[0].T
    blocks = more.reshape(5, 3, 5, 3).clone()
    inside = diag - torch.diag_embed(diag.diagonal(dim1=1, dim2=2))
    blocks[range(5), :, range(5)] += inside
    return joint_factor(blocks, diag.diagonal(dim1=1, dim2=2), lower), whole + more


def test_a_joint_factor_says_what_dense_algebra_says():
    made, whole = all_linked()
    inverse, vectors = torch.linalg.inv(whole), torch.randn(4, 5, 3).double()
    wanted = vectors.flatten(1) @ inverse
    assert made.is_positive
    torch.testing.assert_close(made.log_det, torch.logdet(whole))
    torch.testing.assert_close(made.diagonal.flatten(), whole.diagonal())
    torch.testing.assert_close(made.inverse().reshape(15, 15), inverse)
    torch.testing.assert_close(made.solve(vectors).flatten(1), wanted)
    torch.testing.assert_close(made.whiten(made.draw(vectors)), vectors)
    between = inverse.reshape(5, 3, 5, 3)[range(1, 5), :, range(4)]
    torch.testing.assert_close(made.selected_inverse()[1][1:], between)


@pytest.mark.parametrize("is_joint", [False, True])
@pytest.mark.parametrize("shared, held", [(2, 0), (3, 1), (0, 0)])
def test_a_border_says_what_dense_algebra_says(shared, held, is_joint):
    """Held numbers have no column of the root: the inverse is that without them."""
    diag, lower, whole = matrices()
    inside = factor(diag, lower)
    if is_joint:
        inside, whole = all_linked()
    border = torch.randn(shared, 5, 3, dtype=torch.float64)
    corner = 400 * torch.eye(shared, dtype=torch.float64)
    rows = border.flatten(1)
    full = torch.cat([torch.cat([whole, rows.T], 1), torch.cat([rows, corner], 1)])
    kept, free = 15 + shared - held, shared - held
    inverse = torch.zeros_like(full)
    inverse[:kept, :kept] = full[:kept, :kept].inverse()
    solved, schur = schur_complement(inside, border, corner)
    root = torch.linalg.cholesky(schur[:free, :free].inverse())
    spread = torch.cat([root, torch.zeros(held, free, dtype=torch.float64)])
    made = Bordered(inside, solved, spread)
    units, own = torch.randn(5, 3).double(), torch.randn(shared).double()
    vector = torch.cat([units.flatten(), own])
    half = sum(part.square().sum() for part in made.halfway(units, own))
    torch.testing.assert_close(half, vector @ inverse @ vector)
    for unit, within in enumerate(made.within()):
        here = slice(3 * unit, 3 * unit + 3)
        torch.testing.assert_close(within, inverse[here, here])
    noise = torch.eye(kept, dtype=torch.float64)
    drawn = made.draw(noise[:, :15].reshape(kept, 5, 3), noise[:, 15:])
    root = torch.cat([drawn[0].flatten(1), drawn[1]], 1).T
    torch.testing.assert_close(root @ root.T, inverse)
    if not held:
        again = made.whiten(*drawn)
        torch.testing.assert_close(torch.cat([again[0].flatten(1), again[1]], 1), noise)


def test_a_level_that_walks_is_smoothed():
    """By the recursions of Kalman and of Rauch, Tung & Striebel, written out."""
    rng, steps, noise, start = np.random.default_rng(0), 30, 0.7, 3.0
    walk = 0.4
    y = rng.normal(size=steps).cumsum()
    mean, variance, ahead = np.zeros(steps), np.zeros(steps), np.zeros(steps)
    total = 0.0
    for t in range(steps):
        before = mean[t - 1] if t else 0.0
        ahead[t] = variance[t - 1] + walk**2 if t else start**2
        spread = ahead[t] + noise**2
        total -= ((y[t] - before) ** 2 / spread + np.log(2 * np.pi * spread)) / 2
        gain = ahead[t] / spread
        mean[t] = before + gain * (y[t] - before)
        variance[t] = (1 - gain) * ahead[t]
    lagged = np.zeros(steps)
    for t in range(steps - 2, -1, -1):
        gain = variance[t] / ahead[t + 1]
        lagged[t + 1] = gain * variance[t + 1]
        mean[t] += gain * (mean[t + 1] - mean[t])
        variance[t] += gain**2 * (variance[t + 1] - ahead[t + 1])
    precision = np.full(steps, walk**-2)
    precision[0] = start**-2
    diag = precision + np.append(precision[1:], 0.0) + noise**-2
    made = factor(*(torch.tensor(x)[:, None, None] for x in (diag, -precision)))
    found = made.solve(torch.tensor(y / noise**2)[:, None])[:, 0]
    np.testing.assert_allclose(found, mean, rtol=1e-10)
    within, between = made.selected_inverse()
    np.testing.assert_allclose(within[:, 0, 0], variance, rtol=1e-10)
    np.testing.assert_allclose(between[1:, 0, 0], lagged[1:], rtol=1e-10)
    fitted = float(found @ torch.tensor(y)) / noise**2 - (y**2).sum() / noise**2
    constant = np.log(precision).sum() - float(made.log_det)
    evidence = (fitted + constant - steps * np.log(2 * np.pi * noise**2)) / 2
    assert evidence == pytest.approx(total, rel=1e-12)
