"""Simulation-based calibration: whether an inference method draws what it should.

Parameters drawn from the prior, behaviour drawn at them, and draws from the posterior
given that behaviour are exchangeable: the rank of the true value among the draws is
uniform (Cook, Gelman & Rubin 2006; Talts et al. 2018, arXiv 1804.06788). A method whose
posterior is too narrow gives ranks at both ends too often.
"""

from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.analysis.refits import run_jobs, warn_of_interrupt, whole_fit
from glmhmm_pyro.arguments import (
    seed_number,
    suggests_all_names,
    suggests_names,
    whole_number,
)
from glmhmm_pyro.concurrency import seeded, usual_modes
from glmhmm_pyro.distributions import typed_by_support
from glmhmm_pyro.inference.draws.posterior import Posterior
from glmhmm_pyro.inference.fits.checkpoint import Checkpoint
from glmhmm_pyro.inference.fits.predictive_draws import prior_draws
from glmhmm_pyro.inference.methods import Method, engine_of
from glmhmm_pyro.inference.program.batches import at_draws
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.program.refusals import check_is_model
from glmhmm_pyro.inference.program.renumbering import Renumbering
from glmhmm_pyro.inference.program.symmetry import symmetry_of
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.sequences import Sequences

if TYPE_CHECKING:
    import pandas as pd


@suggests_all_names
@dataclass(frozen=True, repr=False)
class Calibration:
    """Ranks of the true values among the draws.

    Attributes:
        ranks: from 0 to ``num_draws``, shape (simulations, quantities).
        names: of the quantities.
        num_draws: number of draws that a true value is ranked among.
        complete: whether there are as many simulations as were asked for; an interrupt
            leaves fewer.

    Example:
        >>> import glmhmm_pyro as gh
        >>> from torch.distributions import Normal
        >>> data = gh.Sequences([0] * 20, [[1.0]] * 20)
        >>> model = gh.GLMHMM(1, gh.Bernoulli(prior=Normal(0.0, 1.0)))
        >>> options = {"num_simulations": 2, "num_draws": 3, "progress": False}
        >>> found = gh.analysis.simulation_based_calibration(
        ...     model, data, "laplace", **options
        ... )
        >>> found.ranks.shape
        (2, 2)
    """

    ranks: np.ndarray
    names: tuple[str, ...]
    num_draws: int
    complete: bool = True

    def __repr__(self) -> str:
        return (
            f"Calibration of {len(self.names)} quantities by {len(self.ranks)} "
            f"simulations: smallest p value {self.p_values().min():.2g}"
        )

    def p_values(self, num_bins: int | None = None) -> "pd.Series":
        """How often uniform ranks would be as uneven, by a chi-square test.

        Args:
            num_bins: number of bins of equal width; it must divide ``num_draws + 1``,
                and five simulations a bin or more make the test trustworthy. By default
                8, or the next larger number that does.
        """
        import pandas as pd
        from scipy.stats import chisquare

        if num_bins is None:
            ranks = self.num_draws + 1
            num_bins = next((n for n in range(8, ranks) if ranks % n == 0), ranks)
        num_bins = whole_number("num_bins", num_bins, 2)
        if (self.num_draws + 1) % num_bins:
            raise ValueError(
                f"num_bins must divide the {self.num_draws + 1} possible ranks, got "
                f"{num_bins}; take another number of bins"
            )
        bins = self.ranks * num_bins // (self.num_draws + 1)
        counts = np.stack([np.bincount(b, minlength=num_bins) for b in bins.T])
        values = chisquare(counts, axis=1).pvalue
        return pd.Series(values, index=list(self.names), name="p_value")

    def spread(self) -> "pd.Series":
        """Standard deviation of the ranks over that of uniform ones, by quantity.

        Above 1 where the draws are too narrow (the true value is often beyond all of
        them), below 1 where they are too wide.
        """
        import pandas as pd

        uniform = np.sqrt(((self.num_draws + 1) ** 2 - 1) / 12)
        centred = self.ranks - self.num_draws / 2
        values = np.sqrt((centred**2).mean(0)) / uniform
        return pd.Series(values, index=list(self.names), name="spread")


