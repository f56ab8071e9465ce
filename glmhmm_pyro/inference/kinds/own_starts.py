"""Starting values of a model of the user's own, of which only the sites are known."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from glmhmm_pyro.inference.kinds.starts import given_values, sites_of_priors
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Init, Program

# What the noise of starts is multiplied by, in turn.
_WIDER = (1.0, 2.0, 4.0)

# How often a start that makes the data impossible is moved halfway to the middle.
_HALVINGS = 8


def own_starts(
    program: Program,
    number: int,
    init: Init,
    noise: float,
    generator: torch.Generator,
) -> Sequence[Params]:
    """Values of all sites, for every start: noise on unconstrained numbers.

    Given values get noise from the second start on. If ``init`` is ``None`` starts are
    diverse: some have wider noise, and one without a finite log-joint is moved towards
    the middle.

    Args:
        program: the model with its data.
        number: of starts.
        init: ``None``, ``"random"``, or a mapping from site names to values.
        noise: standard deviation on unconstrained numbers.
        generator: source of all randomness.
    """
    if init not in (None, "random") and not isinstance(init, Mapping):
        raise ValueError(
            "init must be 'random' or a mapping from site names to values for a "
            f"model of your own, got {init!r}; give one of the two"
        )
    given = init if isinstance(init, Mapping) else {}
    values = given_values(given, sites_of_priors(program.priors))
    centre, free = _unconstrained_given(program, values)
    starts = []
    for i in range(number):
        draws = torch.randn(centre.shape, generator=generator, dtype=centre.dtype)
        wider = _WIDER[i % len(_WIDER)] if init is None else 1.0
        start = centre + wider * noise * draws * (free | (i > 0))
        starts.append(_possible(program, start, init is None))
    return starts


def _unconstrained_given(program: Program, params: Params) -> tuple[Tensor, Tensor]:
    """Unconstrained numbers of given values, else 0; and which were not given."""
    coordinates = program.coordinates
    centre = torch.zeros(coordinates.size, dtype=torch.float64)
    free = torch.ones_like(centre, dtype=torch.bool)
    for name, value in params.items():
        piece = coordinates.transforms[name].inv(value).reshape(-1)
        centre[coordinates.slices[name]] = piece
        free[coordinates.slices[name]] = False
    return centre, free


def _possible(program: Program, start: Tensor, is_free: bool) -> Params:
    """Values of a start, moved towards the middle without a finite log-joint.

    Args:
        program: the model with its data.
        start: unconstrained numbers.
        is_free: whether the start may be moved; else the method judges it.
    """
    for _ in range(_HALVINGS if is_free else 0):
        params = program.coordinates.unpack(start)
        try:
            with torch.no_grad():
                if torch.isfinite(program.log_joint(params)):
                    return params
        except ValueError:
            # Far out a distribution may refuse its own parameters.
            pass
        start = start / 2
    return program.coordinates.unpack(start)
