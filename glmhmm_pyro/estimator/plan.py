"""A fit from the estimator's parameters: what is fitted, and what is made of it."""

from copy import copy
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
from glmhmm_pyro.estimator.parameters import Options, is_given, row_numbers
from glmhmm_pyro.estimator.penalties import Penalties, Schedule
from glmhmm_pyro.estimator.smoothness import smoothed
from glmhmm_pyro.inference.kinds.unbounded import unbounded_weights
from glmhmm_pyro.inference.status import Status
from glmhmm_pyro.sequences import Sequences

# Strengths that CV_regularize tries, those of the original.
STRENGTHS = np.logspace(-4, 1, 10)

_ADVICE = {
    Status.UNBOUNDED: "give emit_lambda and trans_lambda above 0, which makes the "
    "maximum finite",
    Status.MAX_ITERS: "raise max_iter or tol, or give other starting weights",
    Status.M_STEP_FAILED: "divide the rows of X by their standard deviations",
}


def fit_trials(
    options: Options,
    original: Original,
    data: Sequences,
    start: Weights,
    generator: np.random.Generator,
) -> tuple[list[dict[str, Any]], dict[str, Any], str]:
    """The history of a fit, the estimator's attributes, and a warning or nothing."""
    attributes: dict[str, Any] = {}
    held_out, number = None, original.num_features
    if options["cross_validate"]:
        train, test = split(data, "cross_validate", generator)
        held_out, data = data.subset(test), data.subset(train)
        attributes |= {"train_data_": np.array(train), "test_data_": np.array(test)}
    lagged: LaggedRows = {}
    if options["generate"] and is_given(options, "AR_vec"):
        # Before the fit, which would be lost with an error after it.
        rows = row_numbers("AR_vec", options["AR_vec"], number)
        lagged = lagged_rows(data, rows, original.free + 1)
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
        last = history[-1]
        if options["get_error_bars"]:
            last |= exact_errors(ended, options["fit_emissions"])
            last |= diagonal_figures(ended)
        if options["generate"]:
            attributes |= generated(original, last, data, lagged, generator)
        attributes["status_"], warning = _status_of(ended)
    attributes |= {f"{name}_init_": start[name] for name in original.rows}
    attributes |= {f"{name}_": copy(value) for name, value in last.items()}
    attributes["n_iter_"] = 0 if options["evaluate"] else len(history)
    attributes["n_features_in_"], attributes["is_fitted_"] = number, True
    return history, attributes, warning


def _status_of(ended: Ended) -> tuple[Status, str]:
    """How a run ended, and a warning if that is no maximum, or weights have none."""
    _, run, steps = ended
    status, details = run.status or Status.MAX_ITERS, run.reasons
    if status in (Status.CONVERGED, Status.MAX_ITERS):
        hidden = steps.at(run.params)
        details = unbounded_weights(steps.model, steps.data, hidden)
        status = Status.UNBOUNDED if details else status
    if status.is_success:
        return status, ""
    sentences = "; ".join((status.sentence, *details))
    return status, f"{sentences}. Please {_ADVICE[status]}"


def split(
    data: Sequences, option: str, generator: np.random.Generator
) -> tuple[list[int], list[int]]:
    """Numbers of the trials to fit, and of a random quarter that is held out."""
    number = len(data)
    if number < 2:
        raise ValueError(
            f"{option} must have at least 2 trials, to hold a quarter of them out, "
            f"got {number}; cut long trials in pieces"
        )
    order, size = generator.permutation(number), -(-number // 4)
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
    are in the neighbourhood of one maximum.
    """
    numbers = split(problem.data, "CV_regularize", generator)
    train, test = (problem.data.subset(part) for part in numbers)
    part, original = replace(problem, data=train), problem.original
    ridges = ["emit_lambda", "trans_lambda"]
    names = ["smooth_lambda"] if options["L2_smooth"] else ridges
    path, scores = [], []
    for strength in STRENGTHS[::-1].tolist():
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
    best = int(np.argmax(scores))
    chosen = replace(problem, schedule=path[best].schedule, start=path[best].start)
    return chosen, {
        "regular_schedule_": STRENGTHS.copy(),
        "regular_schedule_ind_": len(STRENGTHS) - 1 - best,
        "regular_scores_": np.array(scores[::-1]),
    }
