"""How large the package is, and how much of it one has to know: counts by room.

    python docs/counts.py [FOLDER]

FOLDER is a checkout of the repository, by default the one that this script stands in.
Code lines are those that hold a token of the language that is no part of a docstring
or a comment.
"""

import ast
import io
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

_LAYOUT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def main() -> None:
    """Print the counts of a checkout."""
    here = Path(__file__).resolve().parents[1]
    package = Path(sys.argv[1] if len(sys.argv) > 1 else here) / "glmhmm_pyro"
    sources = {path: path.read_text("utf-8") for path in sorted(package.rglob("*.py"))}
    trees = {path: ast.parse(text) for path, text in sources.items()}
    rooms: dict[str, Counter[str]] = {}
    for path, text in sources.items():
        sizes = sizes_of(text, trees[path])
        inside = path.relative_to(package).parts[:-1]
        for room in {"/".join(inside[:depth]) for depth in range(len(inside) + 1)}:
            rooms.setdefault(room, Counter()).update(sizes)
    columns = ("files", "lines", "code", "docstring")
    print(f"{'room':20}" + "".join(f"{column:>11}" for column in columns))
    for room, sizes in sorted(rooms.items()):
        numbers = "".join(f"{sizes[column]:11,}" for column in columns)
        print(f"{room or 'all':20}{numbers}")
    print()
    for what, number in habits(trees).items():
        print(f"{number:7,}  {what}")


def sizes_of(text: str, tree: ast.Module) -> Counter[str]:
    """Lines of a file: all, those of code, those of docstrings."""
    documented = {line for node in ast.walk(tree) for line in docstring_of(node)}
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    code = {
        line
        for token in tokens
        if token.type not in _LAYOUT
        for line in range(token.start[0], token.end[0] + 1)
    }
    return Counter(
        files=1,
        lines=text.count("\n"),
        code=len(code - documented),
        docstring=len(documented),
    )


def docstring_of(node: ast.AST) -> range:
    """Numbers of the lines of a node's own docstring."""
    if not isinstance(node, _DOCUMENTED) or ast.get_docstring(node) is None:
        return range(0)
    first = node.body[0]
    return range(first.lineno, (first.end_lineno or first.lineno) + 1)


def habits(trees: dict[Path, ast.Module]) -> dict[str, int]:
    """What a reader has to keep in mind, counted over the whole package."""
    nodes = [node for tree in trees.values() for node in ast.walk(tree)]
    functions = [node for node in nodes if isinstance(node, _FUNCTIONS)]
    private = [f.name for f in functions if f.name[0] == "_" and f.name[:2] != "__"]
    used = Counter(used_names(nodes))
    annotations = [
        ast.unparse(argument.annotation)
        for function in functions
        for argument in arguments_of(function)
        if argument.annotation is not None
    ]
    classes = [node.name for node in nodes if isinstance(node, ast.ClassDef)]
    files = [path.name for path in trees if path.name != "__init__.py"]
    return {
        "times the type of a model is asked for, isinstance(..., GLMHMM)": sum(
            type_tests(nodes, "GLMHMM")
        ),
        "private functions": len(private),
        "private functions that are named once": sum(used[n] == 1 for n in private),
        "parameters": len(annotations),
        "parameters that are Any": annotations.count("Any"),
        "names of files that occur more than once": repeated(files),
        "names of classes that occur more than once": repeated(classes),
    }


def used_names(nodes: list[ast.AST]) -> Iterator[str]:
    """Every name and attribute that is read."""
    for node in nodes:
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr


def arguments_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    """All parameters that are named in a signature."""
    given = function.args
    return [*given.posonlyargs, *given.args, *given.kwonlyargs]


def type_tests(nodes: list[ast.AST], kind: str) -> Iterator[bool]:
    """For every call of isinstance, whether it asks for this class."""
    for node in nodes:
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance":
            yield kind in ast.unparse(node.args[1]).replace("(", " ").split()


def repeated(names: list[str]) -> int:
    """How many names occur more than once."""
    return sum(number > 1 for number in Counter(names).values())


if __name__ == "__main__":
    main()
