"""The original's penalties as priors, and how they change as EM goes on.

They are ridge, smoothness over bins, and both with a strength of their own for the
animal's own behaviour. The original adds them to an objective divided by the number of
bins T, so that on the scale of the log-likelihood each is T / 2 times a quadratic form
of the weights.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from glmhmm_pyro.estimator.parameters import AR_ROWS, is_given, row_numbers
from glmhmm_pyro.priors.filling import Prior


class Quadratic(TorchDistribution):
    r"""Density of a vector whose logarithm is a quadratic form, and no normaliser.

    .. math:: \log p(w) = -\tfrac{1}{2} w^\top Q w

    Where Q is singular, as smoothness leaves the level of a filter free, it is
    improper, and ``sample`` gives start values near 0, as a flat prior does.

    Args:
        precision: the matrix Q, symmetric, shape (features, features).
        batch_shape: shape of the vectors.
    """

    arg_constraints: dict = {}
    has_rsample = False
    support = constraints.real_vector

    def __init__(self, precision: Tensor, batch_shape: torch.Size = torch.Size()):
        self.precision = precision
        super().__init__(batch_shape, precision.shape[-1:], validate_args=False)

    @property
    def is_proper(self) -> bool:
        """Whether the density has a finite integral."""
        return bool(torch.linalg.cholesky_ex(self.precision).info == 0)

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> "Quadratic":
        """This prior over a batch of vectors."""
        return Quadratic(self.precision, torch.Size(batch_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Minus half the quadratic form."""
        return -(value * (value @ self.precision)).sum(-1) / 2

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        """Start values near 0."""
        return 0.1 * torch.randn(self.shape(sample_shape), dtype=self.precision.dtype)


@dataclass(frozen=True)
class Penalties:
    r"""Strengths of all penalties, and what they act on.

    .. math:: \tfrac{\lambda}{2} \sum_i w_i^2
        + \tfrac{\lambda_s}{2} \sum_{\text{neighbours}} (w_i - w_j)^2

    is added to minus the log-likelihood per bin, for every row of weights. The second
    sum is w'Dw, with the gradient lambda D w that the original follows; the value it
    reports and searches a line on is another one.

    Attributes:
        emit_lambda: ridge of emission weights.
        trans_lambda: ridge of transition weights.
        smooth_lambda: strength of smoothness, of both.
        own_lambda: strength of ridge and smoothness of columns of the animal's own
            behaviour; ``None`` if they have that of all others.
        num_features: number of columns: one filter after another, then offsets.
        filters: bins of a filter, and number of offsets; filters of one bin have no
            neighbours.
        own: columns of the animal's own behaviour; none is a neighbour of another.
        stimuli: columns with the ridge of their part; ``None`` for all but ``own``.
    """

    emit_lambda: float
    trans_lambda: float
    smooth_lambda: float
    own_lambda: float | None
    num_features: int
    filters: tuple[int, int] = (1, 0)
    own: tuple[int, ...] = ()
    stimuli: tuple[int, ...] | None = None

    def with_ridge(self, change: Callable[[float], float]) -> "Penalties":
        """These penalties with a function applied to both ridge strengths."""
        emit, trans = change(self.emit_lambda), change(self.trans_lambda)
        return replace(self, emit_lambda=emit, trans_lambda=trans)

    def matrix(self, ridge: float, columns: Sequence[int]) -> np.ndarray:
        """The quadratic form of one row of weights, per bin.

        Args:
            ridge: ``emit_lambda`` or ``trans_lambda``.
            columns: those that the row has weights of.
        """
        (bins, offsets), number = self.filters, self.num_features
        is_own = np.isin(range(number), self.own)
        stimuli = (
            ~is_own if self.stimuli is None else np.isin(range(number), self.stimuli)
        )
        ridges = np.where(stimuli, ridge, 0.0)
        smooth = np.full(number, self.smooth_lambda)
        if self.own_lambda is not None:
            ridges[is_own] = smooth[is_own] = self.own_lambda
        form = np.diag(ridges)
        for i in range(1, number - offsets):
            pair = [i - 1, i]
            if i % bins and is_own[i - 1] == is_own[i] and set(pair) <= set(columns):
                form[pair, pair] += smooth[i]
                form[pair, pair[::-1]] -= smooth[i]
        return form[np.ix_(columns, columns)]

    def prior(self, ridge: float, columns: Sequence[int], num_steps: int) -> Prior:
        """The penalty as a prior of rows of weights; ``None`` where it is 0."""
        form = self.matrix(ridge, columns)
        return Quadratic(torch.from_numpy(form * num_steps)) if form.any() else None


