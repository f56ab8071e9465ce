r"""Paths of states drawn from the posterior, and tables of what they leave open.

What depends on which step was in which state is computed on paths drawn from p(z | y),
each at a draw of the parameters (see ``parameter_draws``); its interval is that of the
values found. The most probable path is never taken, nor the most probable state of
every step: both switch too seldom.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from glmhmm_pyro.analysis.states.parameter_draws import HELD, with_draws
from glmhmm_pyro.arguments import is_missing, one_of, seed_number, whole_number
from glmhmm_pyro.concurrency import usual_modes
from glmhmm_pyro.displays import with_level
from glmhmm_pyro.inference import Fit
from glmhmm_pyro.inference.fits.latent_draws import with_latents_for
from glmhmm_pyro.inference.fits.lookups import sites_of
from glmhmm_pyro.masking import steps_observed
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.arrays import plain_array
from glmhmm_pyro.sequences.weights import by_step

if TYPE_CHECKING:
    import pandas as pd

WEIGHTS = ("smoothed", "predicted")

# Ends of the intervals of 95 %.
_LOWER, _UPPER = 0.025, 0.975


@dataclass(frozen=True)
class StatePaths:
    """States of every step of a data set, as far as they are known.

    Attributes:
        names: of the states.
        probs: probabilities of the states, shape (steps, states).
        paths: paths drawn, shape (samples, steps).
        sessions: number of every step's session, shape (steps,).
        copies: how often every step counts, by the weight of its session, (steps,).
        parameters: where the parameters of the paths are from, in words.
    """

    names: tuple[str, ...]
    probs: np.ndarray
    paths: np.ndarray
    sessions: np.ndarray
    copies: np.ndarray
    parameters: str

    @classmethod
    @usual_modes()
    def of(
        cls,
        fit: Fit,
        data: Sequences,
        num_samples: int,
        seed: int,
        weights: str = "smoothed",
    ) -> "StatePaths":
        """Paths drawn from the posterior of a fit at data.

        Args:
            fit: the fit.
            data: the data set.
            num_samples: number of paths.
            seed: makes them reproducible.
            weights: ``"smoothed"``, p(z_t | all y); or ``"predicted"``, p(z_t | y
                before t), from which states are drawn step by step.
        """
        laid_out = fit.as_fitted(data)
        sites = sites_of(with_latents_for(fit, laid_out), laid_out)
        if len(sites) > 1:
            raise ValueError(
                "fit must be of a model with one HiddenMarkov site to be told by "
                f"state, got {', '.join(sites)}; take fit.decode(data, site) of each"
            )
        num_samples = whole_number("num_samples", num_samples, 2)
        one_of("weights", weights, WEIGHTS)
        seed = seed_number(seed)
        decoded = fit.decode(data, num_draws=num_samples)
        probs = decoded[f"{weights}_probs"].values
        if weights == "smoothed":
            drawn, parameters = with_draws(fit, laid_out, num_samples, seed)
            paths = drawn.sample_states(data, num_samples, seed)
        else:
            paths, parameters = _drawn_by_step(probs, num_samples, seed), HELD
        lengths = data.lengths.cpu().numpy()
        sessions = np.repeat(np.arange(len(lengths)), lengths)
        copies = by_step(data).cpu().numpy()
        paths = paths.astype(np.int16)
        return cls(fit.state_names, probs, paths, sessions, copies, parameters)

    def table(
        self, estimate: np.ndarray, samples: np.ndarray, **levels: Any
    ) -> "pd.DataFrame":
        """:func:`interval_table`, with ``attrs["parameters"]``."""
        found = interval_table(estimate, samples, **levels)
        found.attrs["parameters"] = self.parameters
        return found

    @property
    def num_states(self) -> int:
        """Number of states."""
        return len(self.names)

    def expected(
        self, values: np.ndarray, units: np.ndarray, number: int
    ) -> np.ndarray:
        """What :meth:`sums` are on average over all paths, shape (units, states)."""
        counted = values * self.copies
        columns = [np.bincount(units, counted * p, number) for p in self.probs.T]
        return np.stack(columns, -1)

    @property
    def begins(self) -> np.ndarray:
        """Whether a session begins with a step, shape (steps,)."""
        return np.diff(self.sessions, prepend=-1) > 0

    def sums(self, values: np.ndarray, units: np.ndarray, number: int) -> np.ndarray:
        """Sums over the steps that each path spends in a state, as often as they count.

        Args:
            values: a number a step, shape (steps,).
            units: number of the unit that each step belongs to, shape (steps,).
            number: of the units.

        Returns:
            Shape (samples, units, states).
        """
        states, counted = self.num_states, values * self.copies
        found = [
            np.bincount(units * states + path, counted, number * states)
            for path in self.paths
        ]
        return np.reshape(found, (-1, number, states))


def _drawn_by_step(probs: np.ndarray, num_samples: int, seed: int) -> np.ndarray:
    """States (samples, steps), each drawn for itself."""
    rng = np.random.default_rng(seed)
    below = probs.cumsum(1)[:, :-1]
    drawn = rng.random((num_samples, len(probs), 1))
    return np.asarray((drawn > below).sum(-1))


def column_of(data: Sequences, column: str | ArrayLike, argument: str) -> np.ndarray:
    """A number a step: a column of the data by its name, or what was given as it is.

    Args:
        data: the data set, before it is laid out as a fit reads it.
        column: name of an output, a covariate or a raw column that covariates were made
            of; or values, shape (steps,).
        argument: name of the argument.

    Returns:
        Shape (steps,); NaN where nothing is known.
    """
    if isinstance(column, str):
        table = data.to_dataframe()
        if data.design_source is not None:
            raw = data.raw_columns()
            table = table.assign(**{n: raw[n].values for n in raw if n not in table})
        known = [name for name in table.columns if name not in ("session", "group")]
        one_of(argument, column, known)
        values = table[column]
        if values.dtype == "category":
            values = values.cat.codes.where(values.notna())
        return values.to_numpy(dtype=float, na_value=np.nan)
    found = plain_array(argument, column)
    if found.dtype == object and found.ndim == 1:
        found = np.array([np.nan if is_missing(item) else item for item in found])
    if found.shape != (data.num_steps,) or found.dtype.kind not in "biuf":
        raise ValueError(
            f"{argument} must be the name of a column of data or numbers of shape "
            f"({data.num_steps},), one a step, got shape {found.shape} of type "
            f"{found.dtype}; give df['column'] of the rows that data were made from"
        )
    return found.astype(float)


def right_or_wrong(data: Sequences, correct: str | ArrayLike) -> np.ndarray:
    """1 where a step was right, 0 where wrong, NaN where neither, shape (steps,).

    A step of which nothing was observed, such as a trial that was missed, is neither:
    compared with the answer it is False.

    Args:
        data: the data set.
        correct: such values, or the name of their column.
    """
    is_right = column_of(data, correct, "correct")
    known = is_right[np.isfinite(is_right)]
    if not np.isin(known, (0, 1)).all():
        raise ValueError(
            "correct must be True or False, 1 or 0, or NaN, got "
            f"{known[~np.isin(known, (0, 1))][0]}; write choice == answer"
        )
    seen = steps_observed(data.mask)
    return is_right if seen is None else np.where(seen.cpu().numpy(), is_right, np.nan)


def rates(hits: np.ndarray, misses: np.ndarray, seed: int) -> np.ndarray:
    """Rates that counts leave possible, one drawn for each, under Jeffreys' prior."""
    rng = np.random.default_rng([seed, 1])
    return rng.beta(hits + 0.5, misses + 0.5)


