"""Trials held out: to choose a penalty by, and to score a fit on."""

from dataclasses import replace
from typing import Any

import numpy as np

from glmhmm_pyro.estimator.fit_problem import Problem
from glmhmm_pyro.estimator.original_em import OriginalEM
from glmhmm_pyro.estimator.penalties import Penalties
from glmhmm_pyro.estimator.penalty_schedule import Schedule
from glmhmm_pyro.estimator.trials import Trials

# Strengths that are tried, those of the original.
STRENGTHS = np.logspace(-4, 1, 10)

# Share of the trials that is held out, rounded up.
_SHARE = 0.25


def split(
    trials: Trials, option: str, generator: np.random.Generator
) -> tuple[list[int], list[int]]:
    """Numbers of the trials to fit, and of a random quarter that is held out.

    Raises:
        ValueError: there are not two trials, or nothing is left to fit.
    """
    num_trials = len(trials)
    if num_trials < 2:
        raise ValueError(
            f"{option} must have at least 2 trials, to hold a quarter of them out, "
            f"got {num_trials}; cut long trials in pieces"
        )
    order = generator.permutation(num_trials)
    size = int(np.ceil(_SHARE * num_trials))
    train, test = sorted(order[size:].tolist()), sorted(order[:size].tolist())
    if np.isnan(trials.subset(train).emissions).all(0).any():
        raise ValueError(
            f"{option} must leave labels, and values of every analog output, to fit, "
            f"got none of one in trials {train}; give another random_state, or cut "
            "long trials in pieces"
        )
    return train, test


def regularised(
    problem: Problem, engine: OriginalEM, smooth: bool, generator: np.random.Generator
) -> tuple[Problem, dict[str, Any]]:
    """The fit with the strength that is best on trials held out, and what users get.

    From strong to weak, each fit starts where the one before has ended, so that all
    are in the neighbourhood of one maximum.

    Args:
        problem: with all trials.
        engine: that fits.
        smooth: whether smoothness is chosen, or else both ridges.
        generator: that draws the trials held out.
    """
    numbers = split(problem.trials, "CV_regularize", generator)
    train, test = (problem.trials.subset(part) for part in numbers)
    part = replace(problem, trials=train)
    path, scores = [], []
    for strength in STRENGTHS[::-1].tolist():
        schedule = Schedule(_with_strength(problem.schedule.own, strength, smooth))
        part = replace(part, schedule=schedule)
        iterations, _ = engine.run(part)
        part = replace(part, start=part.weights(iterations[-1]))
        score = part.layout.log_likelihood(part.start, test)
        path.append(part)
        scores.append(score / max(test.num_observed, 1))
    # The stronger penalty where two are equal.
    best = path[int(np.argmax(scores))]
    return replace(problem, schedule=best.schedule, start=best.start), {
        "regular_schedule_": STRENGTHS.copy(),
        "regular_schedule_ind_": len(STRENGTHS) - 1 - int(np.argmax(scores)),
        "regular_scores_": np.array(scores[::-1]),
    }


def _with_strength(penalties: Penalties, strength: float, smooth: bool) -> Penalties:
    """The smoothness of this strength, or else both ridges."""
    if smooth:
        return replace(penalties, smooth_lambda=strength)
    return penalties.with_ridge(lambda _: strength)
