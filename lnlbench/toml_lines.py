"""Line numbers of the keys of a TOML document, which :mod:`tomllib` does not give."""

from __future__ import annotations

import tomllib
from typing import Any

from lnlbench.toml_text import statements


def key_lines(text: str) -> dict[str, int]:
    """Return the line, counted from 1, on which each key and table of a document starts.

    Parameters
    ----------
    text : str
        A valid document.

    Returns
    -------
    dict
        Dotted keys; the tables of an array are ``name[0]``, ``name[1]`` … A key that contains a dot
        itself is not told from a nested one.
    """
    lines: dict[str, int] = {}
    arrays: dict[str, int] = {}
    table = ""
    for line, text_of_one in statements(text):
        statement = tomllib.loads(text_of_one)
        if text_of_one.lstrip().startswith("["):
            table = _table_path(statement, arrays)
            lines.setdefault(table, line)
        else:
            _record(statement, table, line, lines)
    return lines


def _table_path(header: dict[str, Any], arrays: dict[str, int]) -> str:
    """The path of a header's table; counts the tables of arrays."""
    path = ""
    inner: Any = header
    while inner:
        (name,) = inner
        path = f"{path}.{name}" if path else name
        inner = inner[name]
        if isinstance(inner, list):  # [[name]] starts a table, [name.other] is in the last one
            arrays[path] = arrays.get(path, -1) + 1
            inner = None
        if path in arrays:
            path = f"{path}[{arrays[path]}]"
    return path


def _record(statement: dict[str, Any], parent: str, line: int, lines: dict[str, int]) -> None:
    for name, value in statement.items():
        path = f"{parent}.{name}" if parent else name
        lines[path] = line
        if isinstance(value, dict):
            _record(value, path, line, lines)
