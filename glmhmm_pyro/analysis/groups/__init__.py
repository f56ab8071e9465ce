"""Animals: one fit for each group of sessions, compared with the fit to all."""

from glmhmm_pyro.analysis.groups.fits import GroupFits, fit_groups

__all__ = ["GroupFits", "fit_groups"]
