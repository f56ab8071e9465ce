"""Draws who imports whom, from the imports, into architecture.md.

    python docs/drawing.py

The drawing is Mermaid's, which GitHub and Sphinx show. An arrow that follows from two
others is left out.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parent / "glmhmm_pyro"
PAGE = HERE / "architecture.md"
BETWEEN = re.compile(r"(?<=<!-- drawing -->\n).*(?=<!-- end of drawing -->)", re.DOTALL)

# Rooms that everything may import say nothing in a drawing.
EVERYWHERE = {
    "glmhmm_pyro": {
        "version",
        "arguments",
        "callers",
        "concurrency",
        "displays",
        "zeros",
        "broadcasting",
    },
    "glmhmm_pyro.inference": {"status"},
}

Graph = dict[str, set[str]]


def main() -> None:
    """Write the drawing into the page."""
    PAGE.write_text(BETWEEN.sub(drawing(), PAGE.read_text("utf-8")), "utf-8")


def drawing() -> str:
    """The rooms of the package and those of inference, in Mermaid's language."""
    lines = ["```mermaid", "flowchart BT"]
    for package in EVERYWHERE:
        graph = without_shortcuts(imports_of(package))
        own = package.rpartition(".")[2]
        lines.append(f"  subgraph in_{own} [{package}]")
        lines += [f"    {own}_{room}[{room}]" for room in sorted(graph)]
        for room, below in sorted(graph.items()):
            lines += [f"    {own}_{room} --> {own}_{one}" for one in sorted(below)]
        lines.append("  end")
    return "\n".join([*lines, "```", ""])


def imports_of(package: str) -> Graph:
    """The rooms of a package, each with those that it imports when it is run."""
    folder = PACKAGE.joinpath(*package.split(".")[1:])
    rooms = {path.stem for path in folder.glob("*.py") if path.stem[0] != "_"}
    rooms |= {path.parent.name for path in folder.glob("*/__init__.py")}
    graph: Graph = {room: set() for room in rooms - EVERYWHERE[package]}
    for room, below in graph.items():
        sources = [folder / f"{room}.py", *(folder / room).rglob("*.py")]
        for source in filter(Path.exists, sources):
            below.update(rooms_named(source, package))
        below.intersection_update(graph.keys() - {room})
    return graph


def rooms_named(source: Path, package: str) -> Iterator[str]:
    """The rooms of a package that the imports of a file name."""
    for node in when_run(ast.parse(source.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module == package:
                yield from (alias.name for alias in node.names)
            elif node.module.startswith(f"{package}."):
                yield node.module.removeprefix(f"{package}.").partition(".")[0]


def when_run(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but what stands under TYPE_CHECKING, which names types alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        yield node
        yield from when_run(node)


def without_shortcuts(graph: Graph) -> Graph:
    """The arrows that do not follow from others."""
    return {
        room: {
            one
            for one in below
            if not any(one in reached(graph, other) for other in below - {one})
        }
        for room, below in graph.items()
    }


def reached(graph: Graph, room: str) -> set[str]:
    """All rooms that arrows lead to from one."""
    found: set[str] = set()
    going = list(graph[room])
    while going:
        one = going.pop()
        if one not in found:
            found.add(one)
            going += graph[one]
    return found


if __name__ == "__main__":
    main()