def weights_of_units(samples: int, units: int, seed: int) -> np.ndarray:
    """Weights (samples, units) of the Bayesian bootstrap (Rubin 1981)."""
    return np.random.default_rng([seed, 2]).exponential(size=(samples, units))


def ratio(sums: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """One over the other; NaN where both are nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(sums / totals)


def interval_table(
    estimate: np.ndarray, samples: np.ndarray, **levels: Any
) -> "pd.DataFrame":
    """Estimates with the 95 % intervals of samples.

    Args:
        estimate: any shape, an axis a level.
        samples: the same after an axis of samples, some of which may be NaN.
        levels: values along every axis, by the name of the level.
    """
    import pandas as pd

    ranked = np.sort(samples, 0)  # NaN comes last
    number = np.isfinite(samples).sum(0) + np.isinf(samples).sum(0)
    ends = [np.floor(_LOWER * (number - 1)), np.ceil(_UPPER * (number - 1))]
    places = [end.astype(int).clip(min=0)[None] for end in ends]
    lower, upper = (np.take_along_axis(ranked, place, 0)[0] for place in places)
    index = pd.MultiIndex.from_product(list(levels.values()), names=list(levels))
    if len(levels) == 1:
        index = index.get_level_values(0)
    columns = {"estimate": estimate, "lower": lower, "upper": upper}
    table = pd.DataFrame({n: np.ravel(v) for n, v in columns.items()}, index=index)
    return with_level(table)


def called(column: str | ArrayLike) -> str:
    """What a column is called, for the axis of a picture."""
    return str(
        column if isinstance(column, str) else getattr(column, "name", None) or "value"
    )
