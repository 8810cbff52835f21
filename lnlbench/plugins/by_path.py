"""Plugins given by path: which class of a file is meant, and what it is called.

The file is parsed and not run, so that naming a plugin costs nothing and a broken one is
reported like any other, when it is loaded.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path

from lnlbench.basics.paths import expand
from lnlbench.errors import PluginError, suggest
from lnlbench.plugins.describe import literal_attributes
from lnlbench.plugins.find import locate


def plugin_class(reference: str, bases: Iterable[str]) -> tuple[Path, str, str, str]:
    """Resolve ``FILE.py[:Class]``.

    Parameters
    ----------
    reference : str
        Path of a Python file, and the class if the file has several.
    bases : iterable of str
        Names of the classes that plugins inherit from, one for each kind.

    Returns
    -------
    path : Path
        Absolute.
    class_name : str
    name : str
        The class attribute ``name`` if it is a literal string, else the class name in snake case.
    base : str
        The one of ``bases`` that the class inherits from, directly or not.

    Raises
    ------
    PluginError
        If there is no such file or class, if the choice of the class is not unique, or if it is no
        plugin.
    """
    file, _, class_name = reference.partition(".py:")
    path = expand(f"{file}.py" if class_name else reference).resolve()
    classes, bases = _classes(path), tuple(bases)
    wanted = " or ".join(bases)
    if not class_name:
        plugins = [name for name in classes if _base(path, name, bases)]
        if len(plugins) != 1:
            found = f"several: {', '.join(plugins)}" if plugins else "none"
            raise PluginError(
                f"{path} must define one class that inherits from {wanted}; it defines {found}.",
                f"Say which class is meant: {path.name}:CLASS.",
            )
        class_name = plugins[0]
    if class_name not in classes:
        raise PluginError(f"{path} defines no class '{class_name}'.", suggest(class_name, classes))
    base = _base(path, class_name, bases)
    if base is None:
        raise PluginError(
            f"The class '{class_name}' of {path} is no plugin: it does not inherit from {wanted}.",
            "Let it inherit from the class of what it is.",
        )
    name = literal_attributes(classes[class_name]).get("name")
    return path, class_name, name if isinstance(name, str) and name else _snake_case(class_name), base


def _base(path: Path, class_name: str, bases: tuple[str, ...], depth: int = 8) -> str | None:
    """Which of ``bases`` a class inherits from, also through classes that its file imports."""
    node, imported = _classes(path).get(class_name), _imported(path)
    parents = [ast.unparse(parent) for parent in node.bases] if node else [class_name]
    for parent in parents:
        head, dot, rest = parent.partition(".")
        module, _, name = f"{imported.get(head, head)}{dot}{rest}".rpartition(".")
        if node and name in bases:
            return name
        spec = locate(module, path.parent) if module else None
        file = Path(spec.origin) if spec and spec.has_location and spec.origin else None
        if module and (file is None or file.suffix != ".py"):
            continue  # a compiled class, or one that is not installed
        # In a file of this name, or in this one above; the depth ends circles.
        if depth and (module or node):
            found = _base(file or path, name, bases, depth - 1)
            if found:
                return found
    return None


def _imported(path: Path) -> dict[str, str]:
    """What the names that a file imports stand for, as ``module.name``."""
    found: dict[str, str] = {}
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.Import):
            found |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _classes(path: Path) -> dict[str, ast.ClassDef]:
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except OSError as error:
        raise PluginError(
            f"The plugin file {path} cannot be read: {error.strerror}.", "Write ./FILE.py:CLASS."
        ) from error
    except SyntaxError as error:
        raise PluginError(f"{path}:{error.lineno}: {error.msg}.", "Correct the plugin file.") from error
    except ValueError as error:
        raise PluginError(f"{path} is not a Python file: {error}.", "Write ./FILE.py:CLASS.") from error
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def _snake_case(name: str) -> str:
    # Split before a capital that starts a word: MyLoss -> my_loss, GCEPlus -> gce_plus.
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
