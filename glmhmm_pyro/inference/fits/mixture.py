r"""What draws of the parameters say together of data: mixtures over the draws.

A prediction of a session's step t from its past is a mixture over the draws, each
weighted by how well it has predicted that past,

.. math:: p(y_t \mid y_{<t}) = \sum_d w_{td} \, p(y_t \mid y_{<t}, \theta_d), \quad
    w_{td} \propto p(y_{<t} \mid \theta_d),

so that the predictions of a session multiply to the mean likelihood of the session over
the draws. What is said of data as a whole is a plain mean over the draws.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from glmhmm_pyro.arguments import whole_number
from glmhmm_pyro.distributions import HiddenMarkov, expected_emission
from glmhmm_pyro.inference.draws.posterior import Posterior
from glmhmm_pyro.inference.program.batches import sites_at_draws
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Data, Observed

if TYPE_CHECKING:
    from glmhmm_pyro.inference.fits.fit import Fit


class Draws(NamedTuple):
    """Some draws, evenly spaced over all chains.

    Attributes:
        params: values (draws, *shape) by site.
        orders: what numbers their states by what they do (draws, states), or ``None``.
        num_all: number of draws that there are.
    """

    params: Params
    orders: Tensor | None
    num_all: int

    @classmethod
    def of(cls, posterior: Posterior, num_draws: int | None) -> "Draws":
        """All draws, or so many of them."""
        flat, labels = posterior.flattened(), posterior.by_label
        number = len(next(iter(flat.values())))
        if num_draws is not None:
            num_draws = whole_number("num_draws", num_draws, 1)
        wanted = number if num_draws is None else min(num_draws, number)
        chosen = torch.arange(wanted) * number // wanted
        return cls(
            {name: value[chosen] for name, value in flat.items()},
            None if labels is None else labels.flatten(0, 1)[chosen],
            number,
        )

    @property
    def number(self) -> int:
        """How many they are."""
        return len(next(iter(self.params.values())))

    def numbered(self, probs: Tensor, first: int) -> Tensor:
        """Probabilities of states, which are the last axis, by what the states do.

        Args:
            probs: of some draws side by side, (draws, steps, states).
            first: number of the first of these draws.
        """
        if self.orders is None:
            return probs
        orders = self.orders[first : first + len(probs)].to(probs.device)
        return probs.gather(-1, orders[:, None].expand(probs.shape))


class Mean:
    """A weighted mean over draws at every step, whose weights are known as logarithms.

    Weights of a step need not sum to 1; draws come a few at a time.
    """

    def __init__(self) -> None:
        self.top = self.total = torch.zeros(())
        self.sums: dict[str, Tensor] = {}

    def add(self, log_weights: Tensor, values: dict[str, Tensor]) -> None:
        """Take in some draws.

        Args:
            log_weights: shape (draws, steps).
            values: by name, shape (draws, steps, ...).
        """
        top = log_weights.amax(0)
        if self.sums:
            top = torch.maximum(top, self.top)
        # Where all draws exclude the past there is no finite weight to compare with.
        safe = top.where(top.isfinite(), torch.zeros_like(top))
        weights = (log_weights - safe).exp()
        shrink = (self.top - safe).exp() if self.sums else torch.zeros_like(top)
        self.total = self.total * shrink + weights.sum(0)
        for name, value in values.items():
            part = (_with_trailing_axes(weights, value) * value).sum(0)
            before = self.sums.get(name, torch.zeros_like(part))
            self.sums[name] = before * _with_trailing_axes(shrink, before) + part
        self.top = top

    @property
    def log_total(self) -> Tensor:
        """Logarithm of the sum of the weights (steps,)."""
        return self.top + self.total.log()

    def values(self) -> dict[str, Tensor]:
        """The means, shape (steps, ...) by name."""
        return {
            n: sums / _with_trailing_axes(self.total, sums)
            for n, sums in self.sums.items()
        }


def _with_trailing_axes(weights: Tensor, values: Tensor) -> Tensor:
    """Weights with axes of size 1 for those that the values have besides."""
    return weights.reshape(weights.shape + (1,) * (values.dim() - weights.dim()))


class PastLikelihoods(NamedTuple):
    """Log-likelihoods of the past at every step, for some draws.

    Attributes:
        before: log p(y of the chain before t), shape (draws, steps).
        until: the same with y_t.
        starts: first step of every chain, a session with those that go on from it.
        position: number of every step in its chain.
    """

    before: Tensor
    until: Tensor
    starts: Tensor
    position: Tensor

    @classmethod
    def of(cls, hidden: HiddenMarkov, value: Tensor) -> "PastLikelihoods":
        """Log-likelihoods of the past, for the emissions of a site."""
        steps = hidden.event_shape[0]
        each = hidden.log_prob_per_step(value).reshape(-1, steps)
        lengths = hidden.chain_lengths
        starts = lengths.cumsum(0) - lengths
        # Chain by chain: what one makes impossible says nothing of the next.
        chains = each.split(lengths.tolist(), -1)
        until = torch.cat([chain.cumsum(-1) for chain in chains], -1)
        before = until.roll(1, -1)
        before[:, starts] = 0.0
        position = torch.arange(steps, device=each.device)
        position = position - starts.repeat_interleave(lengths)
        return cls(before, until, starts, position)

    @property
    def whole(self) -> Tensor:
        """Log-likelihood of the whole chain, at every step of it (draws, steps)."""
        ends = torch.cat(
            [self.starts[1:], self.starts.new_tensor([len(self.position)])]
        )
        steps = torch.arange(len(self.position), device=self.position.device)
        return self.until[:, ends[torch.bucketize(steps, ends, right=True)] - 1]

    def ahead(self, steps_ahead: int) -> Tensor:
        """log p(y of the chain up to t - k), shape (draws, steps)."""
        back = torch.arange(len(self.position)) - (steps_ahead - 1)
        past = self.before[:, back.clamp(min=0)]
        return past.where(self.position >= steps_ahead, torch.zeros_like(past))


def decoded_by_draws(
    fit: "Fit[Data]", data: Data, draws: Draws, site: str
) -> tuple[dict[str, Tensor], Tensor]:
    """Probabilities of states (steps, states) by name, and log-likelihoods (steps,).

    Draws of latents that no data have told of count by how probable they make all
    emissions of a session, where all are known.

    Args:
        fit: for its model.
        data: as the model takes it.
        draws: what to average over.
        site: name of the ``HiddenMarkov`` site.
    """
    means = {name: Mean() for name in ("filtered", "predicted", "smoothed")}
    first, know_nothing = 0, fit.labels.lack_latents(data)
    for hidden, value in _site_at_draws(fit, data, draws, site):
        past = PastLikelihoods.of(hidden, value)
        weights = {
            "filtered": past.until,
            "predicted": past.before,
            "smoothed": past.whole if know_nothing else torch.zeros_like(past.before),
        }
        for name, log_weights in weights.items():
            probs = getattr(hidden, f"{name}_probs")(value)
            probs = probs.reshape((-1,) + probs.shape[-2:])
            means[name].add(log_weights, {"probs": draws.numbered(probs, first)})
        first += len(past.before)
    log_probs = means["filtered"].log_total - means["predicted"].log_total
    return {
        f"{n}_probs": mean.values()["probs"] for n, mean in means.items()
    }, log_probs


def predicted_by_draws(
    fit: "Fit[Data]", data: Data, draws: Draws, site: str, steps_ahead: int
) -> dict[str, Tensor]:
    """Predictions of every output (steps, ...) by name; see :meth:`Fit.predict`."""
    mean = Mean()
    for hidden, value in _site_at_draws(fit, data, draws, site):
        found = expected_ahead(hidden, value, steps_ahead)
        batch = len(hidden.batch_shape)
        side_by_side = {n: v.reshape((-1,) + v.shape[batch:]) for n, v in found.items()}
        mean.add(PastLikelihoods.of(hidden, value).ahead(steps_ahead), side_by_side)
    return mean.values()


def expected_ahead(
    hidden: HiddenMarkov, value: Tensor, steps_ahead: int
) -> dict[str, Tensor]:
    """Every output as expected k steps before (*batch, steps, ...), by its name."""
    states = hidden.predicted_probs(value, steps_ahead)
    return {
        name: expected_emission(output.emission_dist, states)
        for name, output in hidden.outputs(value).items()
    }


def _site_at_draws(
    fit: "Fit[Data]", data: Data, draws: Draws, site: str
) -> Iterator[Observed]:
    """The site at some draws after the others."""
    for sites in sites_at_draws(fit.model, data, draws.params):
        with torch.no_grad():
            yield sites[site]
