"""What ``lnlbench doctor`` looks at: one function per topic.

Each imports what it needs itself, so that a broken package is a finding, and not the end.
"""

from __future__ import annotations

import configparser
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

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


class HealthFinding(NamedTuple):
    """How serious it is, what was found, and what to do about it ("" if nothing)."""

    level: Level
    text: str
    remedy: str = ""


def packages(folders: Folders) -> Iterator[HealthFinding]:
    """Versions of what results depend on."""
    from lnlbench.basics.environment import describe_environment

    environment = describe_environment()
    missing = [name for name, version in environment["versions"].items() if version == "not installed"]
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    yield HealthFinding(
        Level.FINE, f"lnlbench {environment['lnlbench']}, Python {environment['python']}, {versions}"
    )
    if missing:
        names = " ".join(missing)
        yield HealthFinding(Level.BROKEN, f"not installed: {', '.join(missing)}.", f"pip install {names}")


def compute(folders: Folders) -> Iterator[HealthFinding]:
    """Cores, memory, accelerator and precision."""
    import torch

    from lnlbench.models.execution import has_bfloat16

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name(0) if device.type == "cuda" else "no CUDA device, so the CPU"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    precision = "computes in bfloat16" if has_bfloat16(device) else "has no fast bfloat16, so float32"
    yield HealthFinding(Level.FINE, f"{name} ({precision}); {cores} cores, {torch.get_num_threads()} threads")
    unused, total = (
        os.sysconf("SC_PAGE_SIZE") * os.sysconf(pages) for pages in ("SC_AVPHYS_PAGES", "SC_PHYS_PAGES")
    )
    text = f"{total / _GB:.1f} GB of memory, {unused / _GB:.1f} GB of it unused"
    if total < _LITTLE_MEMORY:
        yield HealthFinding(Level.WARNING, text, "Run one trial at a time (--jobs 1) and use small batches.")
    else:
        yield HealthFinding(Level.FINE, text)


def executor(folders: Folders) -> Iterator[HealthFinding]:
    """Ray, under which trials run."""
    import ray

    yield HealthFinding(Level.FINE, f"ray {ray.__version__} can be imported")


def disk(folders: Folders) -> Iterator[HealthFinding]:
    """Space and permission where files are written."""
    for use, option, folder in (("cache", "--cache-dir", folders.cache), ("results", "--out", folders.out)):
        existing = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
        another = f"choose another folder with {option}."
        if not existing.is_dir() or not os.access(existing, os.W_OK):
            yield HealthFinding(Level.BROKEN, f"{use}: {existing} cannot be written.", another.capitalize())
            continue
        free = shutil.disk_usage(existing).free
        text = f"{use}: {free / _GB:.1f} GB free for {folder}"
        if free < _LITTLE_DISK:
            yield HealthFinding(Level.WARNING, f"{text}.", f"Free some, or {another}")
        else:
            yield HealthFinding(Level.FINE, text)


def cache(folders: Folders) -> Iterator[HealthFinding]:
    """Cached features and images, each against its checksum."""
    from lnlbench.inputs.array_folder import is_intact

    for content in ("features", "images"):
        folder = folders.cache / content
        if content == "images" and not folder.is_dir():
            continue  # few have one
        manifests = sorted(folder.glob("*.json"))
        yield HealthFinding(Level.FINE, f"{len(manifests)} entries, {_size(folder.glob('*'))} GB in {folder}")
        if damaged := [path.stem for path in manifests if not is_intact(path)]:
            yield HealthFinding(
                Level.WARNING,
                f"damaged: {', '.join(damaged)}.",
                "The next run that needs them makes them again; a failing disk may be the cause.",
            )
        if leftover := [*folder.glob("*.damaged"), *folder.glob("*.part")]:
            yield HealthFinding(
                Level.WARNING,
                f"{len(leftover)} files that nothing reads ({_size(leftover)} GB): damaged ones set aside, "
                "and those of interrupted runs.",
                f"When nothing runs: rm {folder}/*.damaged {folder}/*.part",
            )


def _size(paths: Iterable[Path]) -> str:
    return f"{sum(path.stat().st_size for path in paths if path.is_file()) / _GB:.2f}"


def data(folders: Folders) -> Iterator[HealthFinding]:
    """Which data sets are there."""
    from lnlbench.plugins import registry

    if folders.data is None:
        yield HealthFinding(
            Level.FINE, "no data folder is set (LNLBENCH_DATA): embedded data sets and paths only"
        )
    elif not folders.data.is_dir():
        missing = f"the data folder {folders.data} does not exist."
        yield HealthFinding(Level.BROKEN, missing, "Correct --data or LNLBENCH_DATA.")
        return
    there = {
        name: not source().missing(None, folders.data)
        for name, source in _loaded(registry.datasets())
        if not source.takes_path
    }
    yield HealthFinding(Level.FINE, _availability(there, "lnlbench data fetch NAME"))


