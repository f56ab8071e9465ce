"""A data frame becomes sessions, and sessions a data frame."""

import numpy as np
import pandas as pd
import pytest
import torch

from glmhmm_pyro.sequences import Sequences


@pytest.fixture
def df():
    """Two animals, three sessions, five trials; the first of them is a violation."""
    return pd.DataFrame(
        {
            "animal": ["m1", "m1", "m1", "m2", "m2"],
            "day": [1, 1, 2, 2, 2],
            "side": [None, "right", "left", "left", "right"],
            "rt": [0.5, np.nan, 0.25, 1.0, 2.0],
            "contrast": [0.0, 1.0, -1.0, 0.5, 0.0],
            "rewarded": [True, False, True, True, False],
            "weight": [20.0, 22.0, 21.0, 25.0, 26.0],
            "valid": [True, True, True, False, True],
        },
        index=[10, 20, 30, 40, 50],
    )


def read(df, **arguments):
    defaults = {"session": ["animal", "day"], "emissions": "side"}
    return Sequences.from_dataframe(df, **(defaults | arguments))


def test_columns_become_named_sessions_classes_and_covariates(df):
    before = df.copy(deep=True)
    data = read(
        df,
        covariates=["contrast", "rewarded"],
        transition_covariates="rewarded",
        initial_covariates=["weight"],
    )
    pd.testing.assert_frame_equal(df, before)
    assert data.session_names == ("m1/1", "m1/2", "m2/2")
    assert data.lengths.tolist() == [2, 1, 2]
    assert data.class_names == ("left", "right")
    assert data.emission_names == ("side",)
    assert data.emissions.tolist() == [1, 1, 0, 0, 1]
    assert data.mask.tolist() == [False, True, True, True, True]
    assert data.covariate_names == ("contrast", "rewarded")
    assert data.covariates.tolist() == [[0, 1], [1, 0], [-1, 1], [0.5, 1], [0, 0]]
    assert data.transition_covariate_names == ("rewarded",)
    assert data.initial_covariates.tolist() == [[20.0], [21.0], [25.0]]
    assert data.initial_covariate_names == ("weight",)


def test_without_covariates_there_is_one_constant_column(df):
    assert read(df).covariate_names == ("intercept",)
    assert read(df, intercept=True).covariate_names == ("intercept",)


def test_an_intercept_is_added_last_only_when_asked_for(df):
    arguments = {"covariates": ["contrast"], "transition_covariates": ["rewarded"]}
    assert read(df, **arguments).covariate_names == ("contrast",)
    data = read(df, **arguments, intercept=True)
    assert data.covariate_names == ("contrast", "intercept")
    assert data.transition_covariate_names == ("rewarded", "intercept")


def test_an_intercept_joins_the_designs_that_were_named_and_no_other(df):
    data = read(df, transition_covariates=df.columns[[4]], intercept=True)
    assert data.covariate_names == ("intercept",)
    assert data.transition_covariate_names == ("contrast", "intercept")


def test_an_intercept_is_not_added_beside_a_constant_column(df):
    with pytest.raises(ValueError, match="second intercept.*'one'"):
        read(df.assign(one=1), covariates=["contrast", "one"], intercept=True)


def test_a_categorical_keeps_the_order_of_its_categories(df):
    order = ["right", "none", "left"]
    data = read(df.assign(side=pd.Categorical(df.side, categories=order)))
    assert data.class_names == ("right", "none", "left")
    assert data.emissions.tolist()[1:] == [0, 2, 2, 0]


def test_class_names_choose_the_order_of_labels(df):
    data = read(df, class_names=["right", "left"])
    assert data.emissions.tolist()[1:] == [0, 1, 1, 0]


# Before pandas 3 "str" makes the text "None" of what is missing.
PANDAS_3 = int(pd.__version__.partition(".")[0]) >= 3
DTYPES = [object, "string", "category", *(["str"] if PANDAS_3 else [])]


@pytest.mark.parametrize("dtype", DTYPES)
def test_labels_of_every_type_give_the_same_data(df, dtype):
    data = read(df.assign(side=df.side.astype(dtype)))
    assert data.class_names == ("left", "right")
    assert data.mask.tolist() == [False, True, True, True, True]
    assert data.emissions.tolist() == [1, 1, 0, 0, 1]


