"""Linear probing: an epoch of CE on cached features in the core beside a bare loop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from lnlbench.basics.allocator import keep_freed_memory
from lnlbench.inputs.network_inputs import FeatureInputs
from lnlbench.models.calibration import Execution
from lnlbench.spec import PhaseSpec

from .core_epoch import CPU, CoreEpochs
from .measure import Line, interleave
from .plain_loop import LR, MOMENTUM, WEIGHT_DECAY, LinearProbing

AIM = 1.15


@dataclass(frozen=True, slots=True)
class LPSizes:
    """Sizes of the problem; ``stored`` features contain the ``samples`` that train."""

    stored: int
    samples: int
    dim: int
    classes: int
    batch_size: int
    rounds: int


# CIFAR-100 on a ViT-B/16, 5 % held out.
FULL = LPSizes(stored=50_000, samples=47_500, dim=768, classes=100, batch_size=128, rounds=9)
QUICK = LPSizes(stored=500, samples=475, dim=16, classes=10, batch_size=128, rounds=2)


def run(threads: int, quick: bool) -> Iterator[Line]:
    """Measure; yield one line."""
    sizes = QUICK if quick else FULL
    torch.set_num_threads(threads)
    keep_freed_memory()  # as every trial on a CPU does
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(sizes.stored, sizes.dim, generator=generator)
    rows = torch.randperm(sizes.stored, generator=generator)[: sizes.samples].sort().values
    labels = torch.randint(sizes.classes, (sizes.samples,), generator=generator)
    spec = PhaseSpec(
        "lp",
        epochs=1,
        batch_size=sizes.batch_size,
        lr=LR,
        momentum=MOMENTUM,
        weight_decay=WEIGHT_DECAY,
    )
    core = CoreEpochs(
        spec,
        FeatureInputs(features, (), (), rows, CPU),
        labels,
        classes=sizes.classes,
        feature_dim=sizes.dim,
        make_backbone=nn.Identity,
        execution=Execution(),
    )
    plain = LinearProbing(features[rows], labels, sizes.classes, sizes.batch_size)
    times = interleave({"core": core.epoch, "bare loop": plain.epoch}, sizes.rounds)
    yield Line(
        "lp",
        "CE epoch on cached features, core / bare loop",
        f"random features, N = {sizes.samples:,}, d = {sizes.dim}, C = {sizes.classes}, "
        f"batch {sizes.batch_size}",
        {name: times.median(name) for name in times.values},
        times.ratios("core", "bare loop"),
        aim=AIM,
    )
