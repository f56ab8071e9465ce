"""Embedded real data, and simulators with known parameters."""

from glmhmm_pyro.displays import listing

from .choices import simulate_choices
from .lagged_cues import simulate_demo
from .rat import load_rat, load_rat_dataframe
from .sampling import Simulated
from .song import simulate_song

__all__ = [
    "Simulated",
    "load_rat",
    "load_rat_dataframe",
    "simulate_choices",
    "simulate_demo",
    "simulate_song",
]

__dir__ = listing(__all__)
