"""Guides: families of distributions that variational inference fits to a posterior."""

import copy
import inspect
from collections.abc import Callable
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer.autoguide import (
    AutoGuide,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormal,
    init_to_value,
)
from pyro.poutine import Trace
from torch import nn

from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.svi.sparse_precision import SparsePrecisionGuide

# The name of one of these, something that makes a guide, or a guide.
Guide = str | Callable[..., Any]

GUIDES: dict[str, type[AutoGuide]] = {
    "normal": AutoNormal,
    "multivariate_normal": AutoMultivariateNormal,
    "low_rank": AutoLowRankMultivariateNormal,
}

# Of weights that a law links from unit to unit.
SPARSE = "sparse_precision"


def check_guide_option(guide: Guide) -> None:
    """Raise a ValueError if an option can be neither a guide nor make one."""
    named = isinstance(guide, str) and guide in (*GUIDES, SPARSE)
    if not named and (isinstance(guide, str) or not callable(guide)):
        raise ValueError(
            f"guide must be one of {', '.join((*GUIDES, SPARSE))}, a class of Pyro's "
            "autoguides, a function from the model to a guide, or a guide, got "
            f"{guide!r}; give one of these"
        )


def make_guide(guide: Guide, program: Program, params: Params) -> Callable[[Any], Any]:
    """The guide asked for, at its first parameters, ready to be fitted.

    Its parameters are in Pyro's store, in float64 whatever torch's default is; call it
    within a scope of the store.

    Args:
        guide: a name, something that makes a guide, or a guide. Whatever takes an
            argument called ``model`` makes one; it begins at ``params`` if it also
            takes Pyro's ``init_loc_fn``, as the autoguides do.
        program: the model with its data.
        params: values inside the supports.

    Raises:
        ValueError: the guide does not sample the parameters of the model, or is for
            weights that a law links, of which the model has none.
    """
    maker: Any = GUIDES.get(guide) if isinstance(guide, str) else guide
    if maker is None:
        made: Callable[[Any], Any] = SparsePrecisionGuide(program, params)
    elif isinstance(maker, nn.Module):
        made = _copied_guide(maker)
    elif "model" in (takes := _arguments(maker)):
        begins = "init_loc_fn" in takes
        options = {"init_loc_fn": init_to_value(values=params)} if begins else {}
        made = maker(model=program.model, **options)
    else:
        made = maker
    with torch.no_grad():
        trace = poutine.trace(made).get_trace(program.data)
    _check_sites(trace, program)
    _own_parameters()
    if not pyro.get_param_store():
        raise ValueError(
            "guide must have parameters to be fitted, by pyro.param or PyroParam, got "
            "none; declare them, or take method='laplace'"
        )
    return made


def _arguments(maker: Callable) -> list[str]:
    """Names of the arguments that are still free.

    ``functools.partial`` may have set some of them already.
    """
    fixed = getattr(maker, "keywords", {})
    return [name for name in inspect.signature(maker).parameters if name not in fixed]


def _copied_guide(guide: nn.Module) -> nn.Module:
    """A copy of the user's guide, with copies of the models that autoguides read.

    An autoguide forgets its model when it is copied, the original too.
    """
    parts = [part for part in guide.modules() if isinstance(part, AutoGuide)]
    held = [(part._model, part.master) for part in parts]
    try:
        copied = copy.deepcopy(guide)
    finally:
        for part, (model, master) in zip(parts, held):
            part._model, part.master = model, master
    news = [part for part in copied.modules() if isinstance(part, AutoGuide)]
    for part, (model, _) in zip(news, held):
        part._model = copy.deepcopy(model)
    return copied


def _check_sites(trace: Trace, program: Program) -> None:
    """Raise a ValueError if the sites of a guide are not the model's parameters."""
    sites = {n: s for n, s in trace.nodes.items() if _is_latent(s)}
    missing = [name for name in program.priors if name not in sites]
    extra = [name for name in sites if name not in program.priors]
    if missing or extra:
        wrong = [f"it does not sample {', '.join(missing)}"] if missing else []
        wrong += [f"the model has no {', '.join(extra)}"] if extra else []
        raise ValueError(
            "guide must sample the parameters of the model, "
            f"{', '.join(program.priors)}, got one where {' and '.join(wrong)}; it may "
            "be made for another model, and a function that makes a guide must call "
            "its argument 'model'"
        )
    for name, prior in program.priors.items():
        value = sites[name]["value"]
        if value.shape != prior.shape():
            raise ValueError(
                f"guide must sample {name!r} in the shape of the model's, "
                f"{tuple(prior.shape())}, got {tuple(value.shape)}; reshape it"
            )
        if not prior.support.check(value).all():
            raise ValueError(
                f"guide must sample {name!r} within {prior.support}, got "
                f"{value.tolist()}; transform the draws"
            )


def _is_latent(site: dict[str, Any]) -> bool:
    """Whether a site of a guide's trace stands for one of the model's."""
    if site["type"] != "sample" or site["is_observed"]:
        return False
    auxiliary = site["infer"].get("is_auxiliary", False)
    return not auxiliary and not poutine.util.site_is_subsample(site)


def _own_parameters() -> None:
    """Bring what the store holds to float64; copies where no module holds it too.

    ``pyro.param("loc", tensor)`` would train the user's tensor itself.
    """
    store = pyro.get_param_store()
    state = store.get_state()
    for name, value in state["params"].items():
        if isinstance(value, nn.Parameter):
            value.data = value.data.to(torch.float64)
        else:
            copied = value.detach().clone().to(torch.float64)
            state["params"][name] = copied.requires_grad_()
    store.set_state(state)
