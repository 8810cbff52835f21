"""Fine-tuning: an epoch of CE in the core beside a loop written by hand."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import torch

from lnlbench.models.calibration import Execution
from lnlbench.spec import PhaseSpec
from lnlbench.trials.workspace import RunSettings, Workspace

from .core_epoch import CoreEpochs
from .measure import Line, interleave
from .plain_loop import LR, MOMENTUM, WEIGHT_DECAY, FineTuning, FineTuningSizes
from .trials import BACKBONE, QUICK_BACKBONE

AIM = 1.05
FULL = FineTuningSizes(BACKBONE, per_class=64, batch_size=128)
QUICK = FineTuningSizes(QUICK_BACKBONE, per_class=2, batch_size=8)
ROUNDS, QUICK_ROUNDS = 5, 1


def run(threads: int, quick: bool) -> Iterator[Line]:
    """Measure; yield a line per comparison."""
    problem = QUICK if quick else FULL
    rounds = QUICK_ROUNDS if quick else ROUNDS
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        # A workspace also makes the allocator of this process keep freed memory.
        workspace = Workspace(RunSettings(data=None, cache=Path(folder), threads=threads))
        execution = workspace.execution(problem.backbone, 0, "fp32")
        layout = "channels-last" if execution.channels_last else "contiguous"
        setting = f"{problem.describe()}, {layout} by calibration"
        plain = FineTuning(problem, channels_last=execution.channels_last)
        with _other_process(problem, execution.channels_last, threads) as epoch_elsewhere:
            times = interleave(
                {
                    "core": core_epochs(workspace, problem, execution, "none").epoch,
                    "plain loop": plain.epoch,
                    "default layout": FineTuning(problem, channels_last=False).epoch,
                    "default allocator": epoch_elsewhere,
                },
                rounds,
            )
        for what, pair, aim in (
            (
                "CE epoch without augmentation, core / plain loop in the same layout",
                ("core", "plain loop"),
                AIM,
            ),
            (
                "CE epoch without augmentation, core / plain loop in PyTorch's default layout",
                ("core", "default layout"),
                None,
            ),
            (
                "the plain loop, freed memory kept / in a process with the C library's default allocator",
                ("plain loop", "default allocator"),
                None,
            ),
        ):
            yield Line(
                "fft",
                what,
                setting,
                {name: times.median(name) for name in pair},
                times.ratios(*pair),
                aim=aim,
            )
        times = interleave(
            {
                "core": core_epochs(workspace, problem, execution, "weak").epoch,
                "plain loop": FineTuning(problem, channels_last=execution.channels_last, augment=True).epoch,
            },
            rounds,
        )
        yield Line(
            "fft",
            "CE epoch with weak augmentation, core / plain loop in the same layout",
            setting,
            {name: times.median(name) for name in times.values},
            times.ratios("core", "plain loop"),
            aim=AIM,
        )


def core_epochs(
    workspace: Workspace, problem: FineTuningSizes, execution: Execution, augmentation: str
) -> CoreEpochs:
    """Return fine-tuning of the same network on the same data, by the core."""
    dataset = workspace.dataset(problem.dataset)
    backbone = workspace.backbone(problem.backbone)
    rows = torch.arange(len(dataset.train))
    return CoreEpochs(
        PhaseSpec(
            "fft",
            epochs=1,
            batch_size=problem.batch_size,
            lr=LR,
            momentum=MOMENTUM,
            weight_decay=WEIGHT_DECAY,
            augmentation=augmentation,
        ),
        workspace.image_inputs(dataset, dataset.train, rows, backbone, execution),
        torch.from_numpy(dataset.train.labels),
        classes=len(dataset.classes),
        feature_dim=backbone.feature_dim,
        make_backbone=lambda: workspace.fresh_backbone(problem.backbone, 0),
        execution=execution,
    )


# The allocator is set for a whole process and cannot be set back, so the loop without it lives in
# a process of its own, which waits while others have their turn.

_loop: list[FineTuning] = []


@contextmanager
def _other_process(
    problem: FineTuningSizes, channels_last: bool, threads: int
) -> Iterator[Callable[[], float]]:
    """Start the plain loop in a fresh process; yield a function that trains an epoch there."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, _start_loop, (problem, channels_last, threads)) as pool:
        yield lambda: pool.submit(_train_epoch).result()


def _start_loop(problem: FineTuningSizes, channels_last: bool, threads: int) -> None:
    torch.set_num_threads(threads)
    _loop.append(FineTuning(problem, channels_last=channels_last))


def _train_epoch() -> float:
    return _loop[0].epoch()
