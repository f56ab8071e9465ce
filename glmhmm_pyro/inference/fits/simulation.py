"""New behaviour from a fit, open loop or with the animal's own past fed back."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.arguments import flag, seed_number, whole_number
from glmhmm_pyro.concurrency import seeded, usual_modes
from glmhmm_pyro.distributions import typed_by_support
from glmhmm_pyro.inference.fits.closed_loop import Drawn, History, closed_loop
from glmhmm_pyro.inference.fits.latent_draws import with_latents_for
from glmhmm_pyro.inference.fits.lookups import checked_site, sites_of
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.sequences import Sequences

if TYPE_CHECKING:
    from glmhmm_pyro.inference.fits.fit import Fit


@usual_modes()
def simulate(
    fit: "Fit[Sequences]",
    data: Any,
    seed: int = 0,
    *,
    history: History | Sequence[History] | bool | None = None,
    num_samples: int | None = None,
    draws: bool = False,
) -> tuple[Sequences, np.ndarray]:
    """Emissions and states drawn at the covariates of ``data``.

    Open loop, without ``history``, columns that were made from the animal's past
    emissions stay as they are. With it the loop is closed: they are made anew from
    the emissions drawn before, for emissions and transitions alike.

    Args:
        data: the sessions; of the emissions only the names count.
        seed: the same number gives the same draws, so that a second call without one
            repeats the first: give another for others, or ``num_samples`` for many.
        history: True for data made by a design, whose own it is. Else a fitted
            ``gh.covariates.Design``, or its ``history(df)`` where a
            term needs the correct answers; or a mapping from a covariate's name, or
            a tuple of names, to a function of ``past``, the emissions so far
            (simulations, steps so far, *event), and ``rows``, the rows of ``data``
            that are simulated, which gives (simulations,) or (simulations, names);
            or a list of these.
        num_samples: how often all sessions are drawn; once by default.
        draws: whether samples are at draws of the posterior, evenly spaced, in
            place of the one estimate: the posterior predictive.

    Returns:
        The sessions with emissions drawn anew, all observed, of the family's type,
        sample after sample ('name', 'name (2)', ...); states (samples * steps,).

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.Sequences([0, 1, 1, 0, 1, 0], lengths=[3, 3])
        >>> model = gh.GLMHMM(2, gh.Bernoulli(gh.priors.Ridge(1.0)))
        >>> fit = gh.fit(model, data, num_restarts=1, progress=False)
        >>> simulated, states = fit.simulate(data, seed=1, num_samples=2)
        >>> simulated.session_names, states.shape
        (('0', '1', '0 (2)', '1 (2)'), (12,))
    """
    data = fit.as_fitted(data)
    of_design, asked = history is True, _own_history(data, history)
    _check_options(fit, data, asked, num_samples, draws)
    own, fit = fit, with_latents_for(fit, data)
    draws = draws or fit is not own
    seed = seed_number(seed)
    histories: Any = asked if isinstance(asked, list | tuple) else [asked]
    parts = []
    with seeded(seed), torch.no_grad():
        for params, number in _parameters(fit, int(num_samples or 1), draws):
            if asked is not None:
                drawn = closed_loop(fit.model, params, data, histories, number)
            else:
                sites = sites_of(replace(fit, params=params), data)
                hidden = sites[checked_site(sites, None)].hidden
                emissions, states = hidden.sample_with_states(torch.Size((number,)))
                emissions = typed_by_support(emissions, hidden.emission_dist)
                drawn = Drawn(emissions, states, {})
            parts.append(drawn)
    designs = {
        name: torch.cat([part.designs[name] for part in parts]).flatten(0, 1)
        for name in parts[0].designs
    }
    emissions = torch.cat([part.emissions for part in parts]).flatten(0, 1)
    states = torch.cat([part.states for part in parts]).flatten()
    simulated = _as_sequences(data, emissions, designs)
    if of_design and data.design_source is not None:
        copies = simulated.num_sessions // data.num_sessions
        source = data.design_source.simulated(copies)
        simulated = simulated._derive(design_source=source)
    return simulated, states.cpu().numpy()


def _own_history(
    data: Sequences, history: History | Sequence[History] | bool | None
) -> History | Sequence[History] | None:
    """The history given; for True that of the designs which made the data."""
    if not isinstance(history, bool):
        return history
    if not history:
        return None
    source = getattr(data, "design_source", None)
    found = [] if source is None else source.histories(data)
    if not found:
        raise ValueError(
            "history must be given for data that no design with a term of past "
            "emissions made, got True; make them by Sequences.from_dataframe("
            "covariates=Design(...)), or give a design or a mapping"
        )
    return found


def _check_options(
    fit: "Fit[Sequences]",
    data: Sequences,
    history: History | Sequence[History] | None,
    num_samples: int | None,
    draws: bool,
) -> None:
    if not isinstance(data, Sequences):
        raise TypeError(
            f"data must be a Sequences to be simulated, got {type(data).__name__}; "
            "take fit.distribution(data, site).sample_with_states()"
        )
    if num_samples is not None:
        whole_number("num_samples", num_samples, 1)
    flag("draws", draws)
    if draws and fit.posterior is None:
        raise ValueError(
            f"draws must be False for a fit without draws, got one by {fit.method}; "
            'fit by method="laplace", "svi" or "nuts", or leave draws out'
        )
    if history is not None and not Program.kind_of(fit.model).components_of(fit.model):
        raise ValueError(
            "history must come with a GLMHMM, whose components can be stepped, got "
            f"{type(fit.model).__name__}; simulate without it"
        )


def _parameters(fit: "Fit", number: int, draws: bool) -> Iterator[tuple[Params, int]]:
    """Parameters, and how many samples are drawn at each; draws are evenly spaced."""
    if not draws:
        yield fit.params, number
        return
    flat = {name: value.flatten(0, 1) for name, value in fit.draws.items()}
    size = len(next(iter(flat.values())))
    chosen, counts = np.unique(np.arange(number) * size // number, return_counts=True)
    for draw, count in zip(chosen, counts):
        yield {name: value[draw] for name, value in flat.items()}, int(count)


def _as_sequences(
    data: Sequences, emissions: Tensor, designs: Mapping[str, Tensor]
) -> Sequences:
    """The sessions of all samples, sample after sample."""
    copies = len(emissions) // data.num_steps
    whole = data
    if copies > 1:
        whole = data.subset(list(range(data.num_sessions)) * copies)
    changes: dict[str, Any] = {"emissions": emissions, "mask": None}
    for name, values in designs.items():
        changes[name] = values
        changes[f"{name[:-1]}_names"] = getattr(data, f"{name[:-1]}_names")
    return whole.replace(**changes)
