"""What the rows of X are: filters and offsets, and which of them each part reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from glmhmm_pyro.estimator.starts import ExponentialStart, given_weights
from glmhmm_pyro.estimator.trials import Trials
from glmhmm_pyro.estimator.weights import Weights, spread_over
from glmhmm_pyro.sequences import Sequences


@dataclass(frozen=True)
class Layout:
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
    needs_constant: str

    @classmethod
    def of(cls, options: Mapping[str, Any], given: Mapping[str, Any]) -> "Layout":
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
        """Refuse a last row that should be constant and is not."""
        if not self.needs_constant:
            return
        last = np.concatenate([design[-1] for design in trials.designs])
        if np.ptp(last) > 0 or last[0] == 0:
            raise ValueError(
                f"X must have a constant last row, other than 0, where "
                f"{self.needs_constant} is False and no other row is read, got values "
                f"from {last.min():g} to {last.max():g}; append a row of ones"
            )

    def sequences(self, trials: Trials) -> Sequences:
        """The trials with the rows that each part reads."""
        return trials.sequences(self.emissions, self.transitions)

    def read(self, weights: Weights) -> Weights:
        """Those weights whose rows are read."""
        own, other = list(self.emissions), list(self.transitions)
        return replace(
            weights,
            emissions=weights.emissions[..., own],
            transitions=weights.transitions[..., other],
            analog=weights.analog[..., own],
        )

    def spread(self, weights: Weights) -> Weights:
        """Weights of all rows from those that are read, as copies."""
        number = self.num_features
        return Weights(
            spread_over(self.emissions, number, weights.emissions),
            spread_over(self.transitions, number, weights.transitions),
            spread_over(self.emissions, number, weights.analog),
            weights.scale.copy(),
        )


def row_numbers(name: str, rows: Any, num_features: int) -> tuple[int, ...]:
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


class Start:
    """The starting weights: given, drawn, or those of a smaller model grown.

    Args:
        options: the estimator's parameters.
        layout: of X.
        num_outputs: number of analog outputs.
        given: weights that the user gave by the names of ``fit``, or ``None``.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        layout: Layout,
        num_outputs: int,
        given: Mapping[str, Any],
    ):
        self.options, self.layout = options, layout
        states = int(options["num_states"])
        free = int(options["num_emissions"]) - 1 if options["symb_exists"] else 0
        self.rows = {
            "emit_w_init": (states, free),
            "trans_w_init": (states, states),
            "analog_emit_w_init": (states, num_outputs),
        }
        read = {name: layout.emissions for name in self.rows}
        read["trans_w_init"] = layout.transitions
        for name in self.rows:
            if given[name] is not None and 0 in self.rows[name]:
                raise ValueError(
                    f"{name} must be None where there are no such emissions, got "
                    f"weights of shape {np.shape(given[name])}; leave them out"
                )
        if options["add_filters"] and all(w is None for w in given.values()):
            raise ValueError(
                "add_filters must be False where no starting weights of a smaller model"
                " are given to fit (emit_w_init, trans_w_init), got True"
                "; give these to fit, or leave it out"
            )
        self.given = {n: self._given(n, given[n], read[n]) for n in self.rows}

    def __call__(self, trials: Trials, generator: np.random.Generator) -> Weights:
        """Starting weights of all rows, those not given drawn for these trials."""
        found = dict(self.given)
        if any(weights is None for weights in found.values()):
            drawn = self._drawn(trials, generator)
            found = {n: drawn[n] if w is None else w for n, w in found.items()}
        emit_w, trans_w, analog_w = found.values()
        scale = trials.residual_scale(analog_w)
        return Weights(emit_w, trans_w, analog_w, scale)

    def _drawn(
        self, trials: Trials, generator: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Weights of all parts, in the rows that are read."""
        draw = ExponentialStart(
            np.hstack(trials.designs),
            int(self.options["num_feedbacks"]),
            int(self.options["num_filter_bins"]),
            generator,
        )
        states, free = self.rows["emit_w_init"]
        outputs = self.rows["analog_emit_w_init"][1]
        emit_w, trans_w = draw(states, free), draw.transitions(states)
        analog_w = draw(states, outputs) * trials.spread[:, None] if outputs else None
        if analog_w is None:
            analog_w = np.zeros((states, 0, emit_w.shape[-1]))
        scale = np.zeros((states, outputs))
        drawn = Weights(emit_w, trans_w, analog_w, scale)
        drawn = self.layout.spread(self.layout.read(drawn))
        return {
            "emit_w_init": drawn.emissions,
            "trans_w_init": drawn.transitions,
            "analog_emit_w_init": drawn.analog,
        }

    def _given(self, name: str, weights: Any, read: Sequence[int]) -> Any:
        """A checked copy, which has weights in the rows that are read alone."""
        if 0 in self.rows[name]:
            return np.zeros((*self.rows[name], self.layout.num_features))
        if weights is None:
            return None
        if self.options["add_filters"]:
            whole = self._grown(name, weights)
        else:
            features = self.layout.num_features
            whole = given_weights(name, weights, (*self.rows[name], features))
        unread = np.delete(np.arange(whole.shape[-1]), list(read))
        if whole[..., unread].any():
            raise ValueError(
                f"{name} must be 0 in the rows of X that are not read (see "
                f"GLM_emissions, GLM_transitions, train_bins), got weights other than "
                f"0 in some of rows {unread.tolist()}; set them to 0"
            )
        return whole

    def _grown(self, name: str, weights: Any) -> np.ndarray:
        """Weights of fewer cues, with zeros for those that come after them."""
        small = given_weights(name, weights, (*self.rows[name], None))
        offsets = int(self.options["filter_offset"])
        new = self.layout.num_features - small.shape[-1]
        if new < 0 or new % int(self.options["num_filter_bins"]):
            raise ValueError(
                f"{name} must have weights of num_filter_bins bins of at most "
                f"num_feedbacks cues, and filter_offset offsets, for add_filters, got "
                f"{small.shape[-1]} features where X has {self.layout.num_features}"
                "; give the weights of the smaller model's fit"
            )
        cues = small.shape[-1] - offsets
        zeros = np.zeros(small.shape[:-1] + (new,))
        return np.concatenate([small[..., :cues], zeros, small[..., cues:]], axis=-1)
