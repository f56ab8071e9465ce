"""Descriptions of models, from which a file's model is made or a given one is checked.

Components, laws of dwell times and recipes of this package are made from their names
and arguments, priors from the names below; nothing else that stands in a file is ever
looked up.
"""

import copy
import inspect
from collections.abc import Callable
from typing import Any, TypeGuard

import torch

from glmhmm_pyro import components
from glmhmm_pyro.components.dwell import DwellLaw
from glmhmm_pyro.inference.fits.encoding import Plain
from glmhmm_pyro.inference.program.program import Model, Program
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.priors.answers import Stored, restored, stored

# Classes that are made from their names in a file. Arguments are attributes too.
_CLASSES = {
    f"{prefix}{name}": getattr(room, name)
    for prefix, room in (("", components), ("dwell.", components.dwell))
    for name in room.__all__
    if isinstance(getattr(room, name), type)
}
_NAMES = {kind: name for name, kind in reversed(_CLASSES.items())}
_PARTS = ("initial", "transitions", "emissions")
_BOUND = (
    *("num_states", "num_features", "covariate_names", "fitted_lengths"),
    "output_names",
)


def describe(model: Callable[..., Any]) -> dict[str, Any]:
    """Plain containers from which :func:`make_model` makes the model again."""
    known = Program.kind_of(model).components_of(model)
    if not known:
        return {"own": _name_of(model)}
    parts = {name: _describe(getattr(model, name)) for name in _PARTS}
    found = {"num_states": getattr(model, "num_states"), "components": parts}
    levels = getattr(model, "levels")
    return found if levels is None else found | {"levels": [levels.slow, levels.fast]}


def make_model(description: dict[str, Any]) -> GLMHMM | None:
    """The model described, or ``None`` where it has parts of the user's own."""
    if own_parts(description):
        return None
    made = {name: _make(part) for name, part in description["components"].items()}
    states = description["num_states"]
    if "levels" in description:
        states = components.Levels(*description["levels"])
    model = GLMHMM(states, **made)
    _bind(model, description)
    return model


def own_parts(description: dict[str, Any]) -> list[str]:
    """What of a model a file cannot hold, for a sentence."""
    if "own" in description:
        return [f"{description['own']!r} is a model of your own"]
    return [
        f"its {name} ({part['class']}) or their prior are not glmhmm_pyro's own"
        for name, part in description["components"].items()
        if not part["known"] or _has_foreign(part["arguments"])
    ]


def bound_copy(model: Model, description: dict[str, Any]) -> Model:
    """A copy of a given model with the sizes of the one described.

    Raises:
        ValueError: the model is not the one described, as far as that can be told.
    """
    _check_same(description, describe(model))
    model = copy.deepcopy(model)
    if "own" not in description:
        _bind(model, description)
    return model


def _bind(model: Callable[..., Any], description: dict[str, Any]) -> None:
    """Give the components the sizes that they had."""
    whole = {name: getattr(model, name) for name in _PARTS}
    parts = Program.kind_of(model).components_of(model)
    for name, component in (*whole.items(), *parts.items()):
        top, _, inner = name.partition(".")
        if component is whole.get(top) and inner:
            continue
        bound = _part_of(description["components"][top], component, inner)["bound"]
        if bound["num_states"] != component.num_states:
            raise ValueError(f"its {name} have {bound['num_states']} states")
        for attribute in _BOUND:
            if attribute in bound:
                setattr(component, attribute, _as_tuple(bound[attribute]))


def _part_of(
    whole: dict[str, Any], component: components.Component, inner: str
) -> dict[str, Any]:
    """What is said of a component, which may be a part of another one."""
    arguments = whole["arguments"]
    if "families" in arguments and inner:
        found: dict[str, Any] = arguments["families"]["components"][inner]
        return found
    if inner in arguments:
        return arguments[inner]["component"]
    if whole["class"] == "ByLevel":
        is_whole = isinstance(component, components.ByLevel)
        family = arguments["family"]["component"]
        return whole if is_whole else _part_of(family, component, inner)
    return whole


