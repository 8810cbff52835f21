"""A TOML file on its way to a value: its keys with their lines, and the checks that all files need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lnlbench.errors import UsageError, suggest
from lnlbench.settings import Origin
from lnlbench.toml_lines import key_lines
from lnlbench.toml_text import read_toml


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
        file = read_toml(path)
        self.document: dict[str, Any] = file.document
        self.sha256 = file.sha256
        self._lines = key_lines(file.text)

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
            with self.at("schema").locating():
                given = "missing" if schema is None else repr(schema)
                raise UsageError(
                    f"schema is {given}; this version reads {version}.", f"Write schema = {version}."
                )

    def known_keys(self, table: Iterable[str], keys: tuple[str, ...], parent: str = "") -> None:
        """Refuse keys of a table that are not among ``keys``; ``parent`` ends in a dot."""
        for name in table:
            if name not in keys:
                with self.at(f"{parent}{name}").locating():
                    raise UsageError(f"Unknown key '{name}'.", suggest(name, keys))

    def text(self, key: str, default: str) -> str:
        """Return a text of the top level."""
        value = self.document.get(key, default)
        if not isinstance(value, str):
            with self.at(key).locating():
                raise UsageError(f"{key} must be a text.")
        return value

    def texts(self, key: str, table: Mapping[str, Any] | None = None, parent: str = "") -> tuple[str, ...]:
        """Return one text or a list of texts; must not be empty."""
        value = (self.document if table is None else table).get(key)
        values = [value] if isinstance(value, str) else value
        with self.at(f"{parent}{key}").locating():
            if value is None:
                raise UsageError(f"{key} is missing.", f'Add {key} = "…".')
            if not isinstance(values, list) or not values:
                raise UsageError(f"{key} must be a text or a list of texts.")
            if not all(isinstance(item, str) and item for item in values):
                raise UsageError(f"{key} must be a text or a list of texts.")
        return tuple(dict.fromkeys(values))

    def table(self, key: str, parent: Mapping[str, Any] | None = None, prefix: str = "") -> dict[str, Any]:
        """Return a table, empty if it is missing; ``prefix`` ends in a dot."""
        value = (self.document if parent is None else parent).get(key, {})
        if not isinstance(value, dict):
            with self.at(f"{prefix}{key}").locating():
                raise UsageError(f"{key} must be a table.", f"Write [{prefix}{key}].")
        return value

    def tables(self, key: str) -> list[tuple[str, dict[str, Any]]]:
        """Return an array of tables, each with its path."""
        value = self.document.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            with self.at(key).locating():
                raise UsageError(f"{key} must be an array of tables.", f"Write [[{key}]].")
        return [(f"{key}[{index}]", item) for index, item in enumerate(value)]
