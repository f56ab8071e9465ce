"""Labels generated at the trials' covariates, own past behaviour fed back."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.estimator.original import INITIAL
from glmhmm_pyro.estimator.rows import RowLayout, Weights
from glmhmm_pyro.estimator.trials import Trials
from glmhmm_pyro.inference.fits.closed_loop import History, Recompute, closed_loop
from glmhmm_pyro.inference.search.search import seeded

# Bins of the first labelled trials by which a wrong reading of a row is thrown out.
_FIRST_LOOK = 500


@dataclass(frozen=True)
class LaggedRow:
    """A row of X that holds the behaviour ``lag`` bins before.

    Attributes:
        row: its number.
        lag: bins between a label and its place in the row, at least 1.
        values: what stands there for every label, shape (labels,).
    """

    row: int
    lag: int
    values: np.ndarray

    def anew(self, given: Tensor) -> Recompute:
        """Its values at one bin of several trials, from the emissions before.

        Args:
            given: the row in all trials, which speaks of the time before a trial.
        """

        def recompute(past: Tensor, bins: Tensor) -> Tensor:
            if past.shape[1] < self.lag:
                return given[bins]
            labels = past[:, -self.lag].reshape(len(past), -1)[:, 0].long()
            return torch.from_numpy(self.values)[labels]

        return recompute


def lagged_rows(
    trials: Trials, rows: tuple[int, ...], num_classes: int
) -> list[LaggedRow]:
    """How rows of X are made of the labels, read from the trials themselves.

    A row must hold, at every bin, one number for every label ``lag`` bins before: 1 for
    one label and 0 for all others, the label itself, or any other numbers.

    Raises:
        ValueError: a row is not made of the labels in this way.
    """
    found = []
    longest = max(design.shape[1] for design in trials.designs)
    for row in rows:
        lags = (
            (lag, _label_values(trials, row, lag, num_classes))
            for lag in range(1, longest)
        )
        lag, values = next(((n, v) for n, v in lags if v is not None), (0, None))
        if values is None:
            raise ValueError(
                "AR_vec must name rows of X that hold a number for each label some "
                f"bins before, if behaviour is to be generated from it, got row {row}, "
                "which does not; leave AR_vec out to generate from X as it stands"
            )
        found.append(LaggedRow(row, lag, values))
    return found


def generated(
    weights: Weights,
    prior: np.ndarray,
    trials: Trials,
    lagged: list[LaggedRow],
    generator: np.random.Generator,
) -> dict[str, list[np.ndarray]]:
    """Behaviour drawn for every trial, by the names of the estimator's attributes.

    Args:
        weights: of the model.
        prior: distribution of the first state of every trial, (trial, state).
        trials: the covariates.
        lagged: rows that are made anew from the labels generated; none for open loop.
        generator: source of all randomness.
    """
    data, model, params = RowLayout.whole(weights.trans_w.shape[-1]).bound(
        weights, trials
    )
    if INITIAL in params:
        params[INITIAL] = torch.from_numpy(prior)
    histories: list[History] = [
        {data.covariate_names[one.row]: one.anew(data.covariates[:, one.row])}
        for one in lagged
    ]
    with seeded(int(generator.integers(2**63))), torch.no_grad():
        if lagged:
            emissions, states, _ = closed_loop(model, params, data, histories, 1)
            emissions, states = emissions[0], states[0]
        else:
            hidden = model.hidden_markov_at(params, data)
            emissions, states = hidden.sample_with_states()
    drawn = [part.reshape(len(part), -1).numpy() for part in data.split(emissions)]
    found = {"output_states_": [part.numpy().copy() for part in data.split(states)]}
    if trials.has_labels:
        found["output_"] = [part[:, 0].astype(np.int64) for part in drawn]
    if len(trials.analog):
        found["output_analog_"] = [
            part[:, int(trials.has_labels) :].T.copy() for part in drawn
        ]
    return found


def _label_values(
    trials: Trials, row: int, lag: int, num_classes: int
) -> np.ndarray | None:
    """The number that stands for every label, or ``None`` if there is no such number.

    A row in which all labels have the same number says nothing of them.
    """
    if not trials.has_labels:
        return None
    values = np.full(num_classes, np.nan)
    for stop in (_FIRST_LOOK, None):
        for design, (label, *_) in zip(trials.designs, trials.outputs):
            past, now = label[:-lag][:stop], design[row, lag:][:stop]
            for number in range(num_classes):
                here = now[past == number]
                if len(here) and np.isnan(values[number]):
                    values[number] = here[0]
                if (here != values[number]).any():
                    return None
    seen = values[~np.isnan(values)]
    return None if len(seen) < num_classes or np.ptp(seen) == 0 else values