@suggests_names
@usual_modes()
def simulation_based_calibration(
    model: GLMHMM,
    data: Sequences,
    method: str | Method = "nuts",
    *,
    num_simulations: int = 100,
    num_draws: int = 63,
    order_by: Callable[[Params], Tensor] | None = None,
    num_restarts: int = 2,
    num_jobs: int = 1,
    checkpoint: str | PathLike | None = None,
    seed: int = 0,
    progress: bool = True,
    **options: Any,
) -> Calibration:
    """Simulate from the prior, fit, and rank the true values among the draws.

    What is ranked: every number of the unconstrained coordinates, states in the order
    of ``order_by``, and the log-likelihood of the data, which tells most (Modrák et al.
    2023). A prior that treats the states alike leaves their numbers to chance, so the
    order is made from the values alone, in the truth as in every draw. States that the
    prior tells apart keep their numbers, which are part of what is to be calibrated. An
    interrupt ends the call with the simulations that are done.

    Args:
        model: all its priors proper.
        data: covariates, lengths and mask of the simulated sessions.
        method: one that draws: ``"nuts"``, ``"laplace"``, ``"svi"`` or an object.
        num_simulations: number of data sets.
        num_draws: the truth is ranked among this many draws, taken evenly from those of
            the method.
        order_by: from values of the sites to one number a state, by which states are
            sorted; by default the first number of each state's first emission
            parameter. They are sorted as far as that leaves the prior unchanged.
        num_restarts: number of starts of every fit.
        num_jobs: number of processes, -1 for all cores.
        checkpoint: path of a file that keeps the ranks as they are found. The same call
            goes on from it after it was interrupted or killed.
        seed: makes the simulations reproducible.
        progress: whether to show a progress bar.
        options: fields of the method.

    Raises:
        ValueError: a prior is improper, or the method gives too few draws.

    Warns:
        ConvergenceWarning: an interrupt left fewer simulations.

    Example:
        >>> import glmhmm_pyro as gh
        >>> from torch.distributions import Normal
        >>> data = gh.Sequences([0] * 20, [[1.0]] * 20)
        >>> model = gh.GLMHMM(1, gh.Bernoulli(prior=Normal(0.0, 1.0)))
        >>> found = simulation_based_calibration(
        ...     model, data, "laplace", num_simulations=3, num_draws=7, progress=False
        ... )
        >>> found.ranks.shape, found.names
        ((3, 2), ('emissions.weights[0, 0]', 'log_likelihood'))
    """
    num_simulations = whole_number("num_simulations", num_simulations, 1)
    num_draws, seed = whole_number("num_draws", num_draws, 1), seed_number(seed)
    check_is_model(model, data)
    engine = engine_of(method, options)
    program = Program.of(model, data)
    simulations = _Simulations(
        model,
        data,
        engine,
        prior_draws(program, num_simulations, seed),
        order_by or _first_emission_number,
        num_draws,
        num_restarts,
        seed,
    )
    jobs = [(number,) for number in range(num_simulations)]
    kept = None
    if checkpoint is not None:
        name = "simulation_based_calibration"
        kept = Checkpoint(checkpoint, name, simulations.key)
    ranks = run_jobs(simulations.ranks, jobs, num_jobs, "SBC", progress, kept)
    complete = warn_of_interrupt("simulations", len(ranks), num_simulations)
    names = (*program.coordinates.names(), "log_likelihood")
    return Calibration(np.stack(list(ranks.values())), names, num_draws, complete)


class _Simulations(NamedTuple):
    """What every simulation is made of."""

    model: GLMHMM
    data: Sequences
    engine: Method
    truths: Params
    order_by: Callable[[Params], Tensor]
    num_draws: int
    num_restarts: int
    seed: int

    @property
    def key(self) -> dict[str, Any]:
        """What ranks follow from, for a checkpoint."""
        return {"model": self.model, "data": self.data, "options": list(self[2:])}

    def ranks(self, number: int) -> np.ndarray:
        """Ranks of all quantities in one simulation."""
        program = Program.of(self.model, self.data)
        truth = {name: value[0, number] for name, value in self.truths.items()}
        quantities = _Quantities(program, truth, self.order_by)
        simulated = _simulated(program, truth, self.seed + number)
        found = whole_fit(
            self.model,
            simulated,
            self.engine,
            num_restarts=self.num_restarts,
            seed=self.seed + number,
            progress=False,
        )
        draws = _thinned(found.posterior, self.num_draws, number)
        at_truth = quantities({n: v[None] for n, v in truth.items()}, simulated)
        ranks: Tensor = (quantities(draws, simulated) < at_truth).sum(0)
        return ranks.numpy()


class _Quantities:
    """What is ranked, at several values of the parameters.

    Args:
        program: the model with any data.
        params: values of the sites with a finite density.
        order_by: from values of the sites to one number a state.
    """

    def __init__(
        self,
        program: Program,
        params: Params,
        order_by: Callable[[Params], Tensor],
    ):
        self.program, self.order_by = program, order_by
        self.renumbering = Renumbering(program.model, params, None)
        states = len(order_by(params))
        self.symmetry = symmetry_of(program, params, self.renumbering, states)

    def __call__(self, draws: Params, data: Sequences) -> Tensor:
        """Quantities (draws, numbers) of values (draws, *shape) by site."""
        rows = []
        for number in range(len(next(iter(draws.values())))):
            params = {name: value[number] for name, value in draws.items()}
            order = self.symmetry.sorted_order(self.order_by(params))
            rows.append(self.program.coordinates.pack(self.renumbering(params, order)))
        likelihoods = at_draws(
            self.program.model,
            data,
            draws,
            lambda s: s.hidden.log_prob_per_session(s.value),
        )
        return torch.cat([torch.stack(rows), likelihoods.sum(-1, keepdim=True)], -1)


def _first_emission_number(params: Params) -> Tensor:
    """The first number of every state's first emission parameter."""
    name = next(name for name in params if name.startswith("emissions."))
    return params[name].flatten(1)[:, 0]


def _simulated(program: Program, params: Params, seed: int) -> Sequences:
    """The data with emissions drawn at these values, masked where the data are."""
    data: Sequences = program.data
    ((hidden, _),) = program.observed(params).values()
    with seeded(seed), torch.no_grad():
        emissions = hidden.sample_with_states()[0]
    emissions = typed_by_support(emissions, hidden.emission_dist)
    return data.replace(emissions=emissions, mask=data.mask)


def _thinned(posterior: Posterior | None, num_draws: int, number: int) -> Params:
    """Draws (num_draws, *shape) taken evenly from all of a fit."""
    found = 0 if posterior is None else posterior.num_chains * posterior.num_draws
    if posterior is None or found < num_draws:
        raise ValueError(
            f"method must give at least num_draws = {num_draws} draws, got {found} in "
            f"simulation {number}; take a method that draws, or more samples"
        )
    chosen = torch.linspace(0, found - 1, num_draws).round().long()
    return {name: value[chosen] for name, value in posterior.flattened().items()}
