"""Labels generated at the trials' covariates, own past behaviour fed back."""

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from glmhmm_pyro.estimator.trials import Trials
from glmhmm_pyro.estimator.weight_arrays import Weights

# Bins of the first labelled trials by which a wrong reading of a row is thrown out.
_FIRST_LOOK = 500


@dataclass(frozen=True)
class Generated:
    """What was drawn for every trial.

    Attributes:
        labels: shape (bins,).
        states: shape (bins,).
        analog: analog outputs, shape (outputs, bins).
    """

    labels: list[np.ndarray]
    states: list[np.ndarray]
    analog: list[np.ndarray]

    def shown(self, trials: Trials) -> dict[str, list[np.ndarray]]:
        """Attributes of the estimator: what there are emissions of, and the states."""
        found = {"output_states_": self.states}
        if trials.has_labels:
            found["output_"] = self.labels
        if len(trials.analog[0]):
            found["output_analog_"] = self.analog
        return found


@dataclass(frozen=True)
class Lagged:
    """A row of X that holds the behaviour ``lag`` bins before.

    Attributes:
        row: its number.
        lag: bins between a label and its place in the row, at least 1.
        values: what stands there for every label, shape (labels,).
    """

    row: int
    lag: int
    values: np.ndarray


def lagged_rows(
    trials: Trials, rows: tuple[int, ...], num_classes: int
) -> list[Lagged]:
    """How rows of X are made of the labels, read from the trials themselves.

    A row must hold, at every bin, one number for every label ``lag`` bins before: 1 for
    one label and 0 for all others, the label itself, or any other numbers.

    Raises:
        ValueError: a row is not made of the labels in this way.
    """
    found = []
    for row in rows:
        values = None
        for lag in range(1, max(len(label) for label in trials.labels)):
            values = _values(trials, row, lag, num_classes)
            if values is not None:
                found.append(Lagged(row, lag, values))
                break
        if values is None:
            raise ValueError(
                "AR_vec must name rows of X that hold a number for each label some "
                f"bins before, if behaviour is to be generated from it, got row {row}, "
                "which does not; leave AR_vec out to generate from X as it stands"
            )
    return found


def generated(
    weights: Weights,
    prior: np.ndarray,
    trials: Trials,
    lagged: list[Lagged],
    generator: np.random.Generator,
) -> Generated:
    """Labels, states and analog outputs drawn for every trial.

    Args:
        weights: of the model.
        prior: distribution of the first state of every trial, (trial, state).
        trials: the covariates; before a trial's bin number ``lag`` a lagged row stays
            as it is, for it speaks of the time before the trial.
        lagged: rows that are made anew from the labels generated; none for open loop.
        generator: source of all randomness.
    """
    found = Generated([], [], [])
    for design, first in zip(trials.designs, prior):
        own = design.copy()
        labels, states = _trial(weights, first, own, lagged, generator)
        mean = np.einsum("tod,dt->ot", weights.analog_emit_w[states], own)
        noise = generator.normal(size=mean.shape) if mean.size else mean
        found.labels.append(labels)
        found.states.append(states)
        found.analog.append(mean + weights.analog_emit_scale[states].T * noise)
    return found


def _trial(
    weights: Weights,
    first: np.ndarray,
    design: np.ndarray,
    lagged: list[Lagged],
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """One trial; ``design`` gets its lagged rows written."""
    bins = design.shape[1]
    labels, states = np.zeros(bins, dtype=np.int64), np.zeros(bins, dtype=np.int64)
    for t in range(bins):
        probs = first
        if t > 0:
            before = states[t - 1]
            scores = weights.trans_w[before] @ design[:, t]
            scores[before] = 0.0
            probs = softmax(scores)
        states[t] = _draw(probs, generator)
        scores = weights.emit_w[states[t]] @ design[:, t]
        labels[t] = _draw(softmax(np.append(0.0, scores)), generator)
        for row in lagged:
            if t + row.lag < bins:
                design[row.row, t + row.lag] = row.values[labels[t]]
    return labels, states


def _draw(probs: np.ndarray, generator: np.random.Generator) -> int:
    # Without the last one, whose rounding could leave a gap below one.
    return int((generator.random() > probs.cumsum()[:-1]).sum())


def _values(trials: Trials, row: int, lag: int, num_classes: int) -> np.ndarray | None:
    """The number that stands for every label, or ``None`` if there is no such number.

    A row in which all labels have the same number says nothing of them.
    """
    values = np.full(num_classes, np.nan)
    for stop in (_FIRST_LOOK, None):
        for design, label in zip(trials.designs, trials.labels):
            past, now = label[:-lag][:stop], design[row, lag:][:stop]
            for number in range(num_classes):
                here = now[past == number]
                if len(here) and np.isnan(values[number]):
                    values[number] = here[0]
                if (here != values[number]).any():
                    return None
    seen = values[~np.isnan(values)]
    return None if len(seen) < num_classes or np.ptp(seen) == 0 else values
