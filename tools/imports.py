"""Which modules of rushlight import which: the knots of files that import one another, and the imports inside functions.

    python tools/imports.py        the counts, the largest knots, and every import inside a function

An import counts wherever it stands, at the top of a module or inside a function, but not under ``if TYPE_CHECKING``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src"


@dataclass(frozen=True)
class Import:
    """One name (None for a whole module) that `importer` asks of the module `module`, in `function` (None at the top)."""

    importer: str
    module: str
    name: str | None
    line: int
    function: str | None

    def __str__(self) -> str:
        where = f" in {self.function}" if self.function else ""
        return f"{self.importer}:{self.line}{where}: {self.module}{'.' + self.name if self.name else ''}"


def modules(source: Path = SOURCE) -> dict[str, Path]:
    """The file of every module of the package, by its dotted name."""
    paths = sorted((source / "rushlight").rglob("*.py"))
    return {".".join(p.relative_to(source).with_suffix("").parts).removesuffix(".__init__"): p for p in paths}


def statements(node: ast.AST, function: str | None = None) -> Iterator[tuple[ast.Import | ast.ImportFrom, str | None]]:
    """Every import statement under `node`, with the name of the function that it stands in."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, function
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from statements(child, child.name)
        elif not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
            yield from statements(child, function)


def imports(files: dict[str, Path]) -> list[Import]:
    """All imports of the package's own modules by one another."""
    return [each for name, path in files.items() for statement, function in statements(ast.parse(path.read_text()))
            for each in _of(statement, function, name, path, files)]


def _of(statement: ast.Import | ast.ImportFrom, function: str | None, importer: str, path: Path,
        files: dict[str, Path]) -> Iterator[Import]:
    if isinstance(statement, ast.Import):
        for alias in statement.names:
            if alias.name.partition(".")[0] == "rushlight":
                yield Import(importer, alias.name, None, statement.lineno, function)
        return
    package = importer.split(".") if path.name == "__init__.py" else importer.split(".")[:-1]
    base = package[:len(package) - statement.level + 1] if statement.level else []
    module = ".".join([*base, *filter(None, [statement.module])])
    if module.partition(".")[0] != "rushlight":
        return
    for alias in statement.names:
        inner = f"{module}.{alias.name}"
        yield Import(importer, inner, None, statement.lineno, function) if inner in files else \
            Import(importer, module, alias.name, statement.lineno, function)


def inside_functions(found: list[Import]) -> list[tuple[str, int]]:
    """The import statements inside functions, as (module, line)."""
    return sorted({(each.importer, each.line) for each in found if each.function is not None and each.importer != each.module})


def arrows(found: list[Import]) -> dict[str, set[str]]:
    """What each module imports."""
    graph: dict[str, set[str]] = {}
    for each in found:
        graph.setdefault(each.importer, set())
        if each.importer != each.module:
            graph[each.importer].add(each.module)
    return graph


def reached(graph: dict[str, set[str]], start: str) -> set[str]:
    """All modules that an import of `start` can lead to."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for target in graph.get(waiting.pop(), ()):
            if target not in seen:
                seen.add(target)
                waiting.append(target)
    return seen


def knots(graph: dict[str, set[str]]) -> list[list[str]]:
    """The groups of modules that all lead to one another, the largest first."""
    leads_to = {name: reached(graph, name) for name in graph}
    found = {tuple(sorted(other for other in leads_to[name] if name in leads_to.get(other, ()))) for name in graph}
    return sorted((list(group) for group in found if len(group) > 1), key=len, reverse=True)


def main() -> None:
    files = modules()
    found = imports(files)
    tied, inside = knots(arrows(found)), inside_functions(found)
    for each in found:
        if each.function is not None:
            print(each)
    for group in tied:
        print(f"a knot of {len(group)}: {' '.join(group)}")
    print(f"{len(files)} files, the largest knot {len(tied[0]) if tied else 0}, {len(inside)} imports inside functions")


if __name__ == "__main__":
    main()
