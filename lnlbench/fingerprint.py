"""The fingerprint of source code: what it does, not how it is written down."""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path

_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def source_fingerprint(path: Path) -> str:
    """Return the SHA-256, in hexadecimal, of a source file without comments, layout and docstrings.

    A result does not depend on those, so mending a comment makes no record stale. A file that is
    no Python source (a compiled module, or one with a mistake) is hashed as it is.

    Parameters
    ----------
    path : Path

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    content = path.read_bytes()
    try:
        text = "\n".join(_lines(ast.parse(content)))
    except (SyntaxError, ValueError, RecursionError):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


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
        if (
            name == "body"
            and isinstance(node, _DOCUMENTED)
            and ast.get_docstring(node, clean=False) is not None
        ):
            items = items[1:]
        lines.append(f".{name} {len(items)}")
        for item in items:
            lines += [" " + line for line in _lines(item)]
    return lines
