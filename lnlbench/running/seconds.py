"""How long trials are expected to take here: their passes, at the speed that calibration has measured."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from lnlbench.api import Method
from lnlbench.data.source import Dataset
from lnlbench.models.calibration import training_speed
from lnlbench.running.cost import Sizes, phase_units, sizes_of
from lnlbench.spec import BackboneSpec, DatasetSpec, TrialSpec, has_images
from lnlbench.trials.workspace import Workspace

# Units of the image that a training step costs, whose speed is measured.
STEP = 3.0
# Seconds per unit of probing, on features that are at hand: a rough figure, until an epoch was measured.
PROBING = 3e-6


def sizes_here(spec: DatasetSpec, dataset: Dataset) -> Sizes:
    """Return the sizes of the parts of a data set that is loaded."""
    parts = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    return sizes_of(spec, {name: len(part) for name, part in parts.items() if part is not None})


def units_per_second(backbone: BackboneSpec, precision: str, workspace: Workspace) -> float | None:
    """Return how fast this machine passes a backbone, in units; None if that was not measured yet."""
    speed = training_speed(
        backbone.label,
        backbone.image_size,
        precision,
        device=workspace.device,
        threads=workspace.setting.threads,
        folder=workspace.setting.cache / "calibration",
    )
    return None if speed is None else STEP * speed


def expected_seconds(
    specs: Iterable[TrialSpec],
    methods: Mapping[str, type[Method]],
    sizes: Mapping[DatasetSpec, Sizes],
    workspace: Workspace,
) -> dict[TrialSpec, tuple[float | None, ...]]:
    """Return what an epoch of each phase of trials is expected to take.

    Parameters
    ----------
    specs : iterable of TrialSpec
    methods : mapping of str to type of Method
    sizes : mapping of DatasetSpec to Sizes
        Where they are known.
    workspace : Workspace
        Where and with what they run; loads nothing.

    Returns
    -------
    dict
        Seconds per phase; None where a size or a speed is unknown.
    """
    found: dict[TrialSpec, tuple[float | None, ...]] = {}
    speeds: dict[tuple[BackboneSpec, str], float | None] = {}
    for spec in specs:
        size = sizes.get(spec.dataset)
        if size is None:
            found[spec] = (None,) * len(spec.phases)
            continue
        key = spec.backbone, spec.precision
        if key not in speeds:
            speeds[key] = units_per_second(*key, workspace) if has_images(spec) else None
        seconds: list[float | None] = []
        for phase, cached, units in phase_units(spec, methods[spec.method.name], size):
            if cached or not has_images(spec):
                seconds.append(units * PROBING / phase.epochs)
            else:
                speed = speeds[key]
                seconds.append(None if speed is None else units / speed / phase.epochs)
        found[spec] = tuple(seconds)
    return found


def longest_first(
    specs: Iterable[TrialSpec], expected: Mapping[TrialSpec, tuple[float | None, ...]]
) -> tuple[TrialSpec, ...]:
    """Return trials in the order in which several at a time are over soonest; else as they were.

    A long one that started last would run alone. Of what is not known, the longest is assumed: it trains a
    backbone whose speed was not measured yet.
    """

    def seconds(spec: TrialSpec) -> float:
        epochs = zip(spec.phases, expected[spec], strict=True)
        return sum(math.inf if each is None else phase.epochs * each for phase, each in epochs)

    return tuple(sorted(specs, key=seconds, reverse=True))
