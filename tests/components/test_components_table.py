"""The table that components/base.py begins with: true, and nothing left out."""

import inspect
import re

import pytest

import glmhmm_pyro as gh
from glmhmm_pyro.components import base

PARTS = {
    name: getattr(gh.components, name)
    for name in ("Component", "Emission", "GLMEmission", "Transitions", "InitialState")
}
# Made in terms of the rest; or marks of a class that no user need write.
OTHERS = {
    "counts_of",
    "covariates_of",
    "separates",
    "takes_sets",
    "forward",
    "log_probs",
}


def rows(title):
    """(class, name, arguments or None) of the table under a heading."""
    table = base.__doc__.split(f"\n{title} ")[1].split("\n\n")[0]
    row = r"([A-Z]\w+) +(\w+)(?:\((.*?)\))?"
    found = [re.match(row, line) for line in table.split("\n")]
    return [match.groups() for match in found if match]


MUST, MAY = rows("must write"), rows("may write")


@pytest.mark.parametrize("part, name, arguments", MUST + MAY)
def test_every_name_of_the_table_is_there_with_these_arguments(part, name, arguments):
    found = inspect.getattr_static(PARTS[part], name)
    assert callable(found) == (arguments is not None)
    if arguments is not None:
        taken = list(inspect.signature(getattr(PARTS[part], name)).parameters)[1:]
        wanted = [a for a in re.split(r", *", arguments) if a]
        assert taken[: len(wanted)] == wanted


@pytest.mark.parametrize("part, name, arguments", MUST)
def test_what_must_be_written_is_asked_for(part, name, arguments):
    with pytest.raises(NotImplementedError, match=rf"must define {name}\("):
        getattr(PARTS[part](), name)(*[None] * len(arguments.split(",")))


def test_the_table_leaves_out_nothing_that_components_write():
    named = {name for _, name, _ in MUST + MAY} | OTHERS
    kept = {name for part in PARTS.values() for name in vars(part)}
    parts = [getattr(gh.components, name) for name in gh.components.__all__]
    for part in parts:
        is_component = isinstance(part, type) and issubclass(part, base.Component)
        if is_component and part not in PARTS.values():
            written = {n for n in vars(part) if not n.startswith("_")} & kept
            assert written <= named | {"weights"}, part.__name__
