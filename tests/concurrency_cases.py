"""Small fits that threads and processes make, and the numbers that come of them."""

import torch
from inference_cases import clear_data, penalised, two_animals

import glmhmm_pyro as gh

OPTIONS = {
    "em": {"num_iters": 3},
    "map": {"num_iters": 3},
    "svi": {"num_steps": 4, "num_samples": 4},
    "nuts": {"num_samples": 3, "num_warmup": 2, "num_chains": 1, "parallel": False},
}
QUICK = {"num_restarts": 2, "progress": False}


def fitted(method, seed):
    """Numbers of a small fit by a method."""
    data = clear_data(lengths=(8, 7))
    fit = gh.fit(penalised(), data, method, seed=seed, **QUICK, **OPTIONS[method])
    return [fit.log_joint, *numbers_of(fit, data, seed)]


def numbers_of(fit, data, seed):
    """What decoding, prediction, simulation and scoring say."""
    simulated, states = fit.simulate(data, seed=seed)
    return [
        *fit.decode(data).smoothed_probs.values.ravel().tolist(),
        *fit.predict(data).values.ravel().tolist(),
        *simulated.emissions.tolist(),
        *states.tolist(),
        fit.score(data),
    ]


def errors_of_ones_own_model():
    """Standard errors of a model that only Pyro's handlers can run."""
    animals = [clear_data(lengths=(9,), seed=1), clear_data(lengths=(8,), seed=2)]
    fit = gh.fit(two_animals, animals, "map", num_restarts=1, progress=False)
    return [array.values.tolist() for array in fit.standard_errors(animals).values()]


def fitted_by_all_threads():
    """Log-joint of a fit so large that torch shares its work among threads."""
    data = clear_data(lengths=(40_000,))
    fit = gh.fit(penalised(), data, num_restarts=1, num_iters=1, progress=False)
    return fit.log_joint, torch.get_num_threads()
