"""Bad input is a sentence: the argument, the requirement, what came, and the fix.

A room adds a module to ``bad_input`` with a mapping ``ROWS`` from a name to a Row.
"""

import importlib
import pkgutil
import traceback
from pathlib import Path

import bad_input
import pytest

import glmhmm_pyro as gh

PACKAGE = Path(gh.__file__).parent
ROOMS = [module.name for module in pkgutil.iter_modules(bad_input.__path__)]
ROWS = {
    f"{room}: {name}": row
    for room in ROOMS
    if room != "row"
    for name, row in importlib.import_module(f"bad_input.{room}").ROWS.items()
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_bad_input_is_refused_by_argument_requirement_what_came_and_fix(row):
    with pytest.raises(row.error) as caught:
        row.call()
    said = str(caught.value.args[0])
    place = 0
    for words in (row.argument, row.requirement, row.came, row.fix):
        assert words, "a row must say what the sentence says"
        assert words in said[place:], f"{words!r} in its place in: {said}"
        place += said[place:].index(words)
    assert said.startswith(row.argument), said
    raised = Path(traceback.extract_tb(caught.tb)[-1].filename)
    assert raised.is_relative_to(PACKAGE), raised


def test_rows_are_told_apart_by_their_causes():
    """Rows with the same requirement have one cause; most have one of their own."""
    causes = {
        (row.argument.partition("[")[0], row.requirement) for row in ROWS.values()
    }
    assert len(causes) > 0.4 * len(ROWS)