def _check_same(saved: dict[str, Any], given: dict[str, Any]) -> None:
    """Raise a ValueError if the model given is not the one saved."""
    if "own" in saved or "own" in given:
        wanted, found = (_kind_of_model(description) for description in (saved, given))
        if wanted != found:
            raise _other_model("be", wanted, found)
        return
    if saved["num_states"] != given["num_states"]:
        raise _other_model(
            "have", f"{saved['num_states']} states", f"{given['num_states']}"
        )
    for name in _PARTS:
        _check_part(name, saved["components"][name], given["components"][name])


def _check_part(place: str, saved: dict[str, Any], given: dict[str, Any]) -> None:
    """Raise a ValueError if a component differs in class, argument or size."""
    # A class of the user's own may have moved to another module.
    wanted, found = map(_last, (saved, given))
    if wanted != found:
        raise _other_model("have", f"{wanted} {place}", found)
    for name, value in saved["arguments"].items():
        other = given["arguments"].get(name)
        if isinstance(value, dict) and "components" in value:
            _check_outputs(place, value["components"], other)
        elif _is_component(value) and _is_component(other):
            _check_part(f"{place}.{name}", value["component"], other["component"])
        elif not _same(value, other):
            wanted, found = _shown(value), _shown(other)
            raise _other_model("have", f"{place} with {name} = {wanted}", found)
    for name, size in saved["bound"].items():
        other = given["bound"].get(name)
        if None not in (size, other) and _as_tuple(size) != _as_tuple(other):
            raise _other_model("have", f"{place} with {name} = {size}", other)


def _check_outputs(place: str, saved: dict[str, Any], given: Plain) -> None:
    """Raise a ValueError if outputs, or a component of one, differ."""
    others = given.get("components", {}) if isinstance(given, dict) else {}
    if list(saved) != list(others):
        outputs = [", ".join(names) or "none" for names in (saved, others)]
        raise _other_model("have", f"outputs {outputs[0]}", outputs[1])
    for name, part in saved.items():
        _check_part(f"{place}.{name}", part, others[name])


def _other_model(verb: str, wanted: str, found: Plain) -> ValueError:
    return ValueError(
        f"model must {verb} {wanted}, as the saved one, got {found}; give the model "
        "that was fitted"
    )


def _kind_of_model(description: dict[str, Any]) -> str:
    if "own" not in description:
        return "a GLMHMM"
    return f"your own {description['own'].rpartition('.')[2]!r}"


def _same(saved: Plain, given: Plain) -> bool:
    """Whether two arguments are alike, as far as descriptions tell."""
    if _is_foreign(saved) and (_is_foreign(given) or _is_component(given)):
        # Format 1 kept no names of these, and laws of dwell times were foreign once.
        kind = given["kind"] if _is_foreign(given) else _last(given["component"])
        return saved.get("kind", kind) == kind
    if isinstance(saved, dict) and isinstance(given, dict):
        return saved.keys() == given.keys() and all(
            _same(value, given[key]) for key, value in saved.items()
        )
    if isinstance(saved, list | tuple) and isinstance(given, list | tuple):
        return len(saved) == len(given) and all(map(_same, saved, given))
    return bool(saved == given)


def _shown(value: Plain) -> str:
    """An argument in the form in which users write it, roughly."""
    if not isinstance(value, dict):
        return repr(value)
    if _is_foreign(value):
        return f"{value.get('kind', 'an object')} of your own"
    for kind, fields in (("prior", "arguments"), ("recipe", "fields")):
        if kind in value:
            shown = [f"{name}={_shown(item)}" for name, item in value[fields].items()]
            return f"{value[kind]}({', '.join(shown):.120})"
    return str(next(iter(value.values())))[:120]


def _last(part: dict[str, Any]) -> str:
    """The name of a class without that of its module."""
    return str(part["class"]).rpartition(".")[2]


