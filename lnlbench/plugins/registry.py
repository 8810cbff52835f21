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

from lnlbench.basics.facts import CodeFacts
from lnlbench.errors import PluginError
from lnlbench.plugins.by_path import plugin_class
from lnlbench.plugins.describe import Description, describe
from lnlbench.plugins.find import (
    BACKBONES,
    DATASETS,
    FOLDERS,
    GRIDS,
    KINDS,
    METHODS,
    METRICS,
    PHASE_KINDS,
    Plugin,
    check_name,
    choose,
    find,
    locate,
)
from lnlbench.plugins.fingerprint import code_of, modules_of
from lnlbench.spec import split_reference

if TYPE_CHECKING:
    from lnlbench.api import Method, Metric
    from lnlbench.data.source import DatasetSource
    from lnlbench.models.backbone import BackboneSource
    from lnlbench.models.phase_kind import PhaseKind

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
        self.base_name = base.rpartition(":")[2]
        self._given: dict[str, Plugin] = {}
        self._described: dict[str, Description] = {}  # tables ask for titles again and again
        self._loaded: dict[Plugin, type[T]] = {}

    def entries(self) -> tuple[Plugin, ...]:
        """All plugins, installed and given by path, sorted by name."""
        return tuple(sorted((*find(self.group), *self._given.values()), key=lambda entry: entry.name))

    def entry(self, name: str) -> Plugin:
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

    def add_path(self, reference: str) -> Plugin:
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
        path, class_name, name, _ = plugin_class(reference, [self.base_name])
        check_name(name, self.kind, path.name)
        entry = Plugin(self.group, name, class_name, path=path)
        for other in self.entries():
            if other.name == name and other != entry:
                raise PluginError(
                    f"{path.name}:{class_name} wants the {self.kind} name '{name}', which is taken by "
                    f"{other.origin} ({other.target}).",
                    f'Give the class another name: name = "my_{name}".',
                )
        self._given[name] = entry
        self._described.pop(name, None)  # a stranger until now
        return entry

    def references(self) -> list[str]:
        """Return the plugins given by path, in a form that :meth:`add_path` takes in any process."""
        return [f"{entry.path}:{entry.target}" for entry in self._given.values()]

    def describe(self, name: str) -> Description:
        """Return what a plugin says about itself, without loading it; nothing of one that is not here."""
        if name not in self._described:
            found = [entry for entry in self.entries() if entry.name == name]
            self._described[name] = describe(found[0]) if len(found) == 1 else Description()
        return self._described[name]

    def fingerprint(self, name: str) -> CodeFacts:
        """Return the origin and the fingerprint of a plugin's code, without loading it.

        See :mod:`lnlbench.plugins.fingerprint`.

        Raises
        ------
        PluginError
            If the name is unknown or claimed more than once, or has no source that can be read.
        """
        return code_of(self.entry(name))

    def _check(self, entry: Plugin, plugin: Any) -> type[T]:
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


def _import(entry: Plugin, kind: str) -> Any:
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


def _module(entry: Plugin) -> ModuleType:
    if entry.path is None:
        return importlib.import_module(entry.target.partition(":")[0])
    # Two files may have one name, and a file may be called like a module that exists.
    name = f"lnlbench_plugin_{hashlib.sha256(str(entry.path).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, entry.path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{entry.path} is no Python file")
    _make_siblings_importable(entry, entry.path.parent)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look their module up by name
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _make_siblings_importable(plugin: Plugin, folder: Path) -> None:
    """Let a plugin given by path import what lies beside it, last of all, so that it hides nothing."""
    for name, path in modules_of(plugin).items():
        other = getattr(sys.modules.get(name), "__file__", None)
        if other is not None and Path(other).resolve() != path.resolve():
            raise ImportError(
                f"its module '{name}' ({path}) has the name of another that is in use ({other})"
            )
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
        FOLDERS.append(str(folder))


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


@cache
def phase_kinds() -> Registry[PhaseKind]:
    """Registry of kinds of phases (:class:`lnlbench.api.PhaseKind`)."""
    return Registry(PHASE_KINDS, "lnlbench.models.phase_kind:PhaseKind")


@cache
def metrics() -> Registry[Metric]:
    """Registry of metrics (:class:`lnlbench.api.Metric`)."""
    return Registry(METRICS, "lnlbench.api:Metric")


def grids() -> tuple[Plugin, ...]:
    """Return the grid files that installed packages bring, each as an entry with its path.

    An entry point of the group names a package; its grids are the files ``grids/*.toml``, and a
    grid's name is that of its file.
    """
    return _packaged_files("grids")


def hyperparameters() -> tuple[Plugin, ...]:
    """Return the hyperparameter files that installed packages bring beside their grids.

    They are the files ``hyperparameters/*.toml`` of the packages that :func:`grids` looks at.
    """
    return _packaged_files("hyperparameters")


def _packaged_files(folder: str) -> tuple[Plugin, ...]:
    found: list[Plugin] = []
    for package in find(GRIDS):
        spec = locate(package.target)
        for parent in (spec.submodule_search_locations or ()) if spec else ():
            for path in sorted(Path(parent, folder).glob("*.toml")):
                found.append(
                    Plugin(GRIDS, path.stem, package.target, package.distribution, package.version, path)
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


def _choose_file(entries: tuple[Plugin, ...], name: str, kind: str) -> Path:
    path = choose(entries, name, kind).path
    assert path is not None  # every entry of a file has one
    return path


def registries() -> tuple[Registry[Any], ...]:
    """Return the registries of all kinds of plugins that are classes."""
    return methods(), backbones(), datasets(), phase_kinds(), metrics()


def find_plugin(reference: str) -> Plugin:
    """Return the method, backbone, data set or metric that is meant, without loading it.

    Parameters
    ----------
    reference : str
        A registered name, alone or followed by ``:`` and what to load (``timm:resnet50``,
        ``npz:pets.npz``), or ``FILE.py[:Class]``, which is added as by :func:`add_plugin`.

    Raises
    ------
    PluginError
        If there is none, or more than one.
    """
    known = [entry for kind in (methods(), backbones(), datasets(), metrics()) for entry in kind.entries()]
    name = split_reference(reference)[0]
    if ".py" in reference and all(entry.name != name for entry in known):
        return add_plugin(reference)
    return choose(known, name, "method, backbone, data set or metric")


def add_plugin(reference: str) -> Plugin:
    """Make a plugin of any kind known by its file; its base class says what it is.

    Parameters
    ----------
    reference : str
        ``FILE.py[:Class]``, see :meth:`Registry.add_path`.

    Raises
    ------
    PluginError
        If it is no plugin, or cannot be added.
    """
    by_base = {known.base_name: known for known in registries()}
    path, class_name, _, base = plugin_class(reference, by_base)
    return by_base[base].add_path(f"{path}:{class_name}")


def references() -> list[str]:
    """Return the plugins given by path, so that worker processes can add the same ones."""
    return [reference for known in registries() for reference in known.references()]
