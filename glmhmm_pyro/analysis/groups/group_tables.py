"""Groups side by side: occupancy, weights, scores."""

import itertools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from glmhmm_pyro.analysis.held_out import scores_of
from glmhmm_pyro.inference import Fit
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.weights import by_step

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


def facts_of(fit: Fit, whole: Fit, data: Sequences) -> dict[str, Any]:
    """Scores of a group's fit and of that to all, and how often states are.

    Args:
        fit: that of the group.
        whole: that to all groups.
        data: the sessions of the group.
    """
    own, others = scores_of(fit, data), scores_of(whole, data)
    steps = own["num_observed"].sum()
    bits = [
        float((scores["log_likelihood"] - own["baseline"]).sum() / steps / math.log(2))
        for scores in (own, others)
    ]
    probs = fit.decode(data).smoothed_probs.values
    return {
        "num_sessions": data.num_sessions,
        "num_observed": float(steps) if steps % 1 else int(steps),
        "bits_per_step": bits[0],
        "bits_per_step_whole": bits[1],
        "occupancy": np.average(probs, 0, by_step(data).cpu().numpy()),
    }


def group_table(
    fits: Mapping[str, Fit],
    facts: Mapping[str, Mapping[str, Any]],
    messages: Mapping[str, str],
    whole: Fit,
) -> "pd.DataFrame":
    """A row a group and state."""
    import pandas as pd

    states = list(whole.state_names)
    frames = {}
    for name, message in messages.items():
        frame = pd.DataFrame({**facts[name]}, index=states)
        if name in fits:
            frame = frame.assign(**_stay(fits[name])).join(weights_by_state(fits[name]))
        frames[name] = frame.assign(message=message)
    table = pd.concat(frames, names=["group", "state"])
    return table[[c for c in table if c != "message"] + ["message"]]


def weights_by_state(fit: Fit) -> "pd.DataFrame":
    """Weights of the emissions: a row a state, a column a covariate.

    A column is named by its covariate; before it stand the class of several, and the
    output of several. Reference classes, whose weights are 0, are left out, as are
    weights that vary over sessions or groups. Of two levels every pair has the weights
    of its slow or fast state.
    """
    import pandas as pd

    columns: dict[str, np.ndarray] = {}
    for name, array in fit.parameters.items():
        rows_of = _rows_by_state(fit, array)
        if not name.startswith("emissions.") or rows_of is None:
            continue
        array = array[rows_of]
        output = name.removeprefix("emissions.").rpartition(".")[0]
        flat = array.values.reshape(len(array), -1, array.sizes["covariate"])
        middle = [array.coords[dim].values for dim in array.dims[1:-1]]
        rows = [" ".join(map(str, row)) for row in itertools.product(*middle)]
        for number, row in enumerate(rows):
            if rows != [""] and not np.abs(flat[:, number]).max():
                continue
            for place, covariate in enumerate(array.coords["covariate"].values):
                words = " ".join(filter(None, [output, row, str(covariate)]))
                columns[words] = flat[:, number, place]
    return pd.DataFrame(columns, index=list(fit.state_names))


def _rows_by_state(fit: Fit, array: "xr.DataArray") -> np.ndarray | None:
    """Which row of weights every state has; ``None`` if they are none by state."""
    axis, states = array.dims[:1], np.arange(len(fit.state_names))
    if array.dims[-1:] != ("covariate",) or len(array.dims) < 2:
        return None
    if axis == ("state",):
        return states
    levels = getattr(fit.model, "levels", None)
    if levels is None or axis not in (("slow",), ("fast",)):
        return None
    return states // levels.fast if axis == ("slow",) else states % levels.fast


def _stay(fit: Fit) -> dict[str, np.ndarray]:
    """Probabilities of staying, where they are the same at all steps."""
    found = fit.parameters.get("transitions.probs")
    return {} if found is None else {"stay": np.diagonal(found.values)}
