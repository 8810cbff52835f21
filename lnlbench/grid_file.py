"""Grid files: TOML to :class:`lnlbench.grid.Grid`, every mistake with file and line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lnlbench.conditions import Condition, condition, parse_seeds
from lnlbench.errors import UsageError, suggest
from lnlbench.grid import Exclude, Grid, Override, Row, check_tuning
from lnlbench.settings import Origin, Setting, check_value, flatten, resolve_key
from lnlbench.spec import NoiseSpec
from lnlbench.toml_lines import key_lines
from lnlbench.toml_text import read_toml

SCHEMA = 1

SETTING_TABLES = ("dataset_options", "backbone_options", "noise_options", "lp", "fft", "lp-fft", "methods")
KEYS = (
    *("schema", "title", "description", "seeds", "dataset", "backbone", "noise", "precision", "rows"),
    *SETTING_TABLES,
    *("override", "exclude", "table"),
)
TABLE_KEYS = ("groups", "rows", "columns", "metric", "extra", "caption")


def read_grid(path: Path) -> Grid:
    """Read a grid file.

    Parameters
    ----------
    path : Path
        The grid's name is the file's, without ``.toml``.

    Raises
    ------
    GridError
        If the file cannot be read, or a key or a value in it is wrong; the message starts with
        ``file:line``.
    """
    file = read_toml(path)
    return _Reader(path, file.document, key_lines(file.text)).grid(file.sha256)


class _Reader:
    """One file on its way to a grid."""

    def __init__(self, path: Path, document: dict[str, Any], lines: Mapping[str, int]) -> None:
        self.path = path
        self.document = document
        self.lines = lines

    def at(self, key: str) -> Origin:
        """The line of a key; of what it is missing from, if it is missing."""
        line = self.lines.get(key) or self.lines.get(f"{key}[0]")
        while line is None and key:
            key = key.rpartition(".")[0]
            line = self.lines.get(key)
        return Origin(f"{self.path}:{line or 1}", in_file=True)

    def grid(self, sha256: str) -> Grid:
        self.known_keys(self.document, KEYS)
        schema = self.document.get("schema")
        if schema != SCHEMA:
            with self.at("schema").locating():
                given = "missing" if schema is None else repr(schema)
                raise UsageError(
                    f"schema is {given}; this version reads {SCHEMA}.", f"Write schema = {SCHEMA}."
                )
        noise = self.texts("noise")
        with self.at("noise").locating():
            for text in noise:
                NoiseSpec.parse(text)
        grid = Grid(
            name=self.path.stem,
            title=self.text("title", self.path.stem),
            description=self.text("description", ""),
            path=self.path,
            sha256=sha256,
            datasets=self.texts("dataset"),
            backbones=self.texts("backbone"),
            noise=noise,
            rows=self.rows(),
            seeds=self.seeds(),
            settings=self.settings(),
            origins={axis: self.at(axis) for axis in ("dataset", "backbone", "noise", "table")},
            table=self.table(),
        )
        known = grid.axis_values()
        overrides = tuple(self.override(*item, known) for item in self.tables("override"))
        excludes = tuple(self.exclude(*item, known) for item in self.tables("exclude"))
        return replace(grid, overrides=overrides, excludes=excludes)

    def known_keys(self, table: Iterable[str], keys: tuple[str, ...], parent: str = "") -> None:
        for name in table:
            if name not in keys:
                with self.at(f"{parent}{name}").locating():
                    raise UsageError(f"Unknown key '{name}'.", suggest(name, keys))

    def text(self, key: str, default: str) -> str:
        value = self.document.get(key, default)
        if not isinstance(value, str):
            with self.at(key).locating():
                raise UsageError(f"{key} must be a text.")
        return value

    def texts(self, key: str, table: Mapping[str, Any] | None = None, parent: str = "") -> tuple[str, ...]:
        """One text or a list of texts; must not be empty."""
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

    def tables(self, key: str) -> list[tuple[str, dict[str, Any]]]:
        """An array of tables, each with its path."""
        value = self.document.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            with self.at(key).locating():
                raise UsageError(f"{key} must be an array of tables.", f"Write [[{key}]].")
        return [(f"{key}[{index}]", item) for index, item in enumerate(value)]

    def rows(self) -> tuple[Row, ...]:
        rows = []
        for path, table in self.tables("rows"):
            self.known_keys(table, ("tuning", "method"), f"{path}.")
            methods = self.texts("method", table, f"{path}.")
            for tuning in self.texts("tuning", table, f"{path}."):
                with self.at(f"{path}.tuning").locating():
                    rows.append(Row(check_tuning(tuning), methods, self.at(f"{path}.method")))
        if not rows:
            with self.at("rows").locating():
                raise UsageError("The grid has no rows.", "Add [[rows]] with a tuning and a method.")
        return tuple(rows)

    def seeds(self) -> tuple[int, ...]:
        value = self.document.get("seeds", [0])
        with self.at("seeds").locating():
            if isinstance(value, str):
                return parse_seeds(value)
            if not isinstance(value, list) or not value:
                raise UsageError('seeds must be a list of integers, or a text such as "0-4".')
            if not all(type(seed) is int and seed >= 0 for seed in value):
                raise UsageError("seeds must be integers that are not negative.")
            return tuple(dict.fromkeys(value))

    def settings(self) -> dict[str, Setting]:
        tables = {name: self.document[name] for name in SETTING_TABLES if name in self.document}
        for name, table in tables.items():
            if not isinstance(table, dict):
                with self.at(name).locating():
                    raise UsageError(f"{name} must be a table.", f"Write [{name}].")
        if "precision" in self.document:
            tables["precision"] = self.document["precision"]
        return self.read_settings(tables, "")

    def read_settings(self, tables: Mapping[str, Any], parent: str) -> dict[str, Setting]:
        settings = {}
        for name, value in flatten(tables):
            origin = self.at(f"{parent}{name}")
            with origin.locating():
                key = resolve_key(name)
                settings[key] = Setting(check_value(key, value), origin)
        return settings

    def override(self, path: str, table: dict[str, Any], known: Mapping[str, frozenset[str]]) -> Override:
        self.known_keys(table, ("where", "set", "reason"), f"{path}.")
        values = table.get("set")
        if not isinstance(values, dict) or not values:
            with self.at(f"{path}.set").locating():
                raise UsageError("An override sets nothing.", 'Add set = { "lp.batch_size" = 64 }, say.')
        return Override(self.where(path, table, known), self.read_settings(values, f"{path}.set."))

    def exclude(self, path: str, table: dict[str, Any], known: Mapping[str, frozenset[str]]) -> Exclude:
        self.known_keys(table, ("where", "reason"), f"{path}.")
        reason = table.get("reason")
        if not isinstance(reason, str) or not reason.strip():
            with self.at(f"{path}.reason").locating():
                raise UsageError("An exclude gives no reason.", 'Add reason = "…"; tables print it.')
        return Exclude(self.where(path, table, known), reason)

    def where(self, path: str, table: dict[str, Any], known: Mapping[str, frozenset[str]]) -> Condition:
        where = table.get("where")
        with self.at(f"{path}.where").locating():
            if not isinstance(where, dict) or not where:
                raise UsageError("It says of no trial that it is meant.", 'Add where = { method = "…" }.')
            return condition({axis: _as_texts(axis, value) for axis, value in where.items()}, known)

    def table(self) -> dict[str, Any]:
        table = self.document.get("table", {})
        if not isinstance(table, dict):
            with self.at("table").locating():
                raise UsageError("table must be a table.", "Write [table].")
        self.known_keys(table, TABLE_KEYS, "table.")
        for key in table:
            self.texts(key, table, "table.")
        return table


def _as_texts(axis: str, value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    if not all(type(item) in (str, int, float) for item in values):
        raise UsageError(f"{axis} must be a text, a number or a list of these.")
    return [item if isinstance(item, str) else f"{item:g}" for item in values]
