"""Writes the fits beside this script: one of each method, in the format of the day.

Run with the code of the format wanted on the path: ``python make_fits.py FOLDER``.
"""

import json
import sys
import warnings
from pathlib import Path

from torch.distributions import Normal

import glmhmm_pyro as gh

SESSIONS = [0, 1, 2]


def golden_data():
    """The sessions that the fits are of."""
    return gh.datasets.load_rat().subset(SESSIONS)


def main(folder):
    """Fit, save, and note the numbers that loading must give."""
    data, folder = golden_data(), Path(folder)
    ridge, normal = gh.priors.Ridge(2.0), Normal(0.0, 2.0)
    sticky = gh.Stationary(gh.priors.Sticky(5.0, 2.0))
    walk = gh.priors.Grouped({data.covariate_names[:2]: gh.priors.RandomWalk(0.5)})
    models = {
        "em": gh.GLMHMM(2, gh.Bernoulli(ridge), sticky),
        "map": gh.GLMHMM(2, gh.Bernoulli(walk), gh.InputDriven(normal)),
        "laplace": gh.GLMHMM(2, gh.Bernoulli(normal), sticky),
        "svi": gh.GLMHMM(1, gh.Bernoulli(normal)),
        "nuts": gh.GLMHMM(1, gh.Bernoulli(normal)),
    }
    options = {
        "em": {"num_iters": 3, "keep_weights": True},
        "map": {"num_iters": 5},
        "laplace": {"num_samples": 4},
        "svi": {"num_steps": 20, "num_samples": 4},
        "nuts": {"num_warmup": 60, "num_samples": 8, "num_chains": 2},
    }
    expected = {}
    for method, model in models.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", gh.ConvergenceWarning)
            fit = gh.fit(
                model, data, method, num_restarts=2, progress=False, **options[method]
            )
        fit.save(folder / f"{method}.nc")
        expected[method] = {
            "log_likelihood": fit.log_likelihood,
            "log_joint": fit.log_joint,
            "status": fit.status.name,
            "num_parameters": fit.num_parameters,
            "notes": fit.notes,
            "params": {name: value.tolist() for name, value in fit.params.items()},
            "draws": {name: value.tolist() for name, value in fit.draws.items()},
        }
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
