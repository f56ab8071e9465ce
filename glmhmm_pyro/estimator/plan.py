"""A fit from the estimator's parameters: what is fitted, and what is made of it."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from glmhmm_pyro.concurrency import exclusively
from glmhmm_pyro.estimator import original_em
from glmhmm_pyro.estimator.error_bars import diagonal_figures, exact_errors
from glmhmm_pyro.estimator.generation import LaggedRows, generated, lagged_rows
from glmhmm_pyro.estimator.original import Original, Weights
from glmhmm_pyro.estimator.original_em import Ended, Problem
from glmhmm_pyro.estimator.parameters import Options, is_given
from glmhmm_pyro.estimator.penalties import Penalties, Schedule, own_rows
from glmhmm_pyro.estimator.smoothness import smoothed
from glmhmm_pyro.inference.kinds.unbounded import unbounded_weights
from glmhmm_pyro.inference.status import Status
from glmhmm_pyro.sequences import Sequences

# Strengths that CV_regularize tries, those of the original.
STRENGTHS = np.logspace(-4, 1, 10)

# Share of the trials that is held out, rounded up.
_SHARE = 0.25


def fit_trials(
    options: Options,
    original: Original,
    data: Sequences,
    start: Weights,
    generator: np.random.Generator,
) -> tuple[list[dict[str, Any]], dict[str, Any], tuple[str, ...]]:
    """A fit and all that the parameters ask for besides.

    Returns:
        A dictionary for every iteration; attributes of the estimator by name, its
        ``status_`` among them; sentences on how the fit ended.
    """
    attributes: dict[str, Any] = {}
    held_out, number = None, original.num_features
    if options["cross_validate"]:
        train, test = split(data, "cross_validate", generator)
        held_out, data = data.subset(test), data.subset(train)
        attributes |= {"train_data_": np.array(train), "test_data_": np.array(test)}
    lagged: LaggedRows = {}
    if options["generate"] and is_given(options, "AR_vec"):
        # Before the fit, which would be lost with an error after it.
        lagged = lagged_rows(data, own_rows(options, number), original.free + 1)
    schedule = Schedule.of(options, Penalties.of(options, number))
    problem = Problem(original, data, start, schedule)
    # The model is traced with draws from its priors, which decide nothing here.
    with exclusively(), torch.random.fork_rng(devices=[]):
        if options["CV_regularize"]:
            problem, found = regularised(problem, options, generator)
            attributes |= found
        find = original_em.evaluate if options["evaluate"] else original_em.fit
        ended = find(problem, options)
        history = ended.history
        if original.outputs and options["use_ASD"] and not options["evaluate"]:
            problem, found = smoothed(problem, ended, options)
            attributes |= found
            ended = find(problem, options)
            history = history + ended.history
        if held_out is not None:
            for entry in history:
                hidden = original.distribution(entry, held_out)
                score = float(hidden.log_prob(held_out.emissions))
                entry["held_out_log_likelihood"] = score
        if options["get_error_bars"]:
            errors = exact_errors(ended, options["fit_emissions"])
            errors |= diagonal_figures(ended)
            history[-1] |= errors
            attributes |= {f"{name}_": value.copy() for name, value in errors.items()}
        if options["generate"]:
            drawn = generated(original, history[-1], data, lagged, generator)
            attributes |= drawn
        attributes["status_"], details = _outcome(ended)
        return history, attributes, details


def _outcome(ended: Ended) -> tuple[Status, tuple[str, ...]]:
    """How a run ended, and sentences on that; weights may have no finite maximum."""
    _, run, steps = ended
    status, details = run.status or Status.MAX_ITERS, run.reasons
    if status in (Status.CONVERGED, Status.MAX_ITERS):
        hidden = steps.at(run.params)
        details = unbounded_weights(steps.model, steps.data, hidden)
        status = Status.UNBOUNDED if details else status
    return status, details


def split(
    data: Sequences, option: str, generator: np.random.Generator
) -> tuple[list[int], list[int]]:
    """Numbers of the trials to fit, and of a random quarter that is held out.

    Raises:
        ValueError: there are not two trials, or nothing is left to fit.
    """
    number = len(data)
    if number < 2:
        raise ValueError(
            f"{option} must have at least 2 trials, to hold a quarter of them out, "
            f"got {number}; cut long trials in pieces"
        )
    order = generator.permutation(number)
    size = int(np.ceil(_SHARE * number))
    train, test = sorted(order[size:].tolist()), sorted(order[:size].tolist())
    mask = data.subset(train).mask
    if mask is not None and not mask.any(0).all():
        raise ValueError(
            f"{option} must leave labels, and values of every analog output, to fit, "
            f"got none of one in trials {train}; give another random_state, or cut "
            "long trials in pieces"
        )
    return train, test


def regularised(
    problem: Problem, options: Options, generator: np.random.Generator
) -> tuple[Problem, dict[str, Any]]:
    """The fit with the strength that is best on trials held out, and what users get.

    From strong to weak, each fit starts where the one before has ended, so that all
    are in the neighbourhood of one maximum. Chosen is the strength of smoothness where
    it acts, else that of both ridges.
    """
    numbers = split(problem.data, "CV_regularize", generator)
    train, test = (problem.data.subset(part) for part in numbers)
    part, original = replace(problem, data=train), problem.original
    path, scores = [], []
    for strength in STRENGTHS[::-1].tolist():
        names = ["smooth_lambda"]
        if not options["L2_smooth"]:
            names = ["emit_lambda", "trans_lambda"]
        asked = {**options, **dict.fromkeys(names, strength)}
        penalties = Penalties.of(asked, original.num_features)
        part = replace(part, schedule=Schedule(penalties))
        last = original_em.fit(part, options).history[-1]
        part = replace(part, start={name: last[name] for name in part.start})
        hidden = original.distribution(part.start, test)
        score = float(hidden.log_prob(test.emissions))
        path.append(part)
        scores.append(score / max(hidden.num_observed, 1))
    # The stronger penalty where two are equal.
    best = path[int(np.argmax(scores))]
    return replace(problem, schedule=best.schedule, start=best.start), {
        "regular_schedule_": STRENGTHS.copy(),
        "regular_schedule_ind_": len(STRENGTHS) - 1 - int(np.argmax(scores)),
        "regular_scores_": np.array(scores[::-1]),
    }
