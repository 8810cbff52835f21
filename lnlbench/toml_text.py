"""TOML from anywhere: read within bounds of size and depth, with the line of every statement."""

from __future__ import annotations

import hashlib
import re
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lnlbench.errors import GridError, UsageError
from lnlbench.printable import check_characters

# A hundred times what the largest grid needs; the parser would take minutes for much more.
MAX_BYTES = 2**20

# Tables and arrays within each other. The parser recurses, and takes quadratic time for dotted keys.
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


_TOO_DEEP = f"Tables or arrays are nested more than {MAX_DEPTH} times."
_TOO_LARGE = "There is a number beyond 64 bits."


class RefusedTomlError(UsageError):
    """Text that is TOML, or may be, with something in it that no file of ours holds.

    Attributes
    ----------
    line : int
        Where it is, counted from 1.
    """

    def __init__(self, message: str, hint: str | None = None, line: int = 1) -> None:
        super().__init__(message, hint)
        self.line = line


class TomlText(NamedTuple):
    """A file that was read.

    Attributes
    ----------
    document : dict
    text : str
    sha256 : str
        Of the file's bytes, in hexadecimal.
    """

    document: dict[str, Any]
    text: str
    sha256: str


def read_toml(path: Path) -> TomlText:
    """Read a TOML file.

    Raises
    ------
    GridError
        If it cannot be read, is not a file of reasonable size, or is not TOML; the message starts
        with ``file:line`` where there is a line.
    """
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
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise GridError(f"{path}: is not UTF-8 text.", "Save it as UTF-8.") from error
    try:
        document = parse_toml(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        where = f"{path}:{line[1] if line else max(1, len(text.splitlines()))}"
        raise GridError(f"{where}: is not TOML: {error}.", "See https://toml.io.") from error
    except RefusedTomlError as error:
        raise GridError(f"{path}:{error.line}: {error.message}", error.hint) from error
    return TomlText(document, text, hashlib.sha256(content).hexdigest())


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
    line = _too_deep(text)
    if line is not None:
        raise RefusedTomlError(_TOO_DEEP, line=line)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except ValueError as error:  # Python's own limit for the digits of an integer
        raise RefusedTomlError(_TOO_LARGE, line=_number_line(text)) from error
    for line, statement in statements(text):
        try:
            _check_values(tomllib.loads(statement))
        except UsageError as error:
            raise RefusedTomlError(error.message, error.hint, line) from error
    return document


def statements(text: str) -> Iterator[tuple[int, str]]:
    """Yield the statements of a document (headers, and keys with their values) and their lines.

    Parameters
    ----------
    text : str
        A valid document.

    Yields
    ------
    line : int
        Counted from 1.
    statement : str
        A document itself. Empty lines and comments are left out.
    """
    depth, line, first, start = 0, 1, 1, 0
    for token in _TOKEN.finditer(text):
        symbol = token[0]
        if symbol in "[{":
            depth += 1
        elif symbol in "]}":
            depth -= 1
        line += symbol.count("\n")
        if symbol == "\n" and depth == 0:
            yield from _statement(first, text[start : token.end()])
            first, start = line, token.end()
    yield from _statement(first, text[start:])


def _statement(line: int, text: str) -> Iterator[tuple[int, str]]:
    if text.strip() and not text.lstrip().startswith("#"):
        yield line, text


def _too_deep(text: str) -> int | None:
    """Return the line on which a text nests too deeply for the parser, or None."""
    depth, dots, line = 0, 0, 1
    for token in _TOKEN.finditer(text):
        symbol = token[0]
        if symbol in "[{":
            depth += 1
        elif symbol in "]}":
            depth -= 1
        dots = dots + 1 if symbol == "." else dots if symbol[0] in "\"'" else 0
        if max(depth, dots) >= MAX_DEPTH:
            return line
        line += symbol.count("\n")
    return None


def _number_line(text: str) -> int:
    """Return the line of the first statement that has a number beyond Python's limit."""
    for line, statement in statements(text):
        try:
            tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue
        except ValueError:
            return line
    return 1


def _check_values(document: dict[str, Any]) -> None:
    """Raise a UsageError for a key, text or number that no file should hold."""
    todo: list[tuple[Any, int]] = [(document, 0)]
    while todo:
        value, depth = todo.pop()
        if depth > MAX_DEPTH:
            raise UsageError(_TOO_DEEP)
        if isinstance(value, dict):
            for key in value:
                check_characters(key, "a key")
            todo += [(item, depth + 1) for item in value.values()]
        elif isinstance(value, list):
            todo += [(item, depth + 1) for item in value]
        elif isinstance(value, str):
            check_characters(value, "a text", allowed="\n\t")
        elif isinstance(value, int) and abs(value) > MAX_INTEGER:
            raise UsageError(_TOO_LARGE)
