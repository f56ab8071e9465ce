"""A fit from the estimator's parameters: what is fitted, and what is made of it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from glmhmm_pyro.concurrency import exclusively
from glmhmm_pyro.estimator.error_bars import error_bars
from glmhmm_pyro.estimator.fit_problem import Iteration, Problem
from glmhmm_pyro.estimator.generation import Lagged, generated, lagged_rows
from glmhmm_pyro.estimator.original_em import Ending, OriginalEM
from glmhmm_pyro.estimator.parameters import AR_ROWS, is_given
from glmhmm_pyro.estimator.penalties import Columns, Penalties
from glmhmm_pyro.estimator.penalty_schedule import schedule_of
from glmhmm_pyro.estimator.rows import Layout, row_numbers
from glmhmm_pyro.estimator.smoothness import learn
from glmhmm_pyro.estimator.trials import Trials
from glmhmm_pyro.estimator.trials_held_out import regularised, split
from glmhmm_pyro.estimator.weight_arrays import Weights


@dataclass(frozen=True)
class Fitted:
    """A fit that was made, and all that users get of it.

    Attributes:
        problem: what was fitted.
        last: its last iteration.
        ending: how it ended.
        history: one dictionary for every iteration.
        attributes: of the estimator, by name, besides those of every fit.
    """

    problem: Problem
    last: Iteration
    ending: Ending
    history: list[dict[str, Any]]
    attributes: dict[str, Any]


def fit_trials(
    options: Mapping[str, Any],
    layout: Layout,
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
    held_out = None
    if options["cross_validate"]:
        train, test = split(trials, "cross_validate", generator)
        held_out, trials = trials.subset(test), trials.subset(train)
        attributes |= {"train_data_": np.array(train), "test_data_": np.array(test)}
    # Before the fit, which would be lost with an error after it.
    lagged = fed_back(options, layout, trials)
    schedule = schedule_of(options, penalties_of(options, layout))
    problem = Problem(trials, layout, start, schedule)
    engine = OriginalEM(
        options["max_iter"],
        options["tol"],
        options["init_loglik"],
        options["fit_emissions"],
    )
    # The model is traced with draws from its priors, which decide nothing here.
    with exclusively(), torch.random.fork_rng(devices=[]):
        if options["CV_regularize"]:
            smooth = options["L2_smooth"]
            problem, found = regularised(problem, engine, smooth, generator)
            attributes |= found
        run = engine.evaluate if options["evaluate"] else engine.run
        iterations, ending = run(problem)
        history = [problem.entry(iteration) for iteration in iterations]
        if problem.start.sizes[2] and options["use_ASD"] and not options["evaluate"]:
            problem, found = smoothed(problem, iterations[-1], options)
            attributes |= found
            iterations, ending = run(problem)
            history += [problem.entry(iteration) for iteration in iterations]
        last = iterations[-1]
        if held_out is not None:
            for entry in history:
                score = layout.log_likelihood(Weights.among(entry), held_out)
                entry["held_out_log_likelihood"] = score
        if options["get_error_bars"]:
            errors = error_bars(problem, last, options["fit_emissions"])
            history[-1] |= errors
            attributes |= {f"{name}_": value.copy() for name, value in errors.items()}
        if options["generate"]:
            weights, prior = problem.weights(last), history[-1]["prior"]
            drawn = generated(weights, prior, trials, lagged, generator)
            attributes |= drawn.shown(trials)
    return Fitted(problem, last, ending, history, attributes)


def smoothed(
    problem: Problem, last: Iteration, options: Mapping[str, Any]
) -> tuple[Problem, dict[str, Any]]:
    """The fit that goes on under the smoothness learnt, and what users get of that."""
    bins, offsets = int(options["num_filter_bins"]), int(options["filter_offset"])
    learnt = learn(problem, last, bins, offsets)
    problem = replace(problem, start=problem.weights(last), analog=learnt.prior)
    sizes = {"analog_lengths_": learnt.lengths, "analog_sizes_": learnt.sizes}
    return problem, sizes


def penalties_of(options: Mapping[str, Any], layout: Layout) -> Penalties:
    """The penalties that the parameters ask for."""
    number, smooth = layout.num_features, options["L2_smooth"]
    own_lambda = float(options["AR_lambda"]) if is_given(options, "AR_lambda") else None
    own = () if own_lambda is None else own_rows(options, number)
    stimuli = None
    if is_given(options, "stim_vec"):
        stimuli = row_numbers("stim_vec", options["stim_vec"], number)
        if set(stimuli) & set(own):
            raise ValueError(
                "stim_vec must not share rows with AR_vec, got "
                f"{sorted(set(stimuli) & set(own))} in both"
                "; name each row in one of the two"
            )
    bins = int(options["num_filter_bins"]) if smooth else 1
    filters = (bins, int(options["filter_offset"]))
    return Penalties(
        float(options["emit_lambda"]),
        float(options["trans_lambda"]),
        float(options["smooth_lambda"]) if smooth else 0.0,
        own_lambda,
        Columns.of(number, filters, stimuli, own),
    )


def own_rows(options: Mapping[str, Any], num_features: int) -> tuple[int, ...]:
    """Rows of X with the animal's own behaviour."""
    rows = AR_ROWS if options["AR_vec"] is None else options["AR_vec"]
    return row_numbers("AR_vec", rows, num_features)


def fed_back(
    options: Mapping[str, Any], layout: Layout, trials: Trials
) -> list[Lagged]:
    """Rows of X that are made anew where behaviour is generated."""
    if not (options["generate"] and is_given(options, "AR_vec")):
        return []
    rows = own_rows(options, layout.num_features)
    return lagged_rows(trials, rows, int(options["num_emissions"]))
