"""What a user writes for weights that vary: one call, whatever component it is."""

from collections.abc import Sequence
from typing import Any

from glmhmm_pyro.arguments import one_of, suggests_names
from glmhmm_pyro.components.base import Component
from glmhmm_pyro.components.initial import InitialState
from glmhmm_pyro.components.transitions import Transitions
from glmhmm_pyro.components.varying.kinds import (
    VaryingEmission,
    VaryingInitial,
    VaryingTransitions,
)
from glmhmm_pyro.components.varying.over_slow import VaryingOverSlow
from glmhmm_pyro.components.varying.unit_laws import LawRecipe
from glmhmm_pyro.components.varying.units import OVER, SLOW
from glmhmm_pyro.components.varying.varies import Varies


@suggests_names
def Varying(
    family: Component,
    over: str = "session",
    law: LawRecipe = "walk",
    constant: Sequence[str] = (),
) -> Varies:
    r"""A component whose weights vary over units, linked by a law.

    .. math::
        \text{pooled: } w_u \sim N(m, s^2), \qquad
        \text{walk: } w_0 \sim N(0, s_0^2), \; w_u \sim N(w_{u-1}, s^2)

    Pooled units share a mean that is learnt, with scales: what tells units apart is
    learnt from all of them. A walk goes from each unit to the next, within a group, and
    begins anew in the next group: weights that drift; over the steps of a single state
    it is the model of PsyTrack (Roy et al. 2021). Without a law, ``None``, every unit
    is by itself.

    EM, MAP and Laplace maximise the evidence of the law's parameters, all weights
    integrated out by Laplace's approximation, for the joint mode of weights and a
    learnt scale runs to 0. Components may vary over other units, groups and their
    sessions beside slow states, or by other laws. Other sessions than were fitted have
    weights from the law.

    Over slow states (:class:`Levels`) every pair of a slow and a fast state has weights
    of its own, around a mean of the fast state, so that a strategy is much the same,
    but not quite, in all slow states. Which pair a step belongs to is summed out; other
    data have the same states, and so the same weights.

    Args:
        family: a GLM family, ``InputDriven`` or ``Stationary`` transitions, or an
            ``Initial`` or ``InitialGLM`` first state. Its prior is that of the mean of
            pooled units, of constant weights, and of each unit without a law.
        over: ``"group"``, ``"session"`` or ``"step"``, steps of one state alone; or
            ``"slow"``, of emissions on two levels, pooled.
        law: ``"pooled"`` or ``"walk"``, with scales that are learnt for every state
            and covariate, over slow states for every covariate; or
            :class:`gh.priors.Hierarchical` (pooled, ``per`` axes),
            :class:`gh.priors.Ridge` (pooled, a known scale),
            :class:`gh.priors.RandomWalk` (a walk); or ``None``.
        constant: names of covariates whose weights are the same in all units; an
            offset's always is. Beside one bias, units whose slopes vary agree
            where their covariate is 0: it matters where that is.

    Raises:
        ValueError: the law is none, or is none of these units.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.datasets.load_rat().subset(range(4))
        >>> law = gh.priors.RandomWalk(step_scale=0.1)
        >>> model = gh.GLMHMM(1, gh.components.Varying(gh.Bernoulli(), law=law))
        >>> fit = gh.fit(model, data, "map", progress=False)
        >>> fit.parameters["emissions.weights"].dims
        ('session', 'state', 'covariate')
    """
    one_of("over", over, (*OVER, SLOW))
    emissions = VaryingOverSlow if over == SLOW else VaryingEmission
    kinds = (
        (Transitions, VaryingTransitions),
        (InitialState, VaryingInitial),
        (object, emissions),
    )
    kind: Any = next(varying for base, varying in kinds if isinstance(family, base))
    found: Varies = kind(family, over, law, constant)
    return found
