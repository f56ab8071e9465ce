"""Which columns of a data set a component reads, as a tensor or as an operator."""

from collections.abc import Mapping, Sequence, Set
from typing import Any, ClassVar

import torch
from torch import Tensor

from glmhmm_pyro.arguments import has_items, with_article
from glmhmm_pyro.components.rescaling import is_as_defined
from glmhmm_pyro.components.session_axes import HasMembers
from glmhmm_pyro.designs import DesignMatrix, as_design, spread_over
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.changes import Selection
from glmhmm_pyro.sequences.construction import names_of
from glmhmm_pyro.sequences.validation import close_matches


class CovariateReader(HasMembers):
    """Mixin of components: the covariates that they read.

    Attributes:
        covariates_of: the covariates of a data set that it reads.
        selection: the columns of a data set that it reads, where not all.
        chosen: names of those covariates that it was told to read by its argument
            ``covariates``; ``None`` for all that it is given.
    """

    covariates_of: ClassVar[str] = "covariates"
    selection: Selection | None
    chosen: tuple[str, ...] | None = None
    covariates: Any
    covariate_names: Any

    def choose(self, covariates: Sequence[str] | None) -> None:
        """Read only the covariates named, the constructor's argument ``covariates``."""
        self.covariates = self.chosen = chosen_names(covariates)

    @property
    def columns_read(self) -> tuple[str, ...] | None:
        """Names of the covariates that it reads of a data set; ``None`` for all."""
        if self.chosen is not None or self.selection is None:
            return self.chosen
        return self.selection.covariates

    @property
    def held_columns(self) -> tuple[str, ...]:
        """Names of the covariates whose weights are known, the same in all units."""
        return ()

    def columns_of(self, site: Any) -> tuple[Any, Any]:
        """Names of the covariates along a parameter's last axis, and of all of them.

        Both ``None`` where that axis is another.
        """
        names = self.covariate_names if site.axes[-1:] == ("covariate",) else None
        return names, names

    def places_among(self, names: Sequence[str]) -> list[int] | slice:
        """Places of the chosen columns among these names.

        Raises:
            ValueError: one of them is not there.
        """
        if self.chosen is None:
            return slice(None)
        for name in self.chosen:
            if name not in names:
                raise ValueError(
                    f"{self.covariates_of} must have the columns that "
                    f"{type(self).__name__} was told to read, "
                    f"{', '.join(self.chosen)}, got {', '.join(names)}"
                    f"{close_matches(name, names)}; add {name!r}, or name others by "
                    "covariates="
                )
        return [names.index(name) for name in self.chosen]

    @property
    def is_linear(self) -> bool:
        """Whether covariates act by ``design @ weights`` alone, or not at all.

        Then a design may be of any form.
        """
        return False

    @property
    def has_own_units(self) -> bool:
        """Whether covariates may be in units of a fit's own; if they act linearly.

        See :meth:`Component.own_maps`.
        """
        return self.is_linear

    def view(self, data: Sequences) -> Sequences:
        """The part of a data set that this component reads; other methods take it."""
        return data if self.selection is None else self.selection.of(data)

    def design(self, data: Sequences) -> Tensor:
        """The covariates this component reads, shape (steps or sessions, features)."""
        whole: Tensor = getattr(data, self.covariates_of)
        if self.chosen is None or whole is None:
            return whole
        return whole[:, self.places_among(getattr(data, names_of(self.covariates_of)))]

    def operator(self, data: Sequences) -> DesignMatrix:
        """The design as an operator, to multiply weights by, in the form it is kept."""
        if is_as_defined(self, CovariateReader, "design"):
            whole = data.operator(self.covariates_of)
            if self.chosen is None:
                return whole
            names = getattr(data, names_of(self.covariates_of))
            return whole.columns(self.places_among(names))
        names = getattr(data, f"{self.covariates_of[:-1]}_names")
        return spread_over(as_design(self.design(data), names), data.ranks)

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


def chosen_names(covariates: Sequence[str] | None) -> tuple[str, ...] | None:
    """Names of covariates that a component is to read, as they were given.

    Raises:
        TypeError: they are no list of names.
        ValueError: there is none, or one comes twice.
    """
    if covariates is None:
        return None
    if isinstance(covariates, str) or not has_items(covariates):
        raise TypeError(
            f"covariates must be a list of names, got {covariates!r:.80}; write "
            f"[{covariates!r:.80}]"
        )
    if isinstance(covariates, Set | Mapping):
        raise TypeError(
            f"covariates must be a list of names, got {with_article(type(covariates))},"
            f" which has no order; write {sorted(map(str, covariates))}"
        )
    names = tuple(covariates)
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong:
        raise TypeError(
            f"covariates must be a list of names, got {wrong[0]!r:.80} in it; give the "
            "names of columns"
        )
    if not names:
        raise ValueError(
            "covariates must name a column at least, got none; leave it out to read "
            "them all"
        )
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(
            f"covariates must name every column once, got {twice!r} twice; leave one "
            "out"
        )
    return names
