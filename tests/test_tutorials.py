"""The tutorials: each runs from a clean kernel, and is committed with its pictures."""

import os
from pathlib import Path

import nbformat
import pytest
from arviz_faces import IS_TREE
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[1] / "tutorials"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def pictures(notebook):
    """Number of pictures among the outputs."""
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    return sum("image/png" in output.get("data", {}) for output in outputs)


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


def test_there_is_a_tutorial():
    assert NOTEBOOKS


def test_the_tutorial_runs_from_a_clean_kernel(path, monkeypatch, tmp_path):
    monkeypatch.setenv("GLMHMM_SMOKE", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    committed = nbformat.read(path, as_version=4)
    if IS_TREE and any("import arviz" in cell.source for cell in committed.cells):
        pytest.skip("the tutorial is written to the interface of arviz 0.x")
    expected = pictures(committed)
    for cell in code_cells(committed):
        cell.outputs = []
    client = NotebookClient(committed, timeout=120, kernel_name="python3")
    client.execute(cwd=str(tmp_path), env=dict(os.environ))
    assert pictures(committed) == expected


def test_the_tutorial_is_committed_as_it_ran(path):
    notebook = nbformat.read(path, as_version=4)
    cells = code_cells(notebook)
    counts = [cell.execution_count for cell in cells]
    assert counts == list(range(1, len(cells) + 1))
    kinds = {output.output_type for cell in cells for output in cell.outputs}
    assert kinds <= {"stream", "display_data", "execute_result"}
    assert pictures(notebook) >= 5
    assert path.stat().st_size < 600_000


def test_every_section_of_the_tutorial_has_a_picture_and_a_claim(path):
    notebook = nbformat.read(path, as_version=4)
    sections, claims, drawn = 0, 0, 0
    for cell in notebook.cells:
        starts = cell.cell_type == "markdown" and cell.source.startswith("## ")
        if starts and sections:
            assert claims and drawn, f"section {sections} lacks a picture or a claim"
        if starts:
            sections, claims, drawn = sections + 1, 0, 0
        claims += "**Claim" in cell.source
        drawn += any("image/png" in o.get("data", {}) for o in cell.get("outputs", []))
    assert sections and claims and drawn


def test_the_outputs_of_the_tutorial_name_no_folder_of_the_author(path):
    text = path.read_text(encoding="utf-8")
    assert "/home/" not in text and "/Users/" not in text and ".venv" not in text


def test_a_study_takes_as_few_lines_as_it_says():
    notebook = nbformat.read(FOLDER / "07_trials_to_figures.ipynb", as_version=4)
    section, lines = 0, 0
    for cell in notebook.cells:
        section += cell.cell_type == "markdown" and cell.source.startswith("## ")
        if cell.cell_type == "code" and 2 <= section <= 6:
            lines += sum(bool(line.strip()) for line in cell.source.splitlines())
    assert lines < 40
    assert f"sections 2 to 6, it is {lines} lines of code" in notebook.cells[0].source
