"""Parts ``agree`` and ``repeat``: the same trial on the CPU and on CUDA, twice, and continued."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lnlbench.api.phase import EVALUATION_BATCH
from lnlbench.basics.process_settings import process_as_found
from lnlbench.inputs.network_inputs import FeatureInputs
from lnlbench.spec import TrialSpec
from lnlbench.trials.checkpoint import decode, encode
from lnlbench.trials.trial import Trial
from lnlbench.trials.workspace import Workspace

from .bench import CPU, Bench
from .material import LITE, METHODS, MODES, QUICK_METHODS, TINY, VIT, digits, pixels, trial

LOSS = {"lp": 1e-5, "fft": 1e-3}  # relative, per kind of phase
FEATURES = 1e-4  # relative to the largest
BF16_LOSS = 2e-2
# Methods without a selection, which a rounding may tip.
BF16_METHODS = ("ce", "gce", "elr")
REPEATED = ("ce", "elr", "turn", "dividemix", "unicon")


@dataclass(frozen=True)
class Course:
    """What a trial gave: losses by phase, predictions on the test set, counts, and what it drew."""

    losses: list[tuple[str, float]]
    test: float
    logits: torch.Tensor
    ledger: dict[str, Any]
    events: dict[str, int]
    drawn: str
    features: torch.Tensor | None


def follow(spec: TrialSpec, workspace: Workspace) -> Course:
    """Run a trial."""
    with process_as_found():
        run = Trial(spec, workspace)
        entries = list(run.epochs())
    test = run.splits.test
    with torch.no_grad(), run.model.execution.arithmetic(workspace.device):
        logits = torch.cat(
            [run.method.predict(inputs).float().cpu() for _, inputs in test.in_order(EVALUATION_BATCH)]
        )
    train = run.splits.train
    return Course(
        losses=[(entry["phase"], float(entry["loss"] or 0.0)) for entry in entries],
        test=entries[-1]["test"],
        logits=logits,
        ledger=dict(run.ledger.to_dict()),
        events=run.events,
        # Orders and views come from this generator: whoever drew the same ends in the same state.
        drawn=hashlib.sha256(run.phase.generator.get_state().numpy().tobytes()).hexdigest(),
        features=train.plain_features[train.rows].float().cpu() if isinstance(train, FeatureInputs) else None,
    )


def agree(bench: Bench) -> None:
    """Compare losses, counts and features of all methods; then pixels that CUDA resized; then bf16."""
    os.environ["NVIDIA_TF32_OVERRIDE"] = "0"  # before the first CUDA call: no TF32, wherever it is asked for
    backbone = TINY if bench.quick else LITE
    side = 32 if bench.quick else 73  # what the preprocessing resizes to: here it has nothing to do
    sizes = (
        {"train_per_class": 3, "test_per_class": 2}
        if bench.quick
        else {"train_per_class": 10, "test_per_class": 10}
    )
    dataset = digits(bench.folder / "digits.npz", side, **sizes)
    here, there = bench.workspace("host", device=CPU), bench.workspace()
    # Batch statistics of a few small images make a network so sensitive that the last digit of a product
    # decides about the first digit of the loss some steps later: nothing to compare two devices with.
    settings = {"batch_size": 16 if bench.quick else 32, "lr": 1e-3, "batch_norm": "frozen"}
    in_single: dict[str, Course] = {}
    for method in QUICK_METHODS if bench.quick else METHODS:
        # A mode of two phases computes nothing that its phases do not, but for TURN, which has no LP.
        for mode in MODES if bench.quick or method == "turn" else MODES[:2]:
            spec = trial(method, mode, dataset, backbone, **settings)
            if spec is None:
                continue
            bench.in_time(f"{method} {mode} and what follows")
            reference, course = (follow(spec, workspace) for workspace in (here, there))
            compare(bench, f"{method} {mode}", reference, course)
            in_single[f"{method} {mode}"] = reference
    resized(bench, there)
    if bench.cuda:
        for method in BF16_METHODS:
            spec = trial(method, "fft", dataset, backbone, precision="bf16", **settings)
            assert spec is not None
            course = follow(spec, there)
            off = relative(course, in_single[f"{method} fft"])["fft"]
            bench.row(cell=f"{method} fft bf16", loss=off)
            bench.check(
                f"{method} fft: loss in bf16",
                off <= BF16_LOSS,
                f"{off:.2g} > {BF16_LOSS:g}" if off > BF16_LOSS else "",
            )


def compare(bench: Bench, cell: str, reference: Course, course: Course) -> None:
    """Report one cell."""
    off = relative(course, reference)
    bench.row(
        cell=cell,
        loss=off,
        logit=float((course.logits - reference.logits).abs().max()),
        accuracy=course.test - reference.test,
    )
    for kind, value in off.items():
        limit = LOSS[kind] if kind == "lp" else LOSS["fft"]
        bench.check(
            f"{cell}: loss of {kind}", value <= limit, "" if value <= limit else f"{value:.2g} > {limit:g}"
        )
    for what in ("ledger", "events", "drawn"):
        mine, theirs = getattr(course, what), getattr(reference, what)
        bench.check(
            f"{cell}: {what}", mine == theirs, "" if mine == theirs else f"{mine} instead of {theirs}"
        )
    if course.features is not None and reference.features is not None:
        largest = float(reference.features.abs().max())
        value = float((course.features - reference.features).abs().max()) / largest
        bench.check(
            f"{cell}: features", value <= FEATURES, "" if value <= FEATURES else f"{value:.2g} > {FEATURES:g}"
        )


def relative(course: Course, reference: Course) -> dict[str, float]:
    """Return the largest relative difference of the losses, per kind of phase."""
    off: dict[str, float] = {}
    for (kind, mine), (_, theirs) in zip(course.losses, reference.losses, strict=True):
        value = abs(mine - theirs) / max(abs(theirs), 1e-12)
        off[kind] = max(off.get(kind, 0.0), value if np.isfinite(value) else float("inf"))
    return off


def resized(bench: Bench, workspace: Workspace) -> None:
    """Report how many pixels differ when the device resizes them."""
    preprocessing = workspace.backbone(TINY if bench.quick else LITE).preprocessing
    images = torch.randint(
        256, (64, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    here, there = preprocessing.fit(images), preprocessing.fit(images, bench.device).cpu()
    apart = (here.int() - there.int()).abs()
    bench.row(
        cell="resized on the device", differ=float((apart > 0).float().mean()), largest=int(apart.max())
    )
    bench.check("pixels resized on the device are off by at most 2", int(apart.max()) <= 2)


def repeat(bench: Bench) -> None:
    """Compare weights bit for bit: twice, after a checkpoint, and without deterministic kernels."""
    backbone, count = (TINY, 40) if bench.quick else (VIT, 512)
    dataset = pixels(bench.folder / "pixels.npz", count, classes=10, test=64)
    workspace, free = bench.workspace(deterministic=True), bench.workspace()
    precision = "bf16" if bench.cuda else "fp32"
    settings: dict[str, Any] = {"precision": precision, "batch_size": 16 if bench.quick else 128}
    first = trial("ce", "fft", dataset, backbone, epochs=2, **settings)
    assert first is not None
    run(first, workspace)  # warms up: the times below compare
    bits, seconds = run(first, workspace)
    continued = resume(first, workspace)
    bench.row(trial="ce, continued after its first epoch", equal=continued == bits)
    bench.check("ce: a continued trial ends with the same bits", continued == bits)
    freely = [run(first, free) for _ in range(2)]
    bench.row(
        trial="ce without deterministic kernels",
        equal=freely[0][0] == freely[1][0],
        same_as_deterministic=freely[0][0] == bits,
        slowdown_of_deterministic=seconds / freely[1][1],
    )
    for method in REPEATED:
        bench.in_time(f"repeating {method} and what follows")
        spec = trial(method, "fft", dataset, backbone, **settings)
        assert spec is not None
        (one, took), (other, _) = run(spec, workspace), run(spec, workspace)
        bench.row(trial=method, equal=one == other, s=took)
        bench.check(f"{method}: two runs end with the same bits", one == other)


def run(spec: TrialSpec, workspace: Workspace) -> tuple[str, float]:
    """Return a print of all that a trial has learnt, and its seconds of training."""
    with process_as_found():
        made = Trial(spec, workspace)
        entries = list(made.epochs())
    return fingerprint(made.method.state_dict()), sum(entry["train_s"] for entry in entries)


def resume(spec: TrialSpec, workspace: Workspace) -> str:
    """Return the print of a trial whose second epoch another object runs, from the first one's state."""
    with process_as_found():
        started = Trial(spec, workspace)
        next(started.epochs())
        saved = decode(encode(started.state()), workspace.device)
        del started
        ended = Trial(spec, workspace)
        for _ in ended.epochs(saved):
            pass
    return fingerprint(ended.method.state_dict())


def fingerprint(value: Any) -> str:
    """Return a SHA-256 of all tensors in a nested value, in order."""
    digest = hashlib.sha256()

    def add(item: Any) -> None:
        if isinstance(item, torch.Tensor):
            digest.update(item.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        elif isinstance(item, dict):
            for name in item:
                digest.update(str(name).encode())
                add(item[name])
        elif isinstance(item, (list, tuple)):
            for each in item:
                add(each)
        else:
            digest.update(repr(item).encode())

    add(value)
    return digest.hexdigest()
