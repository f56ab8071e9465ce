"""Fit: what every inference method returns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.arguments import seed_number, suggests_all_names, whole_number
from glmhmm_pyro.concurrency import usual_modes
from glmhmm_pyro.distributions import HiddenMarkov
from glmhmm_pyro.inference.fits import tables
from glmhmm_pyro.inference.fits.closed_loop import History
from glmhmm_pyro.inference.fits.ends import Ends
from glmhmm_pyro.inference.fits.errors import Errors
from glmhmm_pyro.inference.fits.export import fit_to_arviz
from glmhmm_pyro.inference.fits.labels import Labels
from glmhmm_pyro.inference.fits.posterior import Posterior
from glmhmm_pyro.inference.fits.prediction import (
    decoded,
    predicted,
    sampled_states,
    score,
)
from glmhmm_pyro.inference.fits.renumbered import aligned_fit, permuted_fit
from glmhmm_pyro.inference.fits.simulation import simulated
from glmhmm_pyro.inference.fits.storage import read_fit, write_fit
from glmhmm_pyro.inference.nuts.diagnostics import diagnose
from glmhmm_pyro.inference.program import Observed, Program
from glmhmm_pyro.inference.runs import Restart, Solution
from glmhmm_pyro.inference.status import Status
from glmhmm_pyro.sequences import Sequences

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


@suggests_all_names
@dataclass(frozen=True, repr=False)
class Fit(Ends, Errors):
    """A fitted model.

    Attributes:
        model: the model, bound to the data.
        params: values of the sites by name, reference rows left out. Where there is a
            posterior they are the mean of the draws; or the draw of the highest
            log-joint, as a note says, where the data are less probable at the mean than
            on average over the draws, as products of sites or several modes make it.
        log_likelihood: marginal log-likelihood of the emissions at ``params``, nats.
        log_joint: log-likelihood plus log prior density.
        status: how the fit ended.
        restarts: all starts, in their order; ``best`` is the number of the one kept.
        labels: names that the data gave to sessions, classes and covariates.
        method: name of the inference method.
        weights: parameters at every iteration of the best start, if they were kept.
        unbounded: sentences about weights without a finite maximum.
        num_parameters: number of free parameters, reference rows and sums to 1 left
            out.
        posterior: draws of the parameters, from methods that have any.
        notes: further sentences on how the fit ended.
        solutions: the distinct solutions that the starts led to, best first; told apart
            by the states that they decode.
        rounds_without_gain: rounds of kicks since the best solution was found.
    """

    model: Any
    params: dict[str, Tensor]
    log_likelihood: float
    log_joint: float
    status: Status
    restarts: tuple[Restart, ...]
    best: int
    labels: Labels
    method: str = "em"
    weights: tuple[dict[str, Tensor], ...] = ()
    unbounded: tuple[str, ...] = ()
    num_parameters: int = 0
    posterior: Posterior | None = None
    notes: tuple[str, ...] = ()
    solutions: tuple[Solution, ...] = ()
    rounds_without_gain: int = 0

    def __repr__(self) -> str:
        return tables.sentence(self)

    @property
    def draws(self) -> dict[str, Tensor]:
        """Values (chains, draws, *shape) by site, reference rows left out.

        A fit without a posterior has one chain of one draw, the estimate.
        """
        if self.posterior is not None:
            return self.posterior.draws
        return {name: value[None, None] for name, value in self.params.items()}

    @property
    def log_likelihood_per_step(self) -> float:
        """Log-likelihood over the number of observed steps, nats."""
        return self.log_likelihood / max(self.labels.num_observed, 1)

    def diagnostics(self) -> "pd.DataFrame":
        """Mean, sd, R-hat and effective sample sizes of every number of the draws."""
        if self.posterior is None:
            raise ValueError(
                f"fit must have draws to be diagnosed, got one by {self.method}; fit "
                'by method="nuts"'
            )
        return diagnose(self.posterior.draws)

    def permuted(
        self,
        order: Sequence[int] | Tensor,
        state_axes: Mapping[str, Sequence[int]] | None = None,
    ) -> "Fit":
        """The fit with its states renumbered: parameters, their history, the draws.

        The likelihood stays as it is. A prior that tells states apart gives the new
        numbers another density: ``log_joint``, the fit's and that of every draw, is
        that of the new numbers, and the draws are a view of the posterior, not draws
        from it. A model of the user's own needs data to tell its prior: there
        ``log_joint`` is left as it was.

        Args:
            order: state k is what was number ``order[k]``, shape (states,).
            state_axes: see :class:`NUTS`; for sites of a model of the user's own.
        """
        permuted: Fit = permuted_fit(self, order, state_axes)
        return permuted

    @usual_modes()
    def aligned(
        self,
        reference: "Fit | Tensor | np.ndarray",
        data: Any,
        state_axes: Mapping[str, Sequence[int]] | None = None,
    ) -> "Fit":
        """The fit with its states numbered as a reference numbers them.

        States are matched by what they do: by the assignment under which their
        probabilities at ``params`` agree best with the reference. Where a prior tells
        states apart, draws are first numbered alike, each by what its states do in the
        data fitted (see :class:`NUTS`). Such draws are a view by label, not draws from
        the posterior; ``log_joint`` is that of their new numbers.

        Args:
            reference: another fit, or probabilities of the states (steps, states).
            data: on which probabilities of the states are compared.
            state_axes: see :class:`NUTS`; for sites of a model of the user's own.
        """
        aligned: Fit = aligned_fit(self, reference, data, state_axes)
        return aligned

    @usual_modes()
    def distribution(self, data: Any, site: str | None = None) -> HiddenMarkov:
        """The distribution of the emissions of ``data`` at ``params``.

        Args:
            data: as the model takes it.
            site: name of the ``HiddenMarkov`` site, where a model has several.
        """
        return self._observed(data, site).hidden

    def _observed(self, data: Any, site: str | None) -> Observed:
        sites = self._sites(data)
        return sites[_checked_site(sites, site)]

    def _sites(self, data: Any) -> dict[str, Observed]:
        with torch.no_grad():
            kind = Program.kind_of(self.model)
            return kind.observed_sites(self.model, self.as_fitted(data), self.params)

    @usual_modes()
    def decode(
        self, data: Any, site: str | None = None, *, num_draws: int | None = None
    ) -> "xr.Dataset":
        r"""Probabilities of the states at every step, and their most probable path.

        A fit with draws averages over them. ``smoothed_probs`` are the mean of p(z_t |
        y, θ) over the draws, which is p(z_t | y) where ``data`` are those fitted. What
        looks ahead, ``filtered_probs``, ``predicted_probs`` and ``log_prob_per_step``,
        is a mixture in which a draw counts by how probable it makes the emissions that
        the session has had before,

        .. math:: p(y_t \mid y_{<t}) = \sum_d w_{td} \, p(y_t \mid y_{<t}, \theta_d),
            \quad w_{td} \propto p(y_{<t} \mid \theta_d),

        so that it sums to the marginal :meth:`score`. The path is that at ``params``.
        States are numbered as at ``params``, in every draw by what they do. Attributes
        called ``parameters`` say so of every variable.

        Args:
            data: as the model takes it.
            site: name of the ``HiddenMarkov`` site, where a model has several.
            num_draws: draws to average over, evenly spaced; all by default.

        Returns:
            Variables ``filtered_probs`` p(z_t | y_0..t), ``predicted_probs``
            p(z_t | y_0..t-1), ``smoothed_probs`` p(z_t | y) (step, state),
            ``viterbi_states`` and ``log_prob_per_step`` (step); coordinates ``session``
            and ``state``.
        """
        data = self.as_fitted(data)
        return decoded(self, data, _checked_site(self._sites(data), site), num_draws)

    @usual_modes()
    def sample_states(
        self, data: Any, num_samples: int = 1, seed: int = 0, site: str | None = None
    ) -> np.ndarray:
        """Paths of states drawn from p(z | y), shape (num_samples, steps).

        Of a fit with draws every path is at a draw of its own, taken at random; states
        are numbered as in :meth:`decode`.
        """
        num_samples = whole_number("num_samples", num_samples, 1)
        seed = seed_number(seed)
        data = self.as_fitted(data)
        site = _checked_site(self._sites(data), site)
        return sampled_states(self, data, site, num_samples, seed)

    @usual_modes()
    def predict(
        self,
        data: Any,
        site: str | None = None,
        *,
        steps_ahead: int = 1,
        num_draws: int | None = None,
    ) -> Any:
        r"""Prediction of every emission from those k or more steps earlier.

        .. math:: p(y_t \mid y_{0..t-k}) = \sum_{ij} p(z_{t-k} = i \mid y_{0..t-k})
            \, (A_{t-k+1} \cdots A_t)_{ij} \, p(y_t \mid z_t = j)

        The first k steps of a session are predicted from its start alone. Covariates of
        all steps up to t are read as they stand, those made from the emissions between
        t - k and t too; :meth:`simulate` with ``history`` draws these anew.

        A fit with draws gives the mixture of the predictions at all of them, a draw
        weighted by p(y_0..t-k of the session | θ), as in :meth:`decode`.

        Args:
            data: as the model takes it.
            site: name of the ``HiddenMarkov`` site, where a model has several.
            steps_ahead: k; 1 is the one-step prediction.
            num_draws: draws to average over, evenly spaced; all by default.

        Returns:
            p(y_t = c | y_0..t-k) (step, class) for labels; for other families the
            expected emission (step, ...). Of several outputs a data set, with an array
            for each by its name.
        """
        data = self.as_fitted(data)
        site = _checked_site(self._sites(data), site)
        return predicted(self, data, site, steps_ahead, num_draws)

    @usual_modes()
    def simulate(
        self,
        data: Sequences,
        seed: int = 0,
        *,
        history: "History | Sequence[History] | None" = None,
        num_samples: int | None = None,
        draws: bool = False,
    ) -> tuple[Sequences, np.ndarray]:
        """Emissions and states drawn at the covariates of ``data``.

        Open loop, without ``history``, columns that were made from the animal's past
        emissions stay as they are. With it the loop is closed: they are made anew from
        the emissions drawn before, for emissions and transitions alike.

        Args:
            data: the sessions; of the emissions only the names count.
            seed: makes the simulation reproducible.
            history: a fitted ``gh.covariates.Design``, or its ``history(df)`` where a
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
        """
        return simulated(self, self.as_fitted(data), seed, history, num_samples, draws)

    @usual_modes()
    def score(self, data: Any, marginal: bool | None = None) -> float:
        r"""Log-likelihood of ``data`` per observed step, nats.

        Of a fit with draws it integrates over the posterior, session by session, and so
        pays for what the fit is not sure of:

        .. math:: \sum_s \log \frac{1}{D} \sum_{d=1}^D p(y_s \mid \theta_d)

        Args:
            data: as the model takes it, with an observed step.
            marginal: whether to average the likelihood of every session over
                :attr:`draws`; ``None`` for where there are any. ``False`` takes the
                likelihood at ``params``, which is no prediction of such a fit.
        """
        data = self.as_fitted(data)
        return score(self, data, self._sites(data), marginal)

    @usual_modes()
    def to_arviz(
        self,
        data: Any,
        groups: Sequence[str] | None = None,
        *,
        num_draws: int | None = None,
        num_prior_draws: int = 500,
        seed: int = 0,
    ) -> Any:
        """The fit in the form that ArviZ reads, names on every axis.

        - ``posterior``: all parameters, reference rows in place. A fit without draws
          gives one chain of one draw, its estimate.
        - ``sample_stats``: what the method knows of a draw; ``lp`` is its log-joint.
        - ``log_likelihood``: ``per_step``, log p(y_t | earlier y of the session), and
          its sums ``per_session``, the independent units of
          ``az.loo(..., var_name="per_session")``.
        - ``posterior_predictive``, ``prior``, ``prior_predictive``: emissions drawn
          anew at each draw along states drawn from each session's start; draws of the
          priors, if all are proper, and emissions at these.
        - ``observed_data`` (NaN: not observed), ``constant_data``: the covariates.

        An axis whose coordinates differ from those of an axis of the same name gets the
        component's name, as in ``transition_covariate``. Per draw and step,
        ``log_likelihood`` and ``posterior_predictive`` take 8 bytes each.

        Args:
            data: as the model takes it.
            groups: names of the groups wanted; all that there are by default.
            num_draws: draws to keep of each chain, evenly spaced; all by default.
            num_prior_draws: draws from the prior.
            seed: makes the draws of emissions and from the prior reproducible.

        Returns:
            An ``InferenceData``; with arviz 1.0 or newer an ``xarray.DataTree``.

        Raises:
            ValueError: ``groups`` asks for the prior, but a site's prior is flat.
        """
        data = self.as_fitted(data)
        return fit_to_arviz(self, data, groups, num_draws, num_prior_draws, seed)

    def save(self, path: str | PathLike) -> None:
        """Write an open file (netCDF 4), which :func:`glmhmm_pyro.load` reads.

        It is written whole or not at all: where saving fails (``OSError``) or is
        killed, a file that stood there before stays as it was.
        """
        write_fit(path, self)

    @classmethod
    def load(cls, path: str | PathLike, model: Any = None) -> "Fit":
        """Read what :meth:`save` wrote; nothing in the file is executed.

        Args:
            path: the file.
            model: the model that was fitted, needed only if it has components or priors
                of the user's own, or is the user's own.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is damaged, of another program or of a newer format, or
                ``model`` is not the model that was fitted.
        """
        return cls(**read_fit(path, model))


def _checked_site(sites: Mapping[str, Observed], site: str | None) -> str:
    """The name of the site asked for, or of the only one."""
    if site is None and len(sites) == 1:
        return next(iter(sites))
    if site is None or site not in sites:
        raise ValueError(
            f"site must name a HiddenMarkov site of the model, {', '.join(sites)}, "
            f"got {site!r}; name one of these"
        )
    return site
