"""From a grid to its trials: every setting resolved, every skip with its reason.

A plan is a JSON value that is stored beside the records, so that status and tables know what
was asked for, not only what has been done.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from lnlbench.conditions import Condition, Point, condition
from lnlbench.errors import LnlbenchError, NothingSelectedError, PluginError, UsageError, suggest
from lnlbench.filters import parse_where
from lnlbench.grid import Grid, with_changes
from lnlbench.grid_file import read_grid
from lnlbench.noise.settings import check_options
from lnlbench.registry import backbones, datasets, find_grid, methods
from lnlbench.settings import Origin, Setting, options_under, phase_spec
from lnlbench.spec import (
    BackboneSpec,
    DatasetSpec,
    EmbeddingSpec,
    MethodSpec,
    NoiseSpec,
    TrialSpec,
    freeze_options,
    portable_reference,
    split_reference,
)
from lnlbench.tuning import TUNING_MODES

if TYPE_CHECKING:
    from lnlbench.api import Method


@dataclass(frozen=True, slots=True)
class PlannedTrial:
    """A trial, and why it is not to be run (None if it is)."""

    spec: TrialSpec
    skip: str | None = None


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
        ``name`` and ``sha256`` of that file, and the planned backbones that it is ``without``.
    """

    grid: str
    title: str
    table: Mapping[str, Any]
    planned: tuple[PlannedTrial, ...]
    source: Mapping[str, Any] = field(default_factory=dict)
    figure: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """All fields as a JSON value, readable by :meth:`from_dict`."""
        trials = [
            {"trial_id": trial.spec.trial_id, "spec": trial.spec.to_dict(), "skip": trial.skip}
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

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Plan:
        """Rebuild a plan from :meth:`to_dict`."""
        planned = tuple(
            PlannedTrial(TrialSpec.from_dict(trial["spec"]), trial["skip"]) for trial in value["trials"]
        )
        return cls(
            value["grid"], value["title"], value["table"], planned, value["source"], value.get("figure", {})
        )


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
    if isinstance(grid, str):
        grid = read_grid(find_grid(grid))
    grid = with_changes(grid, sets, seeds)
    wanted = _wanted(grid, parse_where(where))
    points = [point for point in grid.points() if point.matches(wanted)]
    if not points:
        raise NothingSelectedError(
            f"No trial of the grid '{grid.name}' has {' and '.join(where)}.", "Drop one of the filters."
        )
    _check_names(grid, points)
    _check_layouts(grid)
    # Loaded once here: looking an entry point up reads the metadata of all distributions.
    loaded = {name: methods().load(name) for name in dict.fromkeys(point.method for point in points)}
    _check_given(grid, loaded)
    resolver = _Resolver(grid, loaded)
    planned = {trial.spec.trial_id: trial for trial in map(resolver.trial, points)}
    overrides = [f"--set {text}" for text in sets] + [f"--where {text}" for text in where]
    if seeds is not None:
        overrides.append(f"--seeds {seeds}")
    return Plan(
        grid=grid.name,
        title=grid.title,
        table=grid.table,
        planned=tuple(planned.values()),
        source=_source(grid, points, overrides),
        figure=grid.figure,
    )


def _source(grid: Grid, points: Iterable[Point], overrides: list[str]) -> dict[str, Any]:
    source: dict[str, Any] = {"path": grid.path.name, "sha256": grid.sha256, "overrides": overrides}
    if (file := grid.hyperparameters) is not None:
        names = dict.fromkeys(point.backbone for point in points)
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
            wanted.update(condition({axis: values}, known))
    return wanted


def _check_names(grid: Grid, points: Sequence[Point]) -> None:
    """Check that the data sets, backbones and methods exist, and that no two go by one name."""
    for axis, registry in (("dataset", datasets()), ("backbone", backbones())):
        labels: dict[str, str] = {}
        for name in dict.fromkeys(getattr(point, axis) for point in points):
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


def _check_given(grid: Grid, loaded: Mapping[str, type[Method]]) -> None:
    """Check parameters that the command line sets for methods which its filters then leave out."""
    for key, setting in grid.given.items():
        section, _, rest = key.partition(".")
        name, _, parameter = rest.partition(".")
        if section == "methods" and name not in loaded:
            values = {parameter: setting.value}
            preset = values.pop("preset", None)
            with setting.origin.locating():
                methods().load(name).resolve(name, grid.datasets[0], values, preset)


def _check_layouts(grid: Grid) -> None:
    """Check the layouts now, not when the run is over and the table is made."""
    from lnlbench.analysis.figure_layout import FigureLayout
    from lnlbench.analysis.layout import Layout

    with grid.origins["table"].locating():
        Layout.parse(grid.table)
    if grid.figure:
        with grid.origins["figure"].locating():
            FigureLayout.parse(grid.figure)


class _Resolver:
    """Points of one grid to trials."""

    def __init__(self, grid: Grid, loaded: Mapping[str, type[Method]]) -> None:
        self.grid = grid
        self.methods = loaded

    def trial(self, point: Point) -> PlannedTrial:
        skip = self.grid.exclusion(point)
        has_images = split_reference(point.dataset)[0] != "features"
        if skip is None and not has_images and "fft" in TUNING_MODES[point.tuning]:
            with self.grid.origins["dataset"].locating():
                raise UsageError(
                    f"'{point.dataset}' holds features, which cannot be fine-tuned ('{point.tuning}').",
                    "Add --where tuning=lp.",
                )
        spec = self.spec(point)
        if skip is None:
            skip = _declined(self.methods[point.method], spec)
        return PlannedTrial(spec, skip)

    def spec(self, point: Point) -> TrialSpec:
        settings = self.grid.settings_for(point)
        with self.grid.cell_of(point).origin.locating():
            phases = tuple(phase_spec(settings, point.tuning, kind) for kind in TUNING_MODES[point.tuning])
        precision = {"precision": settings["precision"].value} if "precision" in settings else {}
        return TrialSpec(
            dataset=DatasetSpec(point.dataset, **options_under(settings, "dataset_options")),
            noise=_noise_spec(point.noise, settings),
            backbone=_backbone_spec(point.backbone, options_under(settings, "backbone_options")),
            tuning=point.tuning,
            method=_method_spec(self.methods[point.method], point, settings),
            seed=point.seed,
            phases=phases,
            embedding=_embedding_spec(point.dataset, settings),
            **precision,
        )


def _declined(method: type[Method], spec: TrialSpec) -> str | None:
    """Return why a method does not support a trial, or None if it does."""
    try:
        unsupported = method.supports(spec)
        return unsupported.reason if unsupported else None
    # The plugin's code, which may raise anything.
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"supports() of method '{spec.method.name}' failed for {spec.describe()}: "
            f"{type(error).__name__}: {error}.",
            "Repair it: it returns None, or Skip(reason).",
        ) from error


