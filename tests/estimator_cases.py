"""Trials and likelihoods that the tests of the estimator share."""

import warnings

import numpy as np
from scipy.special import log_softmax

from glmhmm_pyro import ConvergenceWarning, GLMHMMEstimator

RIDGE = {"emit_lambda": 0.02, "trans_lambda": 0.02}
QUICK = {"tol": 1e-2}
LAYOUT = {"num_feedbacks": 2, "num_filter_bins": 2, "filter_offset": 1}


def make_trials(lengths=(40, 25, 60, 30), num_emissions=2, seed=0):
    """Trials whose labels depend on the covariates, rows of two cues and a constant."""
    rng = np.random.default_rng(seed)
    X, y = [], []
    for length in lengths:
        X.append(np.vstack([rng.normal(size=(4, length)), np.ones(length)]))
        drive = X[-1][0] + rng.gumbel(size=length)
        y.append(np.digitize(drive, np.linspace(-0.5, 1.5, num_emissions - 1)))
    return X, y


def make_estimator(**parameters):
    return GLMHMMEstimator(
        **{"random_state": 0, **LAYOUT, **RIDGE, **QUICK, **parameters}
    )


def fit_quietly(estimator, X, y, y_analog=(), **start):
    """The history, whether or not the fit has converged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(X, y, y_analog, **start)


def forward_log_likelihood(emit_w, trans_w, X, y, prior=None):
    """Log-likelihood of all trials by the forward algorithm, term by term.

    Args:
        emit_w: weights (states, labels - 1, features).
        trans_w: weights (origins, destinations, features).
        X: list of (features, bins).
        y: list of labels, NaN where there is none.
        prior: distribution of the first state of every trial; uniform by default.
    """
    states, total = len(emit_w), 0.0
    for trial, (design, labels) in enumerate(zip(X, y)):
        first = np.full(states, 1 / states) if prior is None else prior[trial]
        with np.errstate(divide="ignore"):
            log_alpha = np.log(first)
        scores = np.einsum("ijd,dt->tij", trans_w, design)
        scores[:, range(states), range(states)] = 0.0
        moves = log_softmax(scores, axis=-1)
        scores = np.einsum("kcd,dt->tkc", emit_w, design)
        emissions = log_softmax(np.pad(scores, ((0, 0), (0, 0), (1, 0))), axis=-1)
        for t, label in enumerate(labels):
            if t > 0:
                log_alpha = np.logaddexp.reduce(log_alpha[:, None] + moves[t], axis=0)
            if not np.isnan(label):
                log_alpha = log_alpha + emissions[t, :, int(label)]
        total += np.logaddexp.reduce(log_alpha)
    return total


def slopes(function, point, step=1e-5):
    """Gradient of a function of one array by central differences."""
    found = np.zeros(point.shape)
    for index in np.ndindex(*point.shape):
        moved = np.zeros(point.shape)
        moved[index] = step
        found[index] = (function(point + moved) - function(point - moved)) / (2 * step)
    return found
