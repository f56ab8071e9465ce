"""Trials held out: to choose a penalty by, and to score a fit on."""

from dataclasses import dataclass, replace

import numpy as np

from glmhmm_pyro.estimator.annealing import Schedule
from glmhmm_pyro.estimator.em import OriginalEM
from glmhmm_pyro.estimator.penalties import Penalties
from glmhmm_pyro.estimator.problem import Problem
from glmhmm_pyro.estimator.weights import Weights

# Strengths that are tried, those of the original.
STRENGTHS = np.logspace(-4, 1, 10)

# Share of the trials that is held out, rounded up.
_SHARE = 0.25


@dataclass(frozen=True)
class Split:
    """Numbers of trials to fit and of trials held out, both rising."""

    train: tuple[int, ...]
    test: tuple[int, ...]

    @classmethod
    def draw(
        cls, num_trials: int, option: str, generator: np.random.Generator
    ) -> "Split":
        """A quarter of the trials held out at random.

        Raises:
            ValueError: there are not two trials.
        """
        if num_trials < 2:
            raise ValueError(
                f"{option} must have at least 2 trials, to hold a quarter of them out, "
                f"got {num_trials}; cut long trials in pieces"
            )
        order = generator.permutation(num_trials)
        size = int(np.ceil(_SHARE * num_trials))
        test, train = sorted(order[:size].tolist()), sorted(order[size:].tolist())
        return cls(tuple(train), tuple(test))


@dataclass(frozen=True)
class Choice:
    """A strength chosen by trials held out.

    Attributes:
        penalties: with the chosen strength.
        start: weights of the fit with it.
        scores: log-likelihood per labelled bin held out, by strength, nats.
        index: number of the chosen strength.
    """

    penalties: Penalties
    start: Weights
    scores: np.ndarray
    index: int


def with_strength(penalties: Penalties, strength: float, smooth: bool) -> Penalties:
    """The smoothness of this strength, or else both ridges."""
    if smooth:
        return replace(penalties, smooth_lambda=strength)
    return penalties.with_ridge(lambda _: strength)


def choose(
    problem: Problem, engine: OriginalEM, smooth: bool, generator: np.random.Generator
) -> Choice:
    """The strength with the best score on trials held out.

    From strong to weak, each fit starts where the one before has ended, so that all
    are in the neighbourhood of one maximum.

    Args:
        problem: with all trials.
        engine: that fits.
        smooth: whether smoothness is chosen, or else both ridges.
        generator: that draws the trials held out.
    """
    split = Split.draw(len(problem.trials), "CV_regularize", generator)
    train, test = (problem.trials.subset(part) for part in (split.train, split.test))
    own, start = problem.schedule.own, problem.start
    ends, scores = [], []
    for strength in STRENGTHS[::-1]:
        penalties = with_strength(own, float(strength), smooth)
        part = Problem.of(train, problem.layout, start, Schedule(penalties))
        iterations, _ = engine.run(part)
        start = part.weights(iterations[-1])
        ends.append((penalties, start))
        score = problem.layout.log_likelihood(start, test)
        scores.append(score / max(test.num_observed, 1))
    # The stronger penalty where two are equal.
    best = int(np.argmax(scores))
    penalties, start = ends[best]
    index = len(STRENGTHS) - 1 - best
    return Choice(penalties, start, np.array(scores[::-1]), index)