def plugins(folders: Folders) -> Iterator[HealthFinding]:
    """Every plugin, loaded; every grid, read."""
    from lnlbench.grids.grid_file import read_grid
    from lnlbench.plugins import registry
    from lnlbench.plugins.find import collisions

    registries: tuple[Any, ...] = (registry.methods(), registry.backbones(), registry.datasets())
    counts = []
    for group in registries:
        entries = group.entries()
        counts.append(f"{len(entries)} {group.kind}s")
        for name in sorted({entry.name for entry in entries}):
            try:
                group.load(name)
            except LnlbenchError as error:
                yield HealthFinding(Level.BROKEN, error.message, error.hint or "")
    grids = registry.grids()
    for name in sorted(collisions(grids)):
        origins = " and ".join(entry.origin for entry in grids if entry.name == name)
        text = f"The grid name '{name}' is claimed by {origins}."
        yield HealthFinding(Level.BROKEN, text, "Uninstall one of them.")
    for entry in grids:
        assert entry.path is not None  # a grid is a file
        try:
            read_grid(entry.path)
        except LnlbenchError as error:
            yield HealthFinding(Level.BROKEN, error.message, error.hint or "")
    yield HealthFinding(Level.FINE, f"found {', '.join(counts)}, {len(grids)} grids")


def entry_points(folders: Folders) -> Iterator[HealthFinding]:
    """Entry points that were edited after ``pip install -e``, which copies them once, and links the code."""
    from lnlbench.plugins.find import GROUPS

    edited: dict[str, tuple[Path, list[str]]] = {}
    for distribution in metadata.distributions():
        direct = json.loads(distribution.read_text("direct_url.json") or "{}")
        folder = Path(unquote(urlsplit(direct.get("url", "")).path))
        config = configparser.ConfigParser(interpolation=None)
        if direct.get("dir_info", {}).get("editable"):
            config.read(folder / "setup.cfg", encoding="utf-8")
        if config.has_section("options.entry_points"):  # else they are declared elsewhere, or there are none
            declared = metadata.EntryPoints(
                metadata.EntryPoint(name.strip(), value.strip(), group)
                for group in GROUPS
                for line in config.get("options.entry_points", group, fallback="").splitlines()
                for name, found, value in [line.partition("=")]
                if found
            )
            installed = {point for point in distribution.entry_points if point.group in GROUPS}
            changes = [f"{point.group}: {point.name}" for point in sorted(installed ^ set(declared))]
            # A distribution that is on the path twice is seen first where it is imported from.
            edited.setdefault(distribution.name, (folder, changes))
    for name, (folder, changes) in edited.items():
        if changes:
            text = f"those of {name} were edited after it was installed ({', '.join(changes)})."
            yield HealthFinding(Level.WARNING, text, f"pip install -e {folder}")
    if not any(changes for _, changes in edited.values()):
        yield HealthFinding(Level.FINE, "installed as they are in the sources")


def weights(folders: Folders) -> Iterator[HealthFinding]:
    """The embedded backbone, loaded, in a forward pass; and which named ones are there."""
    import torch

    from lnlbench.models.sources.hub import OFFLINE_VARIABLE, offline_root
    from lnlbench.plugins import registry
    from lnlbench.spec import BackboneSpec

    name = "efficientnet_lite0"
    backbone = registry.backbones().load(name)().load(BackboneSpec(name, image_size=32), 0)
    with torch.no_grad():
        features = backbone.module.eval()(torch.zeros(1, 3, 32, 32))
    if not features.isfinite().all():
        yield HealthFinding(Level.BROKEN, f"the features of {name} are not finite.", REINSTALL)
    else:
        yield HealthFinding(Level.FINE, f"{name} loads, {features.shape[1]} features")
    root = offline_root()
    if root is not None and not root.is_dir():
        text = f"the folder of models {root} does not exist."
        yield HealthFinding(Level.WARNING, text, f"Correct {OFFLINE_VARIABLE}, or create it.")
        return
    there = {
        name: not source().missing(None, BackboneSpec(name))
        for name, source in _loaded(registry.backbones())
        if source.pretrained and not source.takes_reference
    }
    text = f"{OFFLINE_VARIABLE} is {root or 'not set'}; "
    yield HealthFinding(
        Level.FINE, text + _availability(there, "lnlbench run --dry-run says what fetches them")
    )


def _loaded(plugins: Any) -> Iterator[tuple[str, Any]]:
    """Yield the plugins of a kind that load; of the others, ``plugins`` tells."""
    for entry in plugins.entries():
        with suppress(LnlbenchError):
            yield entry.name, plugins.load(entry.name)


def _availability(there: dict[str, bool], fetch: str) -> str:
    found = ", ".join(name for name, here in there.items() if here)
    absent = ", ".join(name for name, here in there.items() if not here)
    return f"available: {found or 'none'}" + (f"; not here: {absent} ({fetch})" if absent else "")


CHECKS: dict[str, Callable[[Folders], Iterator[HealthFinding]]] = {
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
