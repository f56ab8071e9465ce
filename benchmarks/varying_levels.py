"""What fits cost whose weights vary on two levels, beside fits in which nothing varies.

    python benchmarks/varying_levels.py [groups] [sessions] [steps]

Choices of animals whose states follow one another otherwise: of the slow states by
animal, of the fast ones by session, too. Every model is fitted by EM with the weights
that vary integrated out, in which the fit without them has its part, since it comes
first. Beside each the same model of weights that do not vary, on the same data with the
same starts: log-likelihood, then the log-evidence of what varies, both in nats; CPU
seconds of either, after a first call of each; and how many times as long the one takes.

What came out, 16 animals with 3 sessions of 80 steps, two starts each::

                                           still     vary | still    vary   times
    fast moves by session               -1924.4  -1924.3 |  2.6 s   3.5 s     1.3
    the same, slow states going on      -1922.1  -1921.6 |  1.6 s   4.3 s     2.7
    slow moves by session, going on     -1922.1  -1921.6 |  1.5 s   6.2 s     4.2
    slow moves by group, going on       -1922.1  -1921.6 |  1.5 s   2.7 s     1.8
    slow by group, fast by session      -1922.1  -1920.9 |  1.4 s   7.8 s     5.4

Where slow states go on from a session to the next, the units of a chain hang together,
and second derivatives are those between any two of them. What varies by group and by
session at once has a row of numbers for every animal.
"""

import sys
import time
import warnings

import numpy as np
import torch

import glmhmm_pyro as gh
from glmhmm_pyro.components import Levels, TwoLevels

RIDGE = gh.priors.Ridge(2.0)


def chosen(groups, sessions, steps, seed=0):
    """Choices by two slow and two fast states, which every session moves otherwise."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(groups * sessions, steps)), []
    slow_odds = -3.5 + 0.5 * rng.normal(size=(groups, 2))
    fast_odds = np.array([[-3.0, -3.0], [-1.0, -1.0]]) + 0.5 * rng.normal(
        size=(groups * sessions, 2, 2)
    )
    slow = 0
    for session in range(groups * sessions):
        slow = slow if session % sessions else rng.integers(2)
        fast = rng.integers(2)
        for stimulus in x[session]:
            slow ^= int(rng.random() < odds_to(slow_odds[session // sessions, slow]))
            fast ^= int(rng.random() < odds_to(fast_odds[session, slow, fast]))
            odds = (3 * stimulus, 0.3 * stimulus - 1.5)[fast]
            y.append(int(rng.random() < odds_to(odds)))
    return gh.Sequences(
        y,
        np.stack([x.ravel(), np.ones(x.size)], 1),
        lengths=[steps] * (groups * sessions),
        covariate_names=["s", "bias"],
        groups=[str(group) for group in range(groups) for _ in range(sessions)],
    )


def odds_to(odds):
    """The probability that log-odds stand for."""
    return 1 / (1 + np.exp(-odds))


def models():
    """Pairs of models: weights that vary, and the same that do not."""

    def pair(slow=None, fast=None, **options):
        parts = [
            over and gh.Varying(gh.Stationary(), over, "pooled")
            for over in (slow, fast)
        ]
        for moves in (TwoLevels(*parts, **options), TwoLevels(**options)):
            yield gh.GLMHMM(Levels(2, 2), gh.Bernoulli(RIDGE), moves)

    across = {"across_sessions": True}
    yield "fast moves by session", pair(fast="session")
    yield "the same, slow states going on", pair(fast="session", **across)
    yield "slow moves by session, going on", pair("session", **across)
    yield "slow moves by group, going on", pair("group", **across)
    yield "slow by group, fast by session", pair("group", "session", **across)


def timed(model, data):
    """A fit, and its CPU seconds."""
    began = time.process_time()
    fit = gh.fit(model, data, num_restarts=2, seed=0, progress=False)
    return fit, time.process_time() - began


def main():
    """Print a line for each model."""
    sizes = [int(word) for word in sys.argv[1:]]
    groups, sessions, steps = (*sizes, *(16, 3, 80)[len(sizes) :])
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    gh.chain.warm_up([(2, 2)])
    data = chosen(groups, sessions, steps)
    few = chosen(3, 2, 10)
    print(f"{'':34}    still     vary | still    vary   times")
    for name, (varying, still) in models():
        for model in (varying, still):
            timed(model, few)
        vary, own = timed(varying, data)
        plain, other = timed(still, data)
        print(
            f"{name:34} {plain.log_likelihood:8.1f} {vary.log_likelihood:8.1f} |"
            f" {other:4.1f} s {own:5.1f} s {own / other:7.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
