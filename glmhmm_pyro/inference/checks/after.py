"""What can be said of a fit from one pass over its data."""

from collections.abc import Iterator, Mapping, Sequence

import torch

from glmhmm_pyro.inference.checks.level_checks import fewer_of
from glmhmm_pyro.inference.checks.report import NOTE, WARNING, Finding
from glmhmm_pyro.inference.checks.state_checks import (
    PARTS,
    StateUse,
    doubtful_states,
    listed_states,
    unusable_states,
)
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Model, Observed, Program
from glmhmm_pyro.priors.answers import is_flat
from glmhmm_pyro.ranks import ALONE, Ranks


def weights_of_a_state(model: Model, params: Params, site: str = "") -> int:
    """Free numbers of the emissions of one state; 1 of a model of the user's own."""
    components = Program.kind_of(model).components_of(model)
    number = 0
    for name, component in components.items():
        if name.partition(".")[0] != "emissions":
            continue
        for attribute, declared in component.sites.items():
            is_parameter = attribute not in component.random_effects
            if "state" in declared.axes and is_parameter:
                value = params[f"{name}.{attribute}"]
                number += value.numel() // value.shape[declared.axes.index("state")]
    return max(number, 1)


def uses_of(
    model: Model,
    sites: Mapping[str, Observed],
    params: Params,
    names: Sequence[str],
    ranks: Ranks = ALONE,
) -> Iterator[StateUse]:
    """How the states are used at every site of a model that has several states.

    Args:
        model: bound to the data.
        sites: those observed, at the parameters.
        params: the fitted parameters.
        names: of the states; their numbers where a site has other states.
        ranks: over which the data are spread.
    """
    weights = weights_of_a_state(model, params)
    told = weights, fewer_of(model), ranks, parts_without_prior(model)
    for hidden, value in sites.values():
        number = hidden.num_states
        if number > 1 and not hidden.batch_shape:
            known = names if len(names) == number else tuple(map(str, range(number)))
            yield StateUse.of(hidden, value, known, *told)


def parts_without_prior(model: Model) -> frozenset[str]:
    """Parts of a model that have a flat parameter; all of one of the user's own."""
    components = Program.kind_of(model).components_of(model)
    return (
        frozenset(
            name.partition(".")[0]
            for name, component in components.items()
            for site in component.sites.values()
            if not site.latent and is_flat(site.prior)
        )
        if components
        else PARTS
    )


def unusable_states_warning(program: Program, params: Params) -> tuple[str, ...]:
    """A sentence where states are empty or one state twice, without their numbers.

    These may change; :meth:`Fit.check` names the states.
    """
    sentences = []
    with torch.no_grad():
        sites = program.observed(params)
        for use in uses_of(program.model, sites, params, (), program.ranks):
            twins = {j for i, j in use.twins() if not use.leads_apart(i, j)}
            empty, again = len(use.empty()), len(twins)
            found = {
                f"{empty} {'is' if empty == 1 else 'are'} never visited": empty,
                f"{again} {'repeats' if again == 1 else 'repeat'} another": again,
            }
            said = [sentence for sentence, number in found.items() if number]
            if said:
                sentences.append(
                    f"of {len(use.names)} states {' and '.join(said)}, so that fewer "
                    f"explain as much (fit.check(data) says which): fit {use.fewer}, "
                    "or raise num_restarts"
                )
    return tuple(dict.fromkeys(sentences))


def state_findings(use: StateUse) -> Iterator[Finding]:
    """All findings about the states themselves."""
    yield from unusable_states(use)
    yield from doubtful_states(use)
    yield from _few_switches(use)


def _few_switches(use: StateUse) -> Iterator[Finding]:
    """Fewer switches than a row of transition probabilities has numbers."""
    if use.hidden.expansion.emits is not None:
        return
    with torch.no_grad():
        moves = use.hidden.tabled().expected_counts(use.value).transition.sum(0)
    leaving = moves.sum(1) - moves.diagonal()
    few = [k for k in range(len(use.names)) if 1 <= use.visits[k] and leaving[k] < 2]
    if few:
        advice = "do not interpret these transitions"
        if "transitions" in use.flat:
            advice += ", or give them a prior"
        yield Finding(
            "few-switches",
            WARNING if len(few) > 1 else NOTE,
            f"{listed_states(use.names, few)} left less than twice, so that how long "
            f"that lasts is a guess: {advice}",
        )
