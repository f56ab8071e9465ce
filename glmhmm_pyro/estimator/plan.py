"""A fit from the estimator's parameters: what is fitted, and what is made of it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from glmhmm_pyro.concurrency import exclusively
from glmhmm_pyro.estimator.error_bars import error_bars
from glmhmm_pyro.estimator.generation import LaggedRow, generated, lagged_rows
from glmhmm_pyro.estimator.original_em import Iteration, OriginalEM, OriginalProblem
from glmhmm_pyro.estimator.parameters import is_given
from glmhmm_pyro.estimator.penalties import (
    Penalties,
    Schedule,
    own_rows,
    penalties_of,
    schedule_of,
)
from glmhmm_pyro.estimator.rows import RowLayout, Weights
from glmhmm_pyro.estimator.smoothness import smoothed
from glmhmm_pyro.estimator.trials import Trials
from glmhmm_pyro.inference.kinds.unbounded import unbounded_weights
from glmhmm_pyro.inference.search.runs import Run
from glmhmm_pyro.inference.status import Status

# Strengths that CV_regularize tries, those of the original.
STRENGTHS = np.logspace(-4, 1, 10)

# Share of the trials that is held out, rounded up.
_SHARE = 0.25


@dataclass(frozen=True)
class Fitted:
    """A fit that was made, and all that users get of it.

    Attributes:
        status: how it ended.
        details: sentences on it.
        history: one dictionary for every iteration.
        attributes: of the estimator, by name, besides those of every fit.
    """

    status: Status
    details: tuple[str, ...]
    history: list[dict[str, Any]]
    attributes: dict[str, Any]


def fit_trials(
    options: Mapping[str, Any],
    layout: RowLayout,
    trials: Trials,
    start: Weights,
    generator: np.random.Generator,
) -> Fitted:
    """A fit and all that the parameters ask for besides.

    Args:
        options: the estimator's parameters, checked.
        layout: of X.
        trials: all trials.
        start: starting weights.
        generator: source of all randomness.
    """
    attributes: dict[str, Any] = {}
    held_out, number = None, layout.num_features
    if options["cross_validate"]:
        train, test = split(trials, "cross_validate", generator)
        held_out, trials = trials.subset(test), trials.subset(train)
        attributes |= {"train_data_": np.array(train), "test_data_": np.array(test)}
    lagged = []
    if options["generate"] and is_given(options, "AR_vec"):
        # Before the fit, which would be lost with an error after it.
        rows = own_rows(options, number)
        lagged = lagged_rows(trials, rows, int(options["num_emissions"]))
    schedule = schedule_of(options, penalties_of(options, number))
    problem = OriginalProblem(trials, layout, start, schedule)
    names = ("max_iter", "tol", "init_loglik", "fit_emissions")
    engine = OriginalEM(*(options[name] for name in names))
    # The model is traced with draws from its priors, which decide nothing here.
    with exclusively(), torch.random.fork_rng(devices=[]):
        if options["CV_regularize"]:
            smooth = options["L2_smooth"]
            problem, found = regularised(problem, engine, smooth, generator)
            attributes |= found
        find = engine.evaluate if options["evaluate"] else engine.run
        iterations, run = find(problem)
        history = [problem.entry(iteration) for iteration in iterations]
        if problem.start.sizes[2] and options["use_ASD"] and not options["evaluate"]:
            bins, offsets = options["num_filter_bins"], options["filter_offset"]
            filters = int(bins), int(offsets)
            problem, found = smoothed(problem, iterations[-1], *filters)
            attributes |= found
            iterations, run = find(problem)
            history += [problem.entry(iteration) for iteration in iterations]
        last = iterations[-1]
        if held_out is not None:
            for entry in history:
                score = layout.log_likelihood(Weights.among(entry), held_out)
                entry["held_out_log_likelihood"] = score
        more = _besides(options, problem, last, history[-1], generator, lagged)
        outcome = _outcome(problem, last, run)
    return Fitted(*outcome, history, attributes | more)


def _besides(
    options: Mapping[str, Any],
    problem: OriginalProblem,
    last: Iteration,
    entry: dict[str, Any],
    generator: np.random.Generator,
    lagged: list[LaggedRow],
) -> dict[str, Any]:
    """Attributes of error bars, which the last entry gets too, and of behaviour."""
    found: dict[str, Any] = {}
    if options["get_error_bars"]:
        errors = error_bars(problem, last, options["fit_emissions"])
        entry |= errors
        found |= {f"{name}_": value.copy() for name, value in errors.items()}
    if options["generate"]:
        weights, prior = problem.weights(last), entry["prior"]
        found |= generated(weights, prior, problem.trials, lagged, generator)
    return found


def _outcome(
    problem: OriginalProblem, last: Iteration, run: Run
) -> tuple[Status, tuple[str, ...]]:
    """How a run ended, and sentences on that; weights may have no finite maximum."""
    status, details = run.status or Status.MAX_ITERS, run.reasons
    if status in (Status.CONVERGED, Status.MAX_ITERS):
        hidden = problem.distribution(last)
        details = unbounded_weights(problem.model(last.penalties), problem.data, hidden)
        status = Status.UNBOUNDED if details else status
    return status, details


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
    problem: OriginalProblem,
    engine: OriginalEM,
    smooth: bool,
    generator: np.random.Generator,
) -> tuple[OriginalProblem, dict[str, Any]]:
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
