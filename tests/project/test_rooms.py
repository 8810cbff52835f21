"""The rooms of the house: what a module may import, and that a name means one thing."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = {"lnlbench": ROOT / "lnlbench", "lnlbench.methods": ROOT / "methods"}
MODULES = {
    ".".join([package, *path.relative_to(folder).with_suffix("").parts]).removesuffix(".__init__"): path
    for package, folder in FOLDERS.items()
    for path in folder.rglob("*.py")
}
# In the order in which data flow. A room may import those before it; docs/architecture.md says why.
ROOMS = (
    "basics",
    "processes",
    "data",
    "data.manifests",
    "data.known",
    "models.text",
    "models",
    "models.kinds",
    "models.sources",
    "noise",
    "inputs",
    "api",
    "components",
    "detectors",
    "metrics",
    "plugins",
    "records.beside",
    "records",
    "records.reading",
    "analysis",
    "analysis.tables",
    "analysis.ranking",
    "analysis.figures",
    "analysis.report",
    "analysis.paper",
    "grids",
    "deploy",
    "trials.measuring",
    "trials",
    "launching",
    "trials.batched",
    "audit",
    "running",
    "running.listeners",
    "search",
    "publishing",
    "conformance",
    "console",
    "cli",
    "methods.controls",
    "methods",
)
# The top: what everybody may import, and the face, which may import any room.
EVERYBODYS, FACE = {"errors", "spec", "_version"}, {"__init__", "__main__"}
# One file a verb, one file a method: one looks up a name there, however many there are.
CATALOGUES = {"cli", "methods"}
# A method may import what its author may.
AUTHORS = {"api", "components", "detectors"}


def room_of(module: str) -> str:
    """The room of a module, "" for the top."""
    is_room = MODULES[module].name == "__init__.py"
    parts = module.split(".")[1:]
    return ".".join(parts if is_room else parts[:-1])


def imported(module: str) -> Iterator[str]:
    """Every module of ours that one imports anywhere: lazily, relatively, or for type checkers alone, too."""
    path = MODULES[module]
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            inside = (f"{source}.{alias.name}" for alias in node.names)
            yield from {name if name in MODULES else source for name in inside} & MODULES.keys()


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_room_imports_only_rooms_before_it(module: str) -> None:
    room, found = room_of(module), set(imported(module))
    if room == "":
        assert {name.rpartition(".")[2] for name in found} <= EVERYBODYS or MODULES[module].stem in FACE
        return
    assert room in ROOMS, f"{room} is no room: add it to ROOMS, where data reach it"
    later = {name for name in found if room_of(name) and ROOMS.index(room_of(name)) > ROOMS.index(room)}
    assert not later
    if room.startswith("methods"):
        assert {room_of(name) for name in found} <= AUTHORS | {"", room}


def test_no_module_imports_itself_through_others() -> None:
    todo = {module: set(imported(module)) - {module} for module in MODULES}
    while free := {module for module, needs in todo.items() if not needs & todo.keys()}:
        todo = {module: needs for module, needs in todo.items() if module not in free}
    assert not todo


def test_little_lies_loose_at_the_top() -> None:
    assert {path.stem for path in (ROOT / "lnlbench").glob("*.py")} <= EVERYBODYS | FACE


def test_rooms_hold_few_files() -> None:
    files = Counter(room_of(module) for module, path in MODULES.items() if path.name != "__init__.py")
    rooms = {room: number for room, number in files.items() if room and room not in CATALOGUES}
    assert not {room: number for room, number in rooms.items() if not 3 <= number <= 12}


def test_file_names_mean_one_thing() -> None:
    names = Counter(path.name for path in MODULES.values())
    assert not {name for name, number in names.items() if number > 1} - {"__init__.py", "__main__.py"}


def test_class_names_mean_one_thing() -> None:
    names: dict[str, list[str]] = {}
    for module, path in MODULES.items():
        for node in ast.parse(path.read_bytes()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                names.setdefault(node.name, []).append(module)
    assert not {name: where for name, where in names.items() if len(where) > 1}


def test_every_room_stands_in_the_documentation() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert not {room for room in ROOMS if f"`{room.replace('.', '/')}/`" not in page}
