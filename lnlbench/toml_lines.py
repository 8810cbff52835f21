"""Line numbers of the keys of a TOML document, which :mod:`tomllib` does not give."""

from __future__ import annotations

import tomllib
from typing import Any


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

    Notes
    -----
    A statement of TOML (a header, or a key with its value) is a document itself, so the parser
    that reads the file also finds where its statements end.
    """
    lines: dict[str, int] = {}
    arrays: dict[str, int] = {}
    table = ""
    pending = ""
    start = 0
    for number, line in enumerate(text.split("\n"), start=1):
        if not pending:
            start = number
        pending += line + "\n"
        try:
            statement = tomllib.loads(pending)
        except tomllib.TOMLDecodeError:
            continue  # the value goes on in the next line
        if pending.lstrip().startswith("["):
            table = _table_path(statement, arrays)
            lines.setdefault(table, start)
        else:
            _record(statement, table, start, lines)
        pending = ""
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
