"""What the warm-up of a sampler learns: how long steps are, how wide the posterior is.

Steps are as long as a wanted acceptance allows, by dual averaging (Hoffman & Gelman
2014); widths are those of the draws of windows that double in length, as in Stan.
"""

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

# Draws before the first window, in it, and after the last.
_BEFORE, _FIRST, _AFTER = 75, 25, 50

# The same as shares of a short warm-up, of which the window takes the rest, and the
# number of draws below which there is none.
_SHARES, _SHORT = (0.15, 0.1), 20

# A window's variance counts as if so many of its draws had come with this one.
_PRIOR_DRAWS, _PRIOR_VARIANCE = 5, 1e-3

# Dual averaging: pull towards longer steps, draws that hardly count, how fast the
# average forgets.
_PULL, _EARLY, _FORGETS = 0.05, 10.0, 0.75


@dataclass
class StepLength:
    """The length of a step, learnt from how probable acceptance is.

    Args:
        length: to begin with.
        target: acceptance that is wanted.
    """

    length: float
    target: float
    count: int = 0
    lacking: float = 0.0
    log_average: float = 0.0
    centre: float = 0.0

    def begin(self, length: float) -> None:
        """Begin anew at a length."""
        self.length, self.centre = length, math.log(10.0 * length)
        self.count, self.lacking, self.log_average = 0, 0.0, 0.0

    def learn(self, accepted: float) -> None:
        """Go by the acceptance of one more draw."""
        self.count += 1
        self.lacking += (self.target - accepted - self.lacking) / (self.count + _EARLY)
        log_length = self.centre - math.sqrt(self.count) / _PULL * self.lacking
        share = self.count**-_FORGETS
        self.log_average += share * (log_length - self.log_average)
        self.length = math.exp(log_length)

    def end(self) -> None:
        """Keep the average from now on."""
        if self.count:
            self.length = math.exp(self.log_average)

    def state(self) -> dict[str, float]:
        """All its numbers."""
        return asdict(self)


def window_ends(num_warmup: int) -> list[int]:
    """Numbers of draws after which widths are learnt anew; the first opens a window."""
    if num_warmup < _SHORT:
        return []
    before, first, after = _BEFORE, _FIRST, _AFTER
    if before + first + after > num_warmup:
        before, after = (int(share * num_warmup) for share in _SHARES)
        first = num_warmup - before - after
    ends, size, last = [before], first, num_warmup - after
    while ends[-1] < last:
        # A window that would leave less than its double for the next takes all.
        end = ends[-1] + size
        ends.append(end if end + 2 * size <= last else last)
        size *= 2
    return ends


def scale_estimate(draws: Tensor, is_dense: bool) -> Tensor:
    """How far draws (draws, size) spread: a triangular matrix, or its diagonal."""
    number, size = draws.shape
    scale, extra = number / (number + _PRIOR_DRAWS), _PRIOR_DRAWS * _PRIOR_VARIANCE
    floor = extra / (number + _PRIOR_DRAWS)
    if not is_dense:
        return (scale * draws.var(0) + floor).sqrt()
    covariance = scale * torch.cov(draws.T).reshape(size, size)
    covariance += floor * torch.eye(size, dtype=draws.dtype)
    return torch.linalg.cholesky(covariance)