def _describe(component: components.Component | DwellLaw) -> dict[str, Any]:
    """Class, arguments and bound sizes; ``None`` stands for what a file cannot hold."""
    kind = type(component)
    known = kind in _NAMES
    arguments = {}
    for name in inspect.signature(kind).parameters if known else ():
        value = getattr(component, name)
        arguments[name] = _describe_argument(value)
    bound = {a: getattr(component, a) for a in _BOUND if hasattr(component, a)}
    name = _NAMES.get(kind, f"{kind.__module__}.{kind.__name__}")
    return {"class": name, "known": known, "arguments": arguments, "bound": bound}


def _describe_argument(value: Any) -> Plain:
    """An argument of a component or of a prior as plain containers."""
    if value is None or isinstance(value, int | float | str | bool):
        return value
    if isinstance(value, tuple):
        return {"items": [_describe_argument(item) for item in value]}
    if isinstance(value, components.Component | DwellLaw):
        return {"component": _describe(value)}
    if isinstance(value, dict):
        kind = "components" if _holds_components(value) else "items_by_name"
        describe_one = _describe if kind == "components" else _describe_argument
        return {kind: {name: describe_one(item) for name, item in value.items()}}
    if isinstance(value, slice):
        return {"slice": [value.start, value.stop, value.step]}
    found = stored(value)
    if found is None:
        return {"foreign": repr(value), "kind": _name_of(value).rpartition(".")[2]}
    home = {"home": type(value).__module__} if found.is_own else {}
    if found.is_recipe:
        fields = {n: _describe_argument(item) for n, item in found.fields.items()}
        return {"recipe": found.name, "fields": fields} | home
    numbers = {n: torch.as_tensor(v).double() for n, v in found.fields.items()}
    arguments = {name: number.tolist() for name, number in numbers.items()}
    return {"prior": found.name, "arguments": arguments} | home


def _name_of(value: Any) -> str:
    """The name of a function, or of the class of an object."""
    return getattr(value, "__qualname__", type(value).__qualname__)


def _holds_components(value: dict[str, Any]) -> bool:
    return any(isinstance(item, components.Component) for item in value.values())


def _is_component(value: Plain) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict) and "component" in value


def _is_foreign(value: Plain) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict) and "foreign" in value


def _has_foreign(value: Plain) -> bool:
    """Whether something of the user's own stands in a description, however deep."""
    if isinstance(value, dict):
        is_own = "foreign" in value or value.get("known") is False
        if "home" in value:
            form = "recipe" if "recipe" in value else "prior"
            is_own = Stored(form == "recipe", value[form], {}).kind is None
        return is_own or any(map(_has_foreign, value.values()))
    return isinstance(value, list) and any(map(_has_foreign, value))


def _make(part: dict[str, Any]) -> Any:
    arguments = {name: _make_argument(v) for name, v in part["arguments"].items()}
    # What a constructor takes as **families it keeps under that name.
    arguments |= arguments.pop("families", {})
    if part["class"] not in _CLASSES:
        raise ValueError(f"it asks for {part['class']!r}")
    return _CLASSES[part["class"]](**arguments)


def _make_argument(value: Plain) -> Any:
    if not isinstance(value, dict):
        return value
    if "items" in value:
        return tuple(map(_make_argument, value["items"]))
    if "component" in value:
        return _make(value["component"])
    if "components" in value:
        return {name: _make(item) for name, item in value["components"].items()}
    if "items_by_name" in value:
        made = value["items_by_name"].items()
        return {name: _make_argument(item) for name, item in made}
    if "slice" in value:
        return slice(*value["slice"])
    if "recipe" in value:
        fields = {n: _make_argument(v) for n, v in value["fields"].items()}
        return restored(Stored(True, value["recipe"], fields))
    arguments = {
        name: torch.tensor(number, dtype=torch.float64)
        for name, number in value["arguments"].items()
    }
    return restored(Stored(False, value["prior"], arguments))


def _as_tuple(bound: Plain) -> Plain:
    return tuple(bound) if isinstance(bound, list) else bound
