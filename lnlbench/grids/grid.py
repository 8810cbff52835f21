"""A grid: axes, settings for all of its trials, and deviations for some of them.

Values are kept with the place where they were given, so that a mistake that only shows later
(an unknown parameter of a method) is still reported with file and line.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from lnlbench.basics.printable import check_characters
from lnlbench.errors import UsageError
from lnlbench.grids.hyperparameters import Hyperparameters, read_hyperparameters
from lnlbench.grids.points import AXES, GridPoint
from lnlbench.grids.rows import Contender, Row, contenders_of
from lnlbench.grids.settings import Setting, Settings, check_value, parse_value, parse_values, resolve_key
from lnlbench.grids.toml import Origin
from lnlbench.grids.tuning import kinds_of
from lnlbench.plugins.registry import find_hyperparameters
from lnlbench.records.filters import MAX_TRIALS, Condition, parse_seeds
from lnlbench.spec import NO_BACKBONE, NoiseSpec


@dataclass(frozen=True, slots=True)
class Override:
    """Settings for the trials that a condition means, and why if the grid says so."""

    where: Condition
    settings: Settings
    reason: str = ""


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
        For all trials; see :mod:`lnlbench.grids.settings`.
    overrides : tuple of Override
        Applied in order, over ``settings``.
    given : mapping of key to Setting
        Settings of the command line, applied last.
    excludes : tuple of Exclude
    hyperparameters : Hyperparameters or None
        Settings by backbone, applied over ``settings`` and under ``overrides``.
    table, figure : dict
        Layouts of the table and of the figure, for :mod:`lnlbench.analysis`.
    used_by : str
        Grid that takes the hyperparameters which a search on this one finds; "" for this one.
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
    used_by: str = ""
    table: Mapping[str, Any] = field(default_factory=dict)
    figure: Mapping[str, Any] = field(default_factory=dict)

    @property
    def methods(self) -> tuple[str, ...]:
        """Methods of all rows, in order, each once."""
        return tuple(dict.fromkeys(method for row in self.rows for method in row.methods))

    @cached_property
    def contenders(self) -> tuple[Contender, ...]:
        """All rows taken apart, in order, each once."""
        return contenders_of(self.rows, fixed=self.given)

    @property
    def size(self) -> int:
        """Number of points, counted without listing them."""
        axes = (self.datasets, self.backbones, self.noise, self.seeds, self.contenders)
        return math.prod(map(len, axes))

    def points(self) -> Iterator[GridPoint]:
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
        contenders = [(one.tuning, one.method, one.variant) for one in self.contenders]
        for dataset in self.datasets:
            for backbone in self.backbones:
                for tuning, method, variant in contenders:
                    for kind in noise:
                        for seed in self.seeds:
                            yield GridPoint(dataset, backbone, kind, tuning, method, seed, variant)

    def axis_values(self) -> dict[str, frozenset[str]]:
        """Return every way to name a value of each axis; what a condition may ask for."""
        # One point per value is enough, since every value is combined with every other.
        first = GridPoint(self.datasets[0], self.backbones[0], NoiseSpec.parse(self.noise[0]), "", "", 0)
        varied = dict.fromkeys(key for one in self.contenders for key in one.settings)
        points = {
            "dataset": [replace(first, dataset=name) for name in self.datasets],
            "backbone": [replace(first, backbone=name) for name in self.backbones],
            "noise": [replace(first, noise=NoiseSpec.parse(text)) for text in self.noise],
            "tuning": [replace(first, tuning=row.tuning) for row in self.rows],
            "method": [replace(first, method=name) for name in self.methods],
            "seed": [replace(first, seed=seed) for seed in self.seeds],
            **{key: [replace(first, variant=one.variant) for one in self.contenders] for key in varied},
        }
        points["rate"] = points["noise"]
        return {
            axis: frozenset().union(*(point.values(axis) for point in points[axis]))
            for axis in (*AXES, *varied)
        }

    def contender_of(self, point: GridPoint) -> Contender:
        """Return what a point of this grid is a trial of."""
        return self._by_place[point.tuning, point.method, point.variant]

    @cached_property
    def _by_place(self) -> dict[tuple[Any, ...], Contender]:
        return {(one.tuning, one.method, one.variant): one for one in self.contenders}

    def settings_for(self, point: GridPoint) -> dict[str, Setting]:
        """Return all settings of one trial.

        Each of these wins over those before it: the file's tables, hyperparameters of the
        backbone, overrides in order, the trial's row, the command line.
        """
        settings = self._shared_settings(point)
        settings.update(self.contender_of(point).settings)
        settings.update(self.given)
        return settings

    def _shared_settings(self, point: GridPoint) -> dict[str, Setting]:
        """Return what a trial has but for its row and the command line."""
        settings = dict(self.settings)
        if self.hyperparameters is not None:
            settings.update(self.hyperparameters.settings_for(point.backbone))
        for override in self.overrides:
            if point.matches(override.where):
                settings.update(override.settings)
        return settings

    def reasons(self, point: GridPoint) -> dict[str, str]:
        """Return why overrides set what one trial has, by key; nothing of those without a reason."""
        settings = self.settings_for(point)
        return {
            key: override.reason
            for override in self.overrides
            if override.reason and point.matches(override.where)
            for key, setting in override.settings.items()
            if settings[key] is setting  # and nothing later took its place
        }

    def reference_epochs(self, point: GridPoint) -> int | None:
        """Return how long CE with FFT trains on the problem of a point, also where no row has it.

        None if the grid gives no ``fft.epochs``, or rows give several.
        """
        if point.backbone == NO_BACKBONE:
            return None  # features cannot be fine-tuned
        rows = [one for one in self.contenders if (one.tuning, one.method) == ("fft", "ce")]
        reference = replace(point, tuning="fft", method="ce", variant=())
        found = set()
        for own in [one.settings for one in rows] or [{}]:
            settings = self._shared_settings(reference) | dict(own) | dict(self.given)
            found.add(settings["fft.epochs"].value if "fft.epochs" in settings else None)
        return found.pop() if len(found) == 1 else None

    def exclusion(self, point: GridPoint) -> str | None:
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
                kinds_of(value)
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
