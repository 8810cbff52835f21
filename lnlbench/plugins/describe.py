"""What plugins say about themselves, read from their source: nothing is imported.

So ``lnlbench list`` is fast, a broken plugin is in it, and tables print titles without loading what
made their numbers.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, fields
from typing import Any

from lnlbench.plugins.find import Plugin, source_file


@dataclass(frozen=True, slots=True)
class Description:
    """Class attributes of a plugin that are literals; empty where it says nothing.

    Attributes
    ----------
    summary : str
        First line of the docstring.
    title : str
        How tables write the plugin's name.
    paper : str
        What to cite.
    licence, homepage : str
    forward_gmacs : (float, int) or None
        Of a backbone, see :class:`lnlbench.models.backbone.BackboneSource`.
    unit, better, decimals, meaning
        Of a metric, see :class:`lnlbench.api.Metric`.
    """

    summary: str = ""
    title: str = ""
    paper: str = ""
    licence: str = ""
    homepage: str = ""
    forward_gmacs: tuple[float, int] | None = None
    unit: str = "%"
    better: str = "higher"
    decimals: int = 2
    meaning: str = ""


def describe(plugin: Plugin) -> Description:
    """Describe a plugin from its class and that class's bases in the same file."""
    path = source_file(plugin)
    if path is None or path.suffix != ".py":
        return Description()
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return Description()  # loading it is what reports the mistake
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    name = plugin.target.rpartition(":")[2]
    if name not in classes:
        return Description()
    summary = (ast.get_docstring(classes[name]) or "").partition("\n")[0].replace("``", "")
    known = {field.name for field in fields(Description)} - {"summary"}
    literals = _literals(classes, name)
    return Description(summary, **{key: value for key, value in literals.items() if key in known})


def literal_attributes(node: ast.ClassDef) -> dict[str, Any]:
    """Return the attributes that a class sets to literals."""
    found: dict[str, Any] = {}
    for statement in node.body:
        if isinstance(statement, ast.Assign):
            targets, value = statement.targets, statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            targets, value = [statement.target], statement.value
        else:
            continue
        try:
            literal = ast.literal_eval(value)
        except ValueError:
            continue  # it is computed
        found |= {target.id: literal for target in targets if isinstance(target, ast.Name)}
    return found


def _literals(classes: dict[str, ast.ClassDef], name: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    node = classes[name]
    # A class follows its bases in a file, so that these cannot go in a circle.
    for base in reversed(node.bases):
        parent = classes.get(ast.unparse(base))
        if parent is not None and parent.lineno < node.lineno:
            found |= _literals(classes, parent.name)
    return found | literal_attributes(node)
