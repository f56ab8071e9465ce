"""Fits with known parameters and draws, put together without fitting."""

import copy
from dataclasses import replace

import numpy as np
import torch
from families import normals

import glmhmm_pyro as gh
from glmhmm_pyro.inference import Posterior, Restart
from glmhmm_pyro.inference.program.labels import Labels
from glmhmm_pyro.inference.program.program import Program


def made_fit(model, data, params, curves=((-2.0, -1.0),), best=0):
    """A Fit of ``data`` at ``params``, with these log-joints per start."""
    model = copy.deepcopy(model)
    model.bind(data)
    restarts = tuple(
        Restart(np.array(curve), np.array(curve), gh.Status.CONVERGED)
        for curve in curves
    )
    end = float(restarts[best].log_joints[-1])
    return gh.Fit(
        model=model,
        params={k: torch.as_tensor(v, dtype=torch.float64) for k, v in params.items()},
        log_likelihood=end,
        log_joint=end,
        status=gh.Status.CONVERGED,
        restarts=restarts,
        best=best,
        labels=Labels.of(data),
        num_parameters=Program.of(model, data).coordinates.size,
    )


def sticky(num_states, staying=0.9):
    """Transition probabilities, the same for every move."""
    if num_states == 1:
        return np.ones((1, 1))
    leaving = (1 - staying) / (num_states - 1)
    return np.where(np.eye(num_states, dtype=bool), staying, leaving)


def labelled_data(num_classes, num_features=3, lengths=(40, 1, 25), seed=0, **options):
    """Random labels and covariates."""
    rng = np.random.default_rng(seed)
    steps = sum(lengths)
    return gh.Sequences(
        rng.integers(0, num_classes, steps),
        rng.normal(size=(steps, num_features)),
        lengths=lengths,
        **options,
    )


def categorical_fit(num_states, num_classes=2, transitions=None, seed=0, **options):
    """A fit of random labels with random weights, and its data."""
    rng = np.random.default_rng(seed)
    data = labelled_data(num_classes, **options)
    model = gh.GLMHMM(num_states, gh.Categorical(num_classes), transitions)
    shape = (num_states, num_classes - 1, data.num_features)
    params = {"emissions.weights": rng.normal(size=shape)}
    if num_states > 1:
        params["initial.probs"] = np.full(num_states, 1 / num_states)
    if num_states > 1 and transitions is None:
        params["transitions.probs"] = sticky(num_states)
    elif isinstance(transitions, gh.InputDriven):
        shape = (num_states, num_states - 1, data.num_transition_features)
        params["transitions.weights"] = rng.normal(size=shape)
    return made_fit(model, data, params), data


def with_posterior(fit, data, num_chains=2, num_draws=30, scale=0.1, seed=0):
    """The fit with normal draws around it in unconstrained coordinates."""
    program = Program.of(fit.model, data)
    centre = program.coordinates.pack(fit.params)
    noise = normals(num_chains, num_draws, len(centre), seed=seed)
    vectors = centre + scale * noise
    diverging = np.zeros((num_chains, num_draws), dtype=bool)
    diverging[0, 0] = True
    joints = [float(program.log_density(v, False)) for v in vectors.flatten(0, 1)]
    stats = {
        "log_joint": np.array(joints).reshape(num_chains, num_draws),
        "diverging": diverging,
    }
    posterior = Posterior(program.coordinates.unpack(vectors), stats, num_relabelled=3)
    params = posterior.mean()
    likelihood, prior = program.log_parts(params)
    return replace(
        fit,
        params=params,
        log_likelihood=float(likelihood),
        log_joint=float(likelihood + prior),
        method="nuts",
        posterior=posterior,
    )
