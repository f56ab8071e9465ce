"""How well a fit describes data: scores in nats and in bits, and criteria of models."""

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from glmhmm_pyro.arguments import one_of
from glmhmm_pyro.concurrency import usual_modes
from glmhmm_pyro.inference.fits.latent_draws import with_latents_for
from glmhmm_pyro.inference.fits.lookups import sites_of
from glmhmm_pyro.inference.program.batches import at_draws
from glmhmm_pyro.inference.program.program import Data, Program
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.weights import by_session

if TYPE_CHECKING:
    from glmhmm_pyro.inference.fits.fit import Fit

UNITS = ("nats", "bits")


@usual_modes()
def log_prob(fit: "Fit[Data]", data: Data, marginal: bool | None = None) -> float:
    """Log-likelihood of ``data`` in all, in nats; see :meth:`score` for one per step.

    Of the data fitted it is :attr:`log_likelihood`, unless the fit has draws, over
    which it integrates as :meth:`score` does. Sessions count by their weights; steps
    that are not observed add nothing. By session it is
    ``fit.distribution(data).log_prob_per_session(data.emissions)``, at ``params``.

    Args:
        data: as the model takes it.
        marginal: see :meth:`score`.
    """
    data = fit.as_fitted(data)
    return _summed(log_probs_by_session(fit, data, marginal), data)


@usual_modes()
def score(
    fit: "Fit[Data]", data: Data, marginal: bool | None = None, *, units: str = "nats"
) -> float:
    r"""Log-likelihood of ``data`` per observed step, in nats or in bits.

    The sum over all steps is :meth:`log_prob`.

    Of a fit with draws it integrates over the posterior, session by session, and so
    pays for what the fit is not sure of:

    .. math:: \log p(y) = \sum_s \log \frac{1}{D} \sum_{d=1}^D p(y_s \mid \theta_d)

    Bits are those gained over a baseline, the same everywhere in this package,

    .. math:: \frac{\log p(y) - \log p_0(y)}{T \log 2},

    with T observed steps, and p0 a single state of the same family without covariates
    that was fitted to the data of the fit (``fit.baseline``). Over several test sets,
    such as folds, sums are divided by sums.

    Args:
        data: as the model takes it, with an observed step.
        marginal: whether to average the likelihood of every session over
            :attr:`draws`; ``None`` for where there are any. ``False`` takes the
            likelihood at ``params``, which is no prediction of such a fit.
        units: ``"nats"``, or ``"bits"`` above the baseline.

    Raises:
        ValueError: no step is observed; or bits are asked for and the fit has no
            baseline, as fits in older files and of models of the user's own have none.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.datasets.load_rat().subset(range(5))
        >>> fit = gh.fit(gh.GLMHMM(1, gh.Bernoulli()), data, progress=False)
        >>> round(fit.score(data, units="bits"), 2)
        0.07
    """
    one_of("units", units, UNITS)
    data = fit.as_fitted(data)
    observed = num_observed(fit, data)
    if not observed:
        raise ValueError(
            "data must have an observed step to be scored, got none"
            "; give sessions of which something is seen"
        )
    total = log_prob(fit, data, marginal)
    if units == "nats":
        return total / observed
    gain = total - _summed(baseline_by_session(fit, data), data)
    return gain / (observed * math.log(2))


