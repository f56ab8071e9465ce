"""The state of EM runs in plain containers, for checkpoints."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.search.runs import Run
from glmhmm_pyro.inference.status import Status
from glmhmm_pyro.inference.steps.blocks import Failure

if TYPE_CHECKING:
    from glmhmm_pyro.inference.em.loop import Steps

# What is kept of a run as it is.
_PLAIN = ("status", "reasons", "pause")


def state_of(steps: "Steps", runs: Sequence[Run], **more: Any) -> dict[str, Any]:
    """All that the next iterations depend on, between two of them.

    Args:
        steps: E-steps and M-steps; some remember units of their own.
        runs: runs that advance together.
        more: further entries of the state.
    """
    return {
        **more,
        "units": getattr(steps, "units", None),
        "runs": [_state(run) for run in runs],
    }


def restore(steps: "Steps", runs: Sequence[Run], state: dict[str, Any]) -> None:
    """Restore runs from a state.

    Args:
        steps: as above.
        runs: at their starts, changed in place.
        state: from :func:`state_of`.
    """
    if state["units"] is not None:
        setattr(steps, "units", state["units"])
    for run, known in zip(runs, state["runs"]):
        run.params, run.next_params = _on_device(run, known["params"]), _on_device(
            run, known["ahead"]
        )
        for name in ("log_likelihoods", "log_joints"):
            setattr(run, name, known[name].tolist())
        for name in _PLAIN:
            setattr(run, name, known[name])
        if run.status is Status.START_FAILED:
            run.error = RuntimeError("; ".join(run.reasons))
        run.weights = [_on_device(run, weights) for weights in known["weights"]]
        run.failure = None if known["failure"] is None else Failure(*known["failure"])
        run.extrapolation.path = [_on_device(run, point) for point in known["path"]]
        run.extrapolation.fallback = known["fallback"] and _on_device(
            run, known["fallback"]
        )
        run.extrapolation.reach = known["reach"]


def _state(run: Run) -> dict[str, Any]:
    extrapolation, failure = run.extrapolation, run.failure
    return {name: getattr(run, name) for name in _PLAIN} | {
        "params": run.params,
        "ahead": run.next_params,
        "log_likelihoods": np.array(run.log_likelihoods, dtype=np.float64),
        "log_joints": np.array(run.log_joints, dtype=np.float64),
        "weights": tuple(run.weights),
        "failure": failure if failure is None else tuple(failure),
        "path": tuple(extrapolation.path),
        "fallback": extrapolation.fallback,
        "reach": extrapolation.reach,
    }


def _on_device(run: Run, params: Params) -> Params:
    """Values on the device of the run's own values."""
    return {name: value.to(run.first[name].device) for name, value in params.items()}
