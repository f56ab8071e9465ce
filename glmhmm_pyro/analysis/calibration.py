"""Simulation-based calibration: whether an inference method draws what it should.

Parameters drawn from the prior, behaviour drawn at them, and draws from the posterior
given that behaviour are exchangeable: the rank of the true value among the draws is
uniform (Cook, Gelman & Rubin 2006; Talts et al. 2018, arXiv 1804.06788). A method whose
posterior is too narrow gives ranks at both ends too often.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from glmhmm_pyro.concurrency import exclusively
from glmhmm_pyro.distributions import typed_by_support
from glmhmm_pyro.inference import ConvergenceWarning, fit
from glmhmm_pyro.inference.coordinates import Params
from glmhmm_pyro.inference.fits.batches import at_draws
from glmhmm_pyro.inference.fits.predictive import prior_draws
from glmhmm_pyro.inference.methods import Method, engine_of
from glmhmm_pyro.inference.program import Program
from glmhmm_pyro.inference.renumbering import Renumbering
from glmhmm_pyro.inference.search import seeded
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.sequences import Sequences

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class Calibration:
    """Ranks of the true values among the draws.

    Attributes:
        ranks: from 0 to ``num_draws``, shape (simulations, quantities).
        names: of the quantities.
        num_draws: number of draws that a true value is ranked among.
    """

    ranks: np.ndarray
    names: tuple[str, ...]
    num_draws: int

    def __repr__(self) -> str:
        return (
            f"Calibration of {len(self.names)} quantities by {len(self.ranks)} "
            f"simulations: smallest p value {self.p_values().min():.2g}"
        )

    def p_values(self, num_bins: int = 8) -> "pd.Series":
        """How often uniform ranks would be as uneven, by a chi-square test.

        Args:
            num_bins: number of bins of equal width; it must divide ``num_draws + 1``,
                and five simulations a bin or more make the test trustworthy.
        """
        import pandas as pd
        from scipy.stats import chisquare

        if num_bins < 2 or (self.num_draws + 1) % num_bins:
            raise ValueError(
                f"num_bins must divide the {self.num_draws + 1} possible ranks, got "
                f"{num_bins}"
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


def simulation_based_calibration(
    model: GLMHMM,
    data: Sequences,
    method: str | Method = "nuts",
    *,
    num_simulations: int = 100,
    num_draws: int = 63,
    order_by: Callable[[Params], Tensor] | None = None,
    num_restarts: int = 2,
    seed: int = 0,
    progress: bool = True,
    **options: Any,
) -> Calibration:
    """Simulate from the prior, fit, and rank the true values among the draws.

    What is ranked: every number of the unconstrained coordinates, states in the order
    of ``order_by``, and the log-likelihood of the data, which tells most (Modrák et al.
    2023). A prior that treats the states alike leaves their numbers to chance, so the
    order is made from the values alone, in the truth as in every draw.

    Args:
        model: all its priors proper.
        data: covariates, lengths and mask of the simulated sessions.
        method: one that draws: ``"nuts"``, ``"laplace"``, ``"svi"`` or an object.
        num_simulations: number of data sets.
        num_draws: the truth is ranked among this many draws, taken evenly from those of
            the method.
        order_by: from values of the sites to one number a state, by which states are
            sorted; by default the first number of each state's first emission
            parameter.
        num_restarts: number of starts of every fit.
        seed: makes the simulations reproducible.
        progress: whether to show a progress bar.
        options: fields of the method.

    Raises:
        ValueError: a prior is improper, or the method gives too few draws.

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
    engine = engine_of(method, options)
    program = Program(model, data)
    truths = prior_draws(program, num_simulations, seed)
    quantities = _Quantities(program, order_by or _first_emission_number)
    ranks = []
    for number in tqdm(range(num_simulations), desc="SBC", disable=not progress):
        truth = {name: value[0, number] for name, value in truths.items()}
        simulated = _simulated(program, truth, seed + number)
        with exclusively(), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            found = fit(
                model,
                simulated,
                engine,
                num_restarts=num_restarts,
                seed=seed + number,
                progress=False,
            )
        draws = _thinned(found.posterior, num_draws, number)
        at_truth = quantities({n: v[None] for n, v in truth.items()}, simulated)
        ranks.append((quantities(draws, simulated) < at_truth).sum(0).numpy())
    names = (*program.coordinates.names(), "log_likelihood")
    return Calibration(np.stack(ranks), names, num_draws)


class _Quantities:
    """What is ranked, at several values of the parameters.

    Args:
        program: the model with any data.
        order_by: from values of the sites to one number a state.
    """

    def __init__(self, program: Program, order_by: Callable[[Params], Tensor]):
        self.program, self.order_by = program, order_by
        priors = {n: prior.sample() for n, prior in program.priors.items()}
        self.renumbering = Renumbering(program.model, priors, None)

    def __call__(self, draws: Params, data: Sequences) -> Tensor:
        """Quantities (draws, numbers) of values (draws, *shape) by site."""
        rows = []
        for number in range(len(next(iter(draws.values())))):
            params = {name: value[number] for name, value in draws.items()}
            order = self.order_by(params).argsort()
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


def _thinned(posterior: Any, num_draws: int, number: int) -> Params:
    """Draws (num_draws, *shape) taken evenly from all of a fit."""
    found = 0 if posterior is None else posterior.num_chains * posterior.num_draws
    if found < num_draws:
        raise ValueError(
            f"method must give at least num_draws = {num_draws} draws, got {found} in "
            f"simulation {number}; take a method that draws, or more samples"
        )
    chosen = torch.linspace(0, found - 1, num_draws).round().long()
    return {name: value[chosen] for name, value in posterior.flattened().items()}
