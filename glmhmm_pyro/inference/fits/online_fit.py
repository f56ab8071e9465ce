r"""A fit that follows an experiment as it goes on, one step at a time.

What :meth:`Fit.decode` and :meth:`Fit.predict` say of whole sessions, forwards in time,

.. math:: p(z_t \mid y_{0..t}) \propto p(y_t \mid z_t)
    \sum_i p(z_{t-1} = i \mid y_{0..t-1}) A_t(i, z_t),

is kept from step to step, at the parameters of the fit or at all of its draws.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from glmhmm_pyro.arguments import suggests_all_names
from glmhmm_pyro.inference.draws.posterior import Posterior
from glmhmm_pyro.inference.fits.mixture import Draws
from glmhmm_pyro.inference.fits.potentials import FitPotentials
from glmhmm_pyro.inference.fits.row_reading import (
    Behaviour,
    Reader,
    Row,
    named_rows,
    one_row,
)
from glmhmm_pyro.inference.program.refusals import carries_states_over
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.sequences import Sequences

if TYPE_CHECKING:
    from glmhmm_pyro.inference.fits.fit import Fit


# What is too large, or 0 / 0, is infinite or NaN as in torch.
_quietly = np.errstate(all="ignore")


class Forecast(NamedTuple):
    """What is expected of steps to come.

    Attributes:
        states: probabilities of the states, shape (states,), or (steps, states).
        emissions: probabilities of labels, else the mean, (..., classes) or (..., ),
            as :meth:`Fit.predict` has them; of several outputs by their names.
    """

    states: np.ndarray
    emissions: Any


class _Belief(NamedTuple):
    """Probabilities of chain states (sets, states), and how sets have predicted."""

    probs: np.ndarray
    log_weights: np.ndarray


def online(
    fit: "Fit", data: Sequences | None = None, *, num_draws: int | None = None
) -> "Online":
    """What follows an experiment: probabilities of the states after every step.

    Args:
        data: made by a design, such as those fitted, where steps are to be given by
            raw columns. History columns are then made from the steps before and the
            behaviour that came of them. Without it steps are given by covariates.
        num_draws: draws to average over, as for :meth:`decode`; all by default. A fit
            without draws is at its parameters.

    Raises:
        ValueError: the model is not a ``GLMHMM``, has latents of every session or
            components that make covariates of all data; or a term of the design
            depends on steps to come.
    """
    if not isinstance(fit.model, GLMHMM):
        raise ValueError(
            "fit must be of a GLMHMM to be followed online, got a model of the "
            "user's own; decode the steps so far anew, fit.decode(data)"
        )
    if fit.labels.latents:
        raise ValueError(
            "fit must have no latents to be followed online, got "
            f"{', '.join(fit.labels.latents)}, which a new session has others of; "
            "decode the steps so far anew, fit.decode(data)"
        )
    return Online(fit, data, num_draws)


@suggests_all_names
class Online:
    """A fit that follows an experiment, one step at a time; see :meth:`Fit.online`.

    What it gives is what :meth:`Fit.decode` and :meth:`Fit.predict` give of the whole
    session: at the parameters of a fit without draws, else averaged over the draws,
    each weighted by the behaviour so far.

    Attributes:
        state_names: names of the states.
        filtered_probs: of the states after the last step (states,); ``None`` at the
            start of a session.
        log_prob: of the last step's behaviour given those before, nats.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.datasets.load_rat().subset(range(3))
        >>> model = gh.GLMHMM(2, gh.Bernoulli(gh.priors.Ridge(1.0)))
        >>> fit = gh.fit(model, data, num_restarts=2, progress=False)
        >>> follower = fit.online()
        >>> for x, y in zip(data["1"].covariates, data["1"].emissions):
        ...     ahead = follower.predict(x)
        ...     after = follower.update(x, y)
        >>> bool(abs(after - fit.decode(data["1"]).filtered_probs[-1]).max() < 1e-12)
        True
    """

    def __init__(self, fit: "Fit", data: Sequences | None, num_draws: int | None):
        posterior = fit.posterior
        if posterior is None:
            posterior = Posterior({n: v[None, None] for n, v in fit.params.items()})
        draws = Draws.of(posterior, num_draws)
        orders = draws.orders
        self.state_names = fit.state_names
        self._orders = None if orders is None else orders.cpu().numpy()
        self._reader = Reader(fit.model.layout, fit.model._designs_read, data)
        params = {n: v.detach().cpu() for n, v in draws.params.items()}
        blank = self._reader.session(is_blank=True)
        self._chain = FitPotentials(fit.model, params, blank)
        expansion = self._chain.expansion
        self._goes_across = carries_states_over(fit.model)
        self._emits = None if expansion.emits is None else expansion.emits.numpy()
        self._fold = None
        if self._emits is not None:
            self._fold = np.eye(expansion.num_states)[self._emits]
        self._begin()

    def __repr__(self) -> str:
        if self.filtered_probs is None:
            number = len(self.state_names)
            states = "1 state" if number == 1 else f"{number} states"
            return f"Online, {states}, at the start of a session"
        pairs = zip(self.state_names, self.filtered_probs)
        said = ", ".join(f"{name} {prob:.3f}" for name, prob in pairs)
        return f"Online, p(state) after the last step: {said}"

    def start(
        self,
        session: str | None = None,
        *,
        group: str | None = None,
        initial_covariates: ArrayLike | None = None,
    ) -> None:
        """Begin a session.

        Where slow states go on from one session of a group to the next, a session of
        the group of the one before goes on from it, or one of no group as that was.

        Args:
            session: its name, which a model with parameters by session reads.
            group: the same of its group.
            initial_covariates: (features,), where the model reads them and no design
                makes them of the first step.
        """
        before = self._reader.member["groups"]
        self._reader.start(session, group, initial_covariates)
        ended = self._last if self._belief is None else self._belief
        goes_on = self._goes_across and group == before
        self._begin(ended if goes_on else None)
        if not self._reader.waits:
            self._started()

    def _begin(self, last: _Belief | None = None) -> None:
        """Forget the session before, but for what it says of slow states.

        Args:
            last: the belief at its end, if the next one goes on from it.
        """
        self._last = last
        self.filtered_probs: np.ndarray | None = None
        self.log_prob = 0.0
        self._belief: _Belief | None = None
        self._first: np.ndarray | None = None

    @_quietly
    def predict(
        self,
        row: Row | Sequence[Row] = None,
        *,
        transition_covariates: ArrayLike | None = None,
    ) -> Forecast:
        r"""What is expected of the next step, before its behaviour is known.

        Args:
            row: raw columns of the next step, by name; without a design its covariates,
                by name or in their order; a row ``df.iloc[t]`` of a data frame is by
                name. A list of such rows of the k next steps, a data frame of them
                (of a single one, too), or an array (k, covariates), gives what is
                expected of each, that of the last being :meth:`Fit.predict` with
                ``steps_ahead=k``. As there, columns of past behaviour are read as they
                stand: where a design has some, all rows but the last must say by the
                emission's column which behaviour is supposed.
            transition_covariates: those of the transitions in their order, where they
                are others and no design makes them; a list for a list of rows.

        Returns:
            Probabilities of the states, and the expected behaviour.
        """
        rows: Any = named_rows(row)
        others: Any = transition_covariates
        if not _is_several(rows):
            return self._forecast(*self._ahead(rows, others))
        others = [None] * len(rows) if others is None else others
        kept, reader = self._belief, self._reader
        self._reader = reader.copied()
        try:
            found = []
            for number, (one, u) in enumerate(zip(rows, others, strict=True)):
                belief, x = self._ahead(one, u)
                found.append(self._forecast(belief, x))
                self._belief = belief
                if number < len(rows) - 1:
                    self._reader.suppose(one)
        finally:
            self._belief, self._reader = kept, reader
        return Forecast(
            np.stack([ahead.states for ahead in found]),
            _stacked([ahead.emissions for ahead in found]),
        )

    @_quietly
    def update(
        self,
        row: Row,
        emission: Behaviour,
        *,
        transition_covariates: ArrayLike | None = None,
    ) -> np.ndarray:
        """Take in a step: probabilities of the states given all behaviour so far.

        Args:
            row: as for :meth:`predict`, with all columns that terms read later on, such
                as a reward; a data frame must have a single row.
            emission: the behaviour, a number or the name of a class; of several outputs
                a sequence in their order, or a mapping by their names. ``None`` or NaN
                where it was not observed.
            transition_covariates: as for :meth:`predict`.

        Returns:
            Shape (states,).

        Raises:
            ValueError: a column is lacking, or the behaviour is none that the family
                can emit.
        """
        row, read = one_row(row), self._reader.emission(emission)
        (probs, log_weights), x = self._ahead(row, transition_covariates)
        self.log_prob = 0.0
        if read.seen.any():
            laws = self._chain.emitted(x)
            if not laws[0].accepts(read.value, read.seen):
                raise ValueError(
                    "emission must be one that the model's family can emit, got "
                    f"{emission!r}; give None where none was observed"
                )
            logs = [law.log_probs(read.value, read.seen)[:, 0] for law in laws]
            by_state = logs[0] if len(logs) == 1 else np.concatenate(logs)
            by_state = by_state if self._emits is None else by_state[:, self._emits]
            before = np.logaddexp.reduce(log_weights)
            probs, log_probs = _updated_probs(probs, by_state)
            log_weights = log_weights + log_probs
            after = np.logaddexp.reduce(log_weights)
            # What comes after something impossible is no more possible.
            self.log_prob = float(after - before if after > -np.inf else after)
        self._reader.seen(row, read)
        self._belief = _Belief(probs, log_weights)
        self.filtered_probs = self._averaged(self._numbered(probs), log_weights)
        return self.filtered_probs

    def _ahead(
        self, row: Row, transitions: ArrayLike | None
    ) -> tuple[_Belief, np.ndarray]:
        """The belief about the next step, and the covariates of its emission."""
        x, u = self._reader.covariates(row, transitions)
        if self._belief is None and self._last is not None:
            probs, log_weights = self._last
            moves = self._chain.crossed(self._reader.session(), u)
            return _Belief((probs[:, None] @ moves)[:, 0], log_weights), x
        if self._belief is None:
            probs = self._started()
            return _Belief(probs, np.zeros(len(probs))), x
        probs, log_weights = self._belief
        moves = self._chain.moves(u)
        return _Belief((probs[:, None] @ moves)[:, 0], log_weights), x

    def _started(self) -> np.ndarray:
        """First chain states of the session (sets, states)."""
        if self._first is None or self._reader.waits:
            probs = self._chain.first(self._reader.session())
            shape = (self._chain.num_sets, probs.shape[-1])
            self._first = np.broadcast_to(probs, shape)
        return self._first

    def _forecast(self, belief: _Belief, x: np.ndarray) -> Forecast:
        by_state = self._folded(belief.probs)
        found: dict[str, list[np.ndarray]] = {}
        laws, first = self._chain.emitted(x), 0
        for law in laws:
            for name, values in law.expected().items():
                probs = by_state if len(laws) == 1 else by_state[first : first + 1]
                probs = probs.reshape(probs.shape + (1,) * (values.ndim - 3))
                found.setdefault(name, []).append((probs * values[:, 0]).sum(1))
            first += 1
        emissions = {
            name: self._averaged(np.concatenate(parts), belief.log_weights)
            for name, parts in found.items()
        }
        states = self._averaged(self._numbered(belief.probs), belief.log_weights)
        return Forecast(states, emissions.get("", emissions))

    def _folded(self, probs: np.ndarray) -> np.ndarray:
        return probs if self._fold is None else probs @ self._fold

    def _numbered(self, probs: np.ndarray) -> np.ndarray:
        """Of states (sets, states), by what they do in every draw."""
        probs = self._folded(probs)
        if self._orders is None:
            return probs
        return np.take_along_axis(probs, self._orders, -1)

    def _averaged(self, values: np.ndarray, log_weights: np.ndarray) -> np.ndarray:
        """Over the sets, each as it has predicted the session so far."""
        if len(values) == 1:
            return values[0]
        weights = np.exp(log_weights - log_weights.max())
        return np.tensordot(weights / weights.sum(), values, 1)


def _updated_probs(
    probs: np.ndarray, logs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities given an emission, and its log-probability, of every set."""
    top = logs.max(-1, keepdims=True)
    # Where all states exclude the emission there is no largest to divide by.
    top[top == -np.inf] = 0.0
    joint = probs * np.exp(logs - top)
    total = joint.sum(-1, keepdims=True)
    return joint / np.where(total > 0, total, 1.0), (np.log(total) + top)[:, 0]


def _is_several(row: Row | Sequence[Row]) -> bool:
    """Whether these are rows of several steps, and not the numbers of one."""
    if not isinstance(row, list | tuple) or not row:
        return getattr(row, "ndim", 0) == 2
    return row[0] is None or isinstance(row[0], Mapping) or np.ndim(row[0]) > 0


def _stacked(emissions: list[Any]) -> Any:
    if isinstance(emissions[0], dict):
        return {n: np.stack([e[n] for e in emissions]) for n in emissions[0]}
    return np.stack(emissions)
