"""A fit from the estimator's parameters: what is fitted, and what is made of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from glmhmm_pyro.concurrency import exclusively
from glmhmm_pyro.estimator.annealing import schedule_of
from glmhmm_pyro.estimator.em import Ending, OriginalEM
from glmhmm_pyro.estimator.error_bars import diagonal_figures, exact_errors
from glmhmm_pyro.estimator.generation import Lagged, generated, lagged_rows
from glmhmm_pyro.estimator.held_out import STRENGTHS, Split, choose
from glmhmm_pyro.estimator.layout import Layout, row_numbers
from glmhmm_pyro.estimator.options import AR_ROWS, is_given
from glmhmm_pyro.estimator.penalties import Columns, Penalties
from glmhmm_pyro.estimator.problem import Iteration, Problem
from glmhmm_pyro.estimator.smoothness import Smoothness, filters_of, learn
from glmhmm_pyro.estimator.trials import Trials
from glmhmm_pyro.estimator.weights import Weights


@dataclass
class Fitted:
    """A fit that was made, and all that users get of it.

    Attributes:
        options: the estimator's parameters.
        problem: what was fitted.
        iterations: all of them.
        ending: how they ended.
        generator: source of further randomness.
        held_out: trials that were not fitted, if any.
        history: one dictionary for every iteration.
        lagged: rows of X made anew where behaviour is generated.
        attributes: of the estimator, by name.
    """

    options: Mapping[str, Any]
    problem: Problem
    iterations: list[Iteration]
    ending: Ending
    generator: np.random.Generator
    held_out: Trials | None
    history: list[dict[str, Any]] = field(default_factory=list)
    lagged: list[Lagged] = field(default_factory=list)
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def last(self) -> Iteration:
        """The last iteration."""
        return self.iterations[-1]


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
        split = Split.draw(len(trials), "cross_validate", generator)
        held_out, trials = trials.subset(split.test), trials.subset(split.train)
        attributes["train_data_"] = np.array(split.train)
        attributes["test_data_"] = np.array(split.test)
    # Before the fit, which would be lost with an error after it.
    lagged = fed_back(options, layout, trials)
    penalties = penalties_of(options, layout)
    schedule = schedule_of(options, penalties)
    problem = Problem.of(trials, layout, start, schedule)
    engine = OriginalEM(
        options["max_iter"],
        options["tol"],
        options["init_loglik"],
        options["fit_emissions"],
    )
    # The model is traced with draws from its priors, which decide nothing here.
    with exclusively(), torch.random.fork_rng(devices=[]):
        if options["CV_regularize"]:
            choice = choose(problem, engine, options["L2_smooth"], generator)
            problem = problem.under(choice.penalties, choice.start)
            attributes["regular_schedule_"] = STRENGTHS.copy()
            attributes["regular_schedule_ind_"] = choice.index
            attributes["regular_scores_"] = choice.scores
        run = engine.evaluate if options["evaluate"] else engine.run
        iterations, ending = run(problem)
        history = [problem.entry(iteration) for iteration in iterations]
        if problem.start.sizes[2] and options["use_ASD"] and not options["evaluate"]:
            learnt = smoothness_of(problem, iterations[-1], options)
            attributes["analog_lengths_"] = learnt.lengths
            attributes["analog_sizes_"] = learnt.sizes
            start = problem.weights(iterations[-1])
            problem = replace(problem, start=start, analog=learnt.prior)
            iterations, ending = run(problem)
            history += [problem.entry(iteration) for iteration in iterations]
        fitted = Fitted(options, problem, iterations, ending, generator, held_out)
        fitted.history, fitted.lagged = history, lagged
        fitted.attributes = attributes
        for option, finish in _FINISHES.items():
            if options[option]:
                finish(fitted)
    return fitted


def smoothness_of(
    problem: Problem, last: Iteration, options: Mapping[str, Any]
) -> Smoothness:
    """That of the filters of analog outputs, learnt after an iteration."""
    layout = problem.layout
    bins, offsets = int(options["num_filter_bins"]), int(options["filter_offset"])
    filters = filters_of(layout.emissions, layout.num_features, bins, offsets)
    return learn(problem, last, filters)


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


def _score_held_out(fitted: Fitted) -> None:
    """The log-likelihood of the trials held out, at every iteration."""
    if fitted.held_out is None:
        return
    layout = fitted.problem.layout
    for entry in fitted.history:
        score = layout.log_likelihood(Weights.among(entry), fitted.held_out)
        entry["held_out_log_likelihood"] = score


def _add_error_bars(fitted: Fitted) -> None:
    """Standard errors at the last iteration, and the original's figures."""
    sites = [name for name in fitted.last.params if name.startswith("emissions")]
    fixed = () if fitted.options["fit_emissions"] else tuple(sites)
    found = exact_errors(fitted.problem, fitted.last, fixed)
    found |= diagonal_figures(fitted.problem, fitted.last)
    fitted.history[-1] |= found
    fitted.attributes |= {f"{name}_": value.copy() for name, value in found.items()}


def _generate(fitted: Fitted) -> None:
    """Labels at the covariates of the fitted trials."""
    trials = fitted.problem.trials
    weights, last = fitted.problem.weights(fitted.last), fitted.history[-1]
    drawn = generated(weights, last["prior"], trials, fitted.lagged, fitted.generator)
    fitted.attributes["output_states_"] = drawn.states
    if trials.has_labels:
        fitted.attributes["output_"] = drawn.labels
    if weights.sizes[2]:
        fitted.attributes["output_analog_"] = drawn.analog


# What an option adds to a fit that was made.
_FINISHES: dict[str, Callable[[Fitted], None]] = {
    "cross_validate": _score_held_out,
    "get_error_bars": _add_error_bars,
    "generate": _generate,
}
