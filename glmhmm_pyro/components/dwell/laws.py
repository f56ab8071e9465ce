r"""Laws of dwell times, as chains of phases.

A dwell is a walk through the phases of a state. At every step after the first there is
an *event* or there is none: it ends the dwell, or leads to the next phase. Whatever law
can be said so needs no engine of its own, for the chain sums over phases as it does
over states (Langrock & Zucchini 2011, Comput. Stat. Data Anal. 55:715).

=================  ==========================  =======================================
law                phases                      an event
=================  ==========================  =======================================
NegativeBinomial   as many as are given, each  ends a phase, the last one the dwell
                   lasts by chance
Poisson            steps since it was entered  ends the dwell, with the law's hazard
Categorical        steps since it was entered  ends the dwell, with the law's hazard
=================  ==========================  =======================================
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import logsigmoid, softplus

from glmhmm_pyro.arguments import suggests_names, whole_number
from glmhmm_pyro.components.dwell.regression import fitted_dwell_weights
from glmhmm_pyro.components.explaining import as_call
from glmhmm_pyro.components.site import Site
from glmhmm_pyro.priors.answers import is_flat
from glmhmm_pyro.priors.filling import Prior
from glmhmm_pyro.zeros import log_or_zero_slope


class Events(NamedTuple):
    """Log-probabilities of an event and of none in every phase, (..., states, phases).

    Attributes:
        event: log-probability that the phase, or the dwell, ends at a step.
        rest: log-probability that it does not.
    """

    event: Tensor
    rest: Tensor


class DwellLaw:
    """A distribution of dwell times, written as a chain of phases.

    Attributes:
        num_phases: number of phases of every state.
        is_aged: whether phases count the steps, so that every event ends the dwell;
            else an event leads to the next phase.
        is_driven: whether its parameter depends on covariates.
        site: name and declaration of its parameters.

    Example:
        >>> import glmhmm_pyro as gh
        >>> issubclass(gh.dwell.Poisson, gh.dwell.DwellLaw)
        True
    """

    num_phases: int
    is_aged: bool
    is_driven: bool = False
    site: tuple[str, Site]

    def events(self, value: Tensor) -> Events:
        """Log-probabilities of an event in every phase.

        Args:
            value: of the parameters (..., states) or (..., states, dwells); of a law
                that is driven, the predictors (..., states).
        """
        raise NotImplementedError

    def closed_form(self, events: Tensor, rests: Tensor) -> Tensor | None:
        """The parameters that make expected numbers of events most probable.

        Args:
            events: expected numbers (..., states, phases).
            rests: of steps without one, of the same shape.

        Returns:
            ``None`` where there is no formula.
        """
        return None

    def climbed(
        self, value: Tensor, events: Tensor, rests: Tensor, design: Tensor | None
    ) -> Tensor | None:
        """The same by Newton steps from where the parameters are.

        Args:
            value: of the parameters (sets, states), or of the weights of a driven law
                (sets, states, features).
            events, rests: expected numbers (sets, steps or 1, states, phases).
            design: covariates of a driven law, (steps, features).

        Returns:
            In the shape of ``value``; ``None`` where there are no such steps.
        """
        return None

    def _as_call(self, phases: str) -> str:
        """The call that makes it, given what it calls its number of phases."""
        given = {phases: self.num_phases, "prior": self.site[1].prior}
        return as_call(type(self), given | {"driven": self.is_driven})

    def probs(self, value: Tensor, steps: int) -> Tensor:
        """Probabilities that a dwell takes 1 to ``steps`` steps, (..., states, steps).

        Args:
            value: of the parameters, as for :meth:`events` of a law that is not driven.
            steps: the longest dwell that is returned.
        """
        event, rest = (log.exp() for log in self.events(value))
        ends = event.clone()
        if not self.is_aged:
            ends[..., :-1] = 0.0
        ahead, stays = rest, torch.zeros_like(rest)
        if not self.is_aged:
            ahead, stays = event, rest
        stays = torch.cat([stays[..., :-1], rest[..., -1:]], -1)
        phases, found = torch.zeros_like(event), []
        phases[..., 0] = 1.0
        for _ in range(steps):
            found.append((phases * ends).sum(-1))
            moved = torch.nn.functional.pad((phases * ahead)[..., :-1], (1, 0))
            phases = phases * stays + moved
        return torch.stack(found, -1)

    def log_stay(self, value: Tensor) -> Tensor:
        """Log of the share of a long dwell's time that each phase takes.

        That is where a session finds a state that did not begin with it (the law of the
        forward recurrence time, Cox 1962, Renewal Theory, section 5.4), of shape
        (..., states, phases).
        """
        event, rest = self.events(value)
        if not self.is_aged:
            return torch.full_like(event, -math.log(self.num_phases))
        reached = torch.cat([torch.zeros_like(rest[..., :1]), rest[..., :-1]], -1)
        visits = reached.cumsum(-1)
        # In the last phase a dwell stays until the event comes.
        last = visits[..., -1:] - event[..., -1:]
        return torch.cat([visits[..., :-1], last], -1).log_softmax(-1)


@suggests_names
class NegativeBinomial(DwellLaw):
    r"""Dwell times that are sums of geometric ones, one for every phase.

    .. math:: P(d) = \binom{d - 1}{r - 1} p^r (1 - p)^{d - r}, \quad d \ge r

    with mean r / p and standard deviation sqrt(r (1 - p)) / p: the more phases, the
    more regular. With one phase it is the geometric law, that of any hidden Markov
    chain. The number of phases is chosen as the number of states is, by comparison of
    fits (:func:`glmhmm_pyro.analysis.compare_models`).

    Args:
        phases: their number r.
        prior: of the probability p that a phase ends, (states,); of a driven law, of
            the weights (states, features).
        driven: whether the transition covariates drive p, which is then the logistic
            function of a weighted sum of those of the step.

    Raises:
        ValueError: ``phases`` is no whole number from 1 on.

    Example:
        >>> import glmhmm_pyro as gh
        >>> from glmhmm_pyro.components import SemiMarkov, dwell
        >>> model = gh.GLMHMM(2, gh.Bernoulli(), SemiMarkov(dwell.NegativeBinomial(3)))
    """

    is_aged = False

    def __init__(self, phases: int = 2, prior: Prior = None, driven: bool = False):
        self.phases = self.num_phases = whole_number("phases", phases, 1)
        self.driven = self.is_driven = bool(driven)
        self.prior = prior
        self.site = _site("leave", prior, self.is_driven, constraints.unit_interval)

    def __repr__(self) -> str:
        return self._as_call("phases")

    def events(self, value: Tensor) -> Events:
        """All phases of a state end with the same probability."""
        if self.is_driven:
            event, rest = logsigmoid(value), logsigmoid(-value)
        else:
            event, rest = log_or_zero_slope(value), log_or_zero_slope(1 - value)
        shape = value.shape + (self.num_phases,)
        return Events(*(log.unsqueeze(-1).expand(shape) for log in (event, rest)))

    def closed_form(self, events: Tensor, rests: Tensor) -> Tensor | None:
        """The share of steps that end a phase."""
        if self.is_driven or not is_flat(self.prior):
            return None
        ended = events.sum(-1)
        return ended / (ended + rests.sum(-1)).clamp(min=torch.finfo(ended.dtype).tiny)


@suggests_names
class Poisson(DwellLaw):
    r"""Dwell times of a Poisson number of steps beyond the first.

    .. math:: P(d) = e^{-\lambda} \lambda^{d - 1} / (d - 1)!, \quad d \ge 1

    with mean 1 + lambda. Up to ``longest`` steps the law is exact; from there on a
    dwell ends with the probability that it had at ``longest``, so that the mass beyond
    it, which :func:`glmhmm_pyro.analysis.dwell_law` states, is spread geometrically.
    Every state has a phase for every step, and time and memory grow with the square of
    their number: take ``longest`` as short as that mass allows.

    Args:
        longest: steps up to which the law is exact.
        prior: of lambda, (states,); of a driven law, of the weights (states, features).
        driven: whether the transition covariates drive lambda, the exponential of a
            weighted sum: the covariates of every step say with which hazard a dwell
            that has lasted so long ends there.

    Raises:
        ValueError: ``longest`` is no whole number from 1 on.

    Example:
        >>> import glmhmm_pyro as gh
        >>> from glmhmm_pyro.components import SemiMarkov, dwell
        >>> transitions = SemiMarkov(dwell.Poisson(longest=20))
    """

    is_aged = True

    def __init__(self, longest: int = 20, prior: Prior = None, driven: bool = False):
        self.longest = self.num_phases = whole_number("longest", longest, 1)
        self.driven = self.is_driven = bool(driven)
        self.prior = prior
        self.site = _site("rate", prior, self.is_driven, constraints.positive)

    def __repr__(self) -> str:
        return self._as_call("longest")

    def events(self, value: Tensor) -> Events:
        r"""The hazard of the law at every age.

        .. math:: h_k = p_k / \sum_{j \ge k} p_j = 1 / R_k, \quad
            R_k = 1 + \frac{\lambda}{k + 1} R_{k + 1}

        The recursion is run downwards from so far out that its end is forgotten.
        """
        log_rate = value if self.is_driven else log_or_zero_slope(value)
        more, _ = self._odds(log_rate, slopes=False)
        return Events(logsigmoid(-more), logsigmoid(more))

    def _odds(self, log_rate: Tensor, slopes: bool = True) -> tuple[Tensor, Tensor]:
        """Log-odds of going on at every age, log(R - 1), and slopes by the log rate."""
        more, kept = torch.full_like(log_rate, -torch.inf), []
        slope, by_rate = torch.zeros_like(log_rate), []
        for k in reversed(range(2 * self.num_phases + 64)):
            if slopes:
                slope = 1 + more.sigmoid() * slope
                by_rate.append(slope)
            more = log_rate - math.log(k + 1) + softplus(more)
            kept.append(more)
        ages = slice(None, -self.num_phases - 1, -1)
        found = torch.stack(kept[ages], -1)
        return found, torch.stack(by_rate[ages], -1) if slopes else found

    def climbed(
        self, value: Tensor, events: Tensor, rests: Tensor, design: Tensor | None
    ) -> Tensor | None:
        """A regression on the ages at which dwells went on and ended."""
        if not is_flat(self.prior):
            return None
        if design is not None:
            return fitted_dwell_weights(self._odds, design, value, events, rests)
        one = torch.ones(1, 1, dtype=value.dtype, device=value.device)
        start = value.log().unsqueeze(-1)
        return (
            fitted_dwell_weights(self._odds, one, start, events, rests)
            .squeeze(-1)
            .exp()
        )


@suggests_names
class Categorical(DwellLaw):
    """Dwell times of any law up to a longest one.

    Args:
        longest: steps that a dwell takes at most.
        prior: of the probabilities of 1 to ``longest`` steps (states, dwells), such as
            a Dirichlet; ``None`` for flat.

    Raises:
        ValueError: ``longest`` is no whole number from 2 on.

    Example:
        >>> import glmhmm_pyro as gh
        >>> from glmhmm_pyro.components import SemiMarkov, dwell
        >>> transitions = SemiMarkov(dwell.Categorical(longest=5))
    """

    is_aged = True

    def __init__(self, longest: int, prior: Prior = None):
        self.longest = self.num_phases = whole_number("longest", longest, 2)
        self.prior = prior
        axes = ("state", ("dwell", self.num_phases))
        site = Site(*axes, prior=prior, support=constraints.simplex)
        self.site = ("dwell_probs", site)

    def __repr__(self) -> str:
        return self._as_call("longest")

    def events(self, value: Tensor) -> Events:
        """The hazard p(d) / p(at least d), which is 1 at the last age."""
        tiny = torch.finfo(value.dtype).tiny
        reached = value.flip(-1).cumsum(-1).flip(-1).clamp(min=tiny).log()
        after = torch.cat(
            [reached[..., 1:], torch.full_like(reached[..., :1], 0.0)], -1
        )
        event = log_or_zero_slope(value) - reached
        last = torch.arange(self.num_phases, device=value.device) + 1 == self.num_phases
        return Events(
            event.masked_fill(last, 0.0),
            (after - reached).masked_fill(last, -torch.inf),
        )

    def closed_form(self, events: Tensor, rests: Tensor) -> Tensor | None:
        """Products of the estimated hazards at each age (Kaplan & Meier 1958)."""
        if not is_flat(self.prior):
            return None
        tiny = torch.finfo(events.dtype).tiny
        hazard = events / (events + rests).clamp(min=tiny)
        hazard = torch.cat([hazard[..., :-1], torch.ones_like(hazard[..., :1])], -1)
        reached = torch.cat(
            [torch.ones_like(hazard[..., :1]), 1 - hazard[..., :-1]], -1
        )
        probs = hazard * reached.cumprod(-1)
        return probs / probs.sum(-1, keepdim=True)


def _site(
    name: str, prior: Prior, driven: bool, support: constraints.Constraint
) -> tuple[str, Site]:
    """One parameter a state, or weights of covariates that predict it."""
    if driven:
        return "dwell_weights", Site("state", "covariate", prior=prior)
    return name, Site("state", prior=prior, support=support)
