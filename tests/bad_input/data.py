"""Data sets: what is made of arrays, lists and frames, chosen, joined and changed."""

import numpy as np
import pandas as pd
import torch
import xarray as xr
from scipy import sparse

import glmhmm_pyro as gh

from .row import Row

S = gh.Sequences
Y = [0, 1, 1, 0, 1, 0]
X = np.arange(12.0).reshape(6, 2)
NAN = np.where(X == 3, np.nan, X)
DATA = S(Y, X, lengths=[1, 2, 3], session_names=["a", "b", "c"])
FRAME = pd.DataFrame(
    {
        "s": [1, 1, 2, 2],
        "t": [0, 1, 0, 1],
        "y": [0, 1, 1, 0],
        "x": [0.1, 0.2, 0.3, 0.4],
        "m": [True, True, False, True],
        "c": pd.Categorical(["l", "r", "r", "l"]),
    }
)
NUMBERS = "classes (whole numbers or strings) or real numbers"
REAL = "must hold real numbers"
ROW_EACH = "one row for each of the"
WHOLE = "must be a list of whole numbers"
ONE_ARRAY = "must be a list with one array per session"


def frame(df=FRAME, **changes):
    options = {"session": "s", "emissions": "y", "covariates": ["x"]}
    return lambda: S.from_dataframe(df, **options | changes)


def with_x(values):
    return lambda: S(Y[: len(values)], values)


class Lazy:
    """Like a lazy frame of polars."""

    def collect(self):
        """Nothing."""

    collect_schema = collect


class OtherFrame:
    """Like a data frame of a kind that nobody knows."""

    columns = ["y"]

    def to_pandas(self):
        """Nothing."""


