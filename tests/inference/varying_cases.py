"""Behaviour whose weights vary, and the rat of PsyTrack's paper as its model has it."""

import numpy as np
import pandas as pd

import glmhmm_pyro as gh
from glmhmm_pyro.inference.marginal.problem import MarginalProblem
from glmhmm_pyro.inference.program.program import Program

COLUMNS = ["prev_answer", "prev_choice", "s1", "s2", "s_avg_prev"]


def rat(shared, number):
    """The first trials, the constant column first."""
    table = pd.read_csv(shared / "data" / "psytrack_rat_W053.csv").iloc[:number]
    day = table.day.to_numpy()
    begins = np.flatnonzero(np.r_[True, day[1:] != day[:-1]])
    x = np.column_stack([np.ones(number), table[COLUMNS]])
    return gh.Sequences(
        table.choice_right.to_numpy(int),
        x,
        lengths=np.diff(np.r_[begins, number]),
        covariate_names=["bias", *COLUMNS],
    )


def drifting(sessions=6, steps=40, seed=0, step=(0.8, 0.1), groups=None, classes=2):
    """Choices by two weights that walk from session to session."""
    rng = np.random.default_rng(seed)
    x = np.stack([rng.normal(size=sessions * steps), np.ones(sessions * steps)], 1)
    moves = rng.normal(size=(sessions, 2)) * step
    weights = (np.array([1.5, 0.0]) + moves.cumsum(0)).repeat(steps, 0)
    odds = (x * weights).sum(1)
    y = (rng.random(len(x)) < 1 / (1 + np.exp(-odds))).astype(int)
    if classes == 3:
        y = y + (rng.random(len(x)) < 0.3) * y
    return gh.Sequences(
        y,
        x,
        lengths=[steps] * sessions,
        covariate_names=["s", "bias"],
        groups=groups,
        session_names=[str(i) for i in range(sessions)],
    )


def sticking(groups=10, steps=120, seed=0):
    """Choices in two states, which one sticks to for as long as the group does."""
    rng = np.random.default_rng(seed)
    leave = 1 / (1 + np.exp(2 + 0.8 * rng.normal(size=(groups, 2))))
    y, x, state = [], rng.normal(size=groups * steps), 0
    for step, stimulus in enumerate(x):
        state = state ^ int(rng.random() < leave[step // steps, state])
        odds = (3 * stimulus, 0.3 * stimulus - 1.5)[state]
        y.append(int(rng.random() < 1 / (1 + np.exp(-odds))))
    return gh.Sequences(
        y,
        np.stack([x, np.ones_like(x)], 1),
        lengths=[steps] * groups,
        covariate_names=["s", "bias"],
        groups=[f"g{number}" for number in range(groups)],
    )


def problem_of(model, data):
    return MarginalProblem.of(Program.of(model, data))
