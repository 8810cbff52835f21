"""Methods: time per unit of the compute ledger beside CE's, cached beside live views, batched strong ones."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import AutoAugmentPolicy

from lnlbench.basics.facts import units_of
from lnlbench.inputs.augment import FILL
from lnlbench.inputs.auto_augment import BatchedAutoAugment
from lnlbench.running.listener import Listener
from lnlbench.running.preflight import extract_features
from lnlbench.spec import BackboneSpec, PhaseSpec, TrialSpec
from lnlbench.trials.attempt import attempt_trial
from lnlbench.trials.workspace import RunSettings, Workspace

from .measure import Line, interleave, seconds
from .trials import BACKBONE, QUICK_BACKBONE, describe_backbone, digits_trial, require_done

UNIT_AIM = 1.15
CACHE_AIM = 1 / 20
STRONG_AIM = 1 / 4

# As in the paper: half the batch for methods that run two loaders. Their warm-up is CE, so it is
# left out, and every epoch is one of the method's own.
BATCH_SIZES = {"ce": 128, "elr_plus": 128, "turn": 128, "dividemix": 64, "unicon": 64}
PARAMS: dict[str, dict[str, Any]] = {"dividemix": {"warmup": 0}, "unicon": {"warmup": 0}}
CO_TRAINING = ("dividemix", "unicon")


@dataclass(frozen=True, slots=True)
class MethodSizes:
    """Sizes of the trials; 5 % of the images are held out."""

    backbone: BackboneSpec
    per_class: int
    unit_rounds: int
    lp_epochs: int
    cache_rounds: int


FULL = MethodSizes(BACKBONE, per_class=40, unit_rounds=3, lp_epochs=3, cache_rounds=3)
QUICK = MethodSizes(QUICK_BACKBONE, per_class=3, unit_rounds=1, lp_epochs=1, cache_rounds=1)


def run(threads: int, quick: bool) -> Iterator[Line]:
    """Measure; yield a line per method and comparison."""
    sizes = QUICK if quick else FULL
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(RunSettings(data=None, cache=Path(folder), threads=threads))
        yield from compare_units(workspace, sizes, warm_up=not quick)
        yield from compare_views(workspace, sizes)
    yield compare_strong(8 if quick else 64, 1 if quick else 9)


def compare_units(workspace: Workspace, sizes: MethodSizes, *, warm_up: bool) -> Iterator[Line]:
    """Time an epoch of fine-tuning per unit of its ledger, for every method beside CE."""
    competitors = {}
    for method, batch_size in BATCH_SIZES.items():
        phase = PhaseSpec("fft", epochs=1, batch_size=batch_size, augmentation="weak")
        spec = _trial(method, phase, sizes)
        competitors[method] = partial(seconds_per_unit, spec, workspace)
    times = interleave(competitors, sizes.unit_rounds, warm_up=warm_up)
    for method, batch_size in BATCH_SIZES.items():
        if method != "ce":
            yield Line(
                "methods",
                f"fine-tuning, time per forward unit of the ledger, {method} / ce",
                f"{_describe(sizes)}, weak augmentation, 1 epoch, batch {batch_size} "
                f"({BATCH_SIZES['ce']} for ce)",
                {name: times.median(name) for name in (method, "ce")},
                times.ratios(method, "ce"),
                aim=UNIT_AIM,
            )


def compare_views(workspace: Workspace, sizes: MethodSizes) -> Iterator[Line]:
    """Time linear probing on stored views beside views made anew in every step."""
    for method in CO_TRAINING:
        cached, live = (
            _trial(
                method,
                PhaseSpec("lp", epochs=sizes.lp_epochs, batch_size=BATCH_SIZES[method], cache=cache),
                sizes,
            )
            for cache in (True, False)
        )
        extract_features([cached], workspace, Listener())
        times = interleave(
            {
                "cached": partial(train_seconds, cached, workspace),
                "live": partial(train_seconds, live, workspace),
            },
            sizes.cache_rounds,
            warm_up=False,
        )
        yield Line(
            "methods",
            f"linear probing, training time of {method}, cached / live views",
            f"{_describe(sizes)}, batch {BATCH_SIZES[method]}, {sizes.lp_epochs} epochs; without extraction, "
            "which a grid does once",
            {name: times.median(name) for name in times.values},
            times.ratios("cached", "live"),
            aim=CACHE_AIM,
        )


def compare_strong(count: int, rounds: int) -> Line:
    """Time AutoAugment of a batch beside torchvision's of one image after the other."""
    images = torch.randint(
        256, (count, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    batched = BatchedAutoAugment(AutoAugmentPolicy.CIFAR10, FILL)
    single = v2.AutoAugment(AutoAugmentPolicy.CIFAR10, fill=list(FILL))
    torch.manual_seed(0)
    for _ in range(rounds):
        batched(images)  # keeps tables of the operations that it meets
    times = interleave(
        {
            "batch": lambda: seconds(lambda: batched(images)),
            "one by one": lambda: seconds(lambda: [single(image) for image in images]),
        },
        rounds,
    )
    return Line(
        "methods",
        "AutoAugment of strong views, in a batch / one image after the other",
        f"{count} random images of 32 px, CIFAR-10's policy",
        {name: times.median(name) for name in times.values},
        times.ratios("batch", "one by one"),
        aim=STRONG_AIM,
    )


def seconds_per_unit(spec: TrialSpec, workspace: Workspace) -> float:
    """Run a trial and return its training time per forward unit."""
    record = require_done(attempt_trial(spec, workspace))
    return float(record.times["train_s"]) / units_of(record.ledger["training"])


def train_seconds(spec: TrialSpec, workspace: Workspace) -> float:
    """Run a trial and return its training time."""
    return float(require_done(attempt_trial(spec, workspace)).times["train_s"])


def _trial(method: str, phase: PhaseSpec, sizes: MethodSizes) -> TrialSpec:
    params = PARAMS.get(method, {})
    return digits_trial(method, phase, sizes.backbone, per_class=sizes.per_class, **params)


def _describe(sizes: MethodSizes) -> str:
    return f"{10 * sizes.per_class} digits (5 % held out), {describe_backbone(sizes.backbone)}, fp32"
