"""One independent log-likelihood that judges every system: plain numpy, log space.

It shares no code with any of them. Sessions advance together, padded.
"""

import numpy as np


def lse(a, axis):
    m = a.max(axis=axis, keepdims=True)
    m = np.where(np.isfinite(m), m, 0.0)
    with np.errstate(divide="ignore"):
        return np.log(np.exp(a - m).sum(axis=axis)) + np.squeeze(m, axis)


def loglik_many(X, y, lengths, W_em, W_tr, pi0, chunk_bytes=6e8):
    """Log-likelihoods (n,), nats, summed over all steps.

    W_em (n,K,C,D), W_tr (n,K,K,D), pi0 (n,K) or (n,S,K).
    """
    W_em, W_tr, pi0 = (np.asarray(a, np.float64) for a in (W_em, W_tr, pi0))
    n, K, C, D = W_em.shape
    lengths = np.asarray(lengths, int)
    S, Tm, N = len(lengths), int(lengths.max()), X.shape[0]
    start = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    if pi0.ndim == 2:
        pi0 = np.broadcast_to(pi0[:, None, :], (n, S, K))
    idx = np.minimum(start[:, None] + np.arange(Tm)[None, :], N - 1)  # S, Tm
    alive = np.arange(Tm)[None, :] < lengths[:, None]
    out = np.empty(n)
    step = max(1, int(chunk_bytes / (8.0 * S * Tm * (K * K + K))))
    for a in range(0, n, step):
        b = min(n, a + step)
        m = b - a
        lb = np.empty((Tm, m, S, K))
        la = np.empty((Tm, m, S, K, K))
        for i in range(m):
            e = (X @ W_em[a + i].reshape(K * C, D).T).reshape(N, K, C)
            e = e[np.arange(N), :, y] - lse(e, 2)
            lb[:, i] = e[idx].transpose(1, 0, 2)
            if np.all(W_tr[a + i, ..., :-1] == 0):
                q = W_tr[a + i, ..., -1]
                la[:, i] = (q - lse(q, 1)[:, None])[None, None]
            else:
                q = (X @ W_tr[a + i].reshape(K * K, D).T).reshape(N, K, K)
                q = q - lse(q, 2)[..., None]
                la[:, i] = q[idx].transpose(1, 0, 2, 3)
        with np.errstate(divide="ignore"):
            al = np.log(pi0[a:b]) + lb[0]  # m, S, K
        tot = lse(al, 2)
        al = al - tot[..., None]
        for t in range(1, Tm):
            nx = lse(al[..., :, None] + la[t], 2) + lb[t]
            c = lse(nx, 2)
            live = alive[:, t][None, :]
            tot = tot + np.where(live, c, 0.0)
            al = np.where(live[..., None], nx - c[..., None], al)
        out[a:b] = tot.sum(1)
    return out


def loglik(X, y, lengths, W_em, W_tr, pi0):
    return float(
        loglik_many(
            X,
            y,
            lengths,
            np.asarray(W_em)[None],
            np.asarray(W_tr)[None],
            np.asarray(pi0)[None],
        )[0]
    )
