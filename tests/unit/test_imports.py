"""Who imports whom in the whole source. `make check` holds the layers; this holds that nothing goes round."""

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
# Made by protoc
GENERATED = "_pb2"


def modules_of(source: Path) -> dict[str, Path]:
    """Every module's file, by its dotted name."""
    found = {}
    for file in source.rglob("*.py"):
        parts = file.relative_to(source).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imports_of(name: str, modules: Mapping[str, Path]) -> set[str]:
    """The modules that one imports, anywhere in its text: in functions and under `TYPE_CHECKING` too."""
    tree = ast.parse(modules[name].read_text(encoding="utf-8"))
    return {target for node in ast.walk(tree) for target in targets_of(node, modules)} - {name}


def targets_of(node: ast.AST, modules: Mapping[str, Path]) -> Iterator[str]:
    """The modules of `modules` that a statement imports."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in modules)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        # `from package import name` imports a module, where there is one of that name, and not the package
        names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (name for name in names if name in modules)
        if node.module in modules and not all(name in modules for name in names):
            yield node.module


def cycle_in(graph: Mapping[str, set[str]]) -> list[str]:
    """The names of one cycle, the first at its end again; empty where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        cycle: list[str] = error.args[1]
        return cycle[::-1]
    return []


def test_no_modules_import_each_other() -> None:
    """A stranger could read no module of a circle without all others, and no one could change it alone."""
    modules = modules_of(SOURCE)
    graph = {name: imports_of(name, modules) for name in modules if GENERATED not in name}
    cycles = []
    while cycle := cycle_in(graph):
        cycles.append(" -> ".join(cycle))
        # Cut, so that the next one is named too
        graph[cycle[0]].discard(cycle[1])
    assert cycles == []


@pytest.mark.parametrize(
    "text",
    [
        "import house.b",
        "from house.b import thing",
        "from house import b",
        "def late():\n    from house import b",
        "if TYPE_CHECKING:\n    from house.b import Thing",
    ],
)
def test_every_kind_of_import_counts(tmp_path: Path, text: str) -> None:
    """A circle could hide in a function or behind `TYPE_CHECKING`, and be as hard to read there."""
    package = tmp_path / "house"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "a.py").write_text(text)
    (package / "b.py").write_text("from house.a import other")
    modules = modules_of(tmp_path)
    graph = {name: imports_of(name, modules) for name in modules}
    assert sorted(set(cycle_in(graph))) == ["house.a", "house.b"]
