"""The benchmark's workloads: seeded, numpy alone.

W1   the demo of pyGLMHMM: K=2, C=2, 3 cues x 30 lags + bias, one session of 10,000;
     everything thresholded, so that the data are separable
W1s  the same with sampled behaviour
W2   choices: K=3, C=2, D=4, stationary transitions, 60 sessions of 500 to 900
W2e  the first 500 steps of each
W3   fly song: K=3, C=4, 17 cues x 10 bases + bias, input-driven, 20 sessions of 5,000
W4   K=4, C=3, D=20, one session of 1,000,000 (in no table of run.py)

For session s with inputs x_t (the LAST column is the constant 1), states z_t and
classes y_t:
    P(y_t=c | z_t=k)        = softmax_c( W_em[k, c] . x_t )
    P(z_t=j | z_{t-1}=i)    = softmax_j( W_tr[i, j] . x_t )     t >= 1: INTO t
    P(z_0=k)                = pi0[k]
Stationary transitions: only the bias column of W_tr is not 0.

Keys: name, X (N,D), y (N,), lengths (S,), K, C, D, stationary, true_W_em (K,C,D),
true_W_tr (K,K,D), true_pi0, true_z (N,), and init_W_em, init_W_tr, init_pi0, from which
every system starts.
"""

import os

import numpy as np


def softmax(a, axis=-1):
    a = a - a.max(axis=axis, keepdims=True)
    e = np.exp(a)
    return e / e.sum(axis=axis, keepdims=True)


def gauss_kernel(sigma, truncate=4.0):
    r = int(truncate * sigma + 0.5)
    k = np.exp(-0.5 * (np.arange(-r, r + 1) / sigma) ** 2)
    return k / k.sum(), r


def gaussian_filter_axis(a, sigma, axis):
    """Gaussian smoothing along one axis, as scipy.ndimage.gaussian_filter1d does it."""
    k, r = gauss_kernel(sigma)
    a = np.moveaxis(a, axis, 0)
    n = a.shape[0]
    idx = np.arange(-r, n + r)
    period = 2 * n
    idx = np.mod(idx, period)
    idx = np.where(idx >= n, period - 1 - idx, idx)
    p = a[idx]
    out = np.zeros_like(a)
    for i in range(2 * r + 1):
        out += k[i] * p[i : i + n]
    return np.moveaxis(out, 0, axis)


def sample(rng, X, lengths, W_em, W_tr, pi0):
    """Draw states and classes from the canonical model."""
    N = X.shape[0]
    K, C, D = W_em.shape
    Pe = softmax((X @ W_em.reshape(K * C, D).T).reshape(N, K, C))
    ce = np.cumsum(Pe, -1)
    stat = np.all(W_tr[..., :-1] == 0)
    if stat:
        ct1 = np.cumsum(softmax(W_tr[..., -1]), -1)
    z = np.zeros(N, np.int64)
    y = np.zeros(N, np.int64)
    uz, uy = rng.random(N), rng.random(N)
    o = 0
    for L in lengths:
        L = int(L)
        if stat:
            ct = None
        else:
            Pt = softmax((X[o : o + L] @ W_tr.reshape(K * K, D).T).reshape(L, K, K))
            ct = np.cumsum(Pt, -1)
        for t in range(L):
            if t == 0:
                row = np.cumsum(pi0)
            else:
                row = ct1[z[o + t - 1]] if stat else ct[t, z[o + t - 1]]
            z[o + t] = min(int(np.searchsorted(row, uz[o + t], side="right")), K - 1)
        o += L
    y = (uy[:, None] > ce[np.arange(N), z]).sum(1)
    y = np.minimum(y, C - 1)
    return z, y.astype(np.int64)


def demo_stimulus(rng, T=10000, nbins=30, ncue=3, noise=0.1, scale=1.0):
    """The demo of pyGLMHMM: white noise, smoothed over time and cues, lagged, noisy."""
    base = rng.standard_normal((T + nbins - 1, ncue))
    base = gaussian_filter_axis(gaussian_filter_axis(base, scale, 0), scale, 1)
    stim = np.stack([base[i : i + T] for i in range(nbins)], 0)  # bins, T, cue
    stim = stim + rng.standard_normal(stim.shape) * noise
    X = np.concatenate([stim[:, :, c] for c in range(ncue)], 0).T  # T, ncue*nbins
    filt = np.linspace(0, nbins)[0:nbins]  # 50 points, first 30, as in the demo
    filt = filt**3 * np.exp(-filt) / 6.0  # gamma pdf, a = 4
    return np.concatenate([X, np.ones((T, 1))], 1), filt, stim


