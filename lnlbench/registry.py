"""Plugins by name: find, load, check.

Entry points are the only way in, for our own methods as for anybody's; a plugin that is not
installed can be given by its file (``./mine.py:Mine``) and is then known in this process.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import traceback
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from lnlbench.entries import (
    BACKBONES,
    DATASETS,
    GRIDS,
    KINDS,
    METHODS,
    Entry,
    check_name,
    choose,
    find,
    locate,
    source_file,
)
from lnlbench.errors import PluginError
from lnlbench.fingerprint import source_fingerprint
from lnlbench.plugin_file import plugin_class

if TYPE_CHECKING:
    from lnlbench.api import Method
    from lnlbench.data.source import DatasetSource
    from lnlbench.models.backbone import BackboneSource

T = TypeVar("T")


class Registry(Generic[T]):
    """The plugins of one group.

    Parameters
    ----------
    group : str
        Entry-point group.
    base : str
        ``module:Class`` that every plugin of the group inherits from; imported when the first
        plugin is loaded.
    """

    def __init__(self, group: str, base: str) -> None:
        self.group = group
        self.base = base
        self.kind = KINDS[group]
        self._given: dict[str, Entry] = {}
        self._loaded: dict[Entry, type[T]] = {}

    def entries(self) -> tuple[Entry, ...]:
        """All plugins, installed and given by path, sorted by name."""
        return tuple(sorted((*find(self.group), *self._given.values()), key=lambda entry: entry.name))

    def entry(self, name: str) -> Entry:
        """Return the plugin called ``name`` without loading it.

        Raises
        ------
        PluginError
            If the name is unknown, or claimed more than once.
        """
        return choose(self.entries(), name, self.kind)

    def load(self, name: str) -> type[T]:
        """Return the class of the plugin called ``name``.

        Raises
        ------
        PluginError
            If the name is unknown or claimed more than once, if importing the plugin fails,
            or if it is not what the group asks for.
        """
        entry = self.entry(name)
        check_name(entry.name, self.kind, entry.origin)
        if entry not in self._loaded:
            self._loaded[entry] = self._check(entry, _import(entry, self.kind))
        return self._loaded[entry]

    def add_path(self, reference: str) -> Entry:
        """Make a plugin known by its file, without installing it.

        Parameters
        ----------
        reference : str
            ``FILE.py:Class``, or ``FILE.py`` if it defines one plugin of this group. The plugin's
            name is the class attribute ``name``, if given, else the class name in snake case.
            The file is read now, and run when the plugin is loaded.

        Raises
        ------
        PluginError
            If the file or the class does not exist, or its name is none or is already taken.
        """
        path, class_name, name = plugin_class(reference, self.base.rpartition(":")[2])
        check_name(name, self.kind, path.name)
        entry = Entry(self.group, name, class_name, path=path)
        for other in self.entries():
            if other.name == name and other != entry:
                raise PluginError(
                    f"{path.name}:{class_name} wants the {self.kind} name '{name}', which is taken by "
                    f"{other.origin} ({other.target}).",
                    f'Give the class another name: name = "my_{name}".',
                )
        self._given[name] = entry
        return entry

    def references(self) -> list[str]:
        """Return the plugins given by path, in a form that :meth:`add_path` takes in any process."""
        return [f"{entry.path}:{entry.target}" for entry in self._given.values()]

    def _check(self, entry: Entry, plugin: Any) -> type[T]:
        module, _, class_name = self.base.partition(":")
        base: type[T] = getattr(importlib.import_module(module), class_name)
        which = f"The {self.kind} '{entry.name}' of {entry.origin} ({entry.target})"
        wanted = f"A {self.kind} is a class that inherits from {module}.{class_name}"
        if not isinstance(plugin, type):
            raise PluginError(f"{which} is not a class, but of type {type(plugin).__name__}.", f"{wanted}.")
        if not issubclass(plugin, base):
            raise PluginError(f"{which} does not inherit from {class_name}.", f"{wanted}.")
        missing = ", ".join(sorted(getattr(plugin, "__abstractmethods__", ())))
        if missing:
            raise PluginError(
                f"{which} does not define {missing}.", f"{wanted} and defines all of its abstract methods."
            )
        return plugin


def _import(entry: Entry, kind: str) -> Any:
    try:
        plugin: Any = _module(entry)
        for attribute in entry.target.rpartition(":")[2].split("."):
            plugin = getattr(plugin, attribute)
    # Importing runs the plugin's code, which may raise anything at all; sys.exit() in it would end
    # the command, and with the plugin's exit code.
    except (Exception, SystemExit) as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        in_plugin = last.filename != __file__ and "importlib" not in last.filename
        inside = f" ({last.filename}:{last.lineno})" if in_plugin else ""
        raise PluginError(
            f"The {kind} '{entry.name}' of {entry.origin} cannot be loaded from {entry.target}: "
            f"{type(error).__name__}: {str(error).rstrip('.')}{inside}.",
            "Repair or uninstall it.",
        ) from error
    return plugin


def _module(entry: Entry) -> ModuleType:
    if entry.path is None:
        return importlib.import_module(entry.target.partition(":")[0])
    # Two files may have one name, and a file may be called like a module that exists.
    name = f"lnlbench_plugin_{hashlib.sha256(str(entry.path).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, entry.path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{entry.path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look their module up by name
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def fingerprint(entry: Entry) -> dict[str, str]:
    """Return a plugin's origin and the fingerprint of the file that defines it.

    See :func:`lnlbench.fingerprint.source_fingerprint`: comments and docstrings do not count.

    Raises
    ------
    PluginError
        If the plugin has no source file that can be read.
    """
    path = source_file(entry)
    if path is None or not path.is_file():
        raise PluginError(
            f"The source of '{entry.name}' of {entry.origin} ({entry.target}) cannot be found.",
            "Reinstall its distribution.",
        )
    return {"origin": entry.origin, "fingerprint": source_fingerprint(path)}


@cache
def methods() -> Registry[Method]:
    """Registry of methods (:class:`lnlbench.api.Method`)."""
    return Registry(METHODS, "lnlbench.api:Method")


@cache
def backbones() -> Registry[BackboneSource]:
    """Registry of backbone sources (:class:`lnlbench.models.backbone.BackboneSource`)."""
    return Registry(BACKBONES, "lnlbench.models.backbone:BackboneSource")


@cache
def datasets() -> Registry[DatasetSource]:
    """Registry of data set sources (:class:`lnlbench.data.source.DatasetSource`)."""
    return Registry(DATASETS, "lnlbench.data.source:DatasetSource")


def grids() -> tuple[Entry, ...]:
    """Return the grid files that installed packages bring, each as an entry with its path.

    An entry point of the group names a package; its grids are the files ``grids/*.toml``, and a
    grid's name is that of its file.
    """
    return _packaged_files("grids")


def hyperparameters() -> tuple[Entry, ...]:
    """Return the hyperparameter files that installed packages bring beside their grids.

    They are the files ``hyperparameters/*.toml`` of the packages that :func:`grids` looks at.
    """
    return _packaged_files("hyperparameters")


def _packaged_files(folder: str) -> tuple[Entry, ...]:
    found: list[Entry] = []
    for package in find(GRIDS):
        spec = locate(package.target)
        for parent in (spec.submodule_search_locations or ()) if spec else ():
            for path in sorted(Path(parent, folder).glob("*.toml")):
                found.append(
                    Entry(GRIDS, path.stem, package.target, package.distribution, package.version, path)
                )
    return tuple(sorted(found, key=lambda entry: entry.name))


def find_grid(name: str) -> Path:
    """Return the file of a grid, given its name or its path (which ends in ``.toml``).

    Raises
    ------
    PluginError
        If there is no such grid or file, or if two packages bring a grid of this name.
    """
    if not name.endswith(".toml"):
        return _choose_file(grids(), name, KINDS[GRIDS])
    if not Path(name).is_file():
        raise PluginError(
            f"There is no grid file {name}.", "Check the path, or see 'lnlbench list grids' for names."
        )
    return Path(name)


def find_hyperparameters(name: str, folder: Path) -> Path:
    """Return a hyperparameter file, given its name or its path (which ends in ``.toml``).

    Parameters
    ----------
    name : str
    folder : Path
        What a relative path is relative to.

    Raises
    ------
    PluginError
        If there is no such file, or if two packages bring one of this name.
    """
    if not name.endswith(".toml"):
        return _choose_file(hyperparameters(), name, "hyperparameter file")
    path = folder / Path(name).expanduser()
    if not path.is_file():
        raise PluginError(
            f"There is no hyperparameter file {path}.",
            "Check the path, or give the name of an installed one: "
            + ", ".join(entry.name for entry in hyperparameters())
            + ".",
        )
    return path


def _choose_file(entries: tuple[Entry, ...], name: str, kind: str) -> Path:
    path = choose(entries, name, kind).path
    assert path is not None  # every entry of a file has one
    return path


def references() -> list[str]:
    """Return the methods given by path, so that worker processes can add the same ones."""
    return methods().references()
