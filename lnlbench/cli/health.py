"""What ``lnlbench doctor`` looks at: one function per topic.

Each imports what it needs itself, so that a broken package is a finding, and not the end.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from lnlbench.errors import LnlbenchError

REINSTALL = "Install lnlbench again, in a fresh virtual environment."

_GB = 1e9
# Below these, a run of an ordinary grid is likely to end early.
_LITTLE_MEMORY = 2 * _GB
_LITTLE_DISK = 1 * _GB


class Level(StrEnum):
    """How serious something is."""

    FINE = "fine"
    WARNING = "warning"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Folders:
    """The folders that commands would use with the same options."""

    cache: Path
    out: Path
    data: Path | None


# How serious, what was found, and what to do about it ("" if nothing).
Finding = tuple[Level, str, str]


def packages(folders: Folders) -> Iterator[Finding]:
    """Versions of what results depend on."""
    from lnlbench.environment import describe_environment

    environment = describe_environment()
    missing = [name for name, version in environment["versions"].items() if version == "not installed"]
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    yield Level.FINE, f"lnlbench {environment['lnlbench']}, Python {environment['python']}, {versions}", ""
    if missing:
        yield Level.BROKEN, f"not installed: {', '.join(missing)}.", f"pip install {' '.join(missing)}"


def compute(folders: Folders) -> Iterator[Finding]:
    """Cores, memory, accelerator and precision."""
    import torch

    from lnlbench.models.calibration import has_bfloat16

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name(0) if device.type == "cuda" else "no CUDA device, so the CPU"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    precision = "computes in bfloat16" if has_bfloat16(device) else "has no fast bfloat16, so float32"
    yield Level.FINE, f"{name} ({precision}); {cores} cores, {torch.get_num_threads()} threads", ""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    little = total < _LITTLE_MEMORY
    yield (
        Level.WARNING if little else Level.FINE,
        f"{total / _GB:.1f} GB of memory, {memory / _GB:.1f} GB of it unused",
        "Run one trial at a time (--jobs 1) and use small batches." if little else "",
    )


def executor(folders: Folders) -> Iterator[Finding]:
    """Ray, under which trials run."""
    import ray

    yield Level.FINE, f"ray {ray.__version__} can be imported", ""


def disk(folders: Folders) -> Iterator[Finding]:
    """Space and permission where files are written."""
    for use, option, folder in (("cache", "--cache-dir", folders.cache), ("results", "--out", folders.out)):
        existing = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
        if not existing.is_dir() or not os.access(existing, os.W_OK):
            yield (
                Level.BROKEN,
                f"{use}: {existing} cannot be written.",
                f"Choose another folder with {option}.",
            )
            continue
        free = shutil.disk_usage(existing).free
        text = f"{use}: {free / _GB:.1f} GB free for {folder}"
        if free < _LITTLE_DISK:
            yield Level.WARNING, f"{text}.", f"Free some, or choose another folder with {option}."
        else:
            yield Level.FINE, text, ""


def cache(folders: Folders) -> Iterator[Finding]:
    """Cached features and images, each against its checksum."""
    for content in ("features", "images"):
        folder = folders.cache / content
        if content == "features" or folder.is_dir():
            yield from _cached(folder)


def _cached(folder: Path) -> Iterator[Finding]:
    from lnlbench.data.array_folder import is_intact

    manifests = sorted(folder.glob("*.json"))
    damaged = [path.stem for path in manifests if not is_intact(path)]
    size = sum(path.stat().st_size for path in folder.glob("*") if path.is_file())
    yield Level.FINE, f"{len(manifests)} entries, {size / _GB:.2f} GB in {folder}", ""
    if damaged:
        yield (
            Level.WARNING,
            f"damaged: {', '.join(damaged)}.",
            "The next run that needs them makes them again; a failing disk may be the cause.",
        )
    leftover = [*folder.glob("*.damaged"), *folder.glob("*.part")]
    if leftover:
        used = sum(path.stat().st_size for path in leftover) / _GB
        yield (
            Level.WARNING,
            f"{len(leftover)} files that nothing reads ({used:.2f} GB): damaged ones set aside, and those of "
            "interrupted runs.",
            f"When nothing runs: rm {folder}/*.damaged {folder}/*.part",
        )


def data(folders: Folders) -> Iterator[Finding]:
    """Which data sets are there."""
    from lnlbench import registry

    if folders.data is None:
        yield Level.FINE, "no data folder is set (LNLBENCH_DATA): embedded data sets and paths only", ""
    elif not folders.data.is_dir():
        yield (
            Level.BROKEN,
            f"the data folder {folders.data} does not exist.",
            "Correct --data or LNLBENCH_DATA.",
        )
        return
    there: list[str] = []
    absent: list[str] = []
    for entry in registry.datasets().entries():
        try:
            source = registry.datasets().load(entry.name)
        except LnlbenchError:
            continue  # told under "plugins"
        if not source.takes_path:
            (absent if source().missing(None, folders.data) else there).append(entry.name)
    text = f"available: {', '.join(there) or 'none'}"
    if absent:
        text += f"; not here: {', '.join(absent)} (lnlbench data fetch NAME)"
    yield Level.FINE, text, ""


def plugins(folders: Folders) -> Iterator[Finding]:
    """Every plugin, loaded; every grid, read."""
    from lnlbench import registry
    from lnlbench.entries import collisions
    from lnlbench.grid_file import read_grid

    registries: tuple[Any, ...] = (registry.methods(), registry.backbones(), registry.datasets())
    counts = []
    for group in registries:
        entries = group.entries()
        counts.append(f"{len(entries)} {group.kind}s")
        for name in sorted({entry.name for entry in entries}):
            try:
                group.load(name)
            except LnlbenchError as error:
                yield Level.BROKEN, error.message, error.hint or ""
    grids = registry.grids()
    for name in sorted(collisions(grids)):
        origins = " and ".join(entry.origin for entry in grids if entry.name == name)
        yield Level.BROKEN, f"The grid name '{name}' is claimed by {origins}.", "Uninstall one of them."
    for entry in grids:
        assert entry.path is not None  # a grid is a file
        try:
            read_grid(entry.path)
        except LnlbenchError as error:
            yield Level.BROKEN, error.message, error.hint or ""
    yield Level.FINE, f"found {', '.join(counts)}, {len(grids)} grids", ""


def entry_points(folders: Folders) -> Iterator[Finding]:
    """Entry points that were edited after an editable installation."""
    from lnlbench.editable import stale_entry_points

    drifts = stale_entry_points()
    for drift in drifts:
        changes = [f"+ {line}" for line in drift.added] + [f"- {line}" for line in drift.removed]
        yield (
            Level.WARNING,
            f"those of {drift.distribution} were edited after it was installed ({'; '.join(changes)}).",
            f"pip install -e {drift.source.parent}",
        )
    if not drifts:
        yield Level.FINE, "installed as they are in the sources", ""


def weights(folders: Folders) -> Iterator[Finding]:
    """The embedded backbone, loaded, in a forward pass; and which named ones are there."""
    import torch

    from lnlbench import registry
    from lnlbench.spec import BackboneSpec

    name = "efficientnet_lite0"
    backbone = registry.backbones().load(name)().load(BackboneSpec(name, image_size=32), 0)
    with torch.no_grad():
        features = backbone.module.eval()(torch.zeros(1, 3, 32, 32))
    if not features.isfinite().all():
        yield Level.BROKEN, f"the features of {name} are not finite.", REINSTALL
    else:
        yield Level.FINE, f"{name} loads, {features.shape[1]} features", ""
    yield _named_weights()


def _named_weights() -> Finding:
    from lnlbench import registry
    from lnlbench.models.hub import OFFLINE_VARIABLE, offline_root
    from lnlbench.spec import BackboneSpec

    root = offline_root()
    if root is not None and not root.is_dir():
        return (
            Level.WARNING,
            f"the folder of models {root} does not exist.",
            f"Correct {OFFLINE_VARIABLE}, or create it.",
        )
    there: list[str] = []
    absent: list[str] = []
    for entry in registry.backbones().entries():
        try:
            source = registry.backbones().load(entry.name)
        except LnlbenchError:
            continue  # told under "plugins"
        if source.pretrained and not source.takes_reference:
            lack = source().missing(None, BackboneSpec(entry.name))
            (absent if lack else there).append(entry.name)
    text = f"{f'{OFFLINE_VARIABLE} is {root}' if root else f'{OFFLINE_VARIABLE} is not set'}; "
    text += f"available: {', '.join(there) or 'none'}"
    if absent:
        text += f"; not here: {', '.join(absent)} (lnlbench run --dry-run says what fetches them)"
    return Level.FINE, text, ""


CHECKS: dict[str, Callable[[Folders], Iterator[Finding]]] = {
    "packages": packages,
    "compute": compute,
    "executor": executor,
    "disk": disk,
    "cache": cache,
    "data": data,
    "plugins": plugins,
    "entry points": entry_points,
    "weights": weights,
}
