"""A ready-made column of the choice before that begins with the first choice itself."""

import warnings

import numpy as np
import pandas as pd
import pytest

from glmhmm_pyro.covariates import Design, PreviousChoice
from glmhmm_pyro.sequences import LeakageWarning, Sequences


def trials(num_sessions=4, steps=10, num_classes=2):
    rng = np.random.default_rng(3)
    table = pd.DataFrame(
        {
            "day": np.repeat(np.arange(num_sessions), steps),
            "choice": rng.integers(num_classes, size=num_sessions * steps),
            "stim": rng.normal(size=num_sessions * steps),
        }
    )
    table.loc[[0, steps], "choice"] = [0, 1]
    before = table.groupby("day")["choice"].shift()
    return table.assign(before=before.fillna(table["choice"]))


def read(table, **more):
    told = {"session": "day", "emissions": "choice", "covariates": ["stim", "before"]}
    return Sequences.from_dataframe(table, **(told | more))


@pytest.mark.parametrize("code", [lambda c: c, lambda c: 2 * c - 1, lambda c: 0.3 - c])
@pytest.mark.parametrize("num_classes", [2, 3])
def test_the_column_is_named_with_what_to_take_instead(code, num_classes):
    table = trials(num_classes=num_classes)
    table["before"] = code(table["before"])
    words = r"'before': it is 'choice' of the step before.*first step of all 4 sessions"
    with pytest.warns(LeakageWarning, match=words + r".*PreviousChoice\('choice'\)"):
        read(table)
    with pytest.warns(LeakageWarning, match="'before'"):
        read(table, covariates=Design("before"))


def test_an_indicator_of_a_class_and_missing_choices_do_not_hide_it():
    table = trials(num_classes=3)
    table["before"] = (table["before"] == 1).astype(float)
    with pytest.warns(LeakageWarning, match="'before'"):
        read(table)
    table = trials()
    table["choice"] = table["choice"].astype(float)
    # What a study writes after a violation is its own affair.
    table.loc[[4, 20], "choice"], table.loc[[5, 21], "before"] = np.nan, 7.0
    with pytest.warns(LeakageWarning, match="all 3 sessions"):
        read(table)


def test_what_is_no_leak_is_not_named():
    table = trials()
    first = table["day"].diff().ne(0)
    columns = {
        "zero at the start": table["before"].where(~first, 0),
        "a code of its own at the start": (2 * table["before"] - 1).where(~first, 0),
        "the last choice of the session before": table["choice"].shift(fill_value=0),
        "one step that is another": table["before"].where(table.index != 17, 5),
        "one session that begins otherwise": table["before"].where(
            table.index != 20, 1 - table["before"]
        ),
        "another column": table["stim"],
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for column in columns.values():
            read(table.assign(before=column))
        read(table, covariates=Design(PreviousChoice("choice")))
        read(table, covariates=["stim"], transition_covariates=["before"])
        read(table[:10])
        counts = table.assign(choice=table["choice"] * 30)
        read(counts.assign(before=table["before"]))
