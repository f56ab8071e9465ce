r"""One-step forecasts of emissions, column by column, and what came.

Of one column of the emissions the forecast of step t from the steps before it is the
mixture of what the states say, in the proportions p(z_t | y before t). At the right
parameters what came less its mean is a martingale difference: its sums over any steps,
chosen or weighted by the past, have mean 0 and the sum of the forecasts' variances.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import ndtr, stdtr
from torch import Tensor
from torch.distributions import Distribution

from glmhmm_pyro.distributions import HiddenMarkov, Output

# Numbers of a table of cumulative probabilities of counts that memory is asked for.
_TABLE = 50_000_000


@dataclass(frozen=True)
class ColumnForecast:
    """Forecasts of one column of the emissions where it was observed.

    Attributes:
        name: of what, such as ``"choice = left"``.
        output: name of its family, as a component is called after it.
        steps: numbers of the steps, shape (n,).
        value: what came; 1 or 0 for a class.
        mean: expected, shape (n,).
        variance: of the forecast, shape (n,).
        state_mean: expected in every state, shape (n, states).
        state_variance: of every state, shape (n, states).
        below: probability of less than what came, shape (n,); None if unknown.
        up_to: probability of what came or less; the same for continuous values.
        is_class: whether it is whether one class came.
        is_discrete: whether values are whole numbers.
    """

    name: str
    output: str
    steps: np.ndarray
    value: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    state_mean: np.ndarray
    state_variance: np.ndarray
    below: np.ndarray | None
    up_to: np.ndarray | None
    is_class: bool
    is_discrete: bool

    @property
    def pearson(self) -> np.ndarray:
        """What came less its mean, over the standard deviation; 0 where it has none."""
        spread = np.sqrt(self.variance)
        known = spread > 0
        return np.where(known, self.value - self.mean, 0.0) / np.where(known, spread, 1)

    def uniform(self, rng: np.random.Generator) -> np.ndarray:
        """Probability of less than what came, at random between both for counts.

        At the right parameters it is uniform, and independent from step to step
        (Dunn & Smyth 1996).
        """
        if self.below is None or self.up_to is None:
            raise ValueError(
                f"the law of {self.name} must have a cumulative distribution, got none"
                "; write cdf(value) of its distribution"
            )
        gap = self.up_to - self.below
        return np.clip(self.below + gap * rng.random(len(gap)), 1e-15, 1 - 1e-15)


def forecasts_of(
    hidden: HiddenMarkov,
    value: Tensor,
    class_names: tuple[str, ...] | None = None,
    emission_names: tuple[str, ...] = (),
) -> Iterator[ColumnForecast]:
    """Forecasts of every column: one a class of labels, but for the first of two.

    Columns without a finite mean and variance are left out.

    Args:
        hidden: distribution of the emissions.
        value: the emissions.
        class_names: of labels.
        emission_names: of the columns.
    """
    with torch.no_grad():
        probs = hidden.predicted_probs(value).cpu().double().numpy()
        for name, output in hidden.outputs(value).items():
            if output.emission_dist.has_enumerate_support:
                yield from _of_labels(probs, name, output, class_names, emission_names)
            else:
                yield from _of_numbers(probs, name, output, emission_names)


def _of_labels(
    probs: np.ndarray,
    name: str,
    output: Output,
    class_names: tuple[str, ...] | None,
    emission_names: tuple[str, ...],
) -> Iterator[ColumnForecast]:
    labels = output.emission_dist.enumerate_support(expand=False).flatten().tolist()
    table = output.emission_dist.enumerate_support()
    by_state = output.emission_dist.log_prob(table).exp().cpu().double().numpy()
    values = output.value.flatten().cpu().numpy()
    seen = _seen(output, 0)
    named = class_names if class_names and len(class_names) == len(labels) else None
    what = name or (emission_names[0] if len(emission_names) == 1 else "y")
    for number, label in enumerate(labels):
        if len(labels) == 2 and not number:
            continue
        chosen = (values == label).astype(float)
        state_mean = np.broadcast_to(by_state[number], probs.shape)
        mean = (probs * state_mean).sum(1).clip(0, 1)
        yield _forecast(
            f"{what} = {named[number] if named else int(label)}",
            *(output.family, seen, chosen, mean, mean * (1 - mean)),
            *(state_mean, state_mean * (1 - state_mean)),
            np.where(chosen == 1, 1 - mean, 0.0),
            np.where(chosen == 1, 1.0, 1 - mean),
            is_class=True,
            is_discrete=True,
        )


def _of_numbers(
    probs: np.ndarray, name: str, output: Output, emission_names: tuple[str, ...]
) -> Iterator[ColumnForecast]:
    law: Any = output.emission_dist
    width = law.event_shape.numel()
    try:
        means = _by_column(law.mean, probs.shape, width)
        variances = _by_column(law.variance, probs.shape, width)
    except NotImplementedError:
        return
    values = output.value.reshape(len(probs), -1).cpu().double().numpy()
    names = emission_names if len(emission_names) == width else ()
    for column in range(width):
        known = (
            names[column] if names else f"{name or 'y'}{column if width > 1 else ''}"
        )
        mean_k, variance_k = means[..., column], variances[..., column]
        mean = (probs * mean_k).sum(1)
        spread = (probs * (variance_k + (mean_k - mean[:, None]) ** 2)).sum(1)
        if not np.isfinite(spread).all():
            continue
        ends = _cumulative(output, probs, values[:, column], mean_k, variance_k)
        yield _forecast(
            known if not name or known.startswith(name) else f"{name} {known}",
            *(output.family, _seen(output, column), values[:, column], mean, spread),
            *(mean_k, variance_k, *ends),
            is_class=False,
            is_discrete=output.is_discrete,
        )


def _forecast(
    name: str, output: str, seen: np.ndarray, *arrays: np.ndarray | None, **facts: bool
) -> ColumnForecast:
    """The forecast at observed steps."""
    kept = [None if array is None else array[seen] for array in arrays]
    steps = np.flatnonzero(seen)
    return ColumnForecast(name, output, steps, *kept, **facts)  # type: ignore


def _seen(output: Output, column: int) -> np.ndarray:
    """Whether a column was observed, shape (steps,)."""
    if output.mask is None:
        return np.ones(len(output.value), dtype=bool)
    mask = output.mask.reshape(len(output.value), -1).cpu().numpy()
    return mask[:, min(column, mask.shape[1] - 1)]


def _by_column(values: Tensor, shape: tuple[int, ...], width: int) -> np.ndarray:
    """Values of every state and column, shape (steps, states, columns)."""
    found = values.cpu().double().numpy()
    return np.broadcast_to(found.reshape(*found.shape[:2], width), (*shape, width))


def _cumulative(
    output: Output,
    probs: np.ndarray,
    values: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
) -> tuple[np.ndarray, np.ndarray] | tuple[None, None]:
    """Probabilities of less than what came and of no more, if the law tells them."""
    law = output.emission_dist
    while hasattr(law, "base_dist") and type(law).__name__ == "Independent":
        law = law.base_dist
    if isinstance(
        law, torch.distributions.MultivariateNormal | torch.distributions.Normal
    ):
        by_state = ndtr((values[:, None] - mean) / np.sqrt(variance))
    elif isinstance(law, torch.distributions.StudentT):
        where = (law.df, law.loc, law.scale)
        df, loc, scale = (v.cpu().double().numpy() for v in where)
        by_state = stdtr(df, (values[:, None] - loc) / scale)
    elif output.is_discrete:
        return _of_counts(law, probs, values)
    else:
        try:
            found = law.cdf(torch.as_tensor(values)[:, None].to(law.mean))
        except NotImplementedError:
            return None, None
        by_state = found.cpu().double().numpy()
    up_to = (probs * by_state).sum(1)
    return up_to, up_to


def _of_counts(
    law: Distribution, probs: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | tuple[None, None]:
    """Sums of the probabilities of the counts up to what came."""
    if law.event_shape or values.min() < 0 or (values % 1).any():
        return None, None
    most = int(values.max())
    if (most + 1) * probs.size > _TABLE:
        return None, None
    below = up_to = np.zeros(len(values))
    for count in range(most + 1):
        at = torch.full((), float(count), dtype=torch.float64)
        each = law.log_prob(at).exp().cpu().double().numpy()
        share = (probs * each).sum(1)
        below = below + np.where(count < values, share, 0.0)
        up_to = up_to + np.where(count <= values, share, 0.0)
    return below, up_to
