"""Designs: matrices of covariates as operators, whatever form they are kept in."""

from glmhmm_pyro.designs.dense import Dense, DesignLike, as_design
from glmhmm_pyro.designs.matrix import DesignMatrix, Pool
from glmhmm_pyro.designs.repeated import Repeated, design_of

__all__ = ["Dense", "DesignMatrix", "Pool", "Repeated", "as_design", "design_of"]
