"""Embedded real data, and simulators with known parameters."""

from .rat import load_rat, load_rat_dataframe

__all__ = ["load_rat", "load_rat_dataframe"]
