"""Grid files: TOML to :class:`lnlbench.grids.grid.Grid`, every mistake with file and line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lnlbench.errors import UsageError, suggest
from lnlbench.grids.grid import Exclude, Grid, Override
from lnlbench.grids.hyperparameters import Hyperparameters, read_hyperparameters
from lnlbench.grids.points import AXES
from lnlbench.grids.rows import Row
from lnlbench.grids.settings import Setting, check_value, flatten, resolve_key
from lnlbench.grids.toml import TomlFile
from lnlbench.grids.tuning import is_mode, kinds_of, registered_kinds
from lnlbench.plugins.registry import find_hyperparameters
from lnlbench.records.filters import Condition, make_condition, parse_seeds, value_text
from lnlbench.spec import NoiseSpec

SCHEMA = 1

# Beside these, a grid has tables of kinds of phases ([lp]) and of tuning modes ([lp-fft.lp]).
SETTING_TABLES = ("dataset_options", "backbone_options", "noise_options", "methods", "embedding")
KEYS = (
    *("schema", "title", "description", "seeds", "dataset", "backbone", "noise", "precision", "rows"),
    *("hyperparameters", "used_by", *SETTING_TABLES),
    *("override", "exclude", "table", "figure"),
)
TABLE_KEYS = ("groups", "rows", "columns", "metric", "extra", "caption", "groups_per_block")


def read_grid(path: Path) -> Grid:
    """Read a grid file.

    Parameters
    ----------
    path : Path
        The grid's name is the file's, without ``.toml``.

    Raises
    ------
    GridError
        If the file, or the hyperparameter file that it names, cannot be read, or a key or a value in
        it is wrong; the message starts with ``file:line``.
    """
    return _Reader(path).grid()


class _Reader(TomlFile):
    """One file on its way to a grid."""

    def grid(self) -> Grid:
        modes = [name for name in self.document if is_mode(name)]
        self.known_keys(self.document, (*KEYS, *registered_kinds(), *modes))
        self.check_schema(SCHEMA)
        noise = self.texts("noise")
        with self.at("noise").locating():
            for text in noise:
                NoiseSpec.parse(text)
        grid = Grid(
            name=self.path.stem,
            title=self.text("title", self.path.stem),
            description=self.text("description", ""),
            used_by=self.text("used_by", ""),
            path=self.path,
            sha256=self.sha256,
            datasets=self.texts("dataset"),
            backbones=self.texts("backbone"),
            noise=noise,
            rows=self.rows(),
            seeds=self.seeds(),
            settings=self.settings(),
            origins={axis: self.at(axis) for axis in ("dataset", "backbone", "noise", "table", "figure")},
            hyperparameters=self.hyperparameters(),
            table=self.layout(),
            figure=self.table("figure"),
        )
        known = grid.axis_values()
        overrides = tuple(self.override(*item, known) for item in self.tables("override"))
        excludes = tuple(self.exclude(*item, known) for item in self.tables("exclude"))
        return replace(grid, overrides=overrides, excludes=excludes)

    def hyperparameters(self) -> Hyperparameters | None:
        if "hyperparameters" not in self.document:
            return None
        with self.at("hyperparameters").locating():
            path = find_hyperparameters(self.text("hyperparameters", ""), self.path.parent)
        return read_hyperparameters(path)  # whose mistakes are in a place of their own

    def rows(self) -> tuple[Row, ...]:
        rows = []
        for path, table in self.tables("rows"):
            self.known_keys(table, ("tuning", "method", "set"), f"{path}.")
            methods = self.texts("method", table, f"{path}.")
            sets = self.sets(path, table, methods)
            for tuning in self.texts("tuning", table, f"{path}."):
                with self.at(f"{path}.tuning").locating():
                    kinds_of(tuning)
                    rows.append(Row(tuning, methods, self.at(f"{path}.method"), sets))
        if not rows:
            with self.at("rows").locating():
                raise UsageError("The grid has no rows.", "Add [[rows]] with a tuning and a method.")
        return tuple(rows)

    def sets(
        self, path: str, table: dict[str, Any], methods: tuple[str, ...]
    ) -> dict[str, tuple[Setting, ...]]:
        """Read what a row sets; a list is several values, each for trials of its own."""
        sets: dict[str, tuple[Setting, ...]] = {}
        for name, value in flatten(self.table("set", table, f"{path}.")):
            origin = self.at(f"{path}.set.{name}")
            with origin.locating():
                key = resolve_key(name)
                if key.startswith("methods.") and (method := key.split(".")[1]) not in methods:
                    raise UsageError(f"The row has no method '{method}'.", suggest(method, methods))
                values = value if isinstance(value, list) else [value]
                if not values:
                    raise UsageError(f"{key} is an empty list.", "Give at least one value.")
                sets[key] = tuple(Setting(check_value(key, item), origin) for item in values)
        return sets

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
        tables = {
            name: table for name, table in self.document.items() if name in SETTING_TABLES or is_mode(name)
        }
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
        reason = table.get("reason", "")
        if not isinstance(reason, str):
            with self.at(f"{path}.reason").locating():
                raise UsageError("The reason of an override must be a text.")
        return Override(self.where(path, table, known), self.read_settings(values, f"{path}.set."), reason)

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
            return make_condition({axis: _as_texts(axis, value) for axis, value in flatten(where)}, known)

    def layout(self) -> dict[str, Any]:
        table = self.table("table")
        self.known_keys(table, TABLE_KEYS, "table.")
        for key in table:
            if key != "groups_per_block" and table[key] != []:
                self.texts(key, table, "table.")
        return table


def _as_texts(axis: str, value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    allowed = (str, int, float) if axis in AXES else (str, int, float, bool)
    if not all(type(item) in allowed for item in values):
        raise UsageError(f"{axis} must be a text, a number or a list of these.")
    return [item if isinstance(item, str) else value_text(item) for item in values]