def penalties_of(options: Mapping[str, Any], num_features: int) -> Penalties:
    """The penalties that the estimator's parameters ask for."""
    smooth, stimuli = options["L2_smooth"], None
    own_lambda = float(options["AR_lambda"]) if is_given(options, "AR_lambda") else None
    own = () if own_lambda is None else own_rows(options, num_features)
    if is_given(options, "stim_vec"):
        stimuli = row_numbers("stim_vec", options["stim_vec"], num_features)
        both = sorted(set(stimuli) & set(own))
        if both:
            raise ValueError(
                f"stim_vec must not share rows with AR_vec, got {both} in both"
                "; name each row in one of the two"
            )
    filters = (int(options["num_filter_bins"]), int(options["filter_offset"]))
    return Penalties(
        float(options["emit_lambda"]),
        float(options["trans_lambda"]),
        float(options["smooth_lambda"]) if smooth else 0.0,
        own_lambda,
        num_features,
        filters if smooth else (1, 0),
        own,
        stimuli,
    )


def own_rows(options: Mapping[str, Any], num_features: int) -> tuple[int, ...]:
    """Rows of X with the animal's own behaviour."""
    rows = AR_ROWS if options["AR_vec"] is None else options["AR_vec"]
    return row_numbers("AR_vec", rows, num_features)


@dataclass(frozen=True)
class Schedule:
    """The penalties of a run, by its position: 1 at its first iteration.

    Attributes:
        own: the penalties that the user asked for.
        ridge: the ridge in force, from the user's and the position; by default the
            user's.
        stretches: positions at which parts of the schedule begin, rising from 1. From
            an iteration that changes little a run goes to the next part at once.
        to_its_end: whether a run may end in the last part only.
    """

    own: Penalties
    ridge: Callable[[float, int], float] | None = None
    stretches: tuple[int, ...] = (1,)
    to_its_end: bool = False

    def at(self, position: int) -> Penalties:
        """The penalties in force at a position."""
        ridge = self.ridge
        return self.own.with_ridge(lambda own: ridge(own, position) if ridge else own)

    def after(self, position: int, stalled: bool) -> int:
        """The next position; ``stalled`` says that this iteration changed little."""
        later = [start for start in self.stretches if start > position]
        return later[0] if stalled and later else position + 1

    def may_end(self, position: int) -> bool:
        """Whether the run may end here if it has stalled."""
        return not self.to_its_end or position >= self.stretches[-1]


# What an option of annealing makes of the user's ridge and that of the schedule.
_COMBINATIONS: dict[str, Callable[[float, float], float]] = {
    "auto_anneal": lambda own, strength: strength,
    "anneal_lambda": max,
}


def schedule_of(options: Mapping[str, Any], own: Penalties) -> Schedule:
    """The schedule that the estimator's parameters ask for.

    The original's is the user's ridge at first, then 1 three times, then falling; a run
    that stalls before goes to where it falls at once.
    """
    asked = [combine for name, combine in _COMBINATIONS.items() if options[name]]
    if not asked:
        return Schedule(own)
    (combine,) = asked

    def original(ridge: float, position: int) -> float:
        falling = math.exp(-(position - 4) / 1.5) + 0.005
        strength = 1.0 if position < 5 else falling
        return ridge if position == 1 else combine(ridge, strength)

    names = ("auto_anneal_vec", "auto_anneal_schedule")
    if not any(is_given(options, name) for name in names):
        return Schedule(own, original, (1, 5))
    given = [[] if options[n] is None else options[n] for n in names]
    strengths, starts = (np.atleast_1d(values).tolist() for values in given)
    rising = starts[:1] == [1] and all(i < j for i, j in zip(starts, starts[1:]))
    legal = all(0 <= strength < np.inf for strength in strengths)
    if not (rising and legal and len(strengths) == len(starts)):
        raise ValueError(
            "auto_anneal_vec and auto_anneal_schedule must be given together, a "
            "strength from 0 and the iteration it begins with for every stretch, the "
            f"first 1 and then rising, got {strengths} and {starts}"
            "; give two lists of one length"
        )

    def users(ridge: float, position: int) -> float:
        return combine(ridge, strengths[sum(one <= position for one in starts) - 1])

    return Schedule(own, users, tuple(starts), to_its_end=True)
