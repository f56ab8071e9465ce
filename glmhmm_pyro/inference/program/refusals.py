"""Errors for models that no method can fit, and for arguments that are no models."""

from collections.abc import Callable, Mapping
from typing import Any

from pyro.distributions import TorchDistribution

from glmhmm_pyro.arguments import with_article
from glmhmm_pyro.components.base import Component
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.priors.filling import check_density
from glmhmm_pyro.ranks import Ranks
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.spreading import check_groups


def check_is_model(model: Callable[..., Any], data: Any) -> None:
    """Raise a TypeError if ``model`` is no model, such as a data set in its place."""
    kind, what = type(model).__name__, with_article(type(model))
    if isinstance(model, Sequences) or isinstance(data, GLMHMM):
        raise TypeError(
            "model must be a GLMHMM or a Pyro model, and data come after it, got "
            f"{what}, then {with_article(type(data))}; write fit(model, data)"
        )
    if isinstance(model, Component):
        fix = f"put it into a model, as in GLMHMM(2, {kind}(...))"
    elif isinstance(model, type):
        what, fix = f"the class {model.__name__}", f"make one, {model.__name__}(...)"
    elif not callable(model):
        fix = "write GLMHMM(num_states, emissions)"
    else:
        return
    raise TypeError(
        "model must be a GLMHMM or a Pyro model (a function of the data), got "
        f"{what}; {fix}"
    )


def check_init(model: Callable[..., object], init: object) -> None:
    """Raise a ValueError if ``init`` is a fit of another number of states."""
    fitted = getattr(getattr(init, "model", None), "num_states", None)
    wanted = getattr(model, "num_states", None)
    if isinstance(fitted, int) and isinstance(wanted, int) and fitted != wanted:
        raise ValueError(
            f"init must be a fit of {wanted} states, as many as the model has, got one "
            f"of {fitted}; leave init out, or give values by the names of some sites"
        )


def carries_states_over(model: Callable[..., Any]) -> bool:
    """Whether slow states carry over from one session to the next of its group."""
    transitions = getattr(model, "transitions", None)
    return bool(getattr(transitions, "across_sessions", False))


def check_kept_together(
    model: Callable[..., Any], argument: str, got: str, fix: str
) -> None:
    """Raise a ValueError if sessions that carry over states would be separated.

    Args:
        model: the model.
        argument: name of the argument that separates them.
        got: its value, for the message.
        fix: what to do instead.
    """
    if carries_states_over(model):
        raise ValueError(
            f"{argument} must take groups of sessions as wholes, where slow states go "
            f"on from one session to the next, got {got}; {fix}"
        )


def check_order_kept(
    parts: Mapping[str, Component], argument: str, got: str, fix: str
) -> None:
    """Raise a ValueError if sessions would be reordered along which weights walk.

    Args:
        parts: components of the model, by name.
        argument: name of the argument that reorders them.
        got: its value, for the message.
        fix: what to do instead.
    """
    for name, part in parts.items():
        if getattr(part, "walks", False):
            raise ValueError(
                f"{argument} must keep the order of sessions where the weights of "
                f"{name} walk from one to the next, got {got}; {fix}"
            )


# Methods of a component that read whole data sets; those of the package heed that other
# ranks hold other sessions.
_READ_ALL = (
    "block_objective",
    "check_varies",
    "closed_form",
    "counted",
    "design",
    "limits",
    "marginal",
    "own_counts",
    "own_outputs",
    "start",
    "start_noise",
    "view",
)


def check_spread(model: Callable[..., Any], data: Any, ranks: Ranks) -> None:
    """Raise a ValueError for what cannot be fitted over a process group."""
    fix = "fit in one process, without process_group"
    if not isinstance(model, GLMHMM) or not isinstance(data, Sequences):
        raise ValueError(
            "process_group must be None for what is no GLMHMM with Sequences, since "
            "how it adds up over sessions is not known, got "
            f"{with_article(type(model))} and {with_article(type(data))}; {fix}"
        )
    if carries_states_over(model):
        check_groups(data, ranks)
    wholes = (model.initial, model.transitions, model.emissions)
    for component in (*wholes, *model.components.values()):
        kind = type(component).__name__
        latents = [name for name, site in component.sites.items() if site.latent]
        if latents or component.varies_over:
            raise ValueError(
                "process_group must be None for parameters that belong to single "
                f"sessions or groups, got {kind}, which has such ones; {fix}"
            )
        own = [name for name in _READ_ALL if not _is_ours(component, name)]
        if own:
            raise ValueError(
                "process_group must be None for a component whose "
                f"{own[0]}(...) is of the user's own, since it may sum over steps, got "
                f"{kind}; {fix}"
            )


def _is_ours(component: Component, name: str) -> bool:
    """Whether a method of a component is the package's, if it has one."""
    method = getattr(type(component), name, None)
    package = __name__.partition(".")[0]
    return method is None or method.__module__.partition(".")[0] == package


def check_sites(priors: Mapping[str, TorchDistribution], is_observed: bool) -> None:
    """Raise a ValueError for a model that no method can fit."""
    if not is_observed:
        raise ValueError(
            "model must have an observed HiddenMarkov site, got none; write "
            'pyro.sample("y", HiddenMarkov(...), obs=data.emissions) in it'
        )
    if not priors:
        raise ValueError(
            "model must have parameters, got none; declare them by pyro.sample with "
            "a prior, pyro.param is not read"
        )
    for name, prior in priors.items():
        if prior.support.is_discrete:
            raise ValueError(
                f"model must have continuous parameters, got the discrete site "
                f"{name!r}; hidden states belong in a HiddenMarkov site, which sums "
                "them out"
            )
        check_density(f"site {name!r}", prior)