def demo_init(rng, K, C, ncue, nbins):
    """pyGLMHMM's own start: exp(-lag) times -1, 0 or 1 (its off-by-one is kept)."""
    D = ncue * nbins + 1
    em = np.zeros((K, C, D))
    tr = np.zeros((K, K, D))
    e = np.exp(-np.arange(nbins) / nbins)
    for s1 in range(K):
        for ff in range(ncue):
            ix = (ff - 1) * nbins + np.arange(nbins)
            for ee in range(1, C):
                em[s1, ee, ix] = e * np.round(rng.random() * 2 - 1)
            for s2 in range(K):
                tr[s1, s2, ix] = e * np.round(rng.random() * 2 - 1)
        tr[s1, s1] = 0.0
    return em, tr


def w1(sampled):
    rng = np.random.default_rng(20191)
    K, C, ncue, nb = 2, 2, 3, 30
    X, filt, stim = demo_stimulus(rng)
    T, D = X.shape
    em = np.zeros((K, C, D))
    tr = np.zeros((K, K, D))
    em[0, 1, 0:nb], em[0, 1, nb : 2 * nb] = filt, -filt
    em[1, 1, 0:nb], em[1, 1, nb : 2 * nb] = -filt, filt
    tr[0, 1, 2 * nb : 3 * nb] = filt
    tr[1, 0, 2 * nb : 3 * nb] = -filt
    iem, itr = demo_init(np.random.default_rng(7), K, C, ncue, nb)
    pi0 = np.ones(K) / K
    if (
        not sampled
    ):  # the demo itself: everything thresholded at 0.5, so nothing is random given X
        p = [1 / (1 + np.exp(-(X @ em[k, 1]))) for k in range(2)]
        z = (X @ tr[0, 1] > 0).astype(np.int64)
        y = np.where(z == 0, p[0] > 0.5, p[1] > 0.5).astype(np.int64)
    else:  # same stimuli and filters, scaled, sampled, sticky: an identifiable GLM-HMM
        em *= 12.0
        tr *= 12.0
        tr[0, 1, -1] = tr[1, 0, -1] = -2.5
        z, y = sample(rng, X, [T], em, tr, pi0)
        iem = 0.3 * em + 0.1 * rng.standard_normal(em.shape)
        iem[:, 0] = 0
        itr = np.zeros_like(tr)
        itr[0, 1, -1] = itr[1, 0, -1] = -1.5
    return dict(
        name="W1s" if sampled else "W1",
        X=X,
        y=y,
        lengths=np.array([T]),
        K=K,
        C=C,
        D=D,
        stationary=False,
        true_W_em=em,
        true_W_tr=tr,
        true_pi0=pi0,
        true_z=z,
        init_W_em=iem,
        init_W_tr=itr,
        init_pi0=pi0,
    )


def w2(equal):
    rng = np.random.default_rng(20222)
    K, C, S, D = 3, 2, 60, 4
    lengths = rng.integers(500, 901, S)
    # columns: stimulus, previous choice, win-stay-lose-switch, bias
    w = np.array(
        [
            [5.5, 0.3, 0.1, 0.1],  # engaged
            [0.8, 0.7, 0.3, -2.0],  # biased left
            [0.9, 0.6, 0.3, 1.8],
        ]
    )  # biased right
    A = np.array([[0.98, 0.01, 0.01], [0.04, 0.95, 0.01], [0.03, 0.01, 0.96]])
    pi0 = np.array([0.6, 0.2, 0.2])
    em = np.zeros((K, C, D))
    em[:, 1] = w
    tr = np.zeros((K, K, D))
    tr[..., -1] = np.log(A) - np.log(np.diag(A))[:, None]
    contrasts = np.array([-1, -0.25, -0.125, -0.0625, 0, 0.0625, 0.125, 0.25, 1.0])
    Xs, ys, zs = [], [], []
    for L in lengths:
        L = int(L)
        x = np.zeros((L, D))
        x[:, -1] = 1
        x[:, 0] = contrasts[rng.integers(0, 9, L)]
        y = np.zeros(L, np.int64)
        z = np.zeros(L, np.int64)
        prev, rew = 0.0, 0.0
        for t in range(L):
            z[t] = rng.choice(K, p=pi0 if t == 0 else A[z[t - 1]])
            x[t, 1], x[t, 2] = prev, prev * rew
            y[t] = rng.random() < 1 / (1 + np.exp(-(x[t] @ w[z[t]])))
            prev = 2.0 * y[t] - 1
            correct = (x[t, 0] > 0) if x[t, 0] != 0 else rng.random() < 0.5
            rew = 1.0 if bool(y[t]) == bool(correct) else -1.0
        Xs.append(x), ys.append(y), zs.append(z)
    iem = np.zeros_like(em)
    iem[:, 1] = np.array(
        [[2.0, 0.1, 0.1, 0.0], [1.0, 0.1, 0.1, -0.5], [1.0, 0.1, 0.1, 0.5]]
    )
    itr = np.zeros_like(tr)
    iA = np.full((K, K), 0.05) + 0.85 * np.eye(K)
    itr[..., -1] = np.log(iA) - np.log(np.diag(iA))[:, None]
    if equal:  # first 500 trials of each session, for packages that need equal lengths
        Xs, ys, zs = [a[:500] for a in Xs], [a[:500] for a in ys], [a[:500] for a in zs]
        lengths = np.full(S, 500)
    return dict(
        name="W2e" if equal else "W2",
        X=np.concatenate(Xs),
        y=np.concatenate(ys),
        lengths=lengths,
        K=K,
        C=C,
        D=D,
        stationary=True,
        true_W_em=em,
        true_W_tr=tr,
        true_pi0=pi0,
        true_z=np.concatenate(zs),
        init_W_em=iem,
        init_W_tr=itr,
        init_pi0=np.ones(K) / K,
    )


