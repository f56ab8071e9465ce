"""PsyTrack's weights at hyperparameters given, and learnt (an environment of its own).

    python -I benchmarks/fit_psytrack.py CHOICES OUT [--learn]

Run isolated (-I): the benchmark beside this file has the package's name.
"""

import json
import sys
import time

import numpy as np
from psytrack import hyperOpt
from psytrack.getMAP import getMAP


def as_psytrack(choices, number):
    """Its dictionary of the first trials, and how many weights each column has."""
    names = choices["names"].tolist()
    columns = dict(zip(names, choices["X"][:number].T[..., None]))
    day = choices["day"][:number]
    begins = np.flatnonzero(np.r_[True, day[1:] != day[:-1], True])
    data = {"y": choices["y"][:number] + 1, "inputs": columns}
    weights = {**dict.fromkeys(names, 1), "bias": 1}
    return {**data, "dayLength": np.diff(begins)}, weights


def hyper(choices, weights):
    """The hyperparameters that both begin with."""
    start, step, day = choices["scales"].tolist()
    size = sum(weights.values())
    return {"sigInit": start, "sigma": [step] * size, "sigDay": [day] * size}


def main():
    """Write CPU seconds, evidence and weights."""
    choices = np.load(sys.argv[1])
    data, weights = as_psytrack(choices, 200)
    getMAP(data, hyper(choices, weights), weights)
    data, weights = as_psytrack(choices, len(choices["y"]))
    began = time.process_time()
    mode, _, evidence, _ = getMAP(data, hyper(choices, weights), weights)
    facts = {"map_seconds": time.process_time() - began, "map_evidence": evidence}
    if "--learn" in sys.argv:
        began = time.process_time()
        learnt = hyperOpt(
            data, hyper(choices, weights), weights, ["sigma", "sigDay"], hess_calc=None
        )
        facts["learnt_seconds"] = time.process_time() - began
        facts["learnt_evidence"] = learnt[1]
    with open(sys.argv[2] + ".json", "w") as file:
        json.dump(facts, file)
    np.savez(sys.argv[2] + ".npz", weights=mode, names=sorted(weights))


if __name__ == "__main__":
    main()
