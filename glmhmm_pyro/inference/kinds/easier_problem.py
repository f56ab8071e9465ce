"""The easier problem that a search solves first, where a program has one.

It has a sample of the sessions if the data are large, and a free initial distribution
if the model's follows from its transitions, whose M-step is then joint and EM slow.
"""

import copy

import numpy as np
import torch

from glmhmm_pyro.components.initial import Initial
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.program.refusals import carries_states_over
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.sequences import Sequences

# Number of steps of the sample of sessions, and the factor by which the data must be
# larger.
MOST_STEPS = 20_000
_WORTH = 1.25


def easier(
    program: Program[GLMHMM, Sequences], seed: int
) -> Program[GLMHMM, Sequences]:
    """The easier program, with all sites of this one; itself if there is none."""
    free = with_free_first_state(program)
    return on_sampled_sessions(free, seed) or free


def with_free_first_state(
    program: Program[GLMHMM, Sequences],
) -> Program[GLMHMM, Sequences]:
    """The program with a free initial distribution if its own follows transitions."""
    if program.model.separates:
        return program
    model = copy.deepcopy(program.model)
    model.transitions.separate()
    if not model.initial.parts:
        model.initial = Initial()
        model.initial.bind_states(model.num_states)
    return Program.of(model, program.data)


def on_sampled_sessions(
    program: Program[GLMHMM, Sequences], seed: int
) -> Program[GLMHMM, Sequences] | None:
    """The program on a random sample of sessions; ``None`` if that is not worthwhile.

    Nor if sessions go on from one another, so that they cannot be drawn one by one, or
    have parameters of their own.
    """
    data, model = program.data, program.model
    ranks = data.ranks
    total, here = ranks.total(data.num_steps), ranks.here(data.num_sessions)
    varies = any(component.varies_over for component in model.components.values())
    if total <= _WORTH * MOST_STEPS or varies or carries_states_over(model):
        return None
    lengths = ranks.joined(data.lengths.cpu().numpy())
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(lengths), generator=generator).numpy()
    steps = lengths[order].cumsum()
    number = int((steps < MOST_STEPS).sum()) + 1
    if number > len(lengths) or int(steps[number - 1]) * _WORTH > total:
        return None
    chosen = np.sort(order[:number])
    own = chosen[(chosen >= here.start) & (chosen < here.stop)] - here.start
    if ranks.any(not len(own)):
        # A rank without a session could not take part.
        return None
    try:
        part = Program.of(copy.deepcopy(model), data.subset(own.tolist()))
    except ValueError:
        # The sample is no data set for this model.
        return None
    shapes = [{n: p.shape() for n, p in s.priors.items()} for s in (program, part)]
    return part if shapes[0] == shapes[1] else None