@pytest.mark.parametrize(
    "values, dtype",
    [
        (pd.array([None, 1, 0, 0, 1], dtype="Int64"), torch.int64),
        (pd.array([None, True, False, False, True], dtype="boolean"), torch.int64),
        (np.array([np.nan, 1, 0, 0, 1]), torch.float64),
        (pd.array([None, 1, 0, 0, 1], dtype="Float64"), torch.float64),
    ],
)
def test_missing_numbers_are_masked_and_keep_their_type(df, values, dtype):
    data = read(df.assign(side=values))
    assert data.emissions.dtype == dtype and data.is_integer
    assert data.mask.tolist() == [False, True, True, True, True]
    assert data.emissions.tolist() == [1, 1, 0, 0, 1]


def test_a_mask_column_hides_more_than_is_missing(df):
    assert read(df, mask="valid").mask.tolist() == [False, True, True, False, True]


def test_several_outputs_are_missing_each_for_itself(df):
    coded = df.assign(choice=[np.nan, 1, 0, 0, 1])
    data = read(coded, emissions=["choice", "rt"], mask="valid")
    assert data.emission_names == ("choice", "rt")
    expected = [[False, True], [True, False], [True, True], [False, False]]
    assert data.mask.tolist()[:4] == expected
    assert data.emissions.tolist()[1] == [1.0, 0.5]


def test_no_session_column_is_one_session(df):
    assert read(df, session=None).lengths.tolist() == [5]


def test_the_rows_of_a_session_must_stand_together(df):
    with pytest.raises(ValueError, match="'m1' again in row 2; sort.*sort_values"):
        read(df.iloc[[0, 3, 1]], session="animal")


def test_a_row_of_unknown_session_is_refused(df):
    with pytest.raises(ValueError, match="session must be known.*1 missing.*row 1"):
        read(df.assign(day=[1, np.nan, 2, 2, 2]), session="day")


@pytest.mark.parametrize(
    "argument", ["session", "emissions", "covariates", "initial_covariates", "mask"]
)
def test_an_unknown_column_suggests_a_close_one(df, argument):
    with pytest.raises(ValueError, match=f"{argument} must.*'weigth'.*'weight'"):
        read(df, **{argument: "weigth"})


def test_a_column_that_is_there_twice_is_refused(df):
    twice = pd.concat([df, df[["contrast"]]], axis=1)
    with pytest.raises(ValueError, match="'contrast', which.* has 2 times"):
        read(twice, covariates=["contrast"])


def test_labels_are_no_covariates(df):
    with pytest.raises(TypeError, match="covariates.*'animal'.*get_dummies"):
        read(df, covariates=["animal"])


def test_labels_are_not_mixed_with_other_outputs(df):
    with pytest.raises(TypeError, match="emissions must be numeric.*'side'"):
        read(df, emissions=["side", "rt"])


def test_a_mask_of_numbers_is_refused(df):
    with pytest.raises(TypeError, match="mask must be a boolean column.*'day'"):
        read(df, mask="day")


def test_a_missing_covariate_is_refused_by_name(df):
    with pytest.raises(ValueError, match="covariates must be finite.*'rt'.*row 1"):
        read(df, covariates=["contrast", "rt"])


def test_an_empty_frame_is_refused(df):
    with pytest.raises(ValueError, match="at least one row"):
        read(df.iloc[:0])


def test_a_data_set_and_its_frame_tell_the_same(df):
    columns = {
        "covariates": ["contrast"],
        "transition_covariates": ["rewarded"],
        "initial_covariates": ["weight"],
    }
    data = read(df, **columns)
    table = data.to_dataframe()
    names = ["session", "step", "side", "contrast", "rewarded", "weight"]
    assert list(table.columns) == names
    assert table["step"].tolist() == [0, 1, 0, 0, 1]
    assert table["side"].isna().tolist() == [True, False, False, False, False]
    again = Sequences.from_dataframe(
        table, session="session", emissions="side", **columns
    )
    pd.testing.assert_frame_equal(again.to_dataframe(), table)
    assert again.emissions.tolist() == data.emissions.tolist()


def test_numbers_come_back_missing_where_they_were_masked():
    mask = [[True, False], [True, True]]
    table = Sequences([[1.0, 2.0], [3.0, 4.0]], mask=mask).to_dataframe()
    assert table["y0"].tolist() == [1.0, 3.0]
    assert table["y1"].isna().tolist() == [True, False]
    table = Sequences([2, 1], mask=[False, True]).to_dataframe()
    assert table["y"].isna().tolist() == [True, False] and table["y"][1] == 1


def test_columns_of_one_name_and_other_values_are_both_there():
    data = Sequences(
        [0, 1],
        [[1.0], [2.0]],
        covariate_names=["speed"],
        transition_covariates=[[3.0], [4.0]],
        transition_covariate_names=["speed"],
    )
    table = data.to_dataframe()
    assert table["speed"].tolist() == [1.0, 2.0]
    assert table["transition_covariates.speed"].tolist() == [3.0, 4.0]
