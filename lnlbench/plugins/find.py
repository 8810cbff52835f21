"""Entry points as they are installed: found and described without importing any plugin.

Finding is apart from loading (:mod:`lnlbench.plugins.registry`), so that ``lnlbench list`` is fast, and a
broken plugin is still listed with the distribution that it comes from.
"""

from __future__ import annotations

import pkgutil
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from importlib.machinery import ModuleSpec, PathFinder
from itertools import chain
from pathlib import Path

from lnlbench.basics.printable import shorten
from lnlbench.errors import PluginError, suggest

METHODS = "lnlbench.methods"
BACKBONES = "lnlbench.backbones"
DATASETS = "lnlbench.datasets"
PHASE_KINDS = "lnlbench.phase_kinds"
METRICS = "lnlbench.metrics"
GRIDS = "lnlbench.grids"
GROUPS = (METHODS, BACKBONES, DATASETS, PHASE_KINDS, METRICS, GRIDS)

# Where plugins given by path may import from, besides sys.path as it was.
FOLDERS: list[str] = []

KINDS = {
    METHODS: "method",
    BACKBONES: "backbone",
    DATASETS: "data set",
    PHASE_KINDS: "kind of phase",
    METRICS: "metric",
    GRIDS: "grid",
}


@dataclass(frozen=True, slots=True)
class Plugin:
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


def find(group: str) -> tuple[Plugin, ...]:
    """Return the installed entries of a group, sorted by name; imports none of them.

    A distribution that is on the path twice (an editable install, and its source folder as
    working directory) counts once.
    """
    return _installed(group, tuple(sys.path))


@cache
def _installed(group: str, path: tuple[str, ...]) -> tuple[Plugin, ...]:
    # Once for a path: it reads the metadata of all distributions, and a grid asks for each of its keys.
    entries = {
        Plugin(
            group,
            point.name,
            point.value,
            point.dist.metadata["Name"] if point.dist else "",
            point.dist.version if point.dist else "",
        )
        for point in metadata.entry_points(group=group)
    }
    return tuple(sorted(entries, key=lambda entry: (entry.name, entry.distribution, entry.target)))


def choose(entries: Iterable[Plugin], name: str, kind: str) -> Plugin:
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


def collisions(entries: Iterable[Plugin]) -> frozenset[str]:
    """Return the names that more than one entry claims."""
    counts = Counter(entry.name for entry in entries)
    return frozenset(name for name, count in counts.items() if count > 1)


def locate(module: str, folder: Path | None = None) -> ModuleSpec | None:
    """Return the spec of a module without importing it or its parent packages.

    :func:`importlib.util.find_spec` imports the parents, and a plugin's ``__init__`` may well
    import torch. What is found nowhere else is looked for in ``folder``.
    """
    path: Sequence[str] | None = None
    spec: ModuleSpec | None = None
    parts = module.split(".")
    for depth in range(1, len(parts) + 1):
        fullname = ".".join(parts[:depth])
        # Finders of a package's own folders come first, since sys.meta_path's fail for what is in a
        # package without __init__.py that is not imported; after it come, say, editable installs.
        importers = filter(None, map(pkgutil.get_importer, path or ()))
        found = chain(
            (importer.find_spec(fullname) for importer in importers),
            (finder.find_spec(fullname, path) for finder in sys.meta_path),
        )
        spec = next((candidate for candidate in found if candidate is not None), None)
        if depth == 1 and folder is not None and (spec is None or _places(spec) & set(FOLDERS)):
            spec = PathFinder.find_spec(fullname, [str(folder)]) or spec
        if spec is None:
            return None
        path = spec.submodule_search_locations
        if path is None and depth < len(parts):
            return None
    return spec


def _places(spec: ModuleSpec) -> set[str]:
    """Folders that hold a module or package."""
    files = [spec.origin] if spec.submodule_search_locations is None else spec.submodule_search_locations
    return {str(Path(file).parent) for file in files if file}


def lies_in(module: str, folder: Path) -> bool:
    """Whether a plugin in ``folder`` means a file beside it when it imports a top-level module."""
    spec = locate(module, folder)
    return spec is not None and str(folder) in _places(spec)


def source_file(entry: Plugin) -> Path | None:
    """Return the Python file that defines a plugin, or None if it has none that can be found."""
    if entry.path is not None:
        return entry.path
    spec = locate(entry.target.partition(":")[0])
    return Path(spec.origin) if spec and spec.has_location and spec.origin else None
