"""Groups of sessions: kept through every change, and part of who a session is."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import glmhmm_pyro as gh
from glmhmm_pyro.sequences.members import Members

NAMES, GROUPS, LENGTHS = (
    ["1", "2", "1", "2"],
    ["rat", "rat", "owl", "owl"],
    [2, 1, 1, 3],
)
FRAME = pd.DataFrame(
    {
        "animal": np.repeat(GROUPS, LENGTHS),
        "day": np.repeat(NAMES, LENGTHS),
        "y": [0, 1, 1, 0, 1, 1, 0],
    }
)


def sequences(names=None, groups=GROUPS, lengths=LENGTHS, **options):
    steps = sum(lengths)
    options = {"session_names": names, "groups": groups, "lengths": lengths} | options
    return gh.Sequences(np.arange(steps) % 2, **options)


def keys(data):
    return [origin.key() for origin in data.session_origins]


def test_groups_are_one_name_a_session():
    data = sequences(groups=[7, 7, "owl", np.str_("owl")])
    assert data.groups == ("7", "7", "owl", "owl")
    assert data.group_names == ("7", "owl")
    assert "sessions of groups: 7 (2), owl (2)" in repr(data)
    lists = gh.Sequences.from_lists([[0, 1], [1]], groups=["b", "a"])
    assert lists.groups == ("b", "a") and lists.group_names == ("b", "a")


def test_data_without_groups_say_nothing_of_them():
    data = sequences(groups=None)
    assert data.groups is None and data.group_names == ()
    assert "group" not in repr(data)
    assert "group" not in data.to_dataframe()


def test_two_groups_may_have_sessions_of_one_name():
    data = sequences(NAMES)
    assert data.session_names == ("rat/1", "rat/2", "owl/1", "owl/2")
    assert keys(data) == [(g, n, "") for n, g in zip(NAMES, GROUPS)]
    # A name that one group alone has stays as it is.
    assert sequences(["1", "3", "1", "2"]).session_names == ("rat/1", "3", "owl/1", "2")
    with pytest.raises(ValueError, match="session_names must differ.*'1' twice"):
        sequences(["1", "1", "2", "3"])


def test_groups_come_from_a_column_and_go_back_into_one():
    read = gh.Sequences.from_dataframe(
        FRAME, session="day", group="animal", emissions="y"
    )
    assert read.groups == tuple(GROUPS)
    assert read.lengths.tolist() == LENGTHS
    whole = gh.Sequences.from_dataframe(
        FRAME, session=["animal", "day"], group="animal", emissions="y"
    )
    table = read.to_dataframe()
    assert table["group"].tolist() == FRAME["animal"].tolist()
    again = gh.Sequences.from_dataframe(
        table, session="session", group="group", emissions="y"
    )
    for other in (whole, again):
        assert (
            other.session_names == read.session_names == sequences(NAMES).session_names
        )
        assert keys(other) == keys(read) == keys(sequences(NAMES))
    labs = gh.Sequences.from_dataframe(
        FRAME.assign(lab="x"), session="day", group=["lab", "animal"], emissions="y"
    )
    assert labs.group_names == ("x/rat", "x/owl")
    alone = gh.Sequences.from_dataframe(
        FRAME[:2], session=None, group="animal", emissions="y"
    )
    assert alone.groups == ("rat",)


def test_a_group_that_changes_within_a_session_is_refused():
    for session, of in (("day", "session '2'"), (None, "the single session")):
        changed = FRAME.assign(animal=["rat"] * 5 + ["owl", "rat"])
        with pytest.raises(
            ValueError, match=f"group must be the same.*'rat' and 'owl' in {of}"
        ):
            gh.Sequences.from_dataframe(
                changed, session=session, group="animal", emissions="y"
            )
    # The last session of one animal and the first of the next stand together.
    together = FRAME.assign(day=["1", "1", "2", "2", "3", "3", "3"])
    with pytest.raises(ValueError, match="in session '2'.*session=.'animal', 'day'"):
        gh.Sequences.from_dataframe(
            together, session="day", group="animal", emissions="y"
        )
    apart = gh.Sequences.from_dataframe(
        together, session=["animal", "day"], group="animal", emissions="y"
    )
    assert apart.groups == ("rat", "rat", "owl", "owl")


def test_a_design_hands_groups_on():
    frame = FRAME.assign(x=np.arange(7.0))
    design = gh.covariates.Design(gh.covariates.Standardised("x"))
    data = design.sequences(
        frame, session=["animal", "day"], group="animal", emissions="y"
    )
    assert data.groups == tuple(GROUPS)
    assert data.refit_design([0, 1]).groups == tuple(GROUPS)
    lists = gh.covariates.Design("x0").sequences(
        [np.ones((2, 1)), np.ones((1, 1))], emissions=[[0, 1], [1]], group=["a", "b"]
    )
    assert lists.groups == ("a", "b")


def test_a_series_by_session_is_read_by_its_labels():
    by_name = pd.Series({"c": "owl", "a": "rat", "b": "rat"})
    data = gh.Sequences(
        [0, 1, 1], lengths=[1, 1, 1], session_names=list("abc"), groups=by_name
    )
    assert data.groups == ("rat", "rat", "owl")


def test_groups_select_their_sessions():
    data = sequences(["w", "x", "y", "z"], groups=["a", "b", "a", "c"])
    assert data.subset(groups="a").session_names == ("w", "y")
    assert data.subset(groups=["c", "a"]).session_names == ("z", "w", "y")
    twice = data.subset(groups=["b", "b"])
    assert twice.session_names == ("x", "x (2)") and twice.groups == ("b", "b")


def test_groups_outlive_every_change():
    data = sequences(NAMES)
    for same in (
        data.replace(emissions=1 - data.emissions),
        data.replace(session_names=["p", "q", "r", "s"]),
        data.with_mask([True] * 6 + [False]),
        data.to(torch.float32),
        copy.deepcopy(data),
        pickle.loads(pickle.dumps(data)),
        gh.Sequences.concatenate(list(data)),
    ):
        assert same.groups == tuple(GROUPS)
    assert [part.groups for part in data] == [(group,) for group in GROUPS]
    assert data.replace(lengths=[7]).groups is None


def test_groups_are_exchanged_where_names_tell_sessions_apart():
    data = sequences(list("abcd"))
    other = data.subset([0, 1, 0]).replace(groups=["x", "y", "x"])
    assert other.groups == ("x", "y", "x")
    assert keys(other) == [("x", "a", ""), ("y", "b", ""), ("x", "a", "")]
    assert data.replace(groups=None).groups is None
    with pytest.raises(ValueError, match="groups must tell apart.*give session_names"):
        sequences(NAMES).replace(groups=None)
    renamed = sequences(NAMES).replace(groups=None, session_names=list("abcd"))
    assert renamed.session_names == ("a", "b", "c", "d")
    # Sessions that nobody named remain those of their data set.
    unnamed = sequences(groups=None)
    assert [o.source for o in unnamed.replace(groups=GROUPS).session_origins] == [
        o.source for o in unnamed.session_origins
    ]


def test_animals_are_joined_without_taking_one_for_another():
    rat, owl = (sequences(["1", "2"], [g] * 2, [1, 2]) for g in ("rat", "owl"))
    joined = gh.Sequences.concatenate([rat, owl, rat])
    assert joined.groups == ("rat",) * 2 + ("owl",) * 2 + ("rat",) * 2
    assert joined.session_names == (
        *("rat/1", "rat/2", "owl/1", "owl/2", "rat/1 (2)", "rat/2 (2)"),
    )
    with pytest.raises(ValueError, match="all have groups or none.*data set 1"):
        gh.Sequences.concatenate([rat, sequences(["3"], None, [1])])


def found(wanted, other):
    """The rows of sessions of other data, of parameters by session of the wanted."""
    return Members.of(wanted).rows("session", other, "weights", "others").places


sessions = st.lists(
    st.tuples(st.sampled_from("pqr"), st.sampled_from("ab")),
    min_size=1,
    max_size=6,
    unique=True,
)


@given(sessions, st.data())
def test_subsets_and_joins_keep_who_a_session_is(pairs, draw):
    names, groups = zip(*pairs)
    data = sequences(names, groups, [1 + i for i in range(len(pairs))])
    numbers = st.lists(st.integers(0, len(pairs) - 1), min_size=1, max_size=6)
    chosen = draw.draw(numbers)
    some = data.subset(chosen)
    again = draw.draw(st.lists(st.sampled_from(range(len(chosen))), min_size=1))
    parts = [data.subset(groups=group) for group in data.group_names]
    joined = gh.Sequences.concatenate([some, *parts])
    rows = [chosen[i] for i in again]
    by_group = [i for g in data.group_names for i, h in enumerate(groups) if g == h]
    for made, wanted in [(some.subset(again), rows), (joined, chosen + by_group)]:
        assert made.groups == tuple(groups[i] for i in wanted)
        assert keys(made) == [(groups[i], names[i], "") for i in wanted]
        assert made.lengths.tolist() == [1 + i for i in wanted]
        assert len(set(made.session_names)) == len(wanted)
        # Whatever the sessions are called there, each finds itself.
        assert found(data, made) == wanted
        # Changed data are taken to be these sessions too.
        assert keys(made.replace(emissions=made.emissions)) == keys(made)


def test_a_session_is_known_by_its_group_and_its_name():
    data = sequences(NAMES)
    owl = gh.Sequences(
        [1, 1], lengths=[1, 1], session_names=["2", "1"], groups=["owl"] * 2
    )
    assert found(data, owl) == [3, 2]
    assert found(data, owl.replace(groups=["rat", "owl"])) == [1, 2]
    with pytest.raises(ValueError, match="got 2, 1; use"):
        found(data, owl.replace(groups=["cat", "cat"]))
    # Unnamed ones of another group are no more taken by their place.
    one, other = (
        sequences(groups=[g], lengths=[3], mask=m)
        for g, m in (("a", None), ("b", [True, True, False]))
    )
    with pytest.raises(ValueError, match="got 0; use"):
        found(one, other)


def test_without_groups_on_one_side_a_name_tells_if_one_group_has_it():
    data = sequences(["1", "2", "1", "3"])
    plain = sequences(["3", "2", "4", "1"], groups=None)
    assert found(data, plain.subset([0, 1])) == [3, 1]
    assert found(plain, data.subset([3, 1])) == [0, 1]
    for wanted, other in ((data, plain.subset([3])), (plain, data.subset([0, 2]))):
        with pytest.raises(ValueError, match="; use"):
            found(wanted, other)
