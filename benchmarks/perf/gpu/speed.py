"""Parts ``speed`` and ``probing``: training in the core beside loops written by hand."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
from torch import nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from lnlbench.data.source import Dataset
from lnlbench.inputs.network_inputs import FeatureInputs
from lnlbench.models.backbone import Backbone
from lnlbench.models.execution import Execution
from lnlbench.spec import BackboneSpec, PhaseSpec
from lnlbench.trials.workspace import Workspace

from ..core_epoch import CoreEpochs
from ..lp import FULL as PROBING
from ..lp import QUICK as QUICK_PROBING
from ..measure import interleave
from ..plain_loop import LR, MOMENTUM, WEIGHT_DECAY
from .bench import Bench
from .loops import BareLoop, images_on
from .machine import product
from .material import HALF_BATCH, PARAMS, TINY, VIT, hub_model, pixels

AIM = 0.95  # of the images per second of the loop
CLASSES = 100
ROUNDS, STEPS, QUICK_STEPS = 3, 12, 2
COMPILING = 25.0  # seconds that it may take
RESNET = BackboneSpec("timm:resnet50", weights="none")
CONVNEXT = BackboneSpec("timm:convnext_tiny", weights="none")


@dataclass(frozen=True)
class Contest:
    """A backbone in a precision."""

    name: str
    backbone: BackboneSpec
    precision: str
    seconds: float  # that it takes, about


def speed(bench: Bench) -> None:
    """Report images per second of the core beside the loop, and how busy the GPU is."""
    batch = 8 if bench.quick else 128
    steps = QUICK_STEPS if bench.quick else STEPS
    workspace = bench.workspace()
    dataset = workspace.dataset(
        pixels(bench.folder / "pixels.npz", batch * steps, classes=CLASSES if not bench.quick else 4, test=64)
    )
    hub = hub_model(bench.folder / "vit", tiny=bench.quick)
    if bench.quick:
        contests = [Contest("tiny", TINY, "fp32", 0.0), Contest("hub", hub, "fp32", 0.0)]
    else:
        contests = [
            Contest("timm ViT-B/16", VIT, "bf16", 10.0),
            Contest("ResNet-50", RESNET, "bf16", 6.0),
            Contest("hf ViT-B/16", hub, "bf16", 10.0),
            Contest("ConvNeXt-T", CONVNEXT, "bf16", 8.0),
            Contest("timm ViT-B/16", VIT, "fp16", 8.0),
            Contest("timm ViT-B/16", VIT, "tf32", 12.0),
            Contest("timm ViT-B/16", VIT, "fp32", 16.0),
        ]
    for contest in contests:
        bench.in_time(f"{contest.name} {contest.precision} and what follows", contest.seconds)
        with Execution(contest.precision).arithmetic(bench.device):  # the loop's as well
            _compete(bench, contest, workspace, dataset, batch)


def _compete(bench: Bench, contest: Contest, workspace: Workspace, dataset: Dataset, batch: int) -> None:
    backbone = workspace.backbone(contest.backbone)
    execution = Execution(contest.precision)
    labels = torch.from_numpy(dataset.train.labels)
    classes = len(dataset.classes)
    core = CoreEpochs(
        PhaseSpec("fft", epochs=1, batch_size=batch, lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY),
        workspace.image_inputs(dataset, dataset.train, torch.arange(len(labels)), backbone, execution),
        labels,
        classes=classes,
        feature_dim=backbone.feature_dim,
        make_backbone=lambda: copy.deepcopy(backbone.module),
        execution=execution,
        device=bench.device,
    )
    loop = _loop(bench, contest, dataset, backbone, batch)
    rounds = 1 if bench.quick else ROUNDS
    times = interleave({"core": core.epoch, "loop": loop.epoch}, rounds)
    rates = {name: len(labels) / times.median(name) for name in times.values}
    ratio = 1.0 / median(times.ratios("core", "loop"))
    tflops = rates["core"] * _flops(backbone, classes) / 1e12
    roof = product(bench, contest.precision)
    bench.row(
        model=f"{contest.name} {contest.precision}",
        core_img_s=rates["core"],
        loop_img_s=rates["loop"],
        core_of_loop=ratio,
        tflops=tflops,
        of_measured_product=tflops / roof,
    )
    if not bench.quick:
        what = f"{contest.name} {contest.precision}: core ≥ {AIM:g} × loop"
        bench.check(what, ratio >= AIM, "" if ratio >= AIM else f"{ratio:.3f}")
    if bench.cuda and contest.precision == "bf16":
        bench.row(model=f"{contest.name} bf16, profiled", **_busy(core.epoch, len(labels) // batch))
    if contest.backbone is VIT and contest.precision == "bf16" and bench.left() > COMPILING:
        _compiled(bench, contest, loop, rates["loop"])


def _loop(bench: Bench, contest: Contest, dataset: Dataset, backbone: Backbone, batch: int) -> BareLoop:
    images = dataset.train.images
    assert images is not None
    head = nn.Linear(backbone.feature_dim, len(dataset.classes))
    model = nn.Sequential(copy.deepcopy(backbone.module), head).train().to(bench.device)
    held = torch.as_tensor(images.take(np.arange(len(images))))
    labels = torch.from_numpy(dataset.train.labels).to(bench.device)
    return BareLoop(
        model, images_on(bench.device, held, backbone.preprocessing), labels, batch, contest.precision
    )


def _compiled(bench: Bench, contest: Contest, loop: BareLoop, eager: float) -> None:
    """Report the loop with a compiled model; a machine without a C compiler has none."""
    loop.model = torch.compile(loop.model)  # type: ignore[assignment]
    try:
        loop.epoch()
        rate = len(loop.labels) / min(loop.epoch() for _ in range(2))
    except Exception as error:  # noqa: BLE001  (whatever it is, it says nothing of the core)
        bench.note(f"torch.compile: {type(error).__name__}: {str(error).splitlines()[0]}")
        return
    bench.row(
        model=f"{contest.name} {contest.precision} compiled loop", loop_img_s=rate, of_eager=rate / eager
    )


def _flops(backbone: Backbone, classes: int) -> float:
    """Return the floating-point operations of a training step per image, counted on the meta device."""
    model = nn.Sequential(copy.deepcopy(backbone.module), nn.Linear(backbone.feature_dim, classes)).to("meta")
    images = torch.empty(2, 3, backbone.preprocessing.size, backbone.preprocessing.size, device="meta")
    with FlopCounterMode(display=False) as counter:
        model(images).sum().backward()
    return counter.get_total_flops() / 2


def _busy(epoch: Callable[[], float], steps: int) -> dict[str, float]:
    """Return the share of an epoch's time in which a kernel runs, and the kernels of a step."""
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        seconds = epoch()
    kernels = [event for event in profiler.events() if event.device_type == DeviceType.CUDA]
    busy = sum(event.time_range.elapsed_us() for event in kernels) / 1e6
    return {"gpu_busy": busy / seconds, "kernels_per_step": len(kernels) / steps}