def _summed(log_probs: Tensor, data: Data) -> float:
    """Sum over the sessions of all sites, each as often as it counts."""
    weights = getattr(data, "session_weights", None)
    if weights is not None:
        log_probs = log_probs * weights.repeat(len(log_probs) // len(weights))
    return float(log_probs.sum())


def num_observed(fit: "Fit[Data]", data: Data) -> float:
    """Number of observed steps of data laid out as those fitted, of all sites."""
    sites = sites_of(with_latents_for(fit, data), data)
    return sum(site.hidden.num_observed for site in sites.values())


def log_probs_by_session(
    fit: "Fit[Data]", data: Data, marginal: bool | None = None
) -> Tensor:
    """Log-likelihood of every session of every site, nats, shape (sessions,).

    That of a session that goes on from others is given the emissions of these.

    Args:
        data: laid out as those fitted.
        marginal: see :func:`score`.
    """
    fit = with_latents_for(fit, data)
    if marginal is None:
        marginal = fit.posterior is not None
    if not marginal:
        with torch.no_grad():
            sites = sites_of(fit, data).values()
            found = [s.hidden.log_prob_per_session(s.value) for s in sites]
        return torch.cat(found)
    by_draw = _by_draw(fit, data)
    goes_on = [s.hidden.goes_on for s in sites_of(fit, data).values()]
    if len(goes_on) > 1 or goes_on[0] is None:
        return by_draw.logsumexp(0) - math.log(len(by_draw))
    return _along_chains(by_draw, goes_on[0].tolist())


def log_probs_as_counted(fit: "Fit[Sequences]", data: Sequences) -> Tensor:
    """Log-likelihood of every session with its copies, over draws, nats, (sessions,).

    Args:
        data: sessions laid out as those fitted; a weight is a number of copies, which
            draws predict together.
    """
    by_draw = _by_draw(with_latents_for(fit, data), data) * by_session(data)
    return by_draw.logsumexp(0) - math.log(len(by_draw))


def _by_draw(fit: "Fit[Data]", data: Data) -> Tensor:
    """Log-likelihood of every session at every draw, (draws, sessions)."""
    flat = {name: value.flatten(0, 1) for name, value in fit.draws.items()}
    return at_draws(
        fit.model, data, flat, lambda s: s.hidden.log_prob_per_session(s.value)
    )


def _along_chains(by_draw: Tensor, goes_on: list[bool]) -> Tensor:
    """log p(y_s | earlier sessions of its chain), averaged over draws.

    Args:
        by_draw: the same at every draw (draws, sessions).
        goes_on: which sessions go on from the one before.
    """
    found = []
    until = torch.zeros_like(by_draw[:, 0])
    for session, is_later in zip(by_draw.T, goes_on):
        before = until if is_later else torch.zeros_like(until)
        until = before + session
        found.append(until.logsumexp(0) - before.logsumexp(0))
    return torch.stack(found)


def baseline_by_session(fit: "Fit[Data]", data: Data) -> Tensor:
    """Log-likelihood of every session by the fit's baseline, nats.

    Raises:
        ValueError: the fit has none.
    """
    if fit.baseline is None or not fit.baseline.params:
        why = "it is of a file that was written before fits had one"
        if fit.baseline is not None:
            why = "; ".join(fit.baseline.notes)
        raise ValueError(
            f"units must be 'nats' for a fit without a baseline, got 'bits': {why}"
            "; fit a GLMHMM anew by gh.fit to have one"
        )
    sessions: Any = data
    return fit.baseline.log_probs(fit.model, sessions)


def aic(fit: "Fit") -> float:
    r"""Akaike's criterion, :math:`2 k - 2 \log p(y \mid \theta)`; smaller is better.

    k is ``num_parameters``. It is meant for a maximum of the likelihood: of a fit under
    priors that penalise, the likelihood is below its maximum and fewer parameters are
    free in effect than are counted, so that the criterion is too large.

    Raises:
        ValueError: the fit has draws, and so is at no maximum.

    Source: Akaike 1974; for hidden Markov models Zucchini, MacDonald & Langrock 2016,
    section 6.1.
    """
    return 2 * fit.num_parameters - 2 * _log_likelihood_at_maximum(fit)


def bic(fit: "Fit") -> float:
    r"""Schwarz's criterion, :math:`k \log T - 2 \log p(y \mid \theta)`; see `aic`.

    T is the number of observed steps of the data fitted.
    """
    steps = max(fit.labels.num_observed, 1)
    return fit.num_parameters * math.log(steps) - 2 * _log_likelihood_at_maximum(fit)


@usual_modes()
def icl(fit: "Fit[Data]", data: Data) -> float:
    r"""Integrated completed likelihood: :attr:`bic` and twice the path's entropy.

    .. math:: \mathrm{ICL} = \mathrm{BIC} + 2 H(z \mid y, \theta), \quad
        H = -\sum_z p(z \mid y) \log p(z \mid y)

    H, in nats, is that of whole paths, exactly, by forward-backward; the entropies of
    single steps add up to more. Smaller is better: unlike BIC, it pays for states that
    cannot be told apart in the data.

    Args:
        data: what the model was fitted to.

    Source: Biernacki, Celeux & Govaert 2000; Celeux & Durand 2008 for hidden Markov
    models.
    """
    return bic(fit) + 2 * path_entropy(fit, data)


def path_entropy(fit: "Fit[Data]", data: Data) -> float:
    r"""Entropy of the path of states given the emissions, nats, all sessions together.

    .. math:: H = \log p(y) - \mathrm{E}[\log p(y, z)], \quad z \sim p(z \mid y)

    Args:
        data: as the model takes it.
    """
    data = fit.as_fitted(data)
    total = 0.0
    with torch.no_grad():
        for hidden, value in sites_of(with_latents_for(fit, data), data).values():
            counts = hidden.expected_counts(value)
            joint = hidden.expected_log_prob(value, counts)
            total += float(hidden.log_prob(value) - joint)
    return max(total, 0.0)


def penalised(fit: "Fit") -> list[str]:
    """Names of the sites of a fit that have a prior."""
    components = Program.kind_of(fit.model).components_of(fit.model)
    return [
        f"{prefix}.{name}"
        for prefix, component in components.items()
        for name, site in component.sites.items()
        if site.prior is not None
    ]


def _log_likelihood_at_maximum(fit: "Fit") -> float:
    if fit.posterior is not None:
        raise ValueError(
            f"fit must be at a maximum to have criteria, got one by {fit.method}, "
            "which has draws; compare by fit.score of sessions held out, or fit by "
            "method='em'"
        )
    return fit.log_likelihood
