"""From a grid to its trials: every setting resolved, every skip with its reason.

A plan is a JSON value that is stored beside the records, so that status and tables know what
was asked for, not only what has been done.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lnlbench.basics.allocator import patient_collector
from lnlbench.errors import NothingSelectedError
from lnlbench.grids.grid import Grid, with_changes
from lnlbench.grids.grid_checks import check_given, check_layouts, check_names
from lnlbench.grids.grid_file import read_grid
from lnlbench.grids.points import GridPoint
from lnlbench.grids.resolve import PlannedTrial, Resolver, without_idle_backbone
from lnlbench.grids.toml import Origin
from lnlbench.plugins.registry import find_grid, methods
from lnlbench.records.entry import setting_of
from lnlbench.records.filters import Condition, make_condition, parse_where
from lnlbench.spec import NO_BACKBONE, TrialSpec, portable_reference


@dataclass(frozen=True, slots=True)
class Plan:
    """The trials of one run, in the order of the table.

    Attributes
    ----------
    grid, title : str
    table, figure : dict
        Layouts of the table and the figure, as in the grid file.
    planned : tuple of PlannedTrial
        Skipped trials included.
    source : dict
        ``path`` (name of the grid's file), ``sha256`` of its content, and ``overrides``, the
        options of the command line that changed it. Where the grid has them, ``hyperparameters``:
        ``name`` and ``sha256`` of that file, and the planned backbones that it is ``without``;
        ``grid``, the path as it was written, if the grid was given by one; ``used_by``.
    """

    grid: str
    title: str
    table: Mapping[str, Any]
    planned: tuple[PlannedTrial, ...]
    source: Mapping[str, Any] = field(default_factory=dict)
    figure: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """All fields as a JSON value.

        Of ``trials`` each has ``trial_id``, ``setting`` (see :func:`lnlbench.records.entry.setting_of`)
        and ``seed``, and ``skip``, ``reasons`` and ``reference_epochs`` where there are any.
        """
        settings: dict[TrialSpec, str] = {}  # to write each of them once, whatever the number of seeds

        def setting(spec: TrialSpec) -> str:
            seedless = replace(spec, seed=0)
            if seedless not in settings:
                settings[seedless] = setting_of(spec.to_dict())
            return settings[seedless]

        trials = [
            {"trial_id": trial.spec.trial_id, "setting": setting(trial.spec), "seed": trial.spec.seed}
            | ({"skip": trial.skip} if trial.skip is not None else {})
            | ({"reasons": dict(trial.reasons)} if trial.reasons else {})
            | ({"reference_epochs": trial.reference_epochs} if trial.reference_epochs else {})
            for trial in self.planned
        ]
        return {
            "grid": self.grid,
            "title": self.title,
            "table": dict(self.table),
            "figure": dict(self.figure),
            "trials": trials,
            "source": dict(self.source),
        }


@patient_collector()
def plan(
    grid: str | Grid, where: Sequence[str] = (), sets: Sequence[str] = (), seeds: str | None = None
) -> Plan:
    """Resolve a grid to its trials.

    Loads the methods that are used, and so imports torch; data sets and backbones are only
    looked up.

    Parameters
    ----------
    grid : str or Grid
        Registered name, path ending in ``.toml``, or a grid that was read.
    where : sequence of str
        Filters ``axis=value[,value]``.
    sets : sequence of str
        Changes ``key=value``.
    seeds : str, optional
        Seeds instead of the grid's, as ``0-4`` or ``0,2,5``.

    Raises
    ------
    GridError, UsageError, PluginError
        For any mistake that can be known before running.
    NothingSelectedError
        If the filters leave no trial.
    """
    written = grid if isinstance(grid, str) and grid.endswith(".toml") else None
    if isinstance(grid, str):
        grid = read_grid(find_grid(grid))
    grid = with_changes(grid, sets, seeds)
    wanted = _wanted(grid, parse_where(where))
    points = [point for point in grid.points() if point.matches(wanted)]
    if not points:
        raise NothingSelectedError(
            f"No trial of the grid '{grid.name}' has {' and '.join(where)}.", "Drop one of the filters."
        )
    check_names(grid, points)
    check_layouts(grid)
    # Loaded once here: looking an entry point up reads the metadata of all distributions.
    loaded = {name: methods().load(name) for name in dict.fromkeys(point.method for point in points)}
    check_given(grid, loaded)
    resolver = Resolver(grid, loaded)
    planned = {trial.spec.trial_id: trial for trial in map(resolver.trial, points)}
    overrides = [f"--set {text}" for text in sets] + [f"--where {text}" for text in where]
    if seeds is not None:
        overrides.append(f"--seeds {seeds}")
    source = _source(grid, points, overrides)
    if written is not None:
        source["grid"] = written
    return Plan(
        grid=grid.name,
        title=grid.title,
        table=grid.table,
        planned=tuple(planned.values()),
        source=source,
        figure=grid.figure,
    )


def _source(grid: Grid, points: Iterable[GridPoint], overrides: list[str]) -> dict[str, Any]:
    source: dict[str, Any] = {"path": grid.path.name, "sha256": grid.sha256, "overrides": overrides}
    if grid.used_by:
        source["used_by"] = grid.used_by
    if (file := grid.hyperparameters) is not None:
        names = dict.fromkeys(without_idle_backbone(point).backbone for point in points)
        names.pop(NO_BACKBONE, None)
        source["hyperparameters"] = {
            "name": file.name,
            "sha256": file.sha256,
            "without": [portable_reference(name) for name in names if not file.settings_for(name)],
        }
    return source


def _wanted(grid: Grid, where: Mapping[str, Iterable[str]]) -> Condition:
    known = grid.axis_values()
    wanted: dict[str, frozenset[str]] = {}
    for axis, values in where.items():
        with Origin(f"--where {axis}={','.join(values)}", in_file=False).locating():
            wanted.update(make_condition({axis: values}, known))
    return wanted
