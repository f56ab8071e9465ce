"""Designs: matrices of covariates as operators, whatever form they are kept in."""

from glmhmm_pyro.designs.dense import Dense, DesignLike, as_design
from glmhmm_pyro.designs.lagged import Lagged
from glmhmm_pyro.designs.matrix import DesignMatrix, Pool
from glmhmm_pyro.designs.on_disk import Blocks
from glmhmm_pyro.designs.repeated import Repeated, design_of
from glmhmm_pyro.designs.spread import Spread, spread_over
from glmhmm_pyro.designs.stacked import Joined, Stacked
from glmhmm_pyro.designs.streamed import Streamed

__all__ = [
    "Blocks",
    "Dense",
    "DesignMatrix",
    "Joined",
    "Lagged",
    "Pool",
    "Repeated",
    "Spread",
    "Stacked",
    "Streamed",
    "as_design",
    "design_of",
    "spread_over",
]
