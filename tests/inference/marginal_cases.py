"""Models whose weights vary, with data, for what is said of their evidence."""

import torch
from torch.distributions import HalfNormal
from varying_cases import drifting

import glmhmm_pyro as gh
from glmhmm_pyro.components import (
    ByLevel,
    Levels,
    TwoLevels,
    TwoLevelsInitial,
    Varying,
)

Walk = gh.priors.RandomWalk


def cases():
    data = drifting(4, 25)
    masked = data.with_mask(torch.arange(100) % 7 != 0)
    own = ("covariate",)
    step = Walk("learnt", 2.0, own, HalfNormal(1.0))
    pooled = gh.priors.Hierarchical(HalfNormal(1.0), per=own)
    yield "steps", gh.GLMHMM(1, Varying(gh.Bernoulli(), "step", step)), data
    three = drifting(4, 25, classes=3)
    yield "classes", gh.GLMHMM(1, Varying(gh.Categorical(3), "step", step)), three
    part = Varying(gh.Bernoulli(), law=pooled, constant=["bias"])
    yield "constant", gh.GLMHMM(1, part), masked
    yield "states", gh.GLMHMM(
        2, Varying(gh.Bernoulli(gh.priors.Ridge()), law=pooled)
    ), masked
    yield "known scales", gh.GLMHMM(2, Varying(gh.Bernoulli(), law=Walk(0.5))), data
    both = gh.priors.Ridge(0.5), Walk("learnt")
    yield "moves", gh.GLMHMM(
        2, gh.Bernoulli(), Varying(gh.Stationary(), law=both[1])
    ), data
    yield "all", gh.GLMHMM(
        2, Varying(gh.Bernoulli(), law=both[0]), Varying(gh.Stationary(), law=both[0])
    ), data
    yield from on_two_levels(both[1])
    yield from over_other_units(both[1])
    yield from beside_slow_states(both[1])


def on_two_levels(law):
    """Slow states that go through borders of sessions make units hang together."""
    groups = ["a", "a", "a", "b", "b", "c"]
    data = drifting(6, 30, groups=groups)
    levels = Levels(2, 2)
    sessions, moves = ByLevel(Varying(gh.Bernoulli(), law=law)), TwoLevels()
    yield "levels", gh.GLMHMM(levels, sessions, moves), data
    for over in ("session", "group"):
        own = law if over == "session" else gh.priors.Hierarchical(HalfNormal(1.0))
        units = ByLevel(Varying(gh.Bernoulli(), over, own), over="slow")
        on = TwoLevels(across_sessions=True)
        yield f"levels across sessions by {over}", gh.GLMHMM(levels, units, on), data
    slow = TwoLevels(Varying(gh.Stationary(), law=law), clock="session")
    fixed = TwoLevelsInitial(gh.Initial(gh.priors.Fixed([0.5, 0.5])))
    yield "slow moves", gh.GLMHMM(levels, gh.Bernoulli(), slow, fixed), data
    for across in (False, True):
        moves = TwoLevels(
            fast=Varying(gh.Stationary(), law=law), across_sessions=across
        )
        model = gh.GLMHMM(levels, gh.Bernoulli(), moves, fixed if across else None)
        yield f"fast moves{' across sessions' * across}", model, data
    within = TwoLevels(
        across_sessions=True, entry=gh.Initial(), slow_depends_on_fast=True
    )
    units = ByLevel(Varying(gh.Bernoulli(), law=law))
    yield "chains within chains", gh.GLMHMM(levels, units, within, fixed), data
    first = TwoLevelsInitial(*(Varying(gh.Initial(), law=law) for _ in range(2)))
    yield "first states", gh.GLMHMM(levels, gh.Bernoulli(), moves, first), data


def over_other_units(law):
    """Latents over groups beside those over their sessions, as many or fewer."""
    data = drifting(6, 30, groups=["a", "a", "a", "b", "b", "c"])
    pooled = gh.priors.Hierarchical(HalfNormal(1.0))
    of_session, of_group = Varying(gh.Bernoulli(), law=law), Varying(
        gh.Stationary(), "group", pooled
    )
    yield "groups and sessions", gh.GLMHMM(2, of_session, of_group), data
    one = Varying(gh.Bernoulli(), "group", pooled, ["bias"])
    first = Varying(gh.Initial(), law=pooled)
    yield "sessions and groups", gh.GLMHMM(2, one, initial=first), data
    moves = Varying(gh.Stationary(), law=pooled)
    yield "two laws of sessions", gh.GLMHMM(2, of_session, moves), data
    fast = Varying(gh.Stationary(), law=law)
    for across in (False, True):
        levels = TwoLevels(of_group, fast, across_sessions=across)
        model = gh.GLMHMM(Levels(2, 2), gh.Bernoulli(), levels)
        yield f"levels over other units{' across sessions' * across}", model, data
    part = gh.GLMHMM(
        Levels(2, 2),
        ByLevel(of_session, over="fast"),
        TwoLevels(fast=Varying(gh.Stationary(), law=pooled), across_sessions=True),
    )
    yield "two laws across sessions", part, data


def beside_slow_states(law):
    """Emissions pooled over slow states beside moves and first states of units."""
    data = drifting(6, 30, groups=["a", "a", "a", "b", "b", "c"])
    pooled = gh.priors.Hierarchical(HalfNormal(1.0))
    by_pair = Varying(gh.Bernoulli(gh.priors.Ridge(2.0)), "slow", "pooled")
    fast = Varying(gh.Stationary(), law=law)
    for across in (False, True):
        moves = TwoLevels(fast=fast, across_sessions=across)
        model = gh.GLMHMM(Levels(2, 2), by_pair, moves)
        yield f"slow states and sessions{' in chains' * across}", model, data
    part = Varying(gh.Bernoulli(gh.priors.Ridge(2.0)), "slow", "pooled", ["bias"])
    moves = TwoLevels(Varying(gh.Stationary(), "group", pooled), fast)
    yield "slow states, groups, sessions", gh.GLMHMM(Levels(2, 2), part, moves), data
    first = TwoLevelsInitial(fast=Varying(gh.Initial(), law=pooled))
    yield "slow states and starts", gh.GLMHMM(
        Levels(2, 2), by_pair, initial=first
    ), data


CASES = {name: (model, data) for name, model, data in cases()}