def _noise_spec(noise: NoiseSpec, settings: Mapping[str, Setting]) -> NoiseSpec:
    prefix = f"noise_options.{noise.type}"
    options = options_under(settings, prefix)
    for name, value in options.items():
        with settings[f"{prefix}.{name}"].origin.locating():
            check_options(replace(noise, options=freeze_options(dict(noise.options) | {name: value})))
    return replace(noise, options=freeze_options(options | dict(noise.options)))


def _backbone_spec(name: str, options: Mapping[str, Any]) -> BackboneSpec:
    own = {item.name for item in fields(BackboneSpec)}
    return BackboneSpec(
        name,
        **{key: value for key, value in options.items() if key in own},
        options=freeze_options({key: value for key, value in options.items() if key not in own}),
    )


def _embedding_spec(dataset: str, settings: Mapping[str, Setting]) -> EmbeddingSpec | None:
    given = options_under(settings, "embedding")
    if not given:
        return None
    if "samples" not in given:
        with settings[f"embedding.{next(iter(given))}"].origin.locating():
            raise UsageError("embedding.samples is not given.", "Add --set embedding.samples=1000.")
    if given["samples"] is None:
        return None
    with settings["embedding.samples"].origin.locating():
        if split_reference(dataset)[0] == "features":
            raise UsageError(
                f"'{dataset}' holds features, and an embedding needs images.",
                "Add --set embedding.samples=none.",
            )
        spec = EmbeddingSpec(**given)
        if spec.perplexity >= spec.samples:
            raise UsageError(
                f"embedding.perplexity is {spec.perplexity:g}; it must be below the {spec.samples} samples.",
                "Raise embedding.samples, or lower the perplexity.",
            )
    return spec


def _method_spec(method: type[Method], point: Point, settings: Mapping[str, Setting]) -> MethodSpec:
    prefix = f"methods.{point.method}"
    given = options_under(settings, prefix)
    preset = given.pop("preset", None)
    try:
        return method.resolve(point.method, point.dataset, given, preset)
    except LnlbenchError:
        # The error does not say which value is wrong: the one that fails alone is.
        if preset is not None:
            with settings[f"{prefix}.preset"].origin.locating():
                method.resolve(point.method, point.dataset, {}, preset)
        for name, value in given.items():
            with settings[f"{prefix}.{name}"].origin.locating():
                method.resolve(point.method, point.dataset, {name: value}, preset)
        raise
