"""States of a fit put in order and named, by what they do."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from glmhmm_pyro.arguments import flag, one_of
from glmhmm_pyro.components.base import STATE_AXES
from glmhmm_pyro.components.levels import Levels
from glmhmm_pyro.concurrency import usual_modes
from glmhmm_pyro.inference.fits.prediction import decode
from glmhmm_pyro.inference.fits.renumbered import permuted
from glmhmm_pyro.inference.program.labels import Labels
from glmhmm_pyro.inference.program.program import Data
from glmhmm_pyro.inference.program.renumbering import StateAxes
from glmhmm_pyro.sequences.arrays import as_array
from glmhmm_pyro.sequences.members import MEMBER_AXES
from glmhmm_pyro.sequences.validation import listed_names, unique_names

if TYPE_CHECKING:
    import xarray as xr

    from glmhmm_pyro.inference.fits.fit import Fit

# Ends of an order, and whether the largest comes first there.
ENDS = {"largest": True, "smallest": False}

OCCUPANCY = "occupancy"


def state_names(fit: "Fit") -> tuple[str, ...]:
    """Names of the states, in their order; '0', '1', ... where they have none.

    Those of pairs of a slow and a fast state are '0.0', '0.1', ..., or the names that
    levels were given with such a point between them.

    Raises:
        ValueError: the model has several numbers of states, or is one of the user's own
            from an older file, which does not say how many there are.
    """
    return fit.labels.state_names or tuple(map(str, range(_num_states(fit))))


@usual_modes()
def ordered(
    fit: "Fit[Data]",
    by: str | Callable[["Fit[Data]"], Any],
    data: Data | None = None,
    *,
    descending: bool = True,
    level: str | None = None,
    class_: str | int | None = None,
    parameter: str | None = None,
    state_axes: Mapping[str, Sequence[int]] | None = None,
) -> "Fit":
    """The fit with its states put in order, as :meth:`permuted` does.

    Args:
        by: name of a covariate of the emissions, for its weights by state; or
            ``"occupancy"``, the mean of the smoothed probabilities over the steps of
            ``data``; or a function from the fit to a number a state, shape (states,).
            The word means a covariate where there is one of that name.
        data: for the occupancy; as the model takes it.
        descending: whether state 0 is that of the largest number.
        level: ``"slow"`` or ``"fast"``, which states of a model on two levels are put
            in order: by the weights of their own, their occupancy, or what the function
            returns.
        class_: name or number of the class whose weights count, where several are free
            (the name of an output, where there are several outputs).
        parameter: which of ``fit.parameters`` has the weights, where several have some
            of this covariate.
        state_axes: see :class:`NUTS`; for sites of a model of the user's own.

    Example:
        >>> import glmhmm_pyro as gh
        >>> fit = gh.fit(
        ...     gh.GLMHMM(2, gh.Bernoulli(gh.priors.Ridge(1.0))),
        ...     gh.Sequences([0, 1, 1, 0, 1, 0], [[1.0], [2.0], [0], [3], [1], [2]]),
        ...     num_restarts=1, progress=False,
        ... )
        >>> weights = fit.ordered("x0").parameters["emissions.weights"]
        >>> bool(weights[0, 0] >= weights[1, 0])
        True
    """
    _check_level(fit, level)
    values = _values_by_state(fit, by, data, class_, parameter, level)
    order = _sorted(values, flag("descending", descending))
    if level is not None:
        order = _of_pairs(fit, order, level)
    return _renumbered(fit, order, state_axes)


@usual_modes()
def named(
    fit: "Fit[Data]",
    names: Sequence[str] | Mapping[str, tuple[Any, str]],
    data: Data | None = None,
    *,
    class_: str | int | None = None,
    parameter: str | None = None,
    state_axes: Mapping[str, Sequence[int]] | None = None,
) -> "Fit":
    """The fit with names for its states, which stand wherever states do.

    On the axes of its parameters and of what it decodes (``.sel(state="engaged")``), in
    summaries, exports, files and pictures. States that are renumbered take their names
    along.

    Args:
        names: a name for every state, in their order. Or rules, filled in order:
            ``{"engaged": ("stim", "largest"), "biased": ("bias", "smallest")}`` names
            "engaged" the state with the largest weight of the covariate ``stim``,
            "biased" that with the smallest of ``bias`` among the others; the states are
            then in the order of the rules. What a rule may go by is what
            :meth:`ordered` may. Of a model on two levels names by level,
            ``{"slow": ["hungry", "sated"], "fast": [...]}``, or of either.
        data: for rules by ``"occupancy"``.
        class_: as for :meth:`ordered`, for all rules.
        parameter: as for :meth:`ordered`.
        state_axes: see :class:`NUTS`; for sites of a model of the user's own, whose
            axes of states are then called ``state``, or ``origin`` and ``destination``
            where a site has two.

    Raises:
        ValueError: there are more or fewer names than states, or one comes twice.

    Example:
        >>> import glmhmm_pyro as gh
        >>> fit = gh.fit(
        ...     gh.GLMHMM(2, gh.Bernoulli(gh.priors.Ridge(1.0))),
        ...     gh.Sequences([0, 1, 1, 0, 1, 0], [[1.0], [2.0], [0], [3], [1], [2]]),
        ...     num_restarts=1, progress=False,
        ... )
        >>> fit.named(["engaged", "biased"]).state_names
        ('engaged', 'biased')
    """
    if fit.labels.levels is not None and isinstance(names, Mapping):
        return replace(fit, labels=_levels_named(fit.labels, names))
    rules = names if isinstance(names, Mapping) else {}
    given: Any = list(rules) if rules else names
    known = listed_names("names", given, _num_states(fit), "state")
    known = unique_names("names", known)
    if rules:
        order = _states_by_rules(fit, rules, data, class_, parameter)
        fit = _renumbered(fit, order, state_axes)
    axes = {n: tuple(places) for n, places in (state_axes or {}).items()}
    axes = axes or fit.labels.state_axes
    return replace(fit, labels=replace(fit.labels, states=known, state_axes=axes))


def _levels_named(labels: Labels, names: Mapping[str, Any]) -> Labels:
    """Labels in which the states of levels have names."""
    known = {}
    for level, given in names.items():
        one_of("names", level, ("slow", "fast"))
        number = len(labels.of_level(level))
        listed = listed_names(f"names[{level!r}]", given, number, f"{level} state")
        known[level] = unique_names(f"names[{level!r}]", listed)
    return replace(labels, level_names=labels.level_names | known)


def _num_states(fit: "Fit") -> int:
    number = fit.labels.num_states or getattr(fit.model, "num_states", None)
    if number is None:
        raise ValueError(
            "fit must have one number of states for them to have names, got a model of "
            "your own that has several, or that was saved before it was noted; fit it "
            "anew, with as many states everywhere"
        )
    return int(number)


def _states_by_rules(
    fit: "Fit[Data]",
    rules: Mapping[str, Any],
    data: Data | None,
    class_: str | int | None,
    parameter: str | None,
) -> list[int]:
    """The states that the rules choose, each among those that are left."""
    chosen: list[int] = []
    for name, rule in rules.items():
        is_pair = isinstance(rule, tuple | list) and len(rule) == 2
        if not is_pair or rule[1] not in ENDS:
            raise ValueError(
                f"names[{name!r}] must be a pair of what to go by and 'largest' or "
                f"'smallest', got {rule!r:.80}; write ('stim', 'largest'), say"
            )
        values = _values_by_state(fit, rule[0], data, class_, parameter)
        order = _sorted(values, ENDS[rule[1]])
        chosen.append(next(state for state in order if state not in chosen))
    return chosen


def _check_level(fit: "Fit", level: str | None) -> None:
    """Raise an error for a level of a one-level model, or none of a two-level one."""
    if level is not None:
        one_of("level", level, ("slow", "fast"))
    if level is None and fit.labels.levels is not None:
        raise ValueError(
            "level must be 'slow' or 'fast' for a model on two levels, whose states "
            "are put in order level by level, got None; give level='fast', say"
        )
    if level is not None and fit.labels.levels is None:
        raise ValueError(
            f"level must be None for a model on one level, got {level!r}; leave it out"
        )


def _of_pairs(fit: "Fit", order: list[int], level: str) -> list[int]:
    """The order of pairs in which the states of one level have this order."""
    levels = Levels(*fit.labels.levels or ())
    orders = {"slow": list(range(levels.slow)), "fast": list(range(levels.fast))}
    orders[level] = order
    return [levels.index(s, z) for s in orders["slow"] for z in orders["fast"]]


def _sorted(values: np.ndarray, descending: bool) -> list[int]:
    """States in the order of their values; of equals the first stays first."""
    order = np.argsort(-values if descending else values, kind="stable")
    return [int(state) for state in order]


def _renumbered(fit: "Fit", order: list[int], state_axes: StateAxes | None) -> "Fit":
    if order == list(range(len(order))):
        return fit
    return permuted(fit, torch.tensor(order), state_axes)


def _values_by_state(
    fit: "Fit[Data]",
    by: str | Callable[["Fit[Data]"], Any],
    data: Data | None,
    class_: str | int | None,
    parameter: str | None,
    level: str | None = None,
) -> np.ndarray:
    """A number a state, or a state of a level."""
    number = len(fit.labels.of_level(level)) if level else _num_states(fit)
    if callable(by):
        return _checked_values(by(fit), number)
    if not isinstance(by, str):
        raise TypeError(
            "by must be the name of a covariate, 'occupancy' or a function of the fit, "
            f"got {by!r:.80}; give one of these"
        )
    weights = _weights_by_state(fit, parameter, level or "state")
    covariates = [str(c) for w in weights.values() for c in w["covariate"].values]
    if by == OCCUPANCY and by not in covariates:
        if data is None:
            raise ValueError(
                "data must be given to order states by their occupancy, got none; "
                "give the data fitted by data="
            )
        name = f"{level or 'smoothed'}_probs"
        return np.asarray(decode(fit, data)[name].mean("step"))
    one_of("by", by, [*dict.fromkeys(covariates), OCCUPANCY])
    having = {n: w for n, w in weights.items() if by in w["covariate"].values}
    # Of weights that vary around a mean it is this that is the state's.
    having = {n: w for n, w in having.items() if f"{n}_mean" not in having}
    if len(having) > 1:
        raise ValueError(
            f"parameter must say whose weights of {by!r} count, got nothing; name one "
            f"of {', '.join(having)}"
        )
    (array,) = having.values()
    return _row_of(array.sel(covariate=by), class_)


def _checked_values(values: ArrayLike, number: int) -> np.ndarray:
    found = as_array("by", values)
    if found.shape != (number,) or found.dtype.kind not in "biuf":
        raise ValueError(
            f"by must return a number for each of the {number} states, got "
            f"{values!r:.80}; return an array of shape ({number},)"
        )
    if np.isnan(found).any():
        raise ValueError(
            f"by must return numbers that can be sorted, got {found.tolist()}; return "
            "what is defined for every state"
        )
    return found.astype(float)


def _weights_by_state(
    fit: "Fit", parameter: str | None, axis: str
) -> "dict[str, xr.DataArray]":
    """Weights with axes of states and covariates: of emissions, or those named."""
    fitting = {
        name: array if axis == "state" else array.rename({axis: "state"})
        for name, array in fit.parameters.items()
        if axis in array.dims and array.dims[-1:] == ("covariate",)
    }
    if parameter is not None:
        one_of("parameter", parameter, fitting)
        return {parameter: fitting[parameter]}
    return {n: w for n, w in fitting.items() if n.startswith("emissions.")}


def _row_of(array: "xr.DataArray", class_: str | int | None) -> np.ndarray:
    """One number a state, of weights of one covariate by state and class.

    Those that vary over sessions or groups are averaged, and those of pairs of states
    over the other level, if this has no class.
    """
    averaged = MEMBER_AXES if class_ is not None else (*MEMBER_AXES, "slow", "fast")
    array = array.mean([dim for dim in array.dims if dim in averaged])
    others = [str(dim) for dim in array.dims if dim not in STATE_AXES]
    if not others:
        return np.asarray(array)
    (dim,) = others
    is_free = np.abs(array.transpose("state", dim).values).max(0) > 0
    free = {str(name): i for i, name in enumerate(array[dim].values) if is_free[i]}
    if class_ is None and len(free) == 1:
        class_ = next(iter(free))
    if str(class_) not in free:
        raise ValueError(
            f"class_ must name the {dim} whose weights count, one of "
            f"{', '.join(map(repr, free))}, got {class_!r}; give class_="
        )
    return np.asarray(array.isel({dim: free[str(class_)]}))
