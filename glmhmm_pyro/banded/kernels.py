r"""Compiled block Cholesky factors of block-tridiagonal matrices, and what they serve.

With blocks D_u on the diagonal and B_u at (u, u-1), the factor has lower triangles L_u
on its diagonal and G_u below it,

.. math:: G_u = B_u L_{u-1}^{-\top}, \quad L_u L_u^\top = D_u - G_u G_u^\top .

The blocks of the inverse on the diagonal and beside it follow backwards (Takahashi,
Fagan & Chen 1973; the smoother of Rauch, Tung & Striebel 1965),

.. math::
    J_u = G_{u+1} L_u^{-1}, \quad V_{u+1,u} = -V_{u+1} J_u, \quad
    V_u = (L_u L_u^\top)^{-1} + J_u^\top V_{u+1} J_u .

Arrays are float64 and contiguous, (batch, units, size, size) for matrices and (batch,
units, columns, size) for vectors.
"""

from __future__ import annotations

import numpy as np

from glmhmm_pyro.chain.compiler import compiled

Array = np.ndarray


@compiled(reassociate=False)
def factorise(diag: Array, lower: Array, roots: Array, links: Array) -> int:
    """Fill in L and G of all matrices; how many matrices are not positive definite."""
    batch, units, size, _ = diag.shape
    failed = 0
    for b in range(batch):
        for u in range(units):
            if u:
                _link(lower[b, u], roots[b, u - 1], links[b, u])
            if not _cholesky(diag[b, u], links[b, u], roots[b, u]):
                roots[b] = np.nan
                failed += 1
                break
    return failed


@compiled(reassociate=False)
def _link(below: Array, root: Array, link: Array) -> None:
    """G = B L^-T, row by row."""
    size = len(root)
    for i in range(size):
        for j in range(size):
            total = below[i, j]
            for k in range(j):
                total -= link[i, k] * root[j, k]
            link[i, j] = total / root[j, j]


@compiled(reassociate=False)
def _cholesky(diag: Array, link: Array, root: Array) -> bool:
    """L of D - G G'; false where that is not positive definite."""
    size = len(root)
    for i in range(size):
        for j in range(i + 1):
            total = diag[i, j]
            for k in range(size):
                total -= link[i, k] * link[j, k]
            for k in range(j):
                total -= root[i, k] * root[j, k]
            if i == j:
                if not total > 0.0:
                    return False
                root[i, i] = np.sqrt(total)
            else:
                root[i, j] = total / root[j, j]
    return True


@compiled(reassociate=False)
def forwards(roots: Array, links: Array, found: Array) -> None:
    """Vectors x in place of their solution of (L, G) y = x."""
    batch, units, columns, size = found.shape
    for b in range(batch):
        for u in range(units):
            for c in range(columns):
                for i in range(size):
                    total = found[b, u, c, i]
                    if u:
                        for k in range(size):
                            total -= links[b, u, i, k] * found[b, u - 1, c, k]
                    for k in range(i):
                        total -= roots[b, u, i, k] * found[b, u, c, k]
                    found[b, u, c, i] = total / roots[b, u, i, i]


@compiled(reassociate=False)
def backwards(roots: Array, links: Array, found: Array) -> None:
    """Vectors x in place of their solution of (L, G)' y = x."""
    batch, units, columns, size = found.shape
    for b in range(batch):
        for u in range(units - 1, -1, -1):
            for c in range(columns):
                for i in range(size - 1, -1, -1):
                    total = found[b, u, c, i]
                    if u + 1 < units:
                        for k in range(size):
                            total -= links[b, u + 1, k, i] * found[b, u + 1, c, k]
                    for k in range(i + 1, size):
                        total -= roots[b, u, k, i] * found[b, u, c, k]
                    found[b, u, c, i] = total / roots[b, u, i, i]


@compiled(reassociate=False)
def invert(roots: Array, links: Array, within: Array, between: Array) -> None:
    """Blocks (u, u) and (u, u-1) of the inverse; (0, -1) is left as it is."""
    batch, units, size, _ = roots.shape
    inverse, gain = np.zeros((size, size)), np.zeros((size, size))
    for b in range(batch):
        for u in range(units - 1, -1, -1):
            _inverse(roots[b, u], inverse)
            last = u + 1 == units
            if not last:
                _product(links[b, u + 1], inverse, gain)
                _product(within[b, u + 1], gain, between[b, u + 1])
            for i in range(size):
                for j in range(i + 1):
                    total = 0.0
                    for k in range(i, size):
                        total += inverse[k, i] * inverse[k, j]
                    if not last:
                        for k in range(size):
                            total += gain[k, i] * between[b, u + 1, k, j]
                    within[b, u, i, j] = within[b, u, j, i] = total
            if not last:
                between[b, u + 1] *= -1.0


@compiled(reassociate=False)
def _inverse(root: Array, found: Array) -> None:
    """Inverse of a lower triangle; what stands above is left as it is."""
    size = len(root)
    for j in range(size):
        for i in range(j, size):
            total = 1.0 if i == j else 0.0
            for k in range(j, i):
                total -= root[i, k] * found[k, j]
            found[i, j] = total / root[i, i]


@compiled(reassociate=False)
def _product(left: Array, right: Array, found: Array) -> None:
    size = len(left)
    for i in range(size):
        for j in range(size):
            total = 0.0
            for k in range(size):
                total += left[i, k] * right[k, j]
            found[i, j] = total
