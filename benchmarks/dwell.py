"""Whether states of 37 mice last geometrically: laws of dwell times, by later trials.

    python benchmarks/dwell.py [--animals 37]

The sessions that Ashwood et al. (2022) fitted (International Brain Laboratory, 2021,
eLife 10:e63711), read from ../shared/data. Every mouse has three states of its own
(contrast, previous choice, bias; a ridge of 2), fitted to the first two thirds of its
sessions; the others are scored. Laws of more phases begin at the geometric one's states
and emissions, one phase more at a time. Printed over mice: the mean difference from the
geometric law in bits a trial, with its standard error, and for how many mice the law
scores better and has the greater likelihood of the trials fitted.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import glmhmm_pyro as gh
from glmhmm_pyro.covariates import Design, Intercept, PreviousChoice

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
DESIGN = Design("contrast", PreviousChoice("choice"), Intercept())
RIDGE = gh.priors.Ridge(2.0)
PHASES = (2, 3)
OPTIONS = {"progress": False, "seed": 0}


def main():
    """Print a line for every law."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--animals", type=int, default=37)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    began, scores, fitted = time.process_time(), [], []
    for mouse in animals()[: args.animals]:
        fits, test = fits_of(mouse)
        scores.append([fit.score(test, units="bits") for fit in fits])
        fitted.append([fit.log_likelihood for fit in fits])
    lost = np.array(scores)[:, 1:] - np.array(scores)[:, :1]
    gained = np.array(fitted)[:, 1:] - np.array(fitted)[:, :1]
    for i, phases in enumerate(PHASES):
        mean, error = lost[:, i].mean(), lost[:, i].std(ddof=1) / len(lost) ** 0.5
        print(
            f"{phases} phases: {mean:+.4f} +- {error:.4f} bits a trial, better for "
            f"{(lost[:, i] > 0).sum()} of {len(lost)} mice, more probable for "
            f"{(gained[:, i] > 0).sum()}"
        )
    print(f"{time.process_time() - began:.0f} CPU s")


def animals():
    """Data of each mouse."""
    trials = pd.DataFrame(dict(np.load(DATA / "ibl37_trials.npz")))
    facts = pd.read_csv(DATA / "ibl37_sessions.csv")
    trials["animal"] = facts["animal"].to_numpy()[trials["session_index"]]
    trials["choice"] = trials["choice"].where(trials["choice"] >= 0)
    names = {"session": "session_index", "emissions": "choice", "covariates": DESIGN}
    return [
        gh.Sequences.from_dataframe(own, **names)
        for _, own in trials.groupby("animal", sort=True)
    ]


def fits_of(mouse):
    """Fits of the geometric law and of those with phases, and the later sessions."""
    early = mouse.num_sessions * 2 // 3
    train = mouse.subset(range(early))
    model = gh.GLMHMM(3, gh.Bernoulli(RIDGE))
    fits = [gh.fit(model, train, num_restarts=8, **OPTIONS)]
    for phases in PHASES:
        law = gh.SemiMarkov(gh.dwell.NegativeBinomial(phases))
        names = ("initial.probs", "emissions.weights")
        start = {name: fits[-1].params[name] for name in names}
        model = gh.GLMHMM(3, gh.Bernoulli(RIDGE), law)
        fits.append(gh.fit(model, train, init=start, num_restarts=1, **OPTIONS))
    return fits, mouse.subset(range(early, mouse.num_sessions))


if __name__ == "__main__":
    main()
