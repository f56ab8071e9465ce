r"""States that are no states: empty, hardly visited, two in the place of one.

Two states emit alike where the steps of each hardly speak for its own law. What they
speak for it, in nats, is

.. math:: G_{ij} = \sum_t \big[p(z_t = i \mid y) - p(z_t = j \mid y)\big]
    \big[\log p(y_t \mid i) - \log p(y_t \mid j)\big]

which is about one a weight where both are fitted to draws from one law.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from glmhmm_pyro.distributions import HiddenMarkov
from glmhmm_pyro.distributions.shared import Shared
from glmhmm_pyro.inference.checks.report import UNUSABLE, WARNING, Finding
from glmhmm_pyro.ranks import ALONE, Ranks

# Expected number of steps below which a state is empty; of few steps, this part of an
# equal share of them, so that never all states are.
_EMPTY, _PART = 1.0, 0.5

# Nats a weight by which the steps of two states tell them apart: hardly any where
# one is the other again, one where chance alone does (Wilks 1938).
_SAME, _CHANCE = 0.05, 1.0

# Steps a weight that a state needs for its weights to say anything.
_STEPS_A_WEIGHT = 5

# Parts of a model to whose parameters a prior may be given.
PARTS = frozenset({"initial", "transitions", "emissions"})


@dataclass(frozen=True)
class StateUse:
    """How the states of a fit are used by its data.

    Attributes:
        hidden: distribution of the emissions at the fitted parameters.
        value: the emissions.
        names: what to call the states.
        weights: free numbers of the emissions of one state, at least 1.
        probs: p(z_t | y), shape (steps, states).
        fewer: what a model of fewer states has, in words.
        ranks: over which the steps are spread.
        flat: parts of the model that have parameters without a prior.
    """

    hidden: HiddenMarkov
    value: Tensor
    names: Sequence[str]
    weights: int
    probs: Tensor
    fewer: str = "fewer states"
    ranks: Ranks = ALONE
    flat: frozenset[str] = PARTS

    @classmethod
    def of(
        cls,
        hidden: HiddenMarkov,
        value: Tensor,
        names: Sequence[str],
        weights: int,
        fewer: str = "fewer states",
        ranks: Ranks = ALONE,
        flat: frozenset[str] = PARTS,
    ) -> "StateUse":
        """That of emissions at a fit's parameters."""
        with torch.no_grad():
            probs = hidden.smoothed_probs(value)
        return cls(hidden, value, names, max(weights, 1), probs, fewer, ranks, flat)

    @property
    def visits(self) -> Tensor:
        """Expected number of steps in every state, shape (states,)."""
        return self.ranks.total(self.probs.sum(0))

    def empty(self) -> list[int]:
        """States in which no step is expected."""
        visits = self.visits
        least = visits.mean().mul(_PART).clamp(max=_EMPTY)
        return (visits < least).nonzero().flatten().tolist()

    def twins(self) -> list[tuple[int, int]]:
        """Pairs of visited states of which one is the other again."""
        return self._alike(_SAME)

    def alike(self) -> list[tuple[int, int]]:
        """Pairs that are no farther apart than chance makes them, but for twins."""
        twins = self.twins()
        return [pair for pair in self._alike(_CHANCE) if pair not in twins]

    def leads_apart(self, i: int, j: int) -> bool:
        """Whether transitions tell two states apart, themselves seen as one place."""
        if self.hidden.expansion.emits is not None:
            return False
        with torch.no_grad():
            moves = self.hidden.tabled().expected_counts(self.value).transition
            logits = self.hidden.transition_logits
        others = [k for k in range(len(self.names)) if k not in (i, j)]
        if not others:
            return False
        counts, logs = (
            torch.cat(
                [what[..., others], join(what[..., [i, j]], -1, keepdim=True)], -1
            )
            for what, join in ((moves, torch.sum), (logits, torch.logsumexp))
        )
        apart = (counts[:, i] - counts[:, j]) * (logs[:, i] - logs[:, j]).clamp(-99, 99)
        total = self.ranks.total(apart.nan_to_num(0.0).sum())
        return bool(total > 3 * len(others) + 6)

    def _alike(self, nats: float) -> list[tuple[int, int]]:
        """Pairs whose laws the steps tell apart by fewer nats a weight."""
        with torch.no_grad():
            logs = self.hidden.emission_log_probs(self.value).to(self.probs)
            own = self.probs.T @ logs.nan_to_num(0.0, neginf=-1e6)
            own = self.ranks.total(own)
        gains = own.diagonal()[:, None] - own
        gains = gains + gains.T
        empty = self.empty()
        visited = [k for k in range(len(self.names)) if k not in empty]
        laws = self._laws
        return [
            (i, j)
            for i, j in combinations(visited, 2)
            if gains[i, j] < nats * self.weights and laws[i] != laws[j]
        ]

    @property
    def _laws(self) -> list[int]:
        """The law that each state emits by: pairs of two levels have some in common."""
        law = self.hidden.emission_dist
        known = law.states if isinstance(law, Shared) else torch.arange(len(self.names))
        return known.tolist()


