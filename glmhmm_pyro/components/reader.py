"""What a component reads of a data set: its columns, as numbers and as an operator."""

from typing import ClassVar

import torch
from torch import Tensor

from glmhmm_pyro.components.members import HasMembers
from glmhmm_pyro.components.rescaling import is_as_defined
from glmhmm_pyro.designs import DesignMatrix, as_design
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.changes import Selection


class CovariateReader(HasMembers):
    """What a component does to have the covariates that it reads.

    Attributes:
        covariates_of: the covariates of a data set that it reads.
        selection: the columns of a data set that it reads, where not all.
    """

    covariates_of: ClassVar[str] = "covariates"
    selection: Selection | None

    @property
    def is_linear(self) -> bool:
        """Whether covariates act by ``design @ weights`` alone, or not at all.

        Then a design may be of any form, and in units of a fit's own; see
        :meth:`Component.own_maps`.
        """
        return False

    def view(self, data: Sequences) -> Sequences:
        """What this component reads of a data set; its other methods take that."""
        return data if self.selection is None else self.selection.of(data)

    def design(self, data: Sequences) -> Tensor:
        """The covariates this component reads, shape (steps or sessions, features)."""
        return getattr(data, self.covariates_of)

    def operator(self, data: Sequences) -> DesignMatrix:
        """The same as what weights are multiplied by, in whatever form it is kept."""
        if is_as_defined(self, CovariateReader, "design"):
            return data.operator(self.covariates_of)
        names = getattr(data, f"{self.covariates_of[:-1]}_names")
        return as_design(self.design(data), names)

    def inputs(self, data: Sequences) -> Tensor:
        """What ``forward`` reads of every step: the design, and last any entries.

        A component whose parameters have an axis ``"session"``, ``"group"`` or both
        finds in its last column, or two, the number of the step's entry there, and by
        :meth:`apart` both for themselves.
        """
        design = self.design(data)
        if not self.varies_over:
            return design
        return torch.cat([design, self.entries(data).to(design)], -1)

    def factors(self, data: Sequences) -> DesignMatrix | Tensor:
        """What a table of all steps reads: the same, as an operator where that will do.

        It does where covariates act by ``design @ weights`` alone.
        """
        if self.is_linear and not self.varies_over:
            return self.operator(data)
        return self.inputs(data)
