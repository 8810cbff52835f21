"""A grid: axes, settings for all of its trials, and deviations for some of them.

Values are kept with the place where they were given, so that a mistake that only shows later
(an unknown parameter of a method) is still reported with file and line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from lnlbench.conditions import AXES, MAX_TRIALS, Condition, Point, parse_seeds
from lnlbench.errors import UsageError
from lnlbench.hyperparameters import Hyperparameters, read_hyperparameters
from lnlbench.printable import check_characters
from lnlbench.registry import find_hyperparameters
from lnlbench.rows import Cell, Row, cells_of
from lnlbench.settings import Origin, Setting, Settings, check_value, parse_value, parse_values, resolve_key
from lnlbench.spec import NoiseSpec, one_of
from lnlbench.tuning import TUNING_MODES


@dataclass(frozen=True, slots=True)
class Override:
    """Settings for the trials that a condition means."""

    where: Condition
    settings: Settings


@dataclass(frozen=True, slots=True)
class Exclude:
    """Trials that are not run, and why."""

    where: Condition
    reason: str


@dataclass(frozen=True)
class Grid:
    """What a grid file says.

    Attributes
    ----------
    name, title, description : str
    path : Path
        The file.
    sha256 : str
        Of the file's content.
    datasets, backbones, noise : tuple of str
        Axes, in the order of the file.
    rows : tuple of Row
        The axes tuning × method, and what is varied in them.
    seeds : tuple of int
    settings : mapping of key to Setting
        For all trials; see :mod:`lnlbench.settings`.
    overrides : tuple of Override
        Applied in order, over ``settings``.
    given : mapping of key to Setting
        Settings of the command line, applied last.
    excludes : tuple of Exclude
    hyperparameters : Hyperparameters or None
        Settings by backbone, applied over ``settings`` and under ``overrides``.
    table, figure : dict
        Layouts of the table and of the figure, for :mod:`lnlbench.analysis`.
    origins : mapping of axis to Origin
        Where ``dataset``, ``backbone``, ``noise``, ``table`` and ``figure`` were given.
    """

    name: str
    title: str
    description: str
    path: Path
    sha256: str
    datasets: tuple[str, ...]
    backbones: tuple[str, ...]
    noise: tuple[str, ...]
    rows: tuple[Row, ...]
    seeds: tuple[int, ...]
    settings: Settings
    origins: Mapping[str, Origin]
    overrides: tuple[Override, ...] = ()
    excludes: tuple[Exclude, ...] = ()
    given: Settings = field(default_factory=dict)
    hyperparameters: Hyperparameters | None = None
    table: Mapping[str, Any] = field(default_factory=dict)
    figure: Mapping[str, Any] = field(default_factory=dict)

    @property
    def methods(self) -> tuple[str, ...]:
        """Methods of all rows, in order, each once."""
        return tuple(dict.fromkeys(method for row in self.rows for method in row.methods))

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """All rows taken apart, in order, each once."""
        return cells_of(self.rows, fixed=self.given)

    @property
    def size(self) -> int:
        """Number of points, counted without listing them."""
        return len(self.datasets) * len(self.backbones) * len(self.noise) * len(self.seeds) * len(self.cells)

    def points(self) -> Iterator[Point]:
        """Yield all points in the order of the table: by data set, backbone, row, noise, seed.

        Raises
        ------
        UsageError
            If the grid is larger than any benchmark can be.
        """
        if self.size > MAX_TRIALS:
            raise UsageError(
                f"The grid '{self.name}' has {self.size:,} trials; {MAX_TRIALS:,} are the limit.",
                "Shorten an axis, for example with --set or --seeds.",
            )
        noise = [NoiseSpec.parse(text) for text in self.noise]
        cells = [(cell.tuning, cell.method, cell.variant) for cell in self.cells]
        for dataset in self.datasets:
            for backbone in self.backbones:
                for tuning, method, variant in cells:
                    for kind in noise:
                        for seed in self.seeds:
                            yield Point(dataset, backbone, kind, tuning, method, seed, variant)

    def axis_values(self) -> dict[str, frozenset[str]]:
        """Return every way to name a value of each axis; what a condition may ask for."""
        # One point per value is enough, since every value is combined with every other.
        first = Point(self.datasets[0], self.backbones[0], NoiseSpec.parse(self.noise[0]), "", "", 0)
        varied = dict.fromkeys(key for cell in self.cells for key in cell.settings)
        points = {
            "dataset": [replace(first, dataset=name) for name in self.datasets],
            "backbone": [replace(first, backbone=name) for name in self.backbones],
            "noise": [replace(first, noise=NoiseSpec.parse(text)) for text in self.noise],
            "tuning": [replace(first, tuning=row.tuning) for row in self.rows],
            "method": [replace(first, method=name) for name in self.methods],
            "seed": [replace(first, seed=seed) for seed in self.seeds],
            **{key: [replace(first, variant=cell.variant) for cell in self.cells] for key in varied},
        }
        points["rate"] = points["noise"]
        return {
            axis: frozenset().union(*(point.values(axis) for point in points[axis]))
            for axis in (*AXES, *varied)
        }

    def cell_of(self, point: Point) -> Cell:
        """Return the cell that a point of this grid lies in."""
        return self._cells[point.tuning, point.method, point.variant]

    @cached_property
    def _cells(self) -> dict[tuple[Any, ...], Cell]:
        return {(cell.tuning, cell.method, cell.variant): cell for cell in self.cells}

    def settings_for(self, point: Point) -> dict[str, Setting]:
        """Return all settings of one trial.

        Each of these wins over those before it: the file's tables, hyperparameters of the
        backbone, overrides in order, the trial's row, the command line.
        """
        settings = dict(self.settings)
        if self.hyperparameters is not None:
            settings.update(self.hyperparameters.settings_for(point.backbone))
        for override in self.overrides:
            if point.matches(override.where):
                settings.update(override.settings)
        settings.update(self.cell_of(point).settings)
        settings.update(self.given)
        return settings

    def exclusion(self, point: Point) -> str | None:
        """Return why a trial is excluded, or None if it is not."""
        return next((exclude.reason for exclude in self.excludes if point.matches(exclude.where)), None)


def with_changes(grid: Grid, sets: Sequence[str] = (), seeds: str | None = None) -> Grid:
    """Return the grid as changed by ``--set KEY=VALUE`` and ``--seeds``.

    Raises
    ------
    UsageError
        If a key, a value or a seed cannot be used; the message names the option.
    """
    for text in sets:
        key, separator, value = (part.strip() for part in text.partition("="))
        origin = Origin(f"--set {text}", in_file=False)
        with origin.locating():
            check_characters(text, "the option")
            if not separator or not key or not value:
                raise UsageError("This is not KEY=VALUE.", "Write, for example, --set lp.epochs=3.")
            grid = _set(grid, key, value, origin)
    if seeds is not None:
        with Origin(f"--seeds {seeds}", in_file=False).locating():
            grid = replace(grid, seeds=parse_seeds(seeds))
    return grid


def _set(grid: Grid, key: str, text: str, origin: Origin) -> Grid:
    values = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not values:
        raise UsageError("This sets nothing.", f"Write a value: --set {key}=….")
    match key:
        case "dataset":
            return replace(grid, datasets=values, origins={**grid.origins, key: origin})
        case "backbone":
            return replace(grid, backbones=values, origins={**grid.origins, key: origin})
        case "noise":
            for value in values:
                NoiseSpec.parse(value)
            return replace(grid, noise=values, origins={**grid.origins, key: origin})
        case "method":
            return replace(grid, rows=tuple(replace(row, methods=values, origin=origin) for row in grid.rows))
        case "tuning":
            for value in values:
                check_tuning(value)
            return replace(grid, rows=_rows_in(values, grid.rows, origin))
        case "seed" | "seeds":
            return replace(grid, seeds=parse_seeds(text))
        case "hyperparameters":
            return replace(grid, hyperparameters=_hyperparameters(text))
        case _:
            return _set_value(grid, resolve_key(key), text, origin)


def _rows_in(tunings: tuple[str, ...], rows: tuple[Row, ...], origin: Origin) -> tuple[Row, ...]:
    """Return the rows in other tuning modes; those that set the same things become one."""
    merged: list[Row] = []
    for row in rows:
        same = next((item for item in merged if item.sets == row.sets), None)
        if same is None:
            merged.append(row)
        else:
            methods = tuple(dict.fromkeys(same.methods + row.methods))
            merged[merged.index(same)] = replace(same, methods=methods)
    return tuple(replace(row, tuning=tuning, origin=origin) for tuning in tunings for row in merged)


def _hyperparameters(name: str) -> Hyperparameters | None:
    """Return what ``--set hyperparameters=`` names; paths are relative to the working folder."""
    return None if name == "none" else read_hyperparameters(find_hyperparameters(name, Path()))


def _set_value(grid: Grid, key: str, text: str, origin: Origin) -> Grid:
    """Set a key for all trials; several values take the place of those that rows go through."""
    if not any(key in row.sets for row in grid.rows):
        setting = Setting(check_value(key, parse_value(key, text)), origin)
        return replace(grid, given={**grid.given, key: setting})
    settings = tuple(Setting(check_value(key, value), origin) for value in parse_values(key, text))
    if len(settings) == 1:
        return replace(grid, given={**grid.given, key: settings[0]})
    rows = (replace(row, sets={**row.sets, key: settings}) if key in row.sets else row for row in grid.rows)
    given = {name: setting for name, setting in grid.given.items() if name != key}
    return replace(grid, rows=tuple(rows), given=given)


def check_tuning(name: str) -> str:
    """Return ``name`` if it is a tuning mode, else raise an error that lists them."""
    return one_of(name, tuple(TUNING_MODES), "tuning mode")
