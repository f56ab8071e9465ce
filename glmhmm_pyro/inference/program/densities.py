"""Handlers that sum the log densities of sites as a model runs, or draw a start.

Pyro's trace copies every site into a graph of nodes. A sampler that asks for one number
thousands of times needs only their sum, which a handler can make on the way.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import Message
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from glmhmm_pyro.concurrency import exclusively
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.priors.answers import has_draws
from glmhmm_pyro.zeros import zeros_allowed


class Densities(Messenger):
    """Runs a model at given values of its parameters and adds up its log densities.

    Args:
        params: values of the parameters, by the name of their sites.
        names: of the sites that count as parameters; ``None`` for those of ``params``.

    Attributes:
        by_site: log density of every site that was passed, with its scale and mask.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model():
        ...     z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...     pyro.sample("y", dist.Normal(z, 1.0), obs=torch.tensor(1.0))
        >>> with Densities({"z": torch.tensor(1.0)}) as densities:
        ...     model()
        >>> print(densities.of_parameters, densities.of_the_rest)
        tensor(-1.4189...) tensor(-0.9189...)
    """

    def __init__(self, params: Params, names: Collection[str] | None = None):
        super().__init__()
        self.params = params
        self.names = params.keys() if names is None else names
        self.by_site: dict[str, Tensor] = {}

    def __enter__(self) -> "Densities":
        self.by_site = {}
        super().__enter__()
        return self

    def _pyro_sample(self, msg: Message) -> None:
        """Give the site its value, as ``poutine.condition`` does."""
        if msg["name"] in self.params:
            msg["value"] = self.params[msg["name"]]
            msg["is_observed"] = True

    def _pyro_post_sample(self, msg: Message) -> None:
        """Note the log density of the site at the value it has got."""
        if site_is_subsample(msg):
            return
        try:
            log_prob = msg["fn"].log_prob(msg["value"], *msg["args"], **msg["kwargs"])
        except ValueError as error:
            raise ValueError(f"site {msg['name']!r} has no density: {error}") from error
        log_prob = scale_and_mask(log_prob, msg["scale"], msg["mask"])
        self.by_site[msg["name"]] = log_prob.sum()

    @property
    def of_parameters(self) -> Tensor:
        """Sum over the sites that are parameters."""
        return _total(v for name, v in self.by_site.items() if name in self.names)

    @property
    def of_the_rest(self) -> Tensor:
        """Sum over all other sites."""
        return _total(v for name, v in self.by_site.items() if name not in self.names)


def _total(values: Iterable[Tensor]) -> Tensor:
    return sum(values, torch.zeros((), dtype=torch.float64))


class Drawable(Messenger):
    """Handler that raises a ValueError naming a site that cannot be sampled."""

    def _pyro_sample(self, msg: Message) -> None:
        if msg["value"] is not None:
            return
        kind = type(msg["fn"]).__name__
        need = f"site {msg['name']!r} must have a prior that starts can be drawn from"
        if not has_draws(msg["fn"]):
            raise ValueError(
                f"{need}, got {kind}; gh.priors.Flat(shape, support) is flat, and has "
                "start values"
            )
        try:
            msg["value"] = msg["fn"](*msg["args"], **msg["kwargs"])
        except NotImplementedError as error:
            raise ValueError(
                f"{need}, got one that has no method sample; write one, which may "
                "give any value of the support"
            ) from error


@contextmanager
def without_site_shapes() -> Iterator[None]:
    """Context that strips from a ValueError what Pyro adds about shapes of sites."""
    try:
        yield
    except ValueError as error:
        raised = error.__cause__
        if isinstance(raised, ValueError) and str(raised) in str(error):
            raise raised from None
        raise


def is_variable(site: dict[str, Any]) -> bool:
    """Whether a site of a trace is a sample statement that has a density."""
    return site["type"] == "sample" and not site_is_subsample(site)


def trace_at(model: Callable[[Any], Any], data: Any, params: Params) -> Any:
    """Pyro's trace of a model at these values of its parameters."""
    with exclusively(), zeros_allowed(model):
        return poutine.trace(poutine.condition(model, data=params)).get_trace(data)
