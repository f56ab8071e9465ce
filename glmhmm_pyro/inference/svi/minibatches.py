"""Mini-batches of whole sessions whose gradients are those of all data on average.

.. math:: \\log p(\\theta) + \\frac{S}{B} \\sum_{s \\in \\text{batch}}
    \\log p(y_s \\mid \\theta)

Every subset of B of the S sessions is equally probable, so that every session stands in
B/S of the batches: the expectation is the log-joint of all sessions, however long each
of them is.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import Message

from glmhmm_pyro.distributions import HiddenMarkov
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Data, Program
from glmhmm_pyro.inference.program.refusals import check_kept_together
from glmhmm_pyro.sequences import Sequences


class Batch(NamedTuple):
    """What one estimate of the evidence lower bound reads.

    Attributes:
        model: the model, the likelihood of its sessions scaled up to all sessions.
        data: the sessions drawn.
        offset: to be added to the estimate. Its mean is 0; it takes away what depends
            on the choice of the sessions alone, as some are less probable than others
            whatever the parameters.
    """

    model: Callable[[Any], Any]
    data: Any
    offset: float


class ScaleSessions(Messenger):
    """Multiplies the log-likelihood of observed ``HiddenMarkov`` sites, no prior.

    Args:
        scale: number of all sessions over that of the sessions given.
    """

    def __init__(self, scale: float):
        super().__init__()
        self.scale = scale

    def _pyro_sample(self, msg: Message) -> None:
        if msg["is_observed"] and isinstance(msg["fn"], HiddenMarkov):
            msg["scale"] = msg["scale"] * self.scale


class MiniBatches:
    """Draws subsets of the sessions of a program, each equally probable.

    Args:
        program: the model with its data.
        size: number of sessions of a batch; ``None`` takes all of them.
        params: values at which sessions are compared, near those to be fitted.

    Raises:
        ValueError: the sessions cannot be taken apart.
    """

    def __init__(self, program: Program, size: int | None, params: Params):
        self.program, self.size = program, size
        if size is None:
            return
        _check_sessions(program, size)
        self.num_sessions = program.data.num_sessions
        self.model = ScaleSessions(self.num_sessions / size)(program.model)
        self.log_likelihoods = torch.tensor(
            [_log_likelihood(program, s, params) for s in range(self.num_sessions)],
            dtype=torch.float64,
        )

    def draw(self) -> Batch:
        """A batch, by torch's generator."""
        if self.size is None:
            return Batch(self.program.sampled, self.program.data, 0.0)
        return self.of(torch.randperm(self.num_sessions)[: self.size].tolist())

    def of(self, sessions: list[int]) -> Batch:
        """The batch of these sessions."""
        logs, share = self.log_likelihoods, len(sessions) / self.num_sessions
        offset = logs.sum() - logs[sessions].sum() / share
        return Batch(self.model, self.program.data.subset(sessions), float(offset))


def _log_likelihood(program: Program, session: int, params: Params) -> float:
    """Log-likelihood of one session, nats."""
    data = program.data.subset(session)
    with torch.no_grad():
        sites = program.observed_sites(program.model, data, params).values()
        return sum(float(site.hidden.log_prob(site.value)) for site in sites)


def _check_sessions(program: Program, size: int) -> None:
    """Raise an error if sessions cannot be subsampled: none, or with own parameters."""
    data = program.data
    if not isinstance(data, Sequences):
        raise ValueError(
            "subsample_sessions must be None for data that are no Sequences, whose "
            f"sessions cannot be told apart, got {size} for {type(data).__name__}"
            "; leave it out"
        )
    if size > data.num_sessions:
        raise ValueError(
            f"subsample_sessions must be at most {data.num_sessions}, the number of "
            f"sessions, got {size}; give a smaller number"
        )
    fix = "leave subsample_sessions out"
    check_kept_together(
        program.model, "subsample_sessions", f"{size} sessions at a step", fix
    )
    whole = _shapes_by_site(program.model, data)
    try:
        part = _shapes_by_site(program.model, data.subset(range(size)))
    except (ValueError, IndexError, RuntimeError) as error:
        raise ValueError(
            f"subsample_sessions must be None for this model, got {size}, but it "
            f"cannot read so few of the {data.num_sessions} sessions "
            f"({error}); leave it out"
        ) from error
    total = sum(whole.hidden.values())
    if size < data.num_sessions and sum(part.hidden.values()) == total:
        raise ValueError(
            "subsample_sessions must be None for this model, got "
            f"{size}, but it reads the same sessions whatever data it is called with; "
            "read those of its argument"
        )
    names = whole.others.keys() | part.others.keys()
    changed = [n for n in names if whole.others.get(n) != part.others.get(n)]
    if changed:
        raise ValueError(
            f"subsample_sessions must be None for this model, got {size}, but the size "
            f"of the site {sorted(changed)[0]!r} depends on the number of sessions; "
            "leave it out"
        )


class _Sizes(NamedTuple):
    """Number of sessions of ``HiddenMarkov`` sites, and shapes of all others."""

    hidden: dict[str, int]
    others: dict[str, torch.Size]


def _shapes_by_site(model: Callable[[Data], Any], data: Data) -> _Sizes:
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        nodes = poutine.trace(model).get_trace(data).nodes
    found = _Sizes({}, {})
    for name, site in nodes.items():
        if site["type"] != "sample":
            continue
        if isinstance(site["fn"], HiddenMarkov):
            found.hidden[name] = len(site["fn"].lengths)
        else:
            found.others[name] = torch.as_tensor(site["value"]).shape
    return found
