"""Terms that are made from the animal's own choices."""

from dataclasses import dataclass, replace

import numpy as np

from glmhmm_pyro.arguments import suggests_names

from .sources import Signed
from .table import RawTable
from .terms import Past, Recomputed, Term


@suggests_names
@dataclass(frozen=True)
class PreviousChoice(Term):
    """The last valid choice of the session: -1 or +1, or one column a class.

    Of two classes, class 0 is -1 and class 1 is +1, in one column; of more, every class
    has a column, 1 where it was the last choice. At the start of a session, and as long
    as no choice was valid, all is 0. A missing choice (NaN, None) is passed over, as in
    Ashwood et al. 2022 (Nat Neurosci 25:201).

    The columns of more than two classes sum to 1 on all later steps, so that beside an
    intercept the first steps of sessions alone tell them apart: give such weights a
    prior, or leave the intercept out.

    Args:
        column: name of the column of choices: numbers 0, 1, ... or labels, which are
            classes in the order of a categorical's categories, or of the alphabet.
        name: of the term; ``previous_`` and the column's name by default.
        classes: names of the classes, learnt by ``Design.fit``; to be given for numbers
            of which the training data do not have all.

    Example:
        >>> import pandas as pd
        >>> from glmhmm_pyro.covariates import Design, PreviousChoice
        >>> trials = pd.DataFrame({"choice": [1, None, 0, 1]})
        >>> design = Design(PreviousChoice("choice"))
        >>> design.fit_transform(trials, session=None)["previous_choice"].tolist()
        [0.0, 1.0, 1.0, -1.0]
    """

    column: str
    name: str | None = None
    classes: tuple[str, ...] | None = None

    @property
    def label(self) -> str:
        """The name given, or one made from the column's."""
        return self.name or f"previous_{self.column}"

    @property
    def follows(self) -> str | None:
        """The column of choices."""
        return self.column

    def fitted(self, table: RawTable) -> Term:
        """The term that knows the classes."""
        numbers = table.numbers(self.column)
        found = table.classes.get(self.column)
        if self.classes is not None:
            if found is not None and tuple(self.classes) != found:
                raise ValueError(
                    f"classes must be those of column {self.column!r}, in their order, "
                    f"{', '.join(found)}, got {', '.join(self.classes)}; leave classes "
                    "out, or make the column a categorical of these categories"
                )
            return self
        if found is None:
            codes = _as_codes(self.column, numbers[~np.isnan(numbers)])
            found = tuple(map(str, range(max(2, int(codes.max(initial=0)) + 1))))
        return replace(self, classes=found)

    def relearnt(self, table: RawTable) -> Term:
        """The term itself, which learns no number of the rows."""
        return self

    def names(self) -> tuple[str, ...]:
        """One column, or one a class."""
        if len(self._known()) == 2:
            return (self.label,)
        return tuple(f"{self.label}_{name}" for name in self._known())

    def _known(self) -> tuple[str, ...]:
        if self.classes is None:
            raise ValueError(
                f"term {self.label!r} must know the classes before it is used, got "
                "none; fit the design first"
            )
        return self.classes

    def values(self, table: RawTable) -> np.ndarray:
        """The last valid choice, coded."""
        numbers = table.numbers(self.column)
        last = last_valid(~np.isnan(numbers), table)
        return self.coded(np.where(last < 0, np.nan, numbers[last]))

    def recomputed(self, table: RawTable | None) -> Recomputed:
        """The choice before, coded; none of a simulation is missing."""

        def function(past: Past, rows: np.ndarray) -> np.ndarray:
            none = np.full(len(rows), np.nan)
            return self.coded(past.last(1)[:, 0] if past.num_steps else none)

        return function

    def coded(self, choices: np.ndarray) -> np.ndarray:
        """Choices (steps,) as columns."""
        number = len(self._known())
        codes = _as_codes(self.column, choices[~np.isnan(choices)])
        if codes.max(initial=0) >= number:
            raise ValueError(
                f"column {self.column!r} must hold the {number} classes that fit found,"
                f" got class {int(codes.max())}; fit the design to data with all of "
                "them, or give classes"
            )
        if number == 2:
            return Signed(self.column).coded(choices)[:, None]
        return (choices[:, None] == np.arange(number)).astype(float)


