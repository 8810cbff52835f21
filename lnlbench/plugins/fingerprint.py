"""The fingerprint of a plugin's code: what it does, not how it is written down.

A plugin is made of its file, the modules of its own distribution and those of
``lnlbench.components`` and ``lnlbench.detectors``, as far as it imports them, directly or through one
another. The core is none of these: a change there is one of lnlbench's version. Nothing is imported, only
parsed.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from lnlbench.basics.facts import CodeFacts
from lnlbench.errors import PluginError
from lnlbench.plugins.find import Plugin, lies_in, locate, source_file

# Says what a fingerprint covers, so that those of earlier versions (of a file alone, without a mark)
# are not taken for those of other code.
COVERAGE = "2:"

# Our own parts of methods; all else in lnlbench is the core.
_PARTS = ("lnlbench.components", "lnlbench.detectors", "lnlbench.methods")

# What of a class is left out: it has to give what the rest gives, for several trials at once, so a result
# does not depend on it.
_LEFT_OUT = ("head_losses",)

_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def code_of(plugin: Plugin) -> CodeFacts:
    """Return a plugin's ``origin``, and the ``fingerprint`` of what it is made of.

    Raises
    ------
    PluginError
        If the plugin has no source file that can be read.
    """
    path = source_file(plugin)
    try:
        if path is None:
            raise FileNotFoundError
        digest = hashlib.sha256(source_fingerprint(path).encode())
        # By name, so that the order in which modules are met does not count.
        for name, helper in sorted(modules_of(plugin).items()):
            digest.update(f"\n{name} {source_fingerprint(helper)}".encode())
    except OSError as error:
        raise PluginError(
            f"The source of '{plugin.name}' of {plugin.origin} ({plugin.target}) cannot be found.",
            "Reinstall its distribution.",
        ) from error
    return {"origin": plugin.origin, "fingerprint": COVERAGE + digest.hexdigest()}


def modules_of(plugin: Plugin) -> dict[str, Path]:
    """Return the modules that a plugin is made of besides its own file, by name.

    Of a plugin given by path, its distribution is what lies beside its file.
    """
    path = source_file(plugin)
    if path is None:
        return {}
    folder = path.parent if plugin.path else None
    name = path.stem if plugin.path else plugin.target.partition(":")[0]
    roots = set() if plugin.path else _roots(plugin)
    found: dict[str, Path] = {}
    waiting = [*_parents(name), *_imports(path, name)]
    met = {name}
    while waiting:
        module = waiting.pop()
        if module in met:
            continue
        met.add(module)
        top = module.partition(".")[0]
        if top == "lnlbench":
            own = module.startswith(_PARTS)
        elif folder is not None:
            own = top != "" and lies_in(top, folder)  # "": more dots than there are packages
        else:
            own = top in roots
        if not own:
            continue
        spec = locate(module, folder)
        if spec is None:
            continue  # a name in a module, and no module
        waiting += _parents(module)
        if spec.has_location and spec.origin:
            found[module] = Path(spec.origin)
            waiting += _imports(found[module], module)
    return found


def source_fingerprint(path: Path) -> str:
    """Return the SHA-256, in hexadecimal, of a source file without comments, layout and docstrings.

    A result does not depend on those, so mending a comment makes no record stale; nor on whether a class
    says that it is ``distributed``, nor, by its contract, on :meth:`lnlbench.api.Method.head_losses`. A
    file that is no Python source (a compiled module, or one with a mistake) is hashed as it is.

    Parameters
    ----------
    path : Path

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    return _read(path.read_bytes()).fingerprint


class _Import(NamedTuple):
    """``import module``, or ``from ..module import names`` with the number of dots."""

    level: int
    module: str
    names: tuple[str, ...]


class _Source(NamedTuple):
    fingerprint: str
    imports: tuple[_Import, ...]


@cache  # by content: a file that is edited while we run is another one
def _read(content: bytes) -> _Source:
    try:
        tree = ast.parse(content)
        text = "\n".join(_lines(tree))
    except (SyntaxError, ValueError, RecursionError):
        return _Source(hashlib.sha256(content).hexdigest(), ())
    imports: list[_Import] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += (_Import(0, alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            imports.append(_Import(node.level, node.module or "", names))
    return _Source(hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(), tuple(imports))


def _lines(node: object) -> list[str]:
    """Write a syntax tree down, one line per node.

    Not ``ast.dump``: that shows empty fields too, and every release of Python adds some, so a new
    interpreter would make all records stale.
    """
    if not isinstance(node, ast.AST):
        return [f"{type(node).__name__} {node!r}"]
    lines = [type(node).__name__]
    for name, value in ast.iter_fields(node):
        # A constant's value may be None; everywhere else None and [] say that there is nothing.
        if name == "kind" or (value in (None, []) and not isinstance(node, ast.Constant)):
            continue
        items = value if isinstance(value, list) else [value]
        if name == "body" and isinstance(node, ast.ClassDef):
            items = [item for item in items if not _says_distributed(item)]
        if (
            name == "body"
            and isinstance(node, _DOCUMENTED)
            and ast.get_docstring(node, clean=False) is not None
        ):
            items = items[1:]
        if name == "body" and isinstance(node, ast.ClassDef):
            items = [item for item in items if getattr(item, "name", None) not in _LEFT_OUT]
        lines.append(f".{name} {len(items)}")
        for item in items:
            lines += [" " + line for line in _lines(item)]
    return lines


def _says_distributed(node: ast.stmt) -> bool:
    """Whether a line of a class says if several processes may share a trial, on which no result depends."""
    return (
        isinstance(node, ast.Assign)
        and [target.id for target in node.targets if isinstance(target, ast.Name)] == ["distributed"]
        and isinstance(node.value, ast.Constant)
    )


def _imports(path: Path, module: str) -> Iterator[str]:
    """Names of all modules that a file may import: what follows ``from x import`` may be one."""
    if path.suffix != ".py":
        return  # compiled
    package = module if path.stem == "__init__" else module.rpartition(".")[0]
    for found in _read(path.read_bytes()).imports:
        parts = package.split(".")[: 1 - found.level or None] if found.level else []
        base = ".".join([*parts, found.module] if found.module else parts)
        yield base
        yield from (f"{base}.{name}" for name in found.names)


def _parents(module: str) -> list[str]:
    """The packages of a module: importing it runs them first."""
    parts = module.split(".")
    return [".".join(parts[:depth]) for depth in range(1, len(parts))]


def _roots(plugin: Plugin) -> set[str]:
    """Top-level modules of an installed plugin's distribution."""
    roots = {plugin.target.partition(":")[0].partition(".")[0]}
    if plugin.distribution:
        distribution = metadata.distribution(plugin.distribution)
        listed = distribution.read_text("top_level.txt")
        files = [] if listed else distribution.files or []
        roots |= {*(listed or "").split(), *(file.parts[0].partition(".")[0] for file in files)}
    return roots
