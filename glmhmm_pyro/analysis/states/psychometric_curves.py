"""Psychometric curves by state: of the model, and of the data that it was fitted to."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.analysis.driven.bands import Band, Quantity, band, band_of_means
from glmhmm_pyro.analysis.driven.counterfactual import exchanged
from glmhmm_pyro.analysis.driven.quantities import PROBABILITY
from glmhmm_pyro.analysis.states.paths import (
    StatePaths,
    column_of,
    interval_table,
    rates,
    ratio,
)
from glmhmm_pyro.arguments import one_of, plain_number, suggests_names, whole_number
from glmhmm_pyro.concurrency import usual_modes
from glmhmm_pyro.designs import DesignMatrix
from glmhmm_pyro.displays import with_level
from glmhmm_pyro.distributions import Output, outputs_of
from glmhmm_pyro.inference import Fit, Posterior
from glmhmm_pyro.inference.fits.latent_draws import with_latents_for
from glmhmm_pyro.inference.fits.mixture import Draws
from glmhmm_pyro.inference.program.batches import sites_at_draws
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.zeros import zeros_allowed

if TYPE_CHECKING:
    import pandas as pd

# Points of the model's curves.
NUM_POINTS = 31


@suggests_names
@usual_modes()
def psychometric(
    fit: Fit,
    data: Sequences,
    covariate: str,
    *,
    class_: str | int | None = None,
    output: str | None = None,
    weights: str = "smoothed",
    num_bins: int = 12,
    num_samples: int = 200,
    seed: int = 0,
) -> "pd.DataFrame":
    r"""Probability of a choice against a covariate, by state: of model and data.

    The model's at x is the mean over the steps of what it says with the covariate at x
    and all others as they were, each step counted by the probability of the state,

    .. math:: \frac{\sum_t w_{tk} \, p(y_t = c \mid z_t = k, x, u_t)}{\sum_t w_{tk}},
        \quad w_{tk} = p(z_t = k \mid y) \text{ or } p(z_t = k \mid y_{<t})

    The data's is the share of the choice among the steps in a bin of x, counted alike.
    Its intervals of 95 % are as for :func:`accuracy_by_state`. The model's are those of
    the draws of its parameters, else by the delta method on the scale of log-odds, for
    which ``data`` must be what was fitted; the weights :math:`w_{tk}` are held.

    Args:
        fit: the fit.
        data: the data set.
        covariate: name of a covariate of the emissions; or of a raw column that a
            :class:`Design` made covariates of, which then all move together.
        class_: name of the class whose probability is told, or its number where none is
            called so; of two classes the second by default.
        output: name of the output, where there are several.
        weights: ``"smoothed"`` as Ashwood et al. 2022 do; or ``"predicted"``, which do
            not contain the choice explained. See :func:`accuracy_by_state`.
        num_bins: most bins of the data. A covariate that has no more values has one
            for each; else bins hold equally many steps.
        num_samples: number of paths, and most draws of the parameters.
        seed: makes the intervals reproducible.

    Returns:
        Columns ``estimate``, ``lower``, ``upper`` and ``effective_count``, of the data
        :math:`(\sum_t w_{tk})^2 / \sum_t w_{tk}^2` in the bin, where sums are over
        copies of weighted sessions; index ``source`` (model
        or data), ``state`` and the covariate. Attributes ``class``, whose probability
        it is, and ``emission``, what it is a class of.

    Example:
        >>> import glmhmm_pyro as gh
        >>> x = [[-1.0], [0.0], [1.0], [-1.0], [0.0], [1.0]]
        >>> data = gh.Sequences([0, 0, 1, 0, 1, 1], x, covariate_names=["sound"])
        >>> model = gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(1.0)))
        >>> fit = gh.fit(model, data, num_restarts=1, progress=False)
        >>> table = psychometric(fit, data, "sound")
        >>> table.attrs["class"], table.index.unique("source").tolist()
        ('1', ['model', 'data'])
    """
    import pandas as pd

    whole_number("num_bins", num_bins, 1)
    one_of("covariate", covariate, _known(fit, data))
    paths = StatePaths.of(fit, data, num_samples, seed, weights)
    outputs = fit.distribution(data).outputs(fit.as_fitted(data).emissions)
    choice = _Choice.of(fit, outputs, class_, output)
    x = column_of(data, covariate, "covariate")
    observed = _of_data(paths, x, *choice.made(outputs), num_bins, seed)
    grid = np.linspace(x.min(), x.max(), NUM_POINTS)
    moved = [exchanged(data, {covariate: value}) for value in grid]
    weighed = paths.probs * paths.copies[:, None]
    if fit.posterior is None and not fit.labels.latents:
        found = _at_params(fit, data, moved, choice, weighed)
        curves, ends = found.estimate[None], np.stack([found.lower, found.upper])
    else:
        curves = _of_model(fit, moved, choice, weighed, num_samples)
        ends = np.full((2, *curves.shape[1:]), np.nan)
    model = interval_table(curves.mean(0), curves, state=paths.names, x=grid)
    if fit.posterior is None:
        model["lower"], model["upper"] = (end.ravel() for end in ends)
    table = pd.concat({"model": model, "data": observed}, names=["source"])
    table = table.rename_axis(index={"x": covariate})
    told = {"class": choice.label, "emission": choice.output or data.emission_names[0]}
    table.attrs |= {**told, "parameters": paths.parameters}
    return with_level(table)


def _known(fit: Fit, data: Sequences) -> list[str]:
    """Names of what may be moved: raw columns of numbers, and covariates."""
    names = list(fit.as_fitted(data).covariate_names)
    if data.design_source is not None:
        raw = data.raw_columns().drop(
            columns=list(data.emission_names), errors="ignore"
        )
        names += [n for n in raw.select_dtypes("number") if n not in names]
    return names


class _Choice(NamedTuple):
    """The choice whose probability is told.

    Attributes:
        output: name of the output.
        number: of the class among those that its distribution enumerates.
        label: name of the class.
    """

    output: str
    number: int
    label: str

    @classmethod
    def of(
        cls,
        fit: Fit,
        outputs: dict[str, Output],
        class_: str | int | None,
        output: str | None,
    ) -> "_Choice":
        """The one asked for, or the only one that there is."""
        if output is None and len(outputs) == 1:
            output = next(iter(outputs))
        one_of("output", output, outputs)
        emission_dist = outputs[str(output)].emission_dist
        if not emission_dist.has_enumerate_support:
            raise ValueError(
                "output must be a choice among classes, got one of "
                f"{type(emission_dist).__name__}; take column_by_state for numbers"
            )
        values = emission_dist.enumerate_support(expand=False).flatten().tolist()
        labels = [str(int(value)) for value in values]
        if fit.labels.classes and len(fit.labels.classes) == len(labels):
            labels = list(fit.labels.classes)
        if class_ is None and len(labels) == 2:
            class_ = labels[1]
        number = plain_number("class_", class_)
        if type(number) is int and str(number) not in labels:
            # Classes that have names are known by their numbers, too.
            class_ = dict(enumerate(labels)).get(number, class_)
        if str(class_) not in labels:
            raise ValueError(
                f"class_ must name one of {', '.join(labels)}, got {class_!r}; say "
                "whose probability is wanted"
            )
        return cls(str(output), labels.index(str(class_)), str(class_))

    def probs(self, outputs: dict[str, Output]) -> Tensor:
        """Its probability in every state, shape (*batch, steps, states)."""
        emission_dist = outputs[self.output].emission_dist
        values = emission_dist.enumerate_support(expand=False)
        return emission_dist.log_prob(values[self.number]).exp()

    def made(self, outputs: dict[str, Output]) -> tuple[np.ndarray, np.ndarray]:
        """Whether it was made, and whether anything was observed, shape (steps,)."""
        output = outputs[self.output]
        values = output.emission_dist.enumerate_support(expand=False).flatten()
        chosen = (output.value.flatten() == values[self.number]).cpu().numpy()
        if output.mask is None:
            return chosen, np.ones(len(chosen), dtype=bool)
        seen = output.mask.flatten().cpu().numpy()
        return chosen & seen, seen


def _of_data(
    paths: StatePaths,
    x: np.ndarray,
    chosen: np.ndarray,
    seen: np.ndarray,
    num_bins: int,
    seed: int,
) -> "pd.DataFrame":
    """Shares of the choice in bins of x."""
    values, bins = np.unique(x, return_inverse=True)
    if len(values) > num_bins:
        edges = np.quantile(x, np.linspace(0, 1, num_bins + 1)[1:-1])
        bins = np.unique(np.searchsorted(edges, x, "right"), return_inverse=True)[1]
        values = np.bincount(bins, x * paths.copies) / np.bincount(bins, paths.copies)
    number = len(values)
    steps = paths.expected(seen, bins, number)
    counted = seen * paths.copies
    squares = np.stack([np.bincount(bins, counted * p**2) for p in paths.probs.T], -1)
    hits = paths.sums(chosen, bins, number)
    misses = paths.sums(seen & ~chosen, bins, number)
    estimate = ratio(paths.expected(chosen, bins, number), steps)
    samples = np.swapaxes(rates(hits, misses, seed), 1, 2)
    found = interval_table(estimate.T, samples, state=paths.names, x=values)
    return found.assign(effective_count=ratio(steps**2, squares).T.ravel())


def _of_model(
    fit: Fit,
    moved: list[Sequences],
    choice: _Choice,
    weights: np.ndarray,
    most: int,
) -> np.ndarray:
    """Probabilities of the choice in data sets, shape (draws, states, data sets)."""
    moved = [fit.as_fitted(data) for data in moved]
    fit = with_latents_for(fit, moved[0])
    draws = Draws.of(fit.posterior or Posterior(fit.draws), most)
    shares = torch.as_tensor(weights / weights.sum(0))
    curves = []
    for data in moved:
        means: list[Tensor] = []
        for sites in sites_at_draws(fit.model, data, draws.params):
            (site,) = sites.values()
            probs = choice.probs(site.hidden.outputs(site.value))
            probs = probs.reshape(-1, *probs.shape[-2:])
            probs = draws.numbered(probs, sum(map(len, means)))
            means.append((probs * shares).sum(-2))
        curves.append(torch.cat(means))
    return torch.stack(curves, -1).cpu().numpy()


def _at_params(
    fit: Fit,
    data: Sequences,
    moved: list[Sequences],
    choice: _Choice,
    weights: np.ndarray,
) -> Band:
    """The same of a fit without draws or latents, shape (states, data sets)."""
    shares = torch.as_tensor(weights / weights.sum(0))
    moved = [fit.as_fitted(each) for each in moved]
    kind = Program.kind_of(fit.model)
    if kind.components_of(fit.model):
        means = [_mean_of_table(fit, each, choice, shares) for each in moved]
        return band_of_means(fit, data, means, PROBABILITY)

    def curves(params: Params) -> Tensor:
        means = []
        for each in moved:
            (site,) = kind.observed_sites(fit.model, each, params).values()
            probs = choice.probs(site.hidden.outputs(site.value))
            means.append((probs * shares).sum(-2))
        return torch.stack(means, -1)

    return band(fit, data, curves, PROBABILITY, 1)


def _mean_of_table(
    fit: Fit, data: Sequences, choice: _Choice, shares: Tensor
) -> Quantity:
    """The mean of the choice's probability, by the emissions alone (states,).

    Steps whose covariates are the same are put together.
    """
    family: Any = fit.model.emissions
    rows = family.factors(data)
    if isinstance(rows, DesignMatrix):
        pool = rows.pooled()
        rows, shares = pool.design, pool.sums(shares[None])[0]
    event = data.emissions[:1].double()

    def mean(params: Params) -> Tensor:
        with fit.model.at(params), zeros_allowed(family):
            outputs = outputs_of(family.table(rows), event, None)
        return (choice.probs(outputs) * shares).sum(-2)

    return mean
