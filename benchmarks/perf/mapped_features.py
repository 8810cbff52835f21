"""Linear probing on features in a large file: an epoch of CE beside a bare loop, and its memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import nn

from lnlbench.basics.allocator import keep_freed_memory
from lnlbench.data.mapped import map_array
from lnlbench.inputs.network_inputs import FeatureInputs
from lnlbench.models.calibration import Execution
from lnlbench.spec import PhaseSpec

from .core_epoch import CPU, CoreEpochs
from .measure import Line, apart, interleave, memory_of_this
from .plain_loop import LR, MOMENTUM, WEIGHT_DECAY, LinearProbing

TIME_AIM, MEMORY_AIM, LINEAR_AIM = 1.15, 3.0, 1.15  # a ratio, GB, a ratio
# Each is a whole epoch, minutes long: over these the speed of a machine drifts, so that they take turns.
ROUNDS, QUICK_ROUNDS = 3, 1
_PIECE = 50_000  # rows that are written at once


@dataclass(frozen=True, slots=True)
class MappedSizes:
    """Sizes of the problem."""

    samples: int
    dim: int
    classes: int
    batch_size: int


Measure = Callable[[Path, MappedSizes, torch.Tensor], float]

# WebVision has 2.4 million images; features of a ViT-B/16, 7.4 GB in single precision.
FULL = MappedSizes(samples=2_400_000, dim=768, classes=1000, batch_size=128)
QUICK = MappedSizes(samples=1000, dim=16, classes=10, batch_size=128)


def run(threads: int, quick: bool) -> Iterator[Line]:
    """Measure each epoch in a process of its own; yield three lines: time, memory, and time of a quarter."""
    sizes, rounds = (QUICK, QUICK_ROUNDS) if quick else (FULL, ROUNDS)
    few = sizes.samples // 4
    memory: dict[str, float] = {}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "features.npy"
        _write(path, sizes)

        def epoch(name: str, measure: Measure, samples: int) -> float:
            taken, peak = apart(_measured, measure, path, sizes, samples, threads)
            memory[name] = max(peak, memory.get(name, 0.0))
            return taken

        competitors = {
            "core": partial(epoch, "core", _core, sizes.samples),
            "bare loop": partial(epoch, "bare loop", _bare_loop, sizes.samples),
            "quarter": partial(epoch, "quarter", _core, few),
        }
        measured = interleave(competitors, rounds, warm_up=False)
    where = (
        f"random features in a file, N = {sizes.samples:,}, d = {sizes.dim}, C = {sizes.classes:,}, "
        f"batch {sizes.batch_size}"
    )
    yield Line(
        "mapped",
        "CE epoch on features in a file, core / bare loop over the mapped file",
        where,
        {name: measured.median(name) for name in ("core", "bare loop")},
        measured.ratios("core", "bare loop"),
        aim=TIME_AIM,
    )
    yield Line(
        "mapped",
        f"peak memory of the core's process (bare loop: {memory['bare loop']:.1f} GB)",
        where,
        {},
        (memory["core"],),
        unit="GB",
        aim=MEMORY_AIM,
    )
    yield Line(
        "mapped",
        f"time per sample at N / at {few:,}",
        where,
        {"N": measured.median("core"), f"{few:,}": measured.median("quarter")},
        tuple(ratio * few / sizes.samples for ratio in measured.ratios("core", "quarter")),
        aim=LINEAR_AIM,
    )


def _write(path: Path, sizes: MappedSizes) -> None:
    draw = np.random.default_rng(0)
    shape = sizes.samples, sizes.dim
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    for start in range(0, sizes.samples, _PIECE):
        part = array[start : start + _PIECE]
        part[:] = draw.standard_normal(part.shape, dtype=np.float32)
    array.flush()


def _measured(
    measure: Measure, path: Path, sizes: MappedSizes, samples: int, threads: int
) -> tuple[float, float]:
    """Return seconds of an epoch, and the peak of this process's memory in GB."""
    torch.set_num_threads(threads)
    keep_freed_memory()  # as every trial on a CPU does
    labels = torch.randint(sizes.classes, (samples,), generator=torch.Generator().manual_seed(0))
    return measure(path, sizes, labels), memory_of_this("VmHWM")


def _core(path: Path, sizes: MappedSizes, labels: torch.Tensor) -> float:
    spec = PhaseSpec(
        "lp", epochs=1, batch_size=sizes.batch_size, lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY
    )
    features = torch.from_numpy(map_array(path))
    return CoreEpochs(
        spec,
        FeatureInputs(features, (), (), torch.arange(len(labels)), CPU),
        labels,
        classes=sizes.classes,
        feature_dim=sizes.dim,
        make_backbone=nn.Identity,
        execution=Execution(),
    ).epoch()


def _bare_loop(path: Path, sizes: MappedSizes, labels: torch.Tensor) -> float:
    features = torch.from_numpy(np.load(path, mmap_mode="c"))
    return LinearProbing(features, labels, sizes.classes, sizes.batch_size).epoch()