def w3():
    rng = np.random.default_rng(20193)
    K, C, ncue, nb, S, T = 3, 4, 17, 10, 20, 5000
    D = ncue * nb + 1
    # 10 log-spaced raised cosines over 120 past bins
    lag = np.arange(120)
    u = np.log(lag + 3.0)
    cen = np.linspace(u[0], u[90], nb)
    wid = cen[1] - cen[0]
    B = np.where(
        np.abs(u[:, None] - cen) < 2 * wid,
        0.5 * (1 + np.cos((u[:, None] - cen) * np.pi / (2 * wid))),
        0.0,
    )
    B /= np.linalg.norm(B, axis=0)
    Xs = []
    for s in range(S):
        e = rng.standard_normal((T + 119, ncue))
        cue = np.empty_like(e)
        a = np.linspace(0.2, 0.9, ncue)
        cue[0] = e[0]
        for t in range(1, T + 119):
            cue[t] = a * cue[t - 1] + np.sqrt(1 - a * a) * e[t]
        win = np.lib.stride_tricks.sliding_window_view(
            cue, 120, axis=0
        )  # T, ncue, 120 (oldest first)
        Xs.append((win[:, :, ::-1] @ B).reshape(T, D - 1))
    X = np.concatenate(Xs)
    X = (X - X.mean(0)) / X.std(0)
    X = np.concatenate([X, np.ones((X.shape[0], 1))], 1)
    em = np.zeros((K, C, D))
    tr = np.zeros((K, K, D))
    for k in range(K):
        for c in range(1, C):
            for cue in rng.choice(ncue, 5, replace=False):
                em[k, c, cue * nb : (cue + 1) * nb] = (
                    rng.standard_normal() * 0.6 * np.exp(-np.arange(nb) / 2.5)
                )
            em[k, c, -1] = rng.normal(-0.5, 0.8)
        for j in range(K):
            if j != k:
                for cue in rng.choice(ncue, 3, replace=False):
                    tr[k, j, cue * nb : (cue + 1) * nb] = (
                        rng.standard_normal() * 0.5 * np.exp(-np.arange(nb) / 2.5)
                    )
                tr[k, j, -1] = -3.5
    pi0 = np.array([0.5, 0.3, 0.2])
    lengths = np.full(S, T)
    z, y = sample(rng, X, lengths, em, tr, pi0)
    iem = 0.3 * em + 0.05 * rng.standard_normal(em.shape)
    iem[:, 0] = 0
    itr = np.zeros_like(tr)
    itr[..., -1] = -2.0 * (1 - np.eye(K))
    return dict(
        name="W3",
        X=X,
        y=y,
        lengths=lengths,
        K=K,
        C=C,
        D=D,
        stationary=False,
        true_W_em=em,
        true_W_tr=tr,
        true_pi0=pi0,
        true_z=z,
        init_W_em=iem,
        init_W_tr=itr,
        init_pi0=np.ones(K) / K,
    )


def w4():
    rng = np.random.default_rng(20244)
    K, C, D, T = 4, 3, 20, 1_000_000
    X = rng.standard_normal((T, D))
    X[:, -1] = 1
    em = rng.standard_normal((K, C, D)) * 0.5
    em[:, 0] = 0
    tr = rng.standard_normal((K, K, D)) * 0.3
    tr[..., -1] = -3
    for k in range(K):
        tr[k, k] = 0
    pi0 = np.ones(K) / K
    z, y = sample(rng, X, [T], em, tr, pi0)
    return dict(
        name="W4",
        X=X,
        y=y,
        lengths=np.array([T]),
        K=K,
        C=C,
        D=D,
        stationary=False,
        true_W_em=em,
        true_W_tr=tr,
        true_pi0=pi0,
        true_z=z,
        init_W_em=em,
        init_W_tr=tr,
        init_pi0=pi0,
    )


MAKERS = {
    "W1": lambda: w1(False),
    "W1s": lambda: w1(True),
    "W2": lambda: w2(False),
    "W2e": lambda: w2(True),
    "W3": w3,
    "W4": w4,
}


def make(name, folder):
    """Path of the workload's file in ``folder``, made if it is not there yet."""
    path = os.path.join(folder, name + ".npz")
    if not os.path.exists(path):
        os.makedirs(folder, exist_ok=True)
        np.savez(path, **MAKERS[name]())
    return path
