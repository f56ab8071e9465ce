"""The rows of X: weights of all of them, and which of them each part reads."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from glmhmm_pyro.distributions import HiddenMarkov
from glmhmm_pyro.estimator.original import INITIAL, original_model, weight_sites
from glmhmm_pyro.estimator.trials import Trials
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.sequences import Sequences


@dataclass(frozen=True)
class Weights:
    """Weights of all parts, by the names that users read.

    Those of rows of X that are not read are 0. What a model does not emit has an axis
    of size 0.

    Attributes:
        emit_w: of labels, shape (state, label - 1, feature).
        trans_w: shape (origin, destination, feature).
        analog_emit_w: of analog outputs, shape (state, output, feature).
        analog_emit_scale: standard deviations of their noise, shape (state, output).
    """

    emit_w: np.ndarray
    trans_w: np.ndarray
    analog_emit_w: np.ndarray
    analog_emit_scale: np.ndarray

    @classmethod
    def among(cls, values: Mapping[str, np.ndarray], suffix: str = "") -> "Weights":
        """Copies of those among other values, whose names may have a suffix."""
        states, _, features = values[f"trans_w{suffix}"].shape
        nothing = {
            f"analog_emit_w{suffix}": np.zeros((states, 0, features)),
            f"analog_emit_scale{suffix}": np.zeros((states, 0)),
        }
        names = (f"{name}{suffix}" for name in cls.__dataclass_fields__)
        return cls(*((nothing | dict(values))[name].copy() for name in names))

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Numbers of states, of labels but the reference, and of analog outputs."""
        return len(self.trans_w), self.emit_w.shape[1], self.analog_emit_w.shape[1]

    @property
    def shown(self) -> dict[str, np.ndarray]:
        """Weights that users see, by name; those of analog outputs if there are any."""
        analog = ("analog_emit_w", "analog_emit_scale") if self.sizes[2] else ()
        return {name: getattr(self, name) for name in ("emit_w", "trans_w", *analog)}


@dataclass(frozen=True)
class RowLayout:
    """The rows of X, their number and who reads them.

    Attributes:
        num_features: number of rows.
        why: where that number comes from, for messages.
        emissions: rows that the emissions read.
        transitions: rows that the transitions read.
        needs_constant: the option that lets only the last row be read, if one does.
    """

    num_features: int
    why: str
    emissions: tuple[int, ...]
    transitions: tuple[int, ...]
    needs_constant: str = ""

    @classmethod
    def whole(cls, num_features: int) -> "RowLayout":
        """All rows of what was fitted, for all parts."""
        every = tuple(range(num_features))
        return cls(num_features, "as in fit", every, every)

    @classmethod
    def of(cls, options: Mapping[str, Any], given: Mapping[str, Any]) -> "RowLayout":
        """From the estimator's parameters, and the starting weights as given."""
        emit_w, trans_w = given["emit_w_init"], given["trans_w_init"]
        cues = options["num_feedbacks"] * options["num_filter_bins"]
        number = int(cues + options["filter_offset"])
        why = "as num_feedbacks * num_filter_bins + filter_offset says"
        all_given = emit_w is not None and trans_w is not None
        if all_given and not options["add_filters"]:
            number = np.shape(emit_w)[-1] if np.ndim(emit_w) else 0
            why = "as many rows as emit_w_init has features"
        every, last = tuple(range(number)), (number - 1,)
        constant = [n for n in ("GLM_emissions", "GLM_transitions") if not options[n]]
        some = row_numbers("train_bins", options["train_bins"], number)
        return cls(
            number,
            why,
            every if options["GLM_emissions"] else last,
            (some or every) if options["GLM_transitions"] else last,
            " and ".join(constant),
        )

    def check(self, trials: Trials) -> None:
        """Raise a ValueError if the last row should be constant and is not."""
        if not self.needs_constant:
            return
        last = np.concatenate([design[-1] for design in trials.designs])
        if np.ptp(last) > 0 or last[0] == 0:
            raise ValueError(
                f"X must have a constant last row, other than 0, where "
                f"{self.needs_constant} is False and no other row is read, got values "
                f"from {last.min():g} to {last.max():g}; append a row of ones"
            )

    def columns(self, name: str) -> list[int] | slice:
        """Rows that weights are read of; those of scales are none of X."""
        if name == "analog_emit_scale":
            return slice(None)
        return list(self.transitions if name == "trans_w" else self.emissions)

    def params(self, weights: Weights, num_trials: int) -> Params:
        """Values of the sites of the rows that are read; uniform first states."""
        states, _, outputs = weights.sizes
        params: Params = {}
        for name, site in weight_sites(weights.sizes).items():
            value = getattr(weights, name)[..., self.columns(name)]
            # A single analog output has no axis of its own.
            single = name.startswith("analog") and outputs == 1
            params[site] = torch.tensor(value[:, 0] if single else value)
        if states > 1:
            shape = (num_trials, states)
            params[INITIAL] = torch.full(shape, 1 / states, dtype=torch.float64)
        return params

    def weights(self, params: Params, start: Weights) -> Weights:
        """Weights of all rows from values of the sites; others as they started."""
        found = Weights.among(vars(start))
        for name, site in weight_sites(start.sizes).items():
            whole, columns = getattr(found, name), self.columns(name)
            whole[..., columns] = params[site].reshape(whole[..., columns].shape)
        return found

    def bound(
        self, weights: Weights, trials: Trials
    ) -> tuple[Sequences, GLMHMM, Params]:
        """Any trials, the model bound to them, and its sites; uniform first states."""
        data = trials.sequences(self.emissions, self.transitions)
        model = original_model(weights.sizes)
        model.bind(data)
        return data, model, self.params(weights, data.num_sessions)

    def distribution(
        self, weights: Weights, trials: Trials
    ) -> tuple[Sequences, HiddenMarkov]:
        """Any trials, and the distribution of their emissions; uniform first states."""
        data, model, params = self.bound(weights, trials)
        with torch.no_grad():
            hidden = model.hidden_markov_at(params, data)
        return data, hidden.with_mask(torch.from_numpy(trials.mask))

    def log_likelihood(self, weights: Weights, trials: Trials) -> float:
        """Marginal log-likelihood of any trials, nats; uniform first states."""
        data, hidden = self.distribution(weights, trials)
        return float(hidden.log_prob(data.emissions))


def row_numbers(
    name: str, rows: ArrayLike | None, num_features: int
) -> tuple[int, ...]:
    """Numbers of rows of X, checked; none for ``None`` and an empty list.

    Args:
        name: the parameter.
        rows: what the user gave.
        num_features: number of rows that there are.
    """
    if rows is None or len(np.atleast_1d(rows)) == 0:
        return ()
    numbers = np.atleast_1d(rows)
    whole = numbers.dtype.kind in "iu" and numbers.ndim == 1
    inside = whole and ((numbers >= 0) & (numbers < num_features)).all()
    if not inside or len(np.unique(numbers)) < len(numbers):
        raise ValueError(
            f"{name} must hold numbers of rows of X, from 0 and below {num_features}, "
            f"each once, got {rows!r}; name each row once"
        )
    return tuple(int(number) for number in numbers)
