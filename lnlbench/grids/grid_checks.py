"""What can be known to be wrong with a grid before any of its points is resolved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lnlbench.errors import UsageError, suggest
from lnlbench.grids.grid import Grid
from lnlbench.grids.points import GridPoint
from lnlbench.grids.resolve import holds_images
from lnlbench.plugins.registry import backbones, datasets, methods
from lnlbench.spec import NO_BACKBONE, portable_reference, split_reference

if TYPE_CHECKING:
    from lnlbench.api import Method


def check_names(grid: Grid, points: Sequence[GridPoint]) -> None:
    """Check that the data sets, backbones and methods exist, and that no two go by one name."""
    for axis, registry in (("dataset", datasets()), ("backbone", backbones())):
        labels: dict[str, str] = {}
        for name in dict.fromkeys(getattr(point, axis) for point in points):
            if axis == "backbone" and name == NO_BACKBONE and not _passes_images(name, points):
                continue
            with grid.origins[axis].locating():
                registry.entry(split_reference(name)[0])
                other = labels.setdefault(portable_reference(name), name)
                if other != name:
                    raise UsageError(
                        f"'{name}' and '{other}' would be one {axis} in records and tables.",
                        "Rename one of the files.",
                    )
    used = {point.method for point in points}
    for row in grid.rows:
        for name in used.intersection(row.methods):
            with row.origin.locating():
                methods().entry(name)
    for key, setting in (*grid.settings.items(), *grid.given.items()):
        if key.startswith("methods.") and (name := key.split(".")[1]) not in grid.methods:
            with setting.origin.locating():
                methods().entry(name)
                if not setting.origin.in_file:  # a file may prepare for `--set method=`
                    raise UsageError(f"The grid has no method '{name}'.", suggest(name, grid.methods))


def _passes_images(backbone: str, points: Sequence[GridPoint]) -> bool:
    """Whether a backbone is meant for a data set that needs one."""
    return any(holds_images(point.dataset) for point in points if point.backbone == backbone)


def check_given(grid: Grid, loaded: Mapping[str, type[Method]]) -> None:
    """Check parameters that the command line sets for methods which its filters then leave out."""
    for key, setting in grid.given.items():
        section, _, rest = key.partition(".")
        name, _, parameter = rest.partition(".")
        if section == "methods" and name not in loaded:
            values = {parameter: setting.value}
            preset = values.pop("preset", None)
            with setting.origin.locating():
                methods().load(name).resolve(name, grid.datasets[0], values, preset)


def check_layouts(grid: Grid) -> None:
    """Check the layouts now, not when the run is over and the table is made."""
    from lnlbench.analysis.figure_layout import FigureLayout
    from lnlbench.analysis.table_layout import Layout

    with grid.origins["table"].locating():
        Layout.parse(grid.table)
    if grid.figure:
        with grid.origins["figure"].locating():
            FigureLayout.parse(grid.figure)