@suggests_names
@dataclass(frozen=True)
class WinStayLoseSwitch(Term):
    """The last valid choice where it was rewarded, its opposite where it was not.

    Of two classes, +1 speaks for class 1 and -1 for class 0: the product of the
    previous choice and the previous reward (+1, -1) of Ashwood et al. 2022 (Nat
    Neurosci 25:201). It is 0 at the start of a session, and trials without a choice are
    passed over.

    Args:
        choice: name of the column of choices, of 0 and 1 or two labels.
        reward: name of the column of rewards: above 0 is a reward.
        answer: name of the column of correct answers, coded as the choices, in place of
            ``reward``. A simulation needs it, whose choices have other rewards.
        name: of the term and its column.

    Example:
        >>> import pandas as pd
        >>> from glmhmm_pyro.covariates import Design, WinStayLoseSwitch
        >>> trials = pd.DataFrame({"choice": [1, 1, 0], "reward": [1, 0, 1]})
        >>> design = Design(WinStayLoseSwitch("choice", reward="reward"))
        >>> values = design.fit_transform(trials, session=None)
        >>> values["win_stay_lose_switch"].tolist()
        [0.0, 1.0, -1.0]
    """

    choice: str
    reward: str | None = None
    answer: str | None = None
    name: str = "win_stay_lose_switch"

    def __post_init__(self) -> None:
        if (self.reward is None) == (self.answer is None):
            raise ValueError(
                "WinStayLoseSwitch must be given either reward or answer, got "
                f"reward={self.reward!r} and answer={self.answer!r}; give the column "
                "of one of them"
            )

    @property
    def label(self) -> str:
        """Its name."""
        return self.name

    @property
    def follows(self) -> str | None:
        """The column of choices."""
        return self.choice

    def fitted(self, table: RawTable) -> Term:
        """The term itself, if choices and rewards can be read."""
        self.values(table)
        return self

    def names(self) -> tuple[str, ...]:
        """One column."""
        return (self.name,)

    def values(self, table: RawTable) -> np.ndarray:
        """The last valid choice times its reward."""
        numbers = table.numbers(self.choice)
        valid = ~np.isnan(numbers)
        stays = self.earned(numbers, table)
        last = last_valid(valid, table)
        return np.where(last < 0, 0.0, stays[last])[:, None]

    def earned(self, numbers: np.ndarray, table: RawTable) -> np.ndarray:
        """Choices (steps,) as -1 and +1, the opposite where not rewarded."""
        signed: np.ndarray = Signed(self.choice).coded(numbers)
        return signed * self._rewards(numbers, table)

    def _rewards(self, choices: np.ndarray, table: RawTable) -> np.ndarray:
        """+1 where a choice was rewarded, else -1; 0 without a choice."""
        valid = ~np.isnan(choices)
        if self.answer is not None:
            answers = self._answers(table)
            rewarded, is_known = choices == answers, ~np.isnan(answers)
        else:
            rewards = table.numbers(str(self.reward))
            rewarded, is_known = rewards > 0, ~np.isnan(rewards)
        if (valid & ~is_known).any():
            raise ValueError(
                f"column {self.answer or self.reward!r} must be known wherever there is"
                f" a choice, got {(valid & ~is_known).sum()} missing, the first in row "
                f"{(valid & ~is_known).argmax()}; fill them in, or make the choices of "
                "these rows missing too"
            )
        return np.where(valid, np.where(rewarded, 1.0, -1.0), 0.0)

    def _answers(self, table: RawTable) -> np.ndarray:
        """Numbers of the correct answers, classes in the order of the choices'."""
        column = str(self.answer)
        table.numbers(self.choice)
        table.classes.setdefault(column, table.classes.get(self.choice))
        return table.numbers(column)

    def recomputed(self, table: RawTable | None) -> Recomputed:
        """The choice before, times what it would have earned."""
        if self.answer is None or table is None:
            raise ValueError(
                f"term {self.name!r} must know the correct answers of all rows to be "
                f"recomputed, got {'no table' if self.answer else 'past rewards only'};"
                " make it by WinStayLoseSwitch(choice, answer=...) and pass "
                "history=design.history(df)"
            )
        answers = self._answers(table)
        if np.isnan(answers).any():
            raise ValueError(
                f"column {self.answer!r} must have an answer in every row to be "
                f"simulated from, got {np.isnan(answers).sum()} missing, the first in "
                f"row {np.isnan(answers).argmax()}; fill them in"
            )

        def function(past: Past, rows: np.ndarray) -> np.ndarray:
            if not past.num_steps:
                return np.zeros((len(rows), 1))
            choices = past.last(1)
            rewarded = np.where(choices == answers[rows - 1, None], 1.0, -1.0)
            return Signed(self.choice).coded(choices) * rewarded

        return function


def last_valid(valid: np.ndarray, table: RawTable) -> np.ndarray:
    """Row of the last valid step before every step of its session, or -1."""
    steps = np.arange(len(valid))
    before = np.concatenate([[-1], np.where(valid, steps, -1)[:-1]])
    last = np.maximum.accumulate(before)
    return np.where(last < np.repeat(table.starts, table.lengths), -1, last)


def _as_codes(column: str, numbers: np.ndarray) -> np.ndarray:
    """Classes, refused where they are no whole numbers from 0."""
    if ((numbers < 0) | (numbers != np.floor(numbers))).any():
        bad = numbers[(numbers < 0) | (numbers != np.floor(numbers))][0]
        raise ValueError(
            f"column {column!r} must hold classes 0, 1, ... or labels, got {bad:g}; "
            "recode it (a choice of -1 and +1 is (choice + 1) / 2), and mark missing "
            "choices by NaN"
        )
    return numbers
