"""The map of the package: who imports whom, sizes, and the public names."""

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import glmhmm_pyro as gh

PACKAGE = Path(gh.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))

PAGE = PACKAGE.parent / "docs" / "architecture.md"
GROUND = {
    "version",
    "arguments",
    "callers",
    "concurrency",
    "displays",
    "ranks",
    "zeros",
    "broadcasting",
}


def table(heading):
    """Rooms with all that they may import, as the page on architecture has them."""
    text = PAGE.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2]
    rows = text.partition("\n## ")[0].splitlines()
    cells = [row.split("|")[1:3] for row in rows if row.startswith("| `")]
    return {
        room.strip(" `"): set(re.findall(r"`(\w+)`", below))
        | (GROUND if "ground" in below else set())
        for room, below in cells
    }


MAP = "docs/architecture.md"
ROOMS = table("Rooms")
INNER = table("Rooms of `inference`")


def room_of(path):
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def module_of(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def imported(node, path):
    """Full names of the modules that an import statement may name."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ""
    if node.level:
        package = module_of(path).split(".")
        if path.name != "__init__.py":
            package = package[:-1]
        package = package[: len(package) - node.level + 1]
        base = ".".join([*package, *filter(None, [base])])
    return [base] + [f"{base}.{alias.name}" for alias in node.names]


def first_party(node, path):
    names = imported(node, path)
    return [n for n in names if n == "glmhmm_pyro" or n.startswith("glmhmm_pyro.")]


def identifier(path):
    return str(path.relative_to(PACKAGE))


def inner_room(module):
    """The room of ``inference`` that a module stands in."""
    return module.removeprefix("glmhmm_pyro.inference").strip(".").partition(".")[0]


every_source = pytest.mark.parametrize("path", SOURCES, ids=identifier)


@every_source
def test_a_room_imports_only_rooms_below_it(path):
    room = room_of(path)
    if room == "__init__":
        return
    assert room in ROOMS, f"give {room} a row in the tables of {MAP}"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for name in first_party(node, path):
            parts = name.split(".")
            # "from glmhmm_pyro import chain" names the package first.
            target = parts[1] if len(parts) > 1 else None
            allowed = ROOMS[room] | {room, None, "__version__"}
            assert target in allowed, f"by {MAP} {room} may not import {name}"


INFERENCE = [path for path in SOURCES if room_of(path) == "inference"]


@pytest.mark.parametrize("path", INFERENCE, ids=identifier)
def test_a_room_of_inference_imports_only_rooms_below_it(path):
    room = inner_room(module_of(path))
    if not room:
        return
    assert room in INNER, f"give {room} a row in the tables of {MAP}"
    for node in when_run(ast.parse(path.read_text(encoding="utf-8"))):
        for name in first_party(node, path):
            if name.startswith("glmhmm_pyro.inference."):
                target = inner_room(name)
                allowed = INNER[room] | {room}
                assert target in allowed, f"by {MAP} {room} may not import {name}"


def test_the_tables_stand_in_the_order_of_imports_and_name_all_rooms():
    for rooms in (ROOMS, INNER):
        for number, (room, below) in enumerate(rooms.items()):
            assert below <= set(list(rooms)[:number]), f"{room} stands too high"
    assert {room_of(path) for path in SOURCES} - {"__init__"} == ROOMS.keys()
    assert {inner_room(module_of(path)) for path in INFERENCE} - {""} == INNER.keys()


def test_every_file_has_a_name_of_its_own():
    names = Counter(path.name for path in SOURCES if path.name != "__init__.py")
    assert [n for n, k in names.items() if k > 1] == [], "call one of two otherwise"


def test_every_class_has_a_name_of_its_own():
    """Only families, dwell laws and priors have that of one distribution in common."""
    nodes = [
        n for path in SOURCES for n in ast.walk(ast.parse(path.read_text("utf-8")))
    ]
    names = Counter(node.name for node in nodes if isinstance(node, ast.ClassDef))
    rooms = (gh.components, gh.dwell, gh.priors)
    namesakes = Counter(name for room in rooms for name in {*room.__all__})
    taken = [n for n, k in names.items() if k > max(1, namesakes[n])]
    assert taken == [], "call one of two otherwise"


def test_the_drawing_is_that_of_the_imports():
    code = (
        "import drawing; text = drawing.PAGE.read_text('utf-8'); "
        "assert drawing.BETWEEN.search(text)[0] == drawing.drawing()"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=PAGE.parent)
    assert run.returncode == 0, "draw it anew by python docs/drawing.py"


def when_run(tree):
    """All nodes but what stands under TYPE_CHECKING, which names types alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        yield node
        yield from when_run(node)


def test_no_modules_import_each_other_in_a_circle():
    modules = {module_of(path): path for path in SOURCES}
    graph = {
        name: {
            target
            for node in when_run(ast.parse(path.read_text(encoding="utf-8")))
            for target in first_party(node, path)
            if target in modules and target != name
        }
        for name, path in modules.items()
        if path.name != "__init__.py"
    }
    done = set()

    def visit(name, trail):
        assert name not in trail, " -> ".join([*trail, name])
        if name in done:
            return
        for target in graph.get(name, ()):
            visit(target, [*trail, name])
        done.add(name)

    for name in graph:
        visit(name, [])


def functions_of(path):
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, kinds)]


