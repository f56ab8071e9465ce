"""Analyses of fits: what several of them say side by side."""

from glmhmm_pyro.analysis.comparison import Comparison, compare_methods

__all__ = ["Comparison", "compare_methods"]
