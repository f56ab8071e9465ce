"""The estimator's weights as arrays, for all rows of X."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


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
    def among(cls, values: Mapping[str, Any], suffix: str = "") -> "Weights":
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
