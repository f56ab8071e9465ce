"""Models fitted by other programs, turned into models of this package.

Each importer reads arrays that the other program has made, and needs none of its code.
It gives an :class:`Imported`, whose ``on(data)`` is a :class:`~glmhmm_pyro.Fit` that
decodes, predicts, scores and simulates.
"""

from glmhmm_pyro.displays import listing
from glmhmm_pyro.importers.calhoun import from_matlab, from_pyglmhmm
from glmhmm_pyro.importers.dynamax import from_dynamax
from glmhmm_pyro.importers.imported import Imported
from glmhmm_pyro.importers.ssm import from_ssm

__all__ = [
    "Imported",
    "from_dynamax",
    "from_matlab",
    "from_pyglmhmm",
    "from_ssm",
]

__dir__ = listing(__all__)
