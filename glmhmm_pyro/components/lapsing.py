"""Lapses: choices that are guessed now and then, whatever the covariates say."""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.nn.functional import logsigmoid

from glmhmm_pyro.arguments import suggests_names, with_article
from glmhmm_pyro.components.alike import OutputsAlike
from glmhmm_pyro.components.base import Site
from glmhmm_pyro.components.emission_checks import check_labels
from glmhmm_pyro.components.emissions import Emission
from glmhmm_pyro.components.label_families import Bernoulli, Categorical
from glmhmm_pyro.components.marginal_laws import Marginal
from glmhmm_pyro.components.rescaling import is_as_defined
from glmhmm_pyro.components.step_laws import (
    StepLaw,
    log_probs_of_free,
    log_probs_of_odds,
)
from glmhmm_pyro.priors.filling import Prior
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.zeros import log_or_zero_slope

# Probability of a guess, of whichever class, before anything has been learnt.
_AT_FIRST = 0.1


@suggests_names
class Lapsing(OutputsAlike):
    r"""A family of labels of which some are guesses.

    .. math:: p(y_t = c \mid z_t = k, x_t) =
        \Bigl(1 - \sum_b \gamma_{kb}\Bigr) \, p_0(y_t = c \mid z_t = k, x_t)
        + \gamma_{kc}

    with p0 that of the family and rates of guessing class c, which every state has for
    itself. With a single state it is the psychometric function with lapses,
    :math:`\gamma_1 + (1 - \gamma_0 - \gamma_1) \sigma(w^\top x)`, against which states
    are held (Wichmann & Hill 2001; Ashwood et al. 2022).

    The site ``guessing`` holds, for every state, the probability of no guess and then
    those of guessing each class; ``fit.parameters`` shows the latter, by class.

    Args:
        family: :class:`Bernoulli` or :class:`Categorical`, whose weights and priors are
            taken over.
        guessing_prior: distribution that broadcasts to (states, 1 + classes), or
            (states, outputs, 1 + classes), such as a ``Dirichlet``; ``None`` for flat.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.datasets.load_rat().subset(range(6))
        >>> model = gh.GLMHMM(1, gh.components.Lapsing(gh.Bernoulli()))
        >>> fit = gh.fit(model, data, num_restarts=1, progress=False)
        >>> fit.parameters["emissions.guessing"].dims
        ('state', 'class')
    """

    reference = "class 0"
    family: OutputsAlike
    guessing: Any

    def __init__(self, family: Bernoulli | Categorical, guessing_prior: Prior = None):
        if not isinstance(family, Bernoulli | Categorical):
            raise TypeError(
                "family must be a Bernoulli or a Categorical, whose labels can be "
                f"guessed, got {_given_in_words(family)}; write Lapsing(Bernoulli())"
            )
        super().__init__(
            num_outputs=family.num_outputs,
            prior=family.prior,
            covariates=family.chosen,
        )
        # As a law alone, whose sites are this component's: no part of the model.
        self.__dict__["family"] = copy.deepcopy(family)
        self.guessing_prior = guessing_prior
        for name, site in family.sites.items():
            setattr(self, name, copy.copy(site))
        self.num_classes = getattr(family, "num_classes", 2)
        axes = ("state", *self.output_axes, ("outcome", 1 + self.num_classes))
        simplex = constraints.simplex
        self.guessing = Site(*axes, prior=guessing_prior, support=simplex)

    @property
    def named(self) -> str:
        """The name of the family."""
        return self.family.named

    def right_side(self) -> str:
        """That of the family, or a guess."""
        return f"{super().right_side()}, or a guess at rates by {self.symbols()[1]}"

    def check(self, data: Sequences) -> None:
        """Raise a ValueError for labels that are no classes."""
        check_labels(data, self.num_classes, f"Lapsing({type(self.family).__name__})")

    def distribution(
        self, predictor: Tensor, guessing: Tensor, **parameters: Tensor
    ) -> Distribution:
        """The mixture of the family at the predictors and of the guesses."""
        family: Any = self.family.distribution(predictor, **parameters)
        is_binary = isinstance(self.family, Bernoulli)
        logs = getattr(family, "base_dist", family).logits
        if is_binary:
            logs = torch.stack([logsigmoid(-logs), logsigmoid(logs)], -1)
        rates = log_or_zero_slope(guessing)
        logs = torch.logaddexp(rates[..., :1] + logs, rates[..., 1:])
        if is_binary:
            odds = logs[..., 1] - logs[..., 0]
            return self.independent(dist.Bernoulli(logits=odds, validate_args=False))
        return self.independent(dist.Categorical(logits=logs, validate_args=False))

    def predicted_law(self, **parameters: Tensor) -> StepLaw:
        """In numpy."""
        as_here = is_as_defined(self, Lapsing, "distribution")
        if not as_here or type(self.family) not in (Bernoulli, Categorical):
            return super().predicted_law(**parameters)
        rates = log_or_zero_slope(parameters["guessing"]).numpy()
        is_binary = isinstance(self.family, Bernoulli)
        log_probs = log_probs_of_odds if is_binary else log_probs_of_free
        return lambda predictor: self.law_of_labels(
            np.logaddexp(rates[..., :1] + log_probs(predictor), rates[..., 1:])
        )

    def start(self, data: Sequences) -> dict[str, Tensor]:
        """Few guesses, of all classes alike; the weights as those of the family."""
        rates = torch.full(self.shape("guessing"), _AT_FIRST / self.num_classes)
        rates[..., 0] = 1 - _AT_FIRST
        return {"guessing": rates.double()}

    def marginal(self, data: Sequences) -> Marginal | None:
        """That of the family, without a guess."""
        known = self.family.marginal(data)
        if known is None:
            return None
        never = torch.zeros(1, *self.shape("guessing")[1:], dtype=torch.float64)
        never[..., 0] = 1.0
        return {**known[0], "guessing": never}, known[1]

    def guesses(self, params: Mapping[str, Tensor]) -> Tensor | None:
        """The rates of the mixture."""
        return params["guessing"]

    def display(self, name: str, value: Tensor) -> tuple[Tensor, tuple[str, ...]]:
        """Rates of guessing by class; weights as the family shows them."""
        if name == "guessing":
            return value[..., 1:], (*self.sites[name].axes[:-1], "class")
        return self.family.display(name, value)


def _given_in_words(family: Emission | type[Emission]) -> str:
    """What was given in the place of a family, in words."""
    if isinstance(family, type):
        return f"the class {family.__name__}"
    return with_article(type(family))
