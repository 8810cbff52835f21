"""Plugins given by path: which class of a file is meant, and what it is called.

The file is parsed and not run, so that naming a plugin costs nothing and a broken one is
reported like any other, when it is loaded.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

from lnlbench.errors import PluginError, suggest
from lnlbench.paths import expand


def plugin_class(reference: str, base: str) -> tuple[Path, str, str]:
    """Resolve ``FILE.py[:Class]``.

    Parameters
    ----------
    reference : str
        Path of a Python file, and the class if the file has several.
    base : str
        Name of the class that plugins of the group inherit from.

    Returns
    -------
    path : Path
        Absolute.
    class_name : str
    name : str
        The class attribute ``name`` if it is a literal string, else the class name in snake case.

    Raises
    ------
    PluginError
        If there is no such file or class, or the choice of the class is not unique.
    """
    file, _, class_name = reference.partition(".py:")
    path = expand(f"{file}.py" if class_name else reference).resolve()
    classes = _classes(path)
    if not class_name:
        plugins = _inheriting(classes, base)
        if len(plugins) != 1:
            found = f"several: {', '.join(plugins)}" if plugins else "none"
            raise PluginError(
                f"{path} must define one class that inherits from {base}; it defines {found}.",
                f"Say which class is meant: {path.name}:CLASS.",
            )
        class_name = plugins[0]
    if class_name not in classes:
        raise PluginError(f"{path} defines no class '{class_name}'.", suggest(class_name, classes))
    return path, class_name, _name_attribute(classes[class_name]) or _snake_case(class_name)


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


def _inheriting(classes: dict[str, ast.ClassDef], base: str) -> list[str]:
    """Names of the classes that inherit from ``base``, directly or through another of them."""
    heirs: list[str] = []
    for name, node in classes.items():  # a class follows its bases in a file
        bases = {ast.unparse(parent).rpartition(".")[2] for parent in node.bases}
        if base in bases or not bases.isdisjoint(heirs):
            heirs.append(name)
    return heirs


def _name_attribute(node: ast.ClassDef) -> str | None:
    for statement in node.body:
        if isinstance(statement, ast.Assign):
            targets, value = statement.targets, statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            targets, value = [statement.target], statement.value
        else:
            continue
        named = any(isinstance(target, ast.Name) and target.id == "name" for target in targets)
        if named and isinstance(value, ast.Constant) and isinstance(value.value, str):
            return value.value
    return None


def _snake_case(name: str) -> str:
    # Split before a capital that starts a word: MyLoss -> my_loss, GCEPlus -> gce_plus.
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
