"""TOML from anywhere: read within bounds, with the lines of its keys, which :mod:`tomllib` does not give."""

from __future__ import annotations

import hashlib
import re
import stat
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lnlbench.basics.printable import check_characters
from lnlbench.errors import GridError, LnlbenchError, UsageError, suggest

# A hundred times what the largest grid needs; the parser would take minutes for much more.
MAX_BYTES = 2**20

# Tables and arrays within each other. The parser takes quadratic time and memory for dotted keys.
MAX_DEPTH = 32

# TOML promises 64 bits, and so do the columns of a results frame.
MAX_INTEGER = 2**63 - 1

# What can hold brackets, dots and line ends that mean nothing, and then those that mean something.
# Every part takes what it can and ends with the text if nothing else ends it, so that the time is
# linear for any text.
_TOKEN = re.compile(
    r'''"""(?:[^"\\]|\\.|"{1,2}(?!"))*+"{0,5}'''
    r"""|'''(?:[^']|'{1,2}(?!'))*+'{0,5}"""
    r"""|"(?:[^"\\\n]|\\.)*+"?"""
    r"""|'[^'\n]*+'?"""
    r"""|\#[^\n]*+"""
    r"""|[\[\]{}.,=\n]""",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was given: ``grid.toml:12`` or ``--set lp.epochs=3``."""

    text: str
    in_file: bool

    @contextmanager
    def locating(self) -> Iterator[None]:
        """Put this place in front of the message of a user's error."""
        try:
            yield
        except LnlbenchError as error:
            kind = GridError if self.in_file else UsageError
            raise kind(f"{self.text}: {error.message}", error.hint) from error


class RefusedTomlError(UsageError):
    """Text that is TOML, or may be, with something on a line (from 1) that no file of ours holds."""

    def __init__(self, message: str, hint: str | None = None, line: int = 1) -> None:
        super().__init__(message, hint)
        self.line = line


class TomlFile:
    """A file that has been read, and what is said about mistakes in it.

    Parameters
    ----------
    path : Path

    Attributes
    ----------
    document : dict
        Content of the file.
    sha256 : str
        Of the bytes of the file.

    Raises
    ------
    GridError
        If the file cannot be read or is not TOML; as all errors that :meth:`at` locates, its
        message starts with the path, and with the line where there is one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        content = _read(path)
        self.sha256 = hashlib.sha256(content).hexdigest()
        try:
            text = content.decode()
            self.document = parse_toml(text)
        except UnicodeDecodeError as error:
            raise GridError(f"{path}: is not UTF-8 text.", "Save it as UTF-8.") from error
        except tomllib.TOMLDecodeError as error:
            found = re.search(r"line (\d+)", str(error))
            line = found[1] if found else max(1, len(text.splitlines()))
            raise GridError(f"{path}:{line}: is not TOML: {error}.", "See https://toml.io.") from error
        except RefusedTomlError as error:
            raise GridError(f"{path}:{error.line}: {error.message}", error.hint) from error
        self._lines = key_lines(text)

    def at(self, key: str) -> Origin:
        """Return the line of a key; of what it is missing from, if it is missing."""
        line = self._line(key)
        while line is None and key:
            key = key.rpartition(".")[0]
            line = self._line(key)
        return Origin(f"{self.path}:{line or 1}", in_file=True)

    def _line(self, key: str) -> int | None:
        """Return where a key is, or where the first key of a table is that has no header."""
        if key in self._lines:
            return self._lines[key]
        starts = (f"{key}[0]", f"{key}.")
        return next((line for name, line in self._lines.items() if key and name.startswith(starts)), None)

    def check_schema(self, version: int) -> None:
        """Refuse a file of another version of its format."""
        schema = self.document.get("schema")
        if schema != version:
            given = "missing" if schema is None else repr(schema)
            text = f"schema is {given}; this version reads {version}."
            raise self._error("schema", text, f"Write schema = {version}.")

    def known_keys(self, table: Iterable[str], keys: tuple[str, ...], parent: str = "") -> None:
        """Refuse keys of a table that are not among ``keys``; ``parent`` ends in a dot."""
        for name in table:
            if name not in keys:
                raise self._error(f"{parent}{name}", f"Unknown key '{name}'.", suggest(name, keys))

    def text(self, key: str, default: str) -> str:
        """Return a text of the top level."""
        value = self.document.get(key, default)
        if not isinstance(value, str):
            raise self._error(key, f"{key} must be a text.")
        return value

    def texts(self, key: str, table: Mapping[str, Any] | None = None, parent: str = "") -> tuple[str, ...]:
        """Return one text or a list of texts; must not be empty."""
        value = (self.document if table is None else table).get(key)
        values = [value] if isinstance(value, str) else value
        if value is None:
            raise self._error(f"{parent}{key}", f"{key} is missing.", f'Add {key} = "…".')
        if not values or not isinstance(values, list) or not all(isinstance(x, str) and x for x in values):
            raise self._error(f"{parent}{key}", f"{key} must be a text or a list of texts.")
        return tuple(dict.fromkeys(values))

    def table(self, key: str, parent: Mapping[str, Any] | None = None, prefix: str = "") -> dict[str, Any]:
        """Return a table, empty if it is missing; ``prefix`` ends in a dot."""
        value = (self.document if parent is None else parent).get(key, {})
        if not isinstance(value, dict):
            raise self._error(f"{prefix}{key}", f"{key} must be a table.", f"Write [{prefix}{key}].")
        return value

    def tables(self, key: str) -> list[tuple[str, dict[str, Any]]]:
        """Return an array of tables, each with its path."""
        value = self.document.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self._error(key, f"{key} must be an array of tables.", f"Write [[{key}]].")
        return [(f"{key}[{index}]", item) for index, item in enumerate(value)]

    def _error(self, key: str, message: str, hint: str | None = None) -> GridError:
        return GridError(f"{self.at(key).text}: {message}", hint)


def parse_toml(text: str) -> dict[str, Any]:
    """Parse a document.

    Raises
    ------
    tomllib.TOMLDecodeError
        If it is not TOML.
    RefusedTomlError
        If it is, but nests too deeply, or holds a number beyond 64 bits or a text with control
        characters.
    """
    for line, statement in statements(text):
        try:
            _check_values(tomllib.loads(statement))
        except tomllib.TOMLDecodeError:
            break  # the parser says where when it reads the whole
        except UsageError as error:
            raise RefusedTomlError(error.message, error.hint, line) from error
        except ValueError as error:  # Python's own limit for the digits of an integer
            raise RefusedTomlError("There is a number beyond 64 bits.", line=line) from error
    return tomllib.loads(text)


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
            lines |= dict.fromkeys(_keys(statement, table), line)
    return lines


def statements(text: str) -> list[tuple[int, str]]:
    """Return the statements of a document (headers, and keys with their values) and their lines.

    Each is a document itself. Empty lines and comments are left out. Of what is no TOML, the
    statements are right up to the first mistake.

    Raises
    ------
    RefusedTomlError
        If it nests too deeply for the parser.
    """
    found = []
    depth, dots, line, first, start = 0, 0, 1, 1, 0
    for token in _TOKEN.finditer(f"{text}\n"):
        symbol = token[0]
        depth += (symbol in "[{") - (symbol in "]}")
        if symbol[0] not in "\"'":  # a quoted part of a key ends no run of dots
            dots = dots + 1 if symbol == "." else 0
        if max(depth, dots) >= MAX_DEPTH:
            raise RefusedTomlError(_TOO_DEEP, line=line)
        line += symbol.count("\n")
        if symbol == "\n" and depth == 0:
            found.append((first, text[start : token.end()]))
            first, start = line, token.end()
    found.append((first, text[start:]))
    return [(line, one) for line, one in found if one.strip() and not one.lstrip().startswith("#")]


_TOO_DEEP = f"Tables or arrays are nested more than {MAX_DEPTH} times."


def _read(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a device or a pipe may have no end
            raise GridError(f"{path}: cannot be read: not a file.", "Check the path.")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise GridError(f"{path}: cannot be read: {error.strerror}.") from error
    if len(content) > MAX_BYTES:
        raise GridError(
            f"{path}: is larger than {MAX_BYTES // 2**20} MiB, which no grid is.", "Check the path."
        )
    return content


def _check_values(value: Any, depth: int = 0) -> None:
    """Raise a UsageError for a key, text or number that no file should hold."""
    if depth > MAX_DEPTH:
        raise UsageError(_TOO_DEEP)
    if isinstance(value, dict):
        for key in value:
            check_characters(key, "a key")
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            _check_values(item, depth + 1)
    elif isinstance(value, str):
        check_characters(value, "a text", allowed="\n\t")
    elif isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise UsageError("There is a number beyond 64 bits.")


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


def _keys(statement: dict[str, Any], parent: str) -> Iterator[str]:
    for name, value in statement.items():
        path = f"{parent}.{name}" if parent else name
        yield path
        if isinstance(value, dict):
            yield from _keys(value, path)
