"""How far chains agree, and how many independent draws theirs are worth.

R-hat and effective sample sizes are those of Vehtari, Gelman, Simpson, Carpenter &
Bürkner (2021, Bayesian Analysis 16, 667): chains are cut in halves, draws become normal
scores of their ranks, and autocorrelations are summed as long as pairs of them are
positive (Geyer 1992), each pair counting as no more than the one before.
"""

import math

import numpy as np
import torch

# Tails whose quantiles the effective sample size of the tails is about.
TAILS = (0.05, 0.95)


def r_hat(draws: np.ndarray) -> float:
    """Rank-normalised split R-hat of draws (chains, draws), of location or of spread.

    Example:
        >>> bool(r_hat(np.random.default_rng(0).normal(size=(4, 1000))) < 1.01)
        True
    """
    parts = halves(draws)
    folded = abs(parts - np.median(parts))
    return max(_scale_reduction(normal_scores(part)) for part in (parts, folded))


def bulk_size(draws: np.ndarray) -> float:
    """Number of independent draws that tell as much of where the bulk is.

    Args:
        draws: shape (chains, draws), at least 4 a chain.
    """
    return _effective(normal_scores(halves(draws)))


def tail_size(draws: np.ndarray) -> float:
    """The least number of those that tell as much of where either tail begins."""
    borders = np.quantile(draws, TAILS)
    return min(_effective(halves(draws <= border)) for border in borders)


def halves(draws: np.ndarray) -> np.ndarray:
    """First and last halves of chains (chains, draws) as chains of their own."""
    length = draws.shape[1] // 2
    return np.concatenate([draws[:, :length], draws[:, -length:]]).astype(float)


def normal_scores(draws: np.ndarray) -> np.ndarray:
    """Quantiles of a normal at the ranks that draws have among all, ties in between."""
    _, place, counts = np.unique(draws, return_inverse=True, return_counts=True)
    ranks = (counts.cumsum() - (counts - 1) / 2)[place.reshape(draws.shape)]
    found: np.ndarray = torch.special.ndtri(
        torch.from_numpy((ranks - 3 / 8) / (draws.size + 1 / 4))
    ).numpy()
    return found


def _scale_reduction(chains: np.ndarray) -> float:
    """Square root of the variance of all draws over that within chains."""
    length = chains.shape[1]
    within = chains.var(1, ddof=1).mean()
    with np.errstate(all="ignore"):
        between = chains.mean(1).var(ddof=1) / within
    return math.sqrt(between + (length - 1) / length)


def _effective(chains: np.ndarray) -> float:
    """Effective number of draws of chains that are taken as they are."""
    if np.ptp(chains) == 0:
        return float(chains.size)
    length = chains.shape[1]
    # Variance and autocovariances of a chain, over the number of its draws.
    shifted = _autocovariances(chains).mean(0)
    within = shifted[0] * length / (length - 1)
    total = shifted[0] + chains.mean(1).var(ddof=1)
    correlations = 1 - (within - shifted) / total
    correlations[0] = 1.0
    # The last pairs are of too few draws.
    pairs = correlations[: max((length - 1) // 2, 1) * 2].reshape(-1, 2)
    sums = pairs.sum(1)
    ends = np.flatnonzero(sums[:-1] <= 0)
    number = int(ends[0]) if len(ends) else len(sums) - 1
    time = -1 + 2 * np.minimum.accumulate(sums[:number]).sum()
    time += max(float(pairs[number, 0]), 0.0)
    return float(chains.size / max(time, 1 / math.log10(chains.size)))


def _autocovariances(chains: np.ndarray) -> np.ndarray:
    """Those of each chain (chains, draws) at all lags, by Fourier transform."""
    length = chains.shape[1]
    away = chains - chains.mean(1, keepdims=True)
    power = abs(np.fft.rfft(away, 2 * length)) ** 2
    found: np.ndarray = np.fft.irfft(power, 2 * length)[:, :length] / length
    return found