EMISSIONS = {
    "transposed emissions": Row(
        lambda: S(np.zeros((2, 6)), X),
        *("emissions", "shape (steps, outputs)", "(2, 6)", "emissions.T"),
    ),
    "swapped arguments": Row(
        lambda: S(X, Y),
        *(
            "covariates",
            "shape (steps, features)",
            "a vector of labels",
            "swap the two",
        ),
    ),
    "swapped labels": Row(
        lambda: S(X, list("ababab")),
        *(
            "covariates",
            "shape (steps, features)",
            "a vector of labels",
            "swap the two",
        ),
    ),
    "None": Row(
        lambda: S(None), "emissions", "an array or a list", "None", "give", TypeError
    ),
    "a string": Row(
        lambda: S("0101"),
        *("emissions", "an array or a list", "a str", "list(emissions)", TypeError),
    ),
    "bytes": Row(
        lambda: S(b"01"),
        *("emissions", "an array or a list", "a bytes", "list(emissions)", TypeError),
    ),
    "a mapping": Row(
        lambda: S({"a": [0, 1]}),
        *("emissions", "an array or a list", "a dict", "one of its values", TypeError),
    ),
    "a set": Row(
        lambda: S({0, 1}),
        *("emissions", "an array or a list", "a set", "give a list", TypeError),
    ),
    "a lazy frame": Row(
        lambda: S(Lazy()),
        *("emissions", "must hold its values", "a Lazy", "emissions.collect()"),
        TypeError,
    ),
    "no steps": Row(
        lambda: S([]), "emissions", "at least one step", "(0,)", "Sequences.from_lists"
    ),
    "no steps of two outputs": Row(
        lambda: S(np.zeros((0, 2))), "emissions", "at least one step", "(0, 2)", "give"
    ),
    "a number": Row(lambda: S(3), "emissions", "at least one step", "()", "give"),
    "three axes": Row(
        lambda: S(np.zeros((2, 3, 4))),
        "emissions",
        "(steps,)",
        "(2, 3, 4)",
        "from_lists",
    ),
    "ragged": Row(
        lambda: S([[0, 1], [1]]),
        *("emissions", "a rectangular array", "different lengths", "from_lists"),
    ),
    "complex": Row(
        lambda: S(np.array([1j, 0])),
        *("emissions", NUMBERS, "complex128", "two columns", TypeError),
    ),
    "dates": Row(
        lambda: S(pd.date_range("2020", periods=3)),
        *("emissions", NUMBERS, "datetime64", "subtract a time", TypeError),
    ),
    "durations": Row(
        lambda: S(np.array([1, 2], "m8[s]")),
        *("emissions", NUMBERS, "timedelta64", "divide by a unit", TypeError),
    ),
    "byte strings": Row(
        lambda: S(np.array([b"a", b"b"])),
        *("emissions", NUMBERS, "|S1", "astype(str)", TypeError),
    ),
    "a structured array": Row(
        lambda: S(np.array([(1, 2.0)], dtype=[("a", int), ("b", float)])),
        *("emissions", NUMBERS, "[('a'", "structured_to_unstructured", TypeError),
    ),
    "labels and numbers": Row(
        lambda: S(np.array([0, "a"], object)),
        *("emissions", NUMBERS, "mixed-integer", "strings alone", TypeError),
    ),
    "an array of lists": Row(
        lambda: S(np.array([[0, 1], [1]], dtype=object)),
        *("emissions", NUMBERS, "'mixed'", "numbers alone", TypeError),
    ),
    "whole numbers beyond int64": Row(
        lambda: S(np.array([1, 2**63 + 5], np.uint64)),
        *("emissions", "below 2**63", str(2**63 + 5), "floats"),
    ),
    "large whole numbers of Python": Row(
        lambda: S([1, 2**70]), "emissions", "below 2**63", str(2**70), "floats"
    ),
    "an infinite number": Row(
        lambda: S([0.5, np.inf]), "emissions", "finite", "inf in row 1", "by NaN"
    ),
    "a number beyond float32": Row(
        lambda: S([1e300, 0.5], dtype=torch.float32),
        *("emissions", "finite in torch.float32", "1e+300", "a wider dtype"),
    ),
    "nothing but NaN": Row(
        lambda: S([np.nan, np.nan]),
        *("emissions", "a value in every output", "NaN or None alone", "one value"),
    ),
    "an output of NaN": Row(
        lambda: S([[0.1, np.nan], [0.2, np.nan]]),
        *("emissions", "a value in every output", "output 1", "leave that column out"),
    ),
    "classes below 0": Row(
        lambda: S([-1, 1]), "emissions", "classes 0, 1, ...", "-1", "as floats"
    ),
    "a label without a name": Row(
        lambda: S(["a", "z"], class_names=["a", "b"]),
        *("emissions", "among class_names (a, b)", "'z'", "add it to class_names"),
    ),
    "a sparse tensor": Row(
        lambda: S(torch.tensor(X).to_sparse()),
        *(
            "emissions",
            "a dense tensor",
            "sparse_coo",
            "emissions.to_dense()",
            TypeError,
        ),
    ),
}
MASKS = {
    "a mask of numbers": Row(
        lambda: S(Y, mask=[1, 0, 1, 1, 0, 1]),
        *("mask", "boolean", "int64", "mask.astype(bool)", TypeError),
    ),
    "a mask with NaN": Row(
        lambda: S(Y, mask=[True, np.nan, True, True, True, True]),
        *("mask", "boolean", "float64", "mask.astype(bool)", TypeError),
    ),
    "a mask of other steps": Row(
        lambda: S(Y, mask=[True] * 5), "mask", "shape (6,)", "(5,)", "for each step"
    ),
    "a mask of other outputs": Row(
        lambda: S(Y, mask=np.ones((6, 2), bool)), "mask", "shape (6,)", "(6, 2)", "give"
    ),
    "a mask that hides everything": Row(
        lambda: S(Y, mask=[False] * 6),
        *("mask", "leave at least one emission", "none", "~mask"),
    ),
    "a mask that shows what is missing": Row(
        lambda: S([0.0, np.nan], mask=[True, True]),
        *("emissions", "a value wherever mask is True", "1 NaN", "set mask to False"),
    ),
    "a mask in the place of sessions": Row(
        lambda: DATA.with_mask([True]), "mask", "shape (6,)", "(1,)", "for each step"
    ),
    "a second mask of numbers": Row(
        lambda: DATA.with_mask([1] * 6),
        *("mask", "boolean", "int64", "mask.astype(bool)", TypeError),
    ),
    "a second mask that hides everything": Row(
        lambda: DATA.with_mask([False] * 6),
        *("mask", "leave at least one emission", "none", "~mask"),
    ),
    "a mask named by list": Row(
        lambda: S.from_lists([[0, 1], [1]], mask=[[True, True], [True]]),
        *("mask", "a single array", "2 arrays", "as masks"),
    ),
    "masks of too few sessions": Row(
        lambda: S.from_lists([[0, 1], [1]], masks=[[True, True]]),
        *("masks", "the lengths of emissions (2, 1)", "2", "a mask of its steps"),
    ),
    "masks of other lengths": Row(
        lambda: S.from_lists([[0, 1], [1]], masks=[[True], [True]]),
        *("masks", "the lengths of emissions (2, 1)", "1, 1", "a mask of its steps"),
    ),
}
COVARIATES = {
    "transposed covariates": Row(
        lambda: S(Y, X.T), "covariates", "(steps, features)", "(2, 6)", "covariates.T"
    ),
    "transposed transition covariates": Row(
        lambda: S(Y, X, transition_covariates=X.T),
        *("transition_covariates", "(steps, features)", "(2, 6)"),
        "transition_covariates.T",
    ),
    "too few rows": Row(lambda: S(Y, X[:5]), "covariates", ROW_EACH, "(5, 2)", "give"),
    "too few rows for transitions": Row(
        lambda: S(Y, X, transition_covariates=X[:5]),
        *("transition_covariates", ROW_EACH, "(5, 2)", "one row for each of the steps"),
    ),
    "initial covariates of steps": Row(
        lambda: S(Y, X, initial_covariates=X),
        *("initial_covariates", ROW_EACH + " sessions", "(6, 2)", "give one row"),
    ),
    "no columns": Row(
        lambda: S(Y, X[:, :0]), "covariates", ROW_EACH, "(6, 0)", "leave covariates out"
    ),
    "covariates of three axes": Row(
        lambda: S([0, 1], np.zeros((2, 1, 1))),
        "covariates",
        ROW_EACH,
        "(2, 1, 1)",
        "give",
    ),
    "NaN": Row(with_x(NAN), "covariates", "finite", "column 'x1'", "fill them in"),
    "infinity": Row(
        with_x(np.where(X == 3, np.inf, X)), "covariates", "finite", "row 1", "fill"
    ),
    "a masked covariate": Row(
        with_x(np.ma.masked_array(X, mask=X == 3)),
        "covariates",
        "finite",
        "'x1'",
        "fill",
    ),
    "beyond float32": Row(
        lambda: S([0, 1], [[1e300], [0.0]], dtype=torch.float32),
        *("covariates", "finite in torch.float32", "1e+300", "a wider dtype"),
    ),
    "None among covariates": Row(
        with_x([[1.0], [None]]), "covariates", REAL, "None", "astype(float)", TypeError
    ),
    "text": Row(
        with_x([["a"], ["b"]]), "covariates", REAL, "<U1", "get_dummies", TypeError
    ),
    "complex covariates": Row(
        with_x([1j, 2]), "covariates", REAL, "complex128", "two columns", TypeError
    ),
    "dates as covariates": Row(
        with_x(np.array(["2020-01-01"], "M8[D]")),
        *("covariates", REAL, "datetime64", "subtract a time", TypeError),
    ),
    "a sparse matrix": Row(
        lambda: S(Y, sparse.csr_matrix(X)),
        *(
            "covariates",
            "a dense array",
            "csr_matrix",
            "covariates.toarray()",
            TypeError,
        ),
    ),
    "a sparse matrix of COO": Row(
        lambda: S(Y, sparse.coo_array(X)),
        *(
            "covariates",
            "a dense array",
            "coo_array",
            "covariates.toarray()",
            TypeError,
        ),
    ),
    "a tensor without values": Row(
        lambda: S(Y, torch.zeros(6, 2, device="meta")),
        *(
            "covariates",
            "a tensor that holds values",
            "'meta'",
            "on the CPU",
            TypeError,
        ),
    ),
    "a frame with a column twice": Row(
        lambda: S(Y, pd.DataFrame(X, columns=["a", "a"])),
        *("covariate_names", "differ from each other", "'a' twice", "rename"),
    ),
    "rows in another order": Row(
        lambda: S(
            pd.Series(Y, index=list("abcdef")),
            pd.DataFrame(X, index=list("fedcba")),
        ),
        *("covariates", "rows in the order of emissions", "row 0 is 'f'", ".loc["),
    ),
    "a column that stands elsewhere": Row(
        lambda: S(Y, pd.DataFrame(X, columns=["a", "b"]), covariate_names=["b", "c"]),
        *("covariates", "be renamed in every column", "a, b", "'b' stands elsewhere"),
    ),
}
LENGTHS = {
    "a sum of other steps": Row(
        lambda: S(Y, lengths=[3, 2]), "lengths", "sum to the 6 steps", "5", "give"
    ),
    "a sum beyond int64": Row(
        lambda: S(Y, lengths=np.array([2**63 - 1, 7])),
        *("lengths", "sum to the 6 steps", str(2**63 + 6), "give"),
    ),
    "an empty session": Row(
        lambda: S(Y, lengths=[6, 0]),
        "lengths",
        "at least 1",
        "0 for session 1",
        "leave",
    ),
    "a session of less than no steps": Row(
        lambda: S(Y, lengths=[7, -1]), "lengths", "at least 1", "-1", "leave"
    ),
    "lengths with a point": Row(
        lambda: S(Y, lengths=[3.0, 3.0]), "lengths", WHOLE, "float64", ".astype(int)"
    ),
    "lengths of truth": Row(
        lambda: S([0, 1], lengths=[True, True]), "lengths", WHOLE, "bool", "a flat list"
    ),
    "a single length": Row(lambda: S(Y, lengths=6), "lengths", WHOLE, "6", "give [6]"),
    "no lengths": Row(
        lambda: S(Y, lengths=[]), "lengths", WHOLE, "(0,)", "a flat list"
    ),
    "lengths of lists": Row(
        lambda: S(Y, lengths=[[3, 3]]), "lengths", WHOLE, "(1, 2)", "a flat list"
    ),
    "lengths as text": Row(
        lambda: S(Y, lengths="33"),
        *("lengths", "an array or a list", "a str", "list(lengths)", TypeError),
    ),
    "lengths beside lists": Row(
        lambda: S.from_lists([[0, 1], [1]], lengths=[2, 1]),
        *("lengths", "left out of from_lists", "[2, 1]", "to Sequences"),
    ),
}
NAMES = {
    "a name twice": Row(
        lambda: S(Y, lengths=[3, 3], session_names=["a", "a"]),
        *("session_names", "differ from each other", "'a' twice", "rename"),
    ),
    "a number and its text": Row(
        lambda: S(Y, lengths=[3, 3], session_names=[1, "1"]),
        *("session_names", "differ from each other", "'1' twice", "rename"),
    ),
    "too few names": Row(
        lambda: S(Y, lengths=[3, 3], session_names=["a"]),
        *(
            "session_names",
            "2 entries, one for each of the sessions",
            "1: a",
            "as many",
        ),
    ),
    "one string of names": Row(
        lambda: S(Y, lengths=[3, 3], session_names="ab"),
        *("session_names", "a list of strings", "'ab'", "give a list", TypeError),
    ),
    "a name that is missing": Row(
        lambda: S(Y, lengths=[3, 3], session_names=["a", None]),
        *("session_names", "all be known", "None", "name all"),
    ),
    "names without an order": Row(
        lambda: S(Y, X, covariate_names={"b", "a"}),
        *("covariate_names", "a list of strings", "{", "in order", TypeError),
    ),
    "a covariate's name twice": Row(
        lambda: S(Y, X, covariate_names=["a", "a"]),
        *("covariate_names", "differ from each other", "'a' twice", "rename"),
    ),
    "names of initial covariates that are not there": Row(
        lambda: S(Y, initial_covariate_names=["a"]),
        *("initial_covariate_names", "None without initial_covariates", "a", "give"),
    ),
    "too many outputs": Row(
        lambda: S(Y, emission_names=["a", "b"]),
        *("emission_names", "1 entries", "2: a, b", "as many"),
    ),
    "too few classes": Row(
        lambda: S([0, 1, 2], class_names=["a", "b"]),
        *("class_names", "every class of emissions", "2 names", "each of the classes"),
    ),
    "classes of real numbers": Row(
        lambda: S([0.5, 1.2], class_names=["a", "b"]),
        *("class_names", "every class of emissions", "0.5 to 1.2", "leave class_names"),
    ),
    "a class twice": Row(
        lambda: S([0, 1], class_names=["a", "a"]),
        *("class_names", "differ from each other", "'a' twice", "rename"),
    ),
    "classes of two outputs": Row(
        lambda: S(np.zeros((2, 2), int), class_names=["a", "b"]),
        *("class_names", "None where emissions have several", "2 names"),
        "emission_names",
    ),
    "an argument nearly right": Row(
        lambda: S(Y, covariats=X),
        *(
            "Sequences",
            "arguments of its own",
            "'covariats'",
            "'covariates'",
            TypeError,
        ),
    ),
    "an argument of a frame nearly right": Row(
        frame(sessions="s"),
        *(
            "Sequences.from_dataframe",
            "arguments of its own",
            "'sessions'",
            "'session'",
        ),
        TypeError,
    ),
    "an argument of lists nearly right": Row(
        lambda: S.from_lists([[0, 1]], class_name=["a", "b"]),
        *("Sequences", "arguments of its own", "'class_name'", "'class_names'"),
        TypeError,
    ),
}
TYPES = {
    "whole numbers as dtype": Row(
        lambda: S(Y, dtype=torch.int64),
        *("dtype", "a floating torch.dtype", "torch.int64", "torch.float64", TypeError),
    ),
    "a dtype of numpy": Row(
        lambda: S(Y, dtype=np.float64),
        *("dtype", "a floating torch.dtype", "numpy", "torch.float64", TypeError),
    ),
    "a dtype by its name": Row(
        lambda: S(Y, dtype="float64"),
        *("dtype", "a floating torch.dtype", "'float64'", "torch.float64", TypeError),
    ),
    "another dtype of whole numbers": Row(
        lambda: DATA.to(dtype=torch.int32),
        *("dtype", "a floating torch.dtype", "torch.int32", "torch.float64", TypeError),
    ),
    "a device that nobody has": Row(
        lambda: S(Y, device="foo"), "device", "one that torch can use", "'foo'", "leave"
    ),
    "a device that holds nothing": Row(
        lambda: S(Y, device="meta"), "device", "must hold values", "meta", "'cpu'"
    ),
    "to a type too narrow": Row(
        lambda: S([0, 1], [[1e5], [0.0]]).to(dtype=torch.float16),
        *("covariates", "finite in torch.float16", "1e+05", "a wider dtype"),
    ),
    "emissions to a type too narrow": Row(
        lambda: S([0.5, 1e300]).to(dtype=torch.float32),
        *("emissions", "finite in torch.float32", "1e+300", "a wider dtype"),
    ),
    "to a device that nobody has": Row(
        lambda: DATA.to(device="foo"),
        "device",
        "one that torch can use",
        "'foo'",
        "CPU",
    ),
}
LISTS = {
    "no sessions": Row(
        lambda: S.from_lists([]), "emissions", ONE_ARRAY, "empty", "one"
    ),
    "a flat list": Row(
        lambda: S.from_lists([0, 1, 1]),
        "emissions",
        ONE_ARRAY,
        "single values",
        "[emis",
    ),
    "text in place of lists": Row(
        lambda: S.from_lists("ab"), "emissions", ONE_ARRAY, "a str", "a list", TypeError
    ),
    "a mapping of sessions": Row(
        lambda: S.from_lists({"a": [0, 1]}),
        *("emissions", ONE_ARRAY, "a dict", "list(emissions.values())", TypeError),
    ),
    "one frame": Row(
        lambda: S.from_lists(FRAME),
        *("emissions", ONE_ARRAY, "a DataFrame", "from_dataframe", TypeError),
    ),
    "a number in place of lists": Row(
        lambda: S.from_lists([[0, 1]], 3),
        "covariates",
        ONE_ARRAY,
        "3",
        "a list",
        TypeError,
    ),
    "a session of no steps": Row(
        lambda: S.from_lists([[0, 1], []]),
        *("emissions[1]", "at least one step", "none", "leave empty sessions out"),
    ),
    "no session": Row(
        lambda: S.from_lists([[0, 1], None]),
        *("emissions[1]", "an array or a list", "None", "leave", TypeError),
    ),
    "covariates of too few sessions": Row(
        lambda: S.from_lists([[0, 1], [1]], [[[1.0], [2.0]]]),
        *("covariates", "2 sessions", "1", "one array for each session"),
    ),
    "other features": Row(
        lambda: S.from_lists([[0, 1], [1]], [[[1.0], [2.0]], [[1.0, 2.0]]]),
        *("covariates", "as many features", "1 in session 0", "the same columns"),
    ),
    "a transposed session": Row(
        lambda: S.from_lists([[0, 1, 1]], [np.zeros((2, 3))]),
        *("covariates[0]", "(steps, features)", "(2, 3)", "covariates[0].T"),
    ),
    "other columns": Row(
        lambda: S.from_lists(
            [[0], [1]], [pd.DataFrame({"a": [1.0]}), pd.DataFrame({"b": [1.0]})]
        ),
        *("covariates[1]", "the columns of covariates[0], a", "b", "the same columns"),
    ),
    "sessions of labels and of numbers": Row(
        lambda: S.from_lists([[0, 1], ["a", "b"]]),
        *("emissions", NUMBERS, "mixed-integer", "strings alone", TypeError),
    ),
    "sessions of one and of two outputs": Row(
        lambda: S.from_lists([[0, 1], [[0, 1], [1, 0]]]),
        *("emissions", ONE_ARRAY, "(2,) and (2, 2)", "the same outputs"),
    ),
}
FRAMES = {
    "no frame": Row(
        lambda: S.from_dataframe({"y": [0]}, session=None, emissions="y"),
        *("df", "a data frame", "a dict", "from_lists", TypeError),
    ),
    "a frame of another kind": Row(
        frame(OtherFrame()),
        *("df", "a data frame", "an OtherFrame", "to_pandas()", TypeError),
    ),
    "a frame without rows": Row(
        frame(FRAME[:0]), "df", "at least one row", "none", "check its filter"
    ),
    "columns of two levels": Row(
        frame(
            FRAME.set_axis(pd.MultiIndex.from_product([["a"], FRAME.columns]), axis=1)
        ),
        *("df", "columns of one level", "2", "join their names"),
    ),
    "an unknown session column": Row(
        frame(session="S"), "session", "name columns of the data frame", "'S'", "it has"
    ),
    "a session in the index": Row(
        frame(FRAME.set_index("s")), "session", "name columns", "'s'", "reset_index()"
    ),
    "sessions of no column": Row(
        frame(session=[]), "session", "name a column", "an empty list", "session=None"
    ),
    "a session that is missing": Row(
        frame(FRAME.assign(s=[1, 1, None, 2])),
        *("session", "known for every row", "1 missing", "drop those rows"),
    ),
    "interleaved sessions": Row(
        frame(FRAME.iloc[[0, 2, 1, 3]]),
        *("the rows of a session", "stand together", "'1' again", "sort_values"),
    ),
    "two sessions of one name": Row(
        frame(FRAME.assign(s=pd.Series([1, "1", 2, 2], dtype=object))),
        *("session", "a name of its own", "(1,) and for ('1',)", "rename"),
    ),
    "sessions whose columns join to one name": Row(
        frame(
            pd.DataFrame({"a": ["x/y", "x"], "b": ["z", "y/z"], "y": [0, 1]}),
            session=["a", "b"],
            covariates=None,
        ),
        *("session", "a name of its own", "'x/y/z'", "rename"),
    ),
    "a group that changes within a session": Row(
        frame(group="t"),
        *(
            "group",
            "the same in all rows of a session",
            "'0' and '1' in session '1'",
            "session=['t', 's']",
        ),
    ),
    "an unknown group": Row(
        frame(group="G"), "group", "name columns of the data frame", "'G'", "it has"
    ),
    "a group that is missing": Row(
        frame(FRAME.assign(g=["a", None, "b", "b"]), group="g"),
        *("group", "known for every row", "1 missing", "drop those rows"),
    ),
    "groups of no column": Row(
        frame(group=[]), "group", "name a column", "an empty list", "group=None"
    ),
    "back in time": Row(
        frame(FRAME.assign(t=[0, 1, 1, 0]), time="t"),
        *(
            "time",
            "not go back",
            "0 in row 3 of session '2'",
            "sort_values(['s', 't'])",
        ),
    ),
    "a time that is missing": Row(
        frame(FRAME.assign(t=[0, None, 0, 1]), time="t"),
        *("time", "not go back", "nan in row 1", "sort"),
    ),
    "an unknown time": Row(
        frame(time="T"), "time", "name columns of the data frame", "'T'", "it has"
    ),
    "unknown emissions": Row(
        frame(emissions="Y"), "emissions", "name columns", "'Y'", "it has"
    ),
    "no emissions": Row(
        frame(emissions=None), "emissions", "name a column", "None", "it has"
    ),
    "an empty list of emissions": Row(
        frame(emissions=[]), "emissions", "name a column", "[]", "it has"
    ),
    "emissions twice": Row(
        frame(emissions=["t", "t"]),
        *("emission_names", "differ from each other", "'t' twice", "rename"),
    ),
    "labels beside numbers": Row(
        frame(emissions=["y", "c"]),
        *("emissions", "numeric columns", "labels in 'c'", "code them", TypeError),
    ),
    "unknown covariates": Row(
        frame(covariates=["X"]), "covariates", "name columns", "'X'", "it has"
    ),
    "a misspelt covariate": Row(
        frame(FRAME.assign(contrast=1.0), covariates=["contrst"]),
        *("covariates", "name columns", "'contrst'", "did you mean 'contrast'"),
    ),
    "a covariate twice": Row(
        frame(covariates=["x", "x"]),
        *("covariate_names", "differ from each other", "'x' twice", "rename"),
    ),
    "a column that is there twice": Row(
        frame(pd.concat([FRAME, FRAME[["x"]]], axis=1)),
        *("covariates", "name one column", "2 times", "rename"),
    ),
    "covariates as text": Row(
        frame(FRAME.assign(x=list("1234"))),
        *("covariates", "numeric columns", "'x'", "df['x'].astype(float)", TypeError),
    ),
    "a covariate that is missing": Row(
        frame(FRAME.assign(x=pd.array([0.1, None, 0.3, 0.4], dtype="Float64"))),
        *("covariates", "finite", "column 'x' (row 1)", "fill them in"),
    ),
    "the emission as its covariate": Row(
        frame(covariates=["x", "y"]),
        *("covariates", "not hold an emission", "'y'", "first_lag=1"),
    ),
    "the emission as what drives the transitions": Row(
        frame(transition_covariates=["y"]),
        *("transition_covariates", "not hold an emission", "'y'", "first_lag=1"),
    ),
    "a mask column of numbers": Row(
        frame(mask="y"), "mask", "a boolean column", "'y'", "astype(bool)", TypeError
    ),
    "a mask column with gaps": Row(
        frame(FRAME.assign(m=pd.array([True, None, True, True])), mask="m"),
        *("mask", "a boolean column", "'m'", "astype(bool)", TypeError),
    ),
    "two masks of one output": Row(
        frame(mask=["m", "m"]), "mask", "shape (4,)", "(4, 2)", "for each step"
    ),
    "too few class names": Row(
        frame(emissions="c", class_names=["l"]),
        *("emissions", "among class_names (l)", "'r'", "add it to class_names"),
    ),
    "an intercept twice": Row(
        frame(FRAME.assign(x=1.0), intercept=True),
        *("covariates", "not be given a second intercept", "'x'", "leave it out"),
    ),
}
GROUPED = DATA.replace(groups=["rat", "rat", "owl"])
GROUPS = {
    "groups as a string": Row(
        lambda: DATA.replace(groups="abc"),
        *("groups", "a list of strings", "the string 'abc'", "give a list", TypeError),
    ),
    "groups by session": Row(
        lambda: DATA.replace(groups={"a": "rat", "b": "rat", "c": "owl"}),
        *("groups", "a list of strings", "{'a': 'rat'", "give a list", TypeError),
    ),
    "a group a step": Row(
        lambda: DATA.replace(groups=["rat"] * 6),
        *("groups", "3 entries, one for each of the sessions", "6", "as many"),
    ),
    "a group that nobody knows": Row(
        lambda: S.from_lists([[0], [1]], groups=["rat", None]),
        *("groups", "all be known", "None among them", "name all"),
    ),
    "two sessions of one name in a group": Row(
        lambda: S(Y, lengths=[3, 3], session_names=["1", "1"], groups=["r", "r"]),
        *("session_names", "differ from each other", "'1' twice", "rename"),
    ),
    "names that only groups tell apart": Row(
        lambda: S(
            Y, lengths=[3, 3], session_names=["1", "1"], groups=["r", "o"]
        ).replace(groups=["r", "r"]),
        *("groups", "tell apart the sessions of one name", "'1' twice in r", "too"),
    ),
    "an unknown group selected": Row(
        lambda: GROUPED.subset(groups="rta"),
        *("groups", "among those of the data, rat, owl", "'rta'", "'rat'", KeyError),
    ),
    "no group selected": Row(
        lambda: GROUPED.subset(groups=[]),
        *("groups", "among those of the data", "none", "name some", KeyError),
    ),
    "groups selected where there are none": Row(
        lambda: DATA.subset(groups="rat"),
        *("groups", "data that have groups", "'rat' for data without", "group= to"),
    ),
    "groups and sessions selected": Row(
        lambda: GROUPED.subset("a", groups="rat"),
        *("groups", "selected alone", "sessions 'a'", "data.subset(groups=...)"),
    ),
    "data with groups beside data without": Row(
        lambda: S.concatenate([GROUPED, DATA]),
        *("data sets", "all have groups or none", "none in data set 1", "replace("),
    ),
}
CHANGES = {
    "a session that is not there": Row(
        lambda: DATA.subset(3),
        "session",
        "a number from 0 to 2",
        "3",
        "a string",
        IndexError,
    ),
    "an unknown name": Row(
        lambda: DATA.subset("z"),
        "session",
        "one of the data",
        "'z'",
        "a, b, c",
        KeyError,
    ),
    "a name that sessions of several groups have": Row(
        lambda: S(
            Y, lengths=[3, 3], session_names=["1", "1"], groups=["r", "o"]
        ).subset("1"),
        *("session", "one of the data", "'1'", "did you mean 'r/1' or 'o/1'", KeyError),
    ),
    "sessions with a point": Row(
        lambda: DATA.subset([0.0, 1.0]),
        *("sessions", "selected by number, name", "0.0 in a list", "whole", TypeError),
    ),
    "no sessions selected": Row(
        lambda: DATA.subset([]), "sessions", "one at least", "none", "some of a, b, c"
    ),
    "None selected": Row(
        lambda: DATA.subset(None),
        *("sessions", "selected by number, name", "None", "give a list", TypeError),
    ),
    "a set of sessions": Row(
        lambda: DATA.subset({0, 1}),
        *("sessions", "selected by number, name", "{0, 1}", "give a list", TypeError),
    ),
    "sessions of lists": Row(
        lambda: DATA.subset([[0, 1]]),
        *(
            "sessions",
            "selected by number, name",
            "[0, 1] in a list",
            "whole",
            TypeError,
        ),
    ),
    "one truth": Row(
        lambda: DATA.subset(True),
        *("sessions", "selected by number, name", "True", "give a list", TypeError),
    ),
    "too few truths": Row(
        lambda: DATA.subset([True, False]),
        *("sessions", "one for each of the 3 sessions", "2", "as many"),
    ),
    "rows of two sessions": Row(
        lambda: DATA.session_rows([0, 1]),
        *("session", "one session, by its name or its number", "2 of them", "take one"),
    ),
    "values of other data": Row(
        lambda: DATA.split(np.zeros(5)), "values", "6 rows", "5", "made of these data"
    ),
    "an unknown argument of replace": Row(
        lambda: DATA.replace(emission=Y),
        *("changes", "arguments of Sequences", "emission", "'emissions'", TypeError),
    ),
    "a mask alone": Row(
        lambda: DATA.replace(mask=[True] * 6),
        *("mask", "together with emissions", "a mask alone", "with_mask"),
    ),
    "emissions of other steps": Row(
        lambda: DATA.replace(emissions=[0, 1]), "lengths", "2 steps", "6", "give"
    ),
    "nothing to join": Row(
        lambda: S.concatenate([]), "parts", "at least one data set", "none", "give"
    ),
    "what is no data set": Row(
        lambda: S.concatenate([DATA, 3]),
        *("parts", "a list of Sequences", "int as number 1", "make it one", TypeError),
    ),
    "a number to join": Row(
        lambda: S.concatenate(3),
        *("parts", "a list of Sequences", "int", "make it one", TypeError),
    ),
    "other covariates": Row(
        lambda: S.concatenate([DATA, S(Y)]),
        *("data sets to concatenate", "the same covariate_names", "('intercept',)"),
        "replace",
    ),
    "an unknown design": Row(
        lambda: DATA.add_intercept(["covariate"]),
        *("designs", "among covariates", "'covariate'", "did you mean 'covariates'"),
    ),
    "a design by one string": Row(
        lambda: DATA.add_intercept("covariates"),
        *("designs", "a list of names", "'covariates'", "['covariates']", TypeError),
    ),
}
BY_STEP = xr.DataArray(Y, dims="t", coords={"t": range(6)})
BY_STEP_AND_NAME = xr.DataArray(X, dims=("t", "name"), coords={"t": range(6)})
XARRAY = {
    "covariates of xarray across": Row(
        lambda: S(BY_STEP, BY_STEP_AND_NAME.T),
        *("covariates", "must have the steps along its first axis", "axes name, t"),
        "covariates.transpose('t', ...)",
    ),
    "emissions of xarray across": Row(
        lambda: S(BY_STEP_AND_NAME.rename(name="unit").T, BY_STEP_AND_NAME),
        *("emissions", "must have the steps along its first axis", "axes unit, t"),
        "emissions.transpose('t', ...)",
    ),
    "covariates of xarray in another order": Row(
        lambda: S(BY_STEP, BY_STEP_AND_NAME.isel(t=[1, 0, 2, 3, 4, 5])),
        *("covariates", "must have its rows in the order of emissions", "(row 0"),
        "covariates.loc[emissions.indexes['t']]",
    ),
}
ROWS = (
    EMISSIONS
    | XARRAY
    | MASKS
    | COVARIATES
    | LENGTHS
    | NAMES
    | TYPES
    | LISTS
    | FRAMES
    | GROUPS
    | CHANGES
)
