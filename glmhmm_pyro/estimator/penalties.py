"""The original's penalties as priors, and how they change as EM goes on.

The original adds them to an objective divided by the number of bins T, so that on the
scale of the log-likelihood each is T / 2 times a quadratic form of the weights.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from glmhmm_pyro.estimator.parameters import Options, is_given, row_numbers
from glmhmm_pyro.priors.filling import Prior


class Quadratic(TorchDistribution):
    r"""Log density :math:`-\tfrac{1}{2} w^\top Q w` of vectors, without a normaliser.

    Where the matrix Q, ``precision``, is singular, as smoothness leaves the level of a
    filter free, it is improper; ``sample`` gives start values near 0.
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
    """

    emit_lambda: float
    trans_lambda: float
    smooth_lambda: float
    # By row of X: 1 for the ridge of the part of the model, or 0; another ridge.
    stimuli: np.ndarray
    own: np.ndarray
    # Smoothness between two rows.
    links: np.ndarray

    @classmethod
    def of(cls, options: Options, num_features: int) -> "Penalties":
        """The penalties that the estimator's parameters ask for."""
        smooth = options["smooth_lambda"] if options["L2_smooth"] else 0.0
        is_own, own_lambda = np.zeros(num_features, dtype=bool), 0.0
        if is_given(options, "AR_lambda"):
            is_own[list(row_numbers("AR_vec", options["AR_vec"], num_features))] = True
            own_lambda = options["AR_lambda"]
        stimuli = ~is_own
        if is_given(options, "stim_vec"):
            named = row_numbers("stim_vec", options["stim_vec"], num_features)
            stimuli = np.isin(np.arange(num_features), named)
        both = np.flatnonzero(stimuli & is_own).tolist()
        if both:
            raise ValueError(
                f"stim_vec must not share rows with AR_vec, got {both} in both; name "
                "each row in one of the two"
            )
        links = np.zeros((num_features, num_features))
        for i in range(1, num_features - options["filter_offset"]):
            is_inside = i % options["num_filter_bins"] and is_own[i] == is_own[i - 1]
            if options["L2_smooth"] and is_inside:
                links[[i - 1, i], [i, i - 1]] = own_lambda if is_own[i] else smooth
        ridges = options["emit_lambda"], options["trans_lambda"]
        return cls(*ridges, smooth, stimuli * 1.0, own_lambda * is_own, links)

    def matrix(self, ridge: float, columns: Sequence[int]) -> np.ndarray:
        """The quadratic form, per bin, of weights of these rows of X under a ridge."""
        links = self.links[np.ix_(columns, columns)]
        ridges = (ridge * self.stimuli + self.own)[list(columns)]
        return np.diag(ridges + links.sum(1)) - links

    def prior(self, ridge: float, columns: Sequence[int], num_steps: int) -> Prior:
        """The penalty as a prior of rows of weights; ``None`` where it is 0."""
        form = self.matrix(ridge, columns)
        return Quadratic(torch.from_numpy(form * num_steps)) if form.any() else None


@dataclass(frozen=True)
class Schedule:
    """The penalties of a run, by its position: 1 at its first iteration.

    Annealed, both ridges are those of ``strengths``, whose parts begin at the positions
    ``starts``; by default the original's: the user's ``own`` at first, then 1 three
    times, then falling. From an iteration that changes little a run goes to the next
    part at once; in ``strengths`` it ends in the last part only.
    """

    own: Penalties
    is_annealed: bool = False
    # Whether no ridge falls below the user's own.
    keeps_own: bool = False
    starts: tuple[int, ...] = (1, 5)
    strengths: tuple[float, ...] | None = None

    @classmethod
    def of(cls, options: Options, own: Penalties) -> "Schedule":
        """The schedule that the estimator's parameters ask for."""
        keeps_own = options["anneal_lambda"]
        is_annealed = keeps_own or options["auto_anneal"]
        names = ("auto_anneal_vec", "auto_anneal_schedule")
        if not any(is_given(options, name) for name in names):
            return cls(own, is_annealed, keeps_own)
        given = [[] if options[n] is None else options[n] for n in names]
        strengths, starts = (np.atleast_1d(values).tolist() for values in given)
        rising = starts[:1] == [1] and all(i < j for i, j in zip(starts, starts[1:]))
        legal = all(0 <= strength < np.inf for strength in strengths)
        if not (rising and legal and len(strengths) == len(starts)):
            raise ValueError(
                "auto_anneal_vec and auto_anneal_schedule must be given together, a "
                "strength from 0 and the iteration it begins with for every stretch, "
                f"the first 1 and then rising, got {strengths} and {starts}"
                "; give two lists of one length"
            )
        return cls(own, is_annealed, keeps_own, tuple(starts), tuple(strengths))

    def at(self, position: int) -> Penalties:
        """The penalties in force at a position."""
        is_first = self.strengths is None and position == 1
        if not self.is_annealed or is_first:
            return self.own
        if self.strengths is not None:
            strength = self.strengths[bisect_right(self.starts, position) - 1]
        else:
            strength = 1.0 if position < 5 else math.exp(-(position - 4) / 1.5) + 0.005
        emit = trans = strength
        if self.keeps_own:
            emit = max(emit, self.own.emit_lambda)
            trans = max(trans, self.own.trans_lambda)
        return replace(self.own, emit_lambda=emit, trans_lambda=trans)

    def after(self, position: int, stalled: bool) -> int:
        """The next position; ``stalled`` says that this iteration changed little."""
        later = [start for start in self.starts if start > position]
        return later[0] if stalled and later else position + 1

    def may_end(self, position: int) -> bool:
        """Whether the run may end here if it has stalled."""
        return self.strengths is None or position >= self.starts[-1]