def unusable_states(use: StateUse) -> Iterator[Finding]:
    """States that are empty, and states that stand for one: cheap enough for a fit."""
    empty = use.empty()
    if empty:
        said = listed_states(use.names, empty)
        yield Finding(
            "empty-states",
            UNUSABLE,
            f"{said} never visited (less than one step is expected there), so that "
            f"what is said of {'it' if len(empty) == 1 else 'them'} is noise or the "
            f"prior: fit {use.fewer}, {len(use.names) - len(empty)} at most",
        )
    for first, second in use.twins():
        if not use.leads_apart(first, second):
            yield Finding(
                "twin-states",
                UNUSABLE,
                f"states {use.names[first]} and {use.names[second]} are one state "
                "twice: they emit alike, and how steps fall to either is arbitrary: "
                f"fit {use.fewer}, or raise num_restarts",
            )


def doubtful_states(use: StateUse) -> Iterator[Finding]:
    """States that are hardly visited, and phases of one behaviour."""
    number, empty = len(use.names), use.empty()
    chosen = torch.bincount(use.probs.argmax(-1), minlength=number)
    least = _STEPS_A_WEIGHT * use.weights
    or_prior = ", or give the weights a prior" if "emissions" in use.flat else ""
    # Of twins either may be the more probable, by rounding, at all steps.
    twins = {state for pair in use.twins() for state in pair}
    for state in range(number):
        if state in empty:
            continue
        visits = float(use.visits[state])
        if visits < least:
            yield Finding(
                "vanishing-states",
                WARNING,
                f"state {use.names[state]} is visited in {visits:.0f} of "
                f"{len(use.probs)} steps, too few for its {use.weights} weights: fit "
                f"{use.fewer}{or_prior}",
            )
        elif not chosen[state] and state not in twins:
            yield Finding(
                "vanishing-states",
                WARNING,
                f"state {use.names[state]} is the most probable one at no step: fit "
                f"{use.fewer}, or do not interpret it",
            )
    for first, second in use.twins() + use.alike():
        pair = f"states {use.names[first]} and {use.names[second]}"
        if use.leads_apart(first, second):
            yield Finding(
                "alike-states",
                WARNING,
                f"{pair} emit alike and differ in what follows them alone: read them "
                "as phases of one behaviour, which lasts otherwise than geometrically, "
                f"or fit {use.fewer}",
            )
        elif (first, second) in use.alike():
            yield Finding(
                "alike-states",
                WARNING,
                f"{pair} are no farther apart than chance makes two halves of one: fit "
                f"{use.fewer}",
            )


def listed_states(names: Sequence[str], chosen: list[int]) -> str:
    """Some states as what begins a sentence, with its verb."""
    said = ", ".join(names[state] for state in chosen)
    return f"state {said} is" if len(chosen) == 1 else f"states {said} are"
