"""Labels generated at the trials' covariates, own past behaviour fed back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.estimator.original import INITIAL, Original
from glmhmm_pyro.estimator.trials import observed
from glmhmm_pyro.inference.fits.closed_loop import Recompute
from glmhmm_pyro.inference.fits.given import fit_at
from glmhmm_pyro.sequences import Sequences

# Rows of X made of the labels, by name.
LaggedRows: TypeAlias = dict[str | tuple[str, ...], Recompute]

# Bins of the first labelled trials by which a wrong reading of a row is thrown out.
_FIRST_LOOK = 500


@dataclass(frozen=True)
class LaggedRow:
    """A row of X made of the behaviour ``lag`` bins before, as a closed loop takes it.

    ``values`` stand there for the labels; the row as ``given`` in all trials speaks of
    the time before a trial.
    """

    lag: int
    values: Tensor
    given: Tensor

    def __call__(self, past: Tensor, bins: Tensor) -> Tensor:
        """Its values at one bin of several trials, from the emissions before."""
        if past.shape[1] < self.lag:
            return self.given[bins]
        return self.values[past[:, -self.lag].reshape(len(past), -1)[:, 0].long()]


def lagged_rows(data: Sequences, rows: tuple[int, ...], num_classes: int) -> LaggedRows:
    """How rows of X are made of the labels, read from the trials themselves.

    A row must hold, at every bin, one number for every label ``lag`` bins before: 1 for
    one label and 0 for all others, the label itself, or any other numbers.
    """
    found: LaggedRows = {}
    labels = data.split(observed(data)[0])
    for row in rows:
        given = data.covariates[:, row]
        for lag in range(1, int(data.lengths.max())):
            values = _label_values(labels, data.split(given.numpy()), lag, num_classes)
            if values is not None:
                lagged = LaggedRow(lag, torch.from_numpy(values), given)
                found[data.covariate_names[row]] = lagged
                break
        else:
            raise ValueError(
                "AR_vec must name rows of X that hold a number for each label some "
                f"bins before, if behaviour is to be generated from it, got row {row}, "
                "which does not; leave AR_vec out to generate from X as it stands"
            )
    return found


def generated(
    original: Original,
    last: Mapping[str, Any],
    data: Sequences,
    lagged: LaggedRows,
    generator: np.random.Generator,
) -> dict[str, list[np.ndarray]]:
    """Behaviour by the last entry of a history, by the names of the attributes."""
    params = original.params(last, len(data))
    if INITIAL in params:
        params[INITIAL] = torch.from_numpy(last["prior"])
    fit = fit_at(original.model(), data, params, "GLMHMMEstimator")
    seed = int(generator.integers(2**63))
    drawn, states = fit.simulate(data, seed, history=lagged or None)
    labels, analog = observed(drawn)
    found = {"output_states_": [part.copy() for part in data.split(states)]}
    if original.free:
        found["output_"] = [part.astype(np.int64) for part in data.split(labels)]
    if original.outputs:
        found["output_analog_"] = [part.T.copy() for part in data.split(analog.T)]
    return found


def _label_values(
    labels: list[np.ndarray], design: list[np.ndarray], lag: int, num_classes: int
) -> np.ndarray | None:
    """The number that stands ``lag`` bins after every label, if there is one for each.

    A row in which all labels have the same number says nothing of them.
    """
    for stop in (_FIRST_LOOK, None):
        past = np.concatenate([label[:-lag][:stop] for label in labels])
        now = np.concatenate([row[lag:][:stop] for row in design])
        seen = [now[past == number] for number in range(num_classes)]
        if any(len(here) and np.ptp(here) for here in seen):
            return None
    values = np.array([here[0] for here in seen if len(here)])
    return None if len(values) < num_classes or np.ptp(values) == 0 else values
