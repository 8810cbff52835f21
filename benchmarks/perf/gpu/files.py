"""Part ``files``: decoding, views and extraction from JPEGs."""

from __future__ import annotations

import hashlib
import time

import torch

from lnlbench.data.source import Dataset
from lnlbench.inputs.feature_cache import View
from lnlbench.inputs.network_inputs import Wanted, pieces_of
from lnlbench.models.backbone import Backbone
from lnlbench.models.execution import Execution
from lnlbench.trials.workspace import Workspace

from .bench import Bench
from .material import PHOTO, TINY, VIT, photos

WORKERS, QUICK_WORKERS = (16, 8, 4, 0), (1, 0)
KINDS = {"plain": Wanted(), "weak": Wanted("weak"), "strong": Wanted(None, strong=1)}


def files(bench: Bench) -> None:
    """Report images per second by number of workers, whether they are the same, and extraction."""
    count, batch = (8, 4) if bench.quick else (512, 64)
    size = (48, 64) if bench.quick else PHOTO
    source = photos(bench.folder / "photos", count, different=4 if bench.quick else 64, size=size)
    execution = Execution("bf16" if bench.cuda else "fp32")
    backbone = bench.workspace().backbone(TINY if bench.quick else VIT)
    made: dict[str, dict[int, list[str]]] = {name: {} for name in KINDS}
    for workers in QUICK_WORKERS if bench.quick else WORKERS:
        bench.in_time(f"{workers} workers", 8.0)
        workspace = bench.workspace(workers=workers)
        dataset = workspace.dataset(source)
        inputs = workspace.image_inputs(dataset, dataset.train, torch.arange(count), backbone, execution)
        pieces = pieces_of(count, batch)
        if not workers:  # a quarter of the images says as much
            pieces = pieces[: -(-len(pieces) // 4)]
        list(inputs.stream(pieces[:1], KINDS["plain"], None))  # starts the workers
        for name, wanted in KINDS.items():
            generator = torch.Generator().manual_seed(0)
            started = time.perf_counter()
            sums = [images.double().sum((1, 2, 3)) for (images,) in inputs.stream(pieces, wanted, generator)]
            bench.synchronize()
            seconds = time.perf_counter() - started
            images = sum(map(len, pieces))
            bench.row(workers=workers, view=name, img_s=images / seconds, ms_per_img=1e3 * seconds / images)
            made[name][workers] = [hashlib.sha256(item.cpu().numpy().tobytes()).hexdigest() for item in sums]
        if len(made["plain"]) == 1:
            bench.row(
                workers=workers,
                view="five views extracted",
                img_s=5 * count / _extract(workspace, dataset, backbone, execution),
            )
    for name, found in made.items():
        shortest = min(map(len, found.values()))
        same = len({tuple(prints[:shortest]) for prints in found.values()}) == 1
        bench.check(f"{name}: the same images for all numbers of workers", same, f"{sorted(found)}")


def _extract(workspace: Workspace, dataset: Dataset, backbone: Backbone, execution: Execution) -> float:
    """Extract a plain, two weak and two strong views, and return the seconds."""
    views = [View("plain"), *(View(kind, n, dataset.recipe) for kind in ("weak", "strong") for n in (0, 1))]
    started = time.perf_counter()
    for view in views:
        workspace.features(dataset, "train", backbone, view, execution)
    return time.perf_counter() - started
