"""Entry points as they are installed: found and described without importing any plugin.

Finding is apart from loading (:mod:`lnlbench.registry`), so that ``lnlbench list`` is fast, and a
broken plugin is still listed with the distribution that it comes from.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.machinery import ModuleSpec
from pathlib import Path

from lnlbench.errors import PluginError, suggest
from lnlbench.printable import shorten

METHODS = "lnlbench.methods"
BACKBONES = "lnlbench.backbones"
DATASETS = "lnlbench.datasets"
GRIDS = "lnlbench.grids"
GROUPS = (METHODS, BACKBONES, DATASETS, GRIDS)

KINDS = {METHODS: "method", BACKBONES: "backbone", DATASETS: "data set", GRIDS: "grid"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One plugin: what it is called and where it comes from.

    Attributes
    ----------
    group : str
        Entry-point group, for example ``lnlbench.methods``.
    name : str
        Name by which users ask for it.
    target : str
        ``module:Class`` of an installed plugin, ``Class`` of a plugin given by path, the
        package of a grid.
    distribution, version : str
        What has to be installed to get it; empty for a plugin given by path.
    path : Path or None
        File of a plugin given by path, or of a grid.
    """

    group: str
    name: str
    target: str
    distribution: str = ""
    version: str = ""
    path: Path | None = None

    @property
    def origin(self) -> str:
        """Where the plugin comes from: ``lnlbench 0.1.0``, or the name of its file."""
        if self.distribution:
            return f"{self.distribution} {self.version}"
        return self.path.name if self.path else self.target


def find(group: str) -> tuple[Entry, ...]:
    """Return the installed entries of a group, sorted by name; imports none of them.

    A distribution that is on the path twice (an editable install, and its source folder as
    working directory) counts once.
    """
    entries = {
        Entry(
            group,
            point.name,
            point.value,
            point.dist.metadata["Name"] if point.dist else "",
            point.dist.version if point.dist else "",
        )
        for point in metadata.entry_points(group=group)
    }
    return tuple(sorted(entries, key=lambda entry: (entry.name, entry.distribution, entry.target)))


def choose(entries: Iterable[Entry], name: str, kind: str) -> Entry:
    """Return the one entry called ``name``.

    Raises
    ------
    PluginError
        If there is none (with a suggestion), or if several claim the name.
    """
    entries = tuple(entries)
    found = [entry for entry in entries if entry.name == name]
    if not found:
        raise PluginError(f"Unknown {kind} '{name}'.", suggest(name, {entry.name for entry in entries}))
    if len(found) > 1:
        claims = " and ".join(f"{entry.origin} ({entry.target})" for entry in found)
        raise PluginError(
            f"The {kind} name '{name}' is claimed by {claims}.",
            "Uninstall one of them, or rename its entry point.",
        )
    return found[0]


def check_name(name: str, kind: str, origin: str) -> None:
    """Refuse a plugin by whose name files, tables and commands would mean something else.

    Raises
    ------
    PluginError
        Unless the name is of ASCII letters, digits and ``_ . + -``, and starts with a letter or digit.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}", name):
        raise PluginError(
            f"'{shorten(name)}' of {origin} cannot be the name of a {kind}.",
            "Use letters, digits and underscores, as in my_method.",
        )


def collisions(entries: Iterable[Entry]) -> frozenset[str]:
    """Return the names that more than one entry claims."""
    counts = Counter(entry.name for entry in entries)
    return frozenset(name for name, count in counts.items() if count > 1)


def locate(module: str) -> ModuleSpec | None:
    """Return the spec of a module without importing it or its parent packages.

    :func:`importlib.util.find_spec` imports the parents, and a plugin's ``__init__`` may well
    import torch.
    """
    path: Sequence[str] | None = None
    spec: ModuleSpec | None = None
    parts = module.split(".")
    for depth in range(1, len(parts) + 1):
        fullname = ".".join(parts[:depth])
        found = (finder.find_spec(fullname, path) for finder in sys.meta_path)
        spec = next((candidate for candidate in found if candidate is not None), None)
        if spec is None:
            return None
        path = spec.submodule_search_locations
        if path is None and depth < len(parts):
            return None
    return spec


def source_file(entry: Entry) -> Path | None:
    """Return the Python file that defines a plugin, or None if it has none that can be found."""
    if entry.path is not None:
        return entry.path
    spec = locate(entry.target.partition(":")[0])
    return Path(spec.origin) if spec and spec.has_location and spec.origin else None


def summary(entry: Entry) -> str:
    """Return the first line of a plugin's docstring, read from its source; "" without one."""
    path = source_file(entry)
    if path is None or path.suffix != ".py":
        return ""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ""  # loading it is what reports the mistake
    name = entry.target.rpartition(":")[2]
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return (ast.get_docstring(node) or "").partition("\n")[0].replace("``", "")
    return ""