@every_source
def test_no_function_imports_the_package_itself(path):
    for function in functions_of(path):
        for node in ast.walk(function):
            assert not first_party(node, path), f"{function.name} imports the package"


@every_source
def test_arviz_is_imported_in_one_place_that_keeps_it_quiet(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [name.partition(".")[0] for name in imported(node, path)]
        assert "arviz" not in names, "take it from inference/draws/arviz_versions.py"


@every_source
def test_sizes_stay_readable(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= 400, f"it has {lines} lines; move what belongs together to a file"
    for function in functions_of(path):
        start = function.body[1:] if ast.get_docstring(function) else function.body
        first = start[0].lineno if start else function.lineno
        length = function.end_lineno - first + 1
        assert length <= 60, f"{function.name} has {length} lines; take it apart"


@every_source
def test_no_module_prints_asserts_or_swallows(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if called and room_of(path) not in {"demo", "__main__"}:
            assert node.func.id != "print", f"print in line {node.lineno}"
        assert not isinstance(node, ast.Assert), f"assert in line {node.lineno}"
        bare = isinstance(node, ast.ExceptHandler) and node.type is None
        assert not bare, f"bare except in line {node.lineno}"


@every_source
def test_every_module_says_what_it_is(path):
    said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert said, "say in a docstring at the top what it holds"


@every_source
def test_no_module_touches_global_state(path):
    forbidden = {"set_default_dtype", "set_rng_seed", "set_default_tensor_type"}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            assert node.attr not in forbidden, f"{node.attr} in line {node.lineno}"


def test_the_public_names_are_few_resolve_and_are_documented():
    names = [name for name in gh.__all__ if name != "__version__"]
    assert len(names) <= 40, "more is found in the rooms, such as gh.components"
    assert len(set(gh.__all__)) == len(gh.__all__)
    for name in gh.__all__:
        value = getattr(gh, name)
        assert name == "__version__" or value.__doc__, f"{name} has no docstring"


def test_every_list_of_public_names_resolves_and_is_documented():
    for info in pkgutil.walk_packages(gh.__path__, "glmhmm_pyro."):
        if info.name.endswith("__main__"):
            continue
        module = importlib.import_module(info.name)
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name)
            if callable(value):
                assert value.__doc__, f"{info.name}.{name} has no docstring"


SHOWN = [gh, gh.components, gh.priors, gh.analysis, gh.plotting]
SHOWN += [gh.optim, gh.levels, gh.dwell, gh.covariates, gh.datasets, gh.importers]

# Public names without an example.
UNSHOWN: set[str] = set()


@pytest.mark.parametrize("room", SHOWN, ids=lambda room: room.__name__)
def test_every_public_name_has_an_example(room):
    """Which runs as a doctest, for the modules of the package are collected."""
    public = {name: getattr(room, name) for name in room.__all__}
    called = {name: value for name, value in public.items() if callable(value)}
    lacking = {n for n, value in called.items() if ">>> " not in (value.__doc__ or "")}
    assert lacking == UNSHOWN & public.keys(), "give each an Example: with >>> lines"


@pytest.mark.parametrize("name", [n for n in gh.__all__ if n[0].isupper()])
def test_public_classes_document_their_public_methods(name):
    for attribute, value in vars(getattr(gh, name)).items():
        if attribute.startswith("_") or not callable(value):
            continue
        documented = getattr(getattr(gh, name), attribute).__doc__
        assert documented, f"{name}.{attribute} has no docstring"


def loaded_by(code, libraries):
    """Which libraries a process of its own has loaded after running code."""
    code = f"import sys; {code}; print([m for m in {libraries} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=PACKAGE.parent,
    )
    return done.stdout.strip()


def test_importing_the_package_leaves_heavy_libraries_out():
    heavy = [
        "scipy.stats",
        "matplotlib",
        "arviz",
        "xarray",
        "h5netcdf",
        "hmmlearn",
        "IPython",
    ]
    assert loaded_by("import glmhmm_pyro", heavy) == "[]"


def test_first_fits_leave_the_compiler_of_torch_out():
    code = (
        "import glmhmm_pyro as gh; ridge = gh.priors.Ridge(1); "
        "data = gh.Sequences([0, 1, 1, 0, 0, 1], [[1.0], [2], [0], [1], [3], [1]]); "
        "families = gh.Bernoulli(ridge), gh.components.NegativeBinomial(ridge); "
        "models = [gh.GLMHMM(2, f, gh.InputDriven(ridge)) for f in families]; "
        "[gh.fit(model, data, method=method, num_restarts=1, progress=False)"
        " for model in models for method in ('em', 'laplace')]"
    )
    assert loaded_by(code, ["sympy", "torch._dynamo", "scipy.stats"]) == "[]"
