"""From a point of a grid to its trial: every setting looked up, in the order in which they win."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from lnlbench.errors import LnlbenchError, PluginError, UsageError
from lnlbench.grids.grid import Grid
from lnlbench.grids.points import GridPoint
from lnlbench.grids.settings import Setting, options_under, phase_spec
from lnlbench.grids.tuning import kinds_of, phase_kind
from lnlbench.noise.noise_options import check_options
from lnlbench.plugins.registry import backbones, datasets
from lnlbench.spec import (
    NO_BACKBONE,
    BackboneSpec,
    DatasetSpec,
    EmbeddingSpec,
    MethodSpec,
    NoiseSpec,
    Skip,
    TrialSpec,
    freeze_options,
    has_images,
    split_reference,
)

if TYPE_CHECKING:
    from lnlbench.api import Method
    from lnlbench.models.backbone import BackboneSource


@dataclass(frozen=True, slots=True)
class PlannedTrial:
    """A trial, and what the grid says about it.

    Attributes
    ----------
    spec : TrialSpec
    skip : str or None
        Why it is not to be run; None if it is.
    reasons : mapping of str to str
        Why the grid's overrides set what the trial has, by key.
    reference_epochs : int or None
        How long CE with FFT trains on the same problem, planned or not; None if the grid does not say.
    """

    spec: TrialSpec
    skip: str | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)
    reference_epochs: int | None = None


def holds_images(dataset: str) -> bool:
    """Whether a data set holds images, by its name; its data are not looked at."""
    return datasets().load(split_reference(dataset)[0]).has_images


def without_idle_backbone(point: GridPoint) -> GridPoint:
    """Return a point whose backbone is none where no image would pass through it.

    A data set of features is the same problem whatever backbone stands beside it in the grid, and one trial.
    """
    return point if holds_images(point.dataset) else replace(point, backbone=NO_BACKBONE)


class Resolver:
    """Makes trials of the points of one grid.

    Parameters
    ----------
    grid : Grid
    methods : mapping of str to type of Method
        Those of the points, loaded.
    """

    def __init__(self, grid: Grid, loaded: Mapping[str, type[Method]]) -> None:
        self.grid = grid
        self.methods = loaded
        self._seeds_differ = any("seed" in override.where for override in grid.overrides)
        self._known: dict[GridPoint, tuple[TrialSpec, Mapping[str, str], int | None]] = {}

    def trial(self, point: GridPoint) -> PlannedTrial:
        """Return the trial of a point."""
        skip = self.grid.exclusion(point)
        point = without_idle_backbone(point)
        # Looked up once for all seeds: that takes longer than all else of a trial.
        place = point if self._seeds_differ else replace(point, seed=0)
        if place not in self._known:
            settled = self.spec(point), self.grid.reasons(point), self.grid.reference_epochs(point)
            self._known[place] = settled
        first, reasons, reference_epochs = self._known[place]
        spec = replace(first, seed=point.seed)
        if skip is None:
            self._check_phases(spec, point)
            skip = next(self._declined(spec), None)
        return PlannedTrial(spec, skip, reasons, reference_epochs)

    def spec(self, point: GridPoint) -> TrialSpec:
        """Return what a point is the trial of, with all of its settings."""
        settings = self.grid.settings_for(point)
        with self.grid.contender_of(point).origin.locating():
            phases = tuple(phase_spec(settings, point.tuning, kind) for kind in kinds_of(point.tuning))
        precision = {"precision": settings["precision"].value} if "precision" in settings else {}
        backbone = BackboneSpec(NO_BACKBONE)
        if point.backbone != NO_BACKBONE:
            backbone = _backbone_spec(point.backbone, options_under(settings, "backbone_options"))
        return TrialSpec(
            dataset=DatasetSpec(point.dataset, **options_under(settings, "dataset_options")),
            noise=_noise_spec(point.noise, settings),
            backbone=backbone,
            tuning=point.tuning,
            method=_method_spec(self.methods[point.method], point, settings),
            seed=point.seed,
            phases=phases,
            embedding=_embedding_spec(point, settings),
            **precision,
        )

    def _check_phases(self, spec: TrialSpec, point: GridPoint) -> None:
        """Raise if the backbone, or the lack of one, makes a phase impossible."""
        moved = False  # whether an earlier phase has changed the backbone
        for phase in spec.phases:
            kind = phase_kind(phase.kind)
            if not has_images(spec) and not kind.keeps_features:
                with self.grid.origins["dataset"].locating():
                    raise UsageError(
                        f"'{point.dataset}' holds features, which cannot be fine-tuned ('{point.tuning}').",
                        "Add --where tuning=lp.",
                    )
            if moved and kind.is_cached(phase):
                with self.grid.contender_of(point).origin.locating():
                    raise UsageError(
                        f"In '{point.tuning}' the features that {phase.kind} caches would be those of a "
                        "backbone that an earlier phase has changed.",
                        f"Add --set {point.tuning}.{phase.kind}.cache=false.",
                    )
            moved |= not kind.keeps_features

    def _declined(self, spec: TrialSpec) -> Iterator[str]:
        """Yield why kinds of phases and the method do not support a trial."""
        asked: list[tuple[str, Callable[[], Skip | None]]] = [
            (f"kind of phase '{phase.kind}'", partial(phase_kind(phase.kind).supports, spec, phase))
            for phase in spec.phases
        ]
        method = self.methods[spec.method.name]
        asked.append((f"method '{spec.method.name}'", partial(method.supports, spec)))
        for who, supports in asked:
            try:
                unsupported = supports()
                reason = unsupported.reason if unsupported else None
            # The plugin's code, which may raise anything.
            except (Exception, SystemExit) as error:
                raise PluginError(
                    f"supports() of {who} failed for {spec.describe()}: {type(error).__name__}: {error}.",
                    "Repair it: it returns None, or Skip(reason).",
                ) from error
            if reason is not None:
                yield reason
        if method.reads_texts(spec) and (without := _without_texts(spec)) is not None:
            yield f"{spec.method.name} compares images with texts: {without}"


def _without_texts(spec: TrialSpec) -> str | None:
    """Say why nothing reads texts in a trial; that files are not here yet is no reason."""
    if not has_images(spec):
        return f"{spec.dataset.label} holds features"
    source: BackboneSource = backbones().load(split_reference(spec.backbone.name)[0])()
    return source.without_text(spec.backbone)


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


def _embedding_spec(point: GridPoint, settings: Mapping[str, Setting]) -> EmbeddingSpec | None:
    given = options_under(settings, "embedding")
    if not given:
        return None
    if "samples" not in given:
        with settings[f"embedding.{next(iter(given))}"].origin.locating():
            raise UsageError("embedding.samples is not given.", "Add --set embedding.samples=1000.")
    if given["samples"] is None:
        return None
    with settings["embedding.samples"].origin.locating():
        if point.backbone == NO_BACKBONE:
            raise UsageError(
                f"'{point.dataset}' holds features, and an embedding needs images.",
                "Add --set embedding.samples=none.",
            )
        spec = EmbeddingSpec(**given)
        if spec.perplexity >= spec.samples:
            raise UsageError(
                f"embedding.perplexity is {spec.perplexity:g}; it must be below the {spec.samples} samples.",
                "Raise embedding.samples, or lower the perplexity.",
            )
    return spec


def _method_spec(method: type[Method], point: GridPoint, settings: Mapping[str, Setting]) -> MethodSpec:
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
