"""How components whose weights vary over units explain themselves."""

from typing import Any

from glmhmm_pyro.components.base import Component
from glmhmm_pyro.components.varying.unit_laws import LawRecipe
from glmhmm_pyro.priors.recipe import PriorRecipe
from glmhmm_pyro.priors.wording import in_words

_LINKS = {None: "each by itself", "walk": "a walk", "pooled": "pooled"}
_UNITS = {"slow": "slow state"}


class SaysHowItVaries(Component):
    """A component of the name of its family, which says how the weights vary."""

    called = "Varying"
    family: Any
    over: str
    law: LawRecipe
    constant: tuple[str, ...]

    @property
    def named(self) -> str:
        """The name of the family."""
        return str(self.family.named)

    @property
    def reads_covariates(self) -> bool:
        """Whether the family does."""
        return bool(self.family.reads_covariates)

    @property
    def reference(self) -> str:
        """That of the family, or of the log-odds that stand for probabilities."""
        of_odds = {"transition": "staying", "initial": "state 0", "emission": ""}
        return self.family.reference or of_odds[self.counts_of]

    def right_side(self) -> str:
        """That of the family, and how its weights vary."""
        law = self.law
        how = in_words(law) if isinstance(law, PriorRecipe) else _LINKS[law]
        if self.constant:
            how += f", those of {', '.join(self.constant)} excepted"
        unit = _UNITS.get(self.over, self.over)
        return f"{super().right_side()}, weights by {unit}, {how}"
