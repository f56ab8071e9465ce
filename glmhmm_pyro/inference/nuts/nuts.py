"""NUTS: draws from the posterior, by the No-U-Turn sampler.

What is sampled is the density of the unconstrained vector, states summed out, the
volume of the transform included (Hoffman & Gelman 2014, JMLR 15, 1593). The sampler
moves in coordinates whitened at the mode.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from tempfile import TemporaryDirectory
from typing import ClassVar

import numpy as np
import torch
from tqdm import tqdm

from glmhmm_pyro.arguments import keep_flags, keep_real, keep_whole, suggests_names
from glmhmm_pyro.inference.draws.alignment import (
    AS_DRAWN,
    best_order,
    number_draws,
    renumber_draws,
    renumbers,
    state_probs,
)
from glmhmm_pyro.inference.draws.diagnostics import diagnose, free_draws
from glmhmm_pyro.inference.draws.estimate import MEAN, Estimate, point_estimate
from glmhmm_pyro.inference.draws.posterior import Posterior
from glmhmm_pyro.inference.mode.map import MAP
from glmhmm_pyro.inference.nuts.beginning import (
    UNIT_SCALE,
    Begun,
    chain_starts,
    modes_visited,
    separate_modes_warning,
)
from glmhmm_pyro.inference.nuts.chains import (
    INTERRUPTED,
    Board,
    Chains,
    error_sentence,
    num_workers,
    run_chains,
    seconds_per_gradient,
    single_threaded,
)
from glmhmm_pyro.inference.nuts.sampler import Settings
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.program.renumbering import Renumbering
from glmhmm_pyro.inference.program.symmetry import possible_orders
from glmhmm_pyro.inference.search.runs import Findings
from glmhmm_pyro.inference.search.search import Search
from glmhmm_pyro.inference.status import Status

_log = logging.getLogger(__name__)

# R-hat and effective draws of a chain beyond which chains are said to have mixed
# (Vehtari et al. 2021).
_R_HAT, _EFFECTIVE = 1.01, 100

# Gradients of a draw, few and many, in coordinates that are whitened or are not. (The
# rat's first 40, 8 and 2 days took 8 to 12, 10 to 12 and 33 to 48 whitened ones, and a
# tree takes about a third of the time of its gradients besides.)
_TREES = {True: (7, 63), False: (15, 255)}

# Seconds of sampling from which processes are worth the seconds they take to start.
_WORTH_PROCESSES = 20.0

# What may go wrong once chains have drawn becomes a note beside the draws.
_KEEPING_DRAWS = (Exception, KeyboardInterrupt)


@suggests_names
@dataclass(frozen=True)
class NUTS:
    """Hamiltonian Monte Carlo with the No-U-Turn rule, from the modes of MAP on.

    Chains begin in turn around the distinct modes of comparable mass that the search
    has found, or climbs from the priors' centre and from a draw of theirs, each
    whitened by its own curvature. Where they stay in different ones,
    the status is ``NOT_MIXED`` and a note says that the share of each mode among the
    draws is arbitrary.

    The draws of one seed are the same in parallel and in sequence.

    Chains may number the states differently. Every draw is renumbered to agree with the
    mode, by a renumbering that leaves log-likelihood and log prior unchanged, so that
    draws stay draws from the posterior. Priors that tell states apart, by means of
    their own or as contrasts with a reference state, allow some or none of these: the
    draws keep the numbers that the chains gave them, a note says of how many draws the
    states are others by what they do, and :meth:`Fit.aligned` numbers them by that.

    By ``benchmarks/calibration.py`` (60 simulations of 60 choices, two states) the
    ranks of parameters spread 0.92 to 1.17 times as much as they should, with Monte
    Carlo errors of 0.06; the least p value of 8 is 0.03.

    Args:
        num_samples: draws of each chain.
        num_warmup: draws of each chain before, which adapt the sampler and are left
            out.
        num_chains: number of chains.
        target_accept: mean probability of acceptance that the step size is adapted to;
            a larger one takes smaller steps and has fewer divergences.
        max_tree_depth: a draw takes at most 2 to this power gradients.
        parallel: whether every chain runs in a process of its own; ``None`` for yes
            if the time expected is worth it.
        dense_mass: whether a full mass matrix is adapted, on top of the whitening.
        state_axes: for a model of the user's own, the axes along which hidden states
            stand, by site, e.g. ``{"weights": (0,), "stay": (-2, -1)}``. Sites not
            named do not depend on the numbers of states. Without it draws are not
            renumbered.

    Example:
        >>> method = NUTS(num_samples=500, target_accept=0.9, parallel=False)
        >>> method.num_chains, method.num_warmup
        (4, 500)
    """

    num_samples: int = 1000
    num_warmup: int = 500
    num_chains: int = 4
    target_accept: float = 0.8
    max_tree_depth: int = 10
    parallel: bool | None = None
    dense_mass: bool = False
    state_axes: Mapping[str, Sequence[int]] | None = None

    name: ClassVar[str] = "nuts"
    in_own_units: ClassVar[bool] = True

    def __post_init__(self) -> None:
        keep_whole(self, num_samples=1, num_warmup=0, num_chains=1, max_tree_depth=1)
        keep_real(self, target_accept=(0.0, 1.0, False))
        keep_flags(self, "dense_mass")
        if self.parallel is not None:
            keep_flags(self, "parallel")
        if not isinstance(self.state_axes, Mapping | None):
            raise ValueError(
                "state_axes must name the axes of sites, got "
                f"{self.state_axes!r:.80}; give a mapping such as {{'weights': [0]}}"
            )

    def fit(self, program: Program, search: Search) -> Findings:
        """Draws from the posterior, around the best mode that a search leads to."""
        program.check_finite(search.starts(program)[0])
        mode = MAP().fit(program, search)
        if mode.status is Status.INTERRUPTED:
            return mode
        renumbering = Renumbering(program.model, mode.params, self.state_axes)
        generator = torch.Generator().manual_seed(search.seed)
        arguments = (program, mode, search, self.num_chains, renumbering, generator)
        begun = chain_starts(*arguments)
        drawn = self._drawn(begun, search.progress, generator)
        if not drawn.numbers:
            return self._without_draws(mode, drawn)
        return self._finished(program, mode, begun, drawn, renumbering, search.progress)

    def _drawn(
        self, begun: Begun, progress: bool, generator: torch.Generator
    ) -> Chains:
        """All chains, with the time they may take said before."""
        seeds = torch.randint(2**62, (self.num_chains,), generator=generator).tolist()
        settings = Settings(
            self.num_samples,
            self.num_warmup,
            self.target_accept,
            self.max_tree_depth,
            self.dense_mass,
        )
        total = settings.num_iterations * self.num_chains
        seconds = seconds_per_gradient(begun.potentials[0], begun.points[0]) * total
        few, many = (seconds * size for size in _TREES[begun.is_whitened])
        parallel, workers = self.parallel, num_workers(self.num_chains)
        if parallel is None:
            parallel = workers > 1 and few > _WORTH_PROCESSES
        shares = -(-self.num_chains // workers) / self.num_chains if parallel else 1.0
        expected = f"{_duration(few * shares)} to {_duration(many * shares)} expected"
        _log.info("NUTS: %d draws in all, %s", total, expected)
        with (
            TemporaryDirectory(ignore_cleanup_errors=True) as folder,
            tqdm(
                total=total,
                desc=f"NUTS ({expected})",
                unit="draw",
                disable=not progress,
            ) as bar,
        ):
            return run_chains(
                settings,
                begun.potentials,
                begun.points,
                seeds,
                parallel,
                Board(folder),
                bar,
            )

    def _without_draws(self, mode: Findings, drawn: Chains) -> Findings:
        """The MAP fit, which is all there is after an early end."""
        errors = [end for end in drawn.ends if end not in ("", INTERRUPTED)]
        if errors:
            raise RuntimeError(f"no chain of NUTS came to draw anything: {errors[0]}")
        return replace(mode, status=Status.CUT_SHORT, method=self.name)

    def _finished(
        self,
        program: Program,
        mode: Findings,
        begun: Begun,
        drawn: Chains,
        renumbering: Renumbering,
        bar: bool,
    ) -> Findings:
        """The draws in values of the sites, numbered alike, with what is to be said."""
        whitenings = [begun.potentials[number].whitening for number in drawn.numbers]
        pairs = [*zip(whitenings, drawn.vectors)]
        vectors = torch.stack([whitening(chain) for whitening, chain in pairs])
        grown = torch.stack([whitening.growth(chain) for whitening, chain in pairs])
        draws, gain = program.coordinates.unpack_with_jacobian(vectors)
        stats = dict(drawn.stats)
        stats["log_joint"] = -stats.pop("potential") - (gain + grown).numpy()
        said = [] if begun.is_whitened else [UNIT_SCALE]
        posterior, unaligned = _renumbered_draws(
            program, mode, Posterior(draws, stats), renumbering, bar
        )
        posterior, several = _mode_labels(program, begun, drawn, posterior, renumbering)
        status, problems = self._judged(program, drawn, posterior.draws, several)
        point = _point_of_draws(program, posterior)
        posterior = _labels_as_at(program, mode, point.params, posterior)
        return mode.at(
            point,
            status=status,
            method=self.name,
            posterior=posterior,
            notes=(*problems, *said, *unaligned),
        )

    def _judged(
        self, program: Program, drawn: Chains, draws: Params, several: list[str]
    ) -> tuple[Status, list[str]]:
        """The gravest of what is wrong, and sentences about all of it."""
        found = _unfinished_chains(drawn) + _stuck_chains(drawn)
        diverged = int(drawn.stats["diverging"].sum())
        if diverged:
            total = drawn.stats["diverging"].size
            found.append((Status.DIVERGED, f"{diverged} of {total} draws diverged"))
        found += [(Status.NOT_MIXED, sentence) for sentence in several]
        found += _mixing_problems(free_draws(draws, program.priors))
        if program.improper:
            flat = f"flat is the prior of {', '.join(program.improper)}"
            found.append((Status.IMPROPER, flat))
        status = found[0][0] if found else Status.SAMPLED
        return status, [sentence for _, sentence in found]


def _unfinished_chains(drawn: Chains) -> list[tuple[Status, str]]:
    """Chains that did not come to their end."""
    found = []
    cut = sum(end == INTERRUPTED for end in drawn.ends)
    kept = f"{len(drawn.numbers)} of {len(drawn.ends)} chains are kept"
    if cut:
        found.append((Status.CUT_SHORT, f"{kept}, {drawn.vectors.shape[1]} draws each"))
    for number, end in enumerate(drawn.ends):
        if end not in ("", INTERRUPTED):
            found.append((Status.FAILED, f"chain {number} ended with {end}; {kept}"))
    return found


def _stuck_chains(drawn: Chains) -> list[tuple[Status, str]]:
    """Chains that stayed where they were."""
    moves = (drawn.vectors != drawn.vectors[:, :1]).any(-1).any(-1)
    return [
        (
            Status.STUCK,
            f"chain {drawn.numbers[i]} accepted none of its draws (step size "
            f"{drawn.stats['step_size'][i, -1]:.3g})",
        )
        for i in (~moves).nonzero().flatten().tolist()
        if drawn.vectors.shape[1] > 1
    ]


def _point_of_draws(program: Program, posterior: Posterior) -> Estimate:
    """What stands for the draws; their mean, with NaN, where the model fails."""
    try:
        return point_estimate(program, posterior)
    except _KEEPING_DRAWS as error:
        ended = f"the log-likelihood at their mean ended with {error_sentence(error)}"
        return Estimate(posterior.mean(), math.nan, math.nan, MEAN, (ended,))


def _mode_labels(
    program: Program,
    begun: Begun,
    drawn: Chains,
    posterior: Posterior,
    renumbering: Renumbering,
) -> tuple[Posterior, list[str]]:
    """Draws with the number of their mode, and what several modes give to say."""
    if len(begun.modes) < 2:
        return posterior, []
    said = []
    if len(begun.potentials) < len(begun.modes):
        said.append(
            f"there are {len(begun.modes)} modes of comparable mass, and chains "
            f"began around {len(begun.potentials)} of them; take more num_chains"
        )
    try:
        with single_threaded():
            where = modes_visited(program, begun.modes, posterior.draws, renumbering)
    except _KEEPING_DRAWS as error:
        return posterior, [
            *said,
            f"telling modes apart ended with {error_sentence(error)}",
        ]
    sentence = separate_modes_warning(begun.modes, where, drawn.numbers)
    stats = {**posterior.stats, "mode": where.numpy()}
    return replace(posterior, stats=stats), said + ([sentence] if sentence else [])


def _labels_as_at(
    program: Program, mode: Findings, params: Params, posterior: Posterior
) -> Posterior:
    """Labels that number the states of every draw as at ``params``."""
    labels = posterior.by_label
    if labels is None:
        return posterior
    try:
        before, now = (
            state_probs(program.model, program.data, point)
            for point in (mode.params, params)
        )
    except _KEEPING_DRAWS:
        return posterior
    possible = possible_orders(program.model, labels.shape[-1])
    labels = labels[..., best_order(before, now, possible).argsort()]
    return replace(posterior, by_label=labels if renumbers(labels).any() else None)


def _mixing_problems(draws: Params) -> list[tuple[Status, str]]:
    """The worst R-hat and effective sample size, where they are not good enough."""
    try:
        table = diagnose(draws)
    except _KEEPING_DRAWS as error:
        return [
            (Status.UNCHECKED, f"their diagnostics ended with {error_sentence(error)}")
        ]
    found = []
    chains = next(iter(draws.values())).shape[0]
    if table["r_hat"].max() > _R_HAT:
        worst = table["r_hat"].idxmax()
        found.append(f"R-hat of {worst} is {table['r_hat'].max():.3f}")
    # Where draws are too few to tell, they are too few.
    least = table["ess_bulk"].fillna(0.0 if len(table) else np.inf).min()
    if least < _EFFECTIVE * chains:
        worst = table["ess_bulk"].fillna(0.0).idxmin()
        found.append(f"{worst} has {least:.0f} effective draws")
    return [(Status.NOT_MIXED, sentence) for sentence in found]


def _renumbered_draws(
    program: Program,
    mode: Findings,
    posterior: Posterior,
    renumbering: Renumbering,
    bar: bool,
) -> tuple[Posterior, tuple[str, ...]]:
    """Draws numbered as the mode where priors allow it, and what is to be said."""
    try:
        with single_threaded():
            sites = program.observed(mode.params).values()
            sizes = {site.hidden.num_states for site in sites}
            if len(sizes) > 1:
                return posterior, (f"{AS_DRAWN}sites have {sorted(sizes)} states",)
            if sizes == {1}:
                return posterior, ()
            arguments = (program, mode.params, posterior.draws, renumbering)
            numbering = number_draws(*arguments, bar)
            draws = renumber_draws(posterior.draws, numbering.within, renumbering)
    except _KEEPING_DRAWS as error:
        return posterior, (
            f"{AS_DRAWN}their alignment ended with {error_sentence(error)}",
        )
    numbered = replace(
        posterior,
        draws=draws,
        num_relabelled=numbering.num_relabelled,
        by_label=numbering.by_label,
    )
    return numbered, numbering.notes


def _duration(seconds: float) -> str:
    """A length of time in words."""
    if seconds < 100:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
