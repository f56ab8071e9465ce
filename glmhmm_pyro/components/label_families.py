"""Families of emissions that are labels, such as choices."""

from collections.abc import Sequence

import pyro.distributions as dist
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.nn.functional import pad

from glmhmm_pyro.arguments import suggests_names, whole_number
from glmhmm_pyro.components.alike import OutputsAlike, single_outputs
from glmhmm_pyro.components.emission_checks import check_labels
from glmhmm_pyro.components.marginal_laws import Marginal, label_marginal
from glmhmm_pyro.components.rescaling import is_as_defined
from glmhmm_pyro.components.soft_labels import LabelObjective
from glmhmm_pyro.components.softmax import insert_zeros
from glmhmm_pyro.components.step_laws import (
    StepLaw,
    log_probs_of_free,
    log_probs_of_odds,
)
from glmhmm_pyro.components.tables import LabelTable, LogTable, TablesSideBySide
from glmhmm_pyro.designs import DesignMatrix
from glmhmm_pyro.priors.filling import Prior
from glmhmm_pyro.sequences import Sequences


@suggests_names
class Categorical(OutputsAlike):
    r"""Multinomial-logit emission: a softmax regression for every hidden state.

    .. math:: p(y_t = c \mid z_t = k, x_t) \propto \exp(w_{kc}^\top x_t),
        \quad w_{k0} = 0

    Class 0 is the reference class: it has no weights, which identifies the others
    (Calhoun, Pillow & Murthy 2019, Methods). Several outputs with as many classes each
    are independent given the state, each with weights and a mask of its own.

    Args:
        num_classes: number of emission classes, the reference included.
        prior: distribution that broadcasts to the free weights (states, classes - 1,
            features), or (states, outputs, classes - 1, features), or ``None`` for
            flat. Its negative log density is the penalty of a MAP fit: Normal(0, s) is
            a ridge.
        covariates: names of the covariates that the family reads; all by default.
        num_outputs: number of outputs, at least 2; ``None`` for emissions (steps,).

    Example:
        >>> import glmhmm_pyro as gh
        >>> model = gh.GLMHMM(2, gh.Categorical(3))
        >>> model.bind(gh.Sequences([0, 1, 1], [[0.5, 1.0], [0.2, 1.0], [0.1, 1.0]]))
        >>> model.components["emissions"].shape("weights")
        torch.Size([2, 2, 2])
    """

    reference = "class 0"

    def __init__(
        self,
        num_classes: int,
        prior: Prior = None,
        covariates: Sequence[str] | None = None,
        num_outputs: int | None = None,
    ):
        num_classes = whole_number("num_classes", num_classes, 2)
        free = ("class", num_classes - 1)
        super().__init__(
            free, num_outputs=num_outputs, prior=prior, covariates=covariates
        )
        self.num_classes = num_classes

    def check(self, data: Sequences) -> None:
        """Raise a ValueError for labels that are no classes."""
        check_labels(data, self.num_classes, f"Categorical({self.num_classes})")

    def log_table(self, data: Sequences) -> LogTable | None:
        """Softmax regressions, differentiated by hand."""
        return label_table(self, data, Categorical)

    def distribution(self, predictor: Tensor) -> TorchDistribution:
        """Softmax of the predictors and the 0 of the reference."""
        logits = pad(predictor, (1, 0))
        return self.independent(dist.Categorical(logits=logits, validate_args=False))

    def predicted_law(self, **parameters: Tensor) -> StepLaw:
        """In numpy."""
        if not is_as_defined(self, Categorical, "distribution"):
            return super().predicted_law(**parameters)
        return lambda predictor: self.law_of_labels(log_probs_of_free(predictor))

    def marginal_of(self, data: Sequences) -> Marginal | None:
        """Weights that give how often each class comes."""
        if not is_as_defined(self, Categorical, "distribution"):
            return None
        log_odds, note = label_marginal(data, self.num_classes)
        return {"weights": log_odds[None, :, None]}, note

    def objective_of(self, data: Sequences, design: DesignMatrix) -> LabelObjective:
        """All states' softmax regressions evaluated together."""
        return LabelObjective(data, design, self.num_classes)

    def display(self, name: str, value: Tensor) -> tuple[Tensor, tuple[str, ...]]:
        """The weights of all classes, those of class 0 being 0."""
        return insert_zeros(value), self.sites[name].axes


@suggests_names
class Bernoulli(OutputsAlike):
    r"""Logistic regression of a binary emission for every hidden state.

    .. math:: p(y_t = 1 \mid z_t = k, x_t) = 1 / (1 + \exp(-w_k^\top x_t))

    Several outputs, such as neurons that fire in a bin or not, are independent given
    the state, each with weights of its own and a mask of its own.

    Args:
        prior: distribution that broadcasts to the weights (states, features), or
            (states, outputs, features), or ``None`` for flat.
        covariates: names of the covariates that the family reads; all by default.
        num_outputs: number of outputs, at least 2; ``None`` for emissions (steps,).

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.Sequences([0, 1, 1, 1])
        >>> fit = gh.fit(gh.GLMHMM(1, gh.Bernoulli()), data, progress=False)
        >>> round(float(fit.params["emissions.weights"].sigmoid()), 6)
        0.75
    """

    reference = "class 0"

    def __init__(
        self,
        prior: Prior = None,
        covariates: Sequence[str] | None = None,
        num_outputs: int | None = None,
    ):
        super().__init__(num_outputs=num_outputs, prior=prior, covariates=covariates)

    def check(self, data: Sequences) -> None:
        """Raise a ValueError for labels that are not 0 or 1."""
        check_labels(data, 2, "Bernoulli()")

    def log_table(self, data: Sequences) -> LogTable | None:
        """Logistic regressions, differentiated by hand."""
        return label_table(self, data, Bernoulli)

    def distribution(self, predictor: Tensor) -> TorchDistribution:
        """Bernoulli with the predictor as its log-odds."""
        return self.independent(dist.Bernoulli(logits=predictor, validate_args=False))

    def predicted_law(self, **parameters: Tensor) -> StepLaw:
        """In numpy."""
        if not is_as_defined(self, Bernoulli, "distribution"):
            return super().predicted_law(**parameters)
        return lambda predictor: self.law_of_labels(log_probs_of_odds(predictor))

    def marginal_of(self, data: Sequences) -> Marginal | None:
        """The weight that gives how often 1 comes."""
        if not is_as_defined(self, Bernoulli, "distribution"):
            return None
        log_odds, note = label_marginal(data, 2)
        return {"weights": log_odds[None]}, note

    def objective_of(self, data: Sequences, design: DesignMatrix) -> LabelObjective:
        """All states' logistic regressions evaluated together."""
        return LabelObjective(data, design, 2)


def label_table(family: OutputsAlike, data: Sequences, kind: type) -> LogTable | None:
    """The table of a family of labels, if it is as its class of this package has it.

    Args:
        family: bound to the data.
        data: what it reads of the data set.
        kind: that class.
    """
    if not family.is_plain or not is_as_defined(family, kind, "distribution"):
        return None
    design, shape = family.operator(data), family.shape("weights")
    if family.num_outputs is None:
        return LabelTable(data, design, shape)
    one = shape[:1] + shape[2:]
    return TablesSideBySide([LabelTable(d, design, one) for d in single_outputs(data)])