def probing(bench: Bench) -> None:
    """Report steps per second on cached features: CE beside the loop, and two co-training methods."""
    os.environ["NVIDIA_TF32_OVERRIDE"] = "0"
    sizes = QUICK_PROBING if bench.quick else PROBING
    draw = torch.Generator().manual_seed(0)
    stored = [torch.randn(sizes.stored, sizes.dim, generator=draw) for _ in range(3)]
    rows = torch.randperm(sizes.stored, generator=draw)[: sizes.samples].sort().values
    labels = torch.randint(sizes.classes, (sizes.samples,), generator=draw)
    held, device_labels = stored[0][rows].to(bench.device), labels.to(bench.device)
    head = nn.Linear(sizes.dim, sizes.classes).to(bench.device)
    loop = BareLoop(head, lambda index: held[index], device_labels, sizes.batch_size)
    competitors = {"loop": loop.epoch}
    for method in ("ce", *HALF_BATCH):
        batch = sizes.batch_size // 2 if method in HALF_BATCH else sizes.batch_size
        views = (stored[1], stored[2])
        core = CoreEpochs(
            PhaseSpec("lp", epochs=1, batch_size=batch, lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY),
            FeatureInputs(stored[0], views, views, rows, bench.device),
            labels,
            classes=sizes.classes,
            feature_dim=sizes.dim,
            make_backbone=nn.Identity,
            execution=Execution(),
            device=bench.device,
            method=method,
            params=PARAMS.get(method, {}),
        )
        if method == "ce":
            times = interleave({**competitors, "core": core.epoch}, 1 if bench.quick else ROUNDS)
            steps = -(-sizes.samples // sizes.batch_size)
            bench.row(
                method="ce",
                core_steps_s=steps / times.median("core"),
                loop_steps_s=steps / times.median("loop"),
                core_of_loop=1.0 / median(times.ratios("core", "loop")),
            )
            continue
        bench.in_time(f"{method} and what follows", 5.0)
        core.epoch()
        core.phase.events.clear()
        seconds = core.epoch()
        bench.row(method=method, epoch_s=seconds, of_ce=seconds / times.median("core"))
        bench.check(f"{method}: the loss is finite", bool(np.isfinite(core.phase.end_epoch() or 0.0)))
