"""Choose precision and memory layout by trying them, not by belief.

Channels-last more than doubles the speed of one convolutional network on one CPU and slows
another down; bfloat16 helps on hardware that has it and costs time elsewhere. A few training
steps decide. The choice is kept on disk, so that all trials of a machine share it: layouts
and precisions differ in their rounding, and results should not depend on a stopwatch twice.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import nn

from lnlbench.basics.allocator import is_out_of_memory
from lnlbench.basics.files import Damaged, read_checked, write_checked
from lnlbench.errors import CacheError, WeightsError
from lnlbench.models.backbone import Backbone
from lnlbench.models.execution import Execution, automatic_precisions, check_precision

__all__ = ["Execution", "calibrate", "training_speed"]

# A rival has to be this much faster than a more exact or simpler one to be worth its different rounding.
MARGIN = 1.1
_BATCHES = (64, 32, 16, 8, 4)  # images; the first that memory and time allow
# Raised when a file of choices can no longer be read as it is.
FORMAT = 2
_REPEATS = 3
_SECONDS = 60.0  # that it may take, about


def calibrate(
    backbone: Backbone, precision: str, *, device: torch.device, threads: int, folder: Path
) -> Execution:
    """Return the fastest execution of a backbone's training step on this device.

    Parameters
    ----------
    backbone : Backbone
    precision : {"auto", "fp32", "tf32", "bf16", "fp16"}
        Anything but ``auto`` fixes the precision and leaves only the layout to be chosen.
    device : torch.device
    threads : int
        CPU threads that trials use; of no account on a GPU.
    folder : Path
        Where choices are kept.

    Raises
    ------
    UsageError
        If the device does not compute in this precision.
    CacheError
        If the choice cannot be kept: another measurement might choose otherwise, and so give
        other numbers.
    """
    check_precision(precision, device)
    architecture = [[name, list(p.shape)] for name, p in backbone.module.named_parameters()]
    key: dict[str, Any] = {
        "architecture": architecture,
        "size": backbone.preprocessing.size,
        "precision": precision,
        "threads": 0 if device.type == "cuda" else threads,
        "machine": [platform.machine(), _processor(device), os.cpu_count()],
        "torch": torch.__version__,
        "format": FORMAT,
    }
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]
    path = folder / f"{name}.json"
    kept = _read(path)
    if isinstance(kept, Execution):  # written once, in one step: reading needs no lock
        return kept
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{name}.lock"):
            return _read_or_choose(path, backbone, precision, device, key)
    except OSError as error:
        raise CacheError(
            f"The calibration '{path}' cannot be kept: {error}.",
            "Make room or allow writing there, or choose another folder with --cache-dir.",
        ) from error


def training_speed(
    name: str, size: int | None, precision: str, *, device: torch.device, threads: int, folder: Path
) -> float | None:
    """Return how many images per second a backbone was measured to train on; nothing is measured now.

    Parameters
    ----------
    name : str
        As tables print it.
    size : int or None
        Side of its images; None for its own, if only one was measured.
    precision, device, threads, folder
        As for :func:`calibrate`. Where only another number of threads was measured, the speed is taken to
        grow with it.

    Returns
    -------
    float or None
        Of the chosen execution; None if it was not measured on this machine.
    """
    if device.type == "cuda" and not torch.cuda.is_available():
        return None  # the driver of a cluster, whose nodes have GPUs that this machine lacks
    machine = [platform.machine(), _processor(device), os.cpu_count()]
    speeds: dict[tuple[int, int], float] = {}  # by size and threads
    for path in folder.glob("*.json"):
        content = read_checked(path)
        if isinstance(content, Damaged) or content.get("backbone") != name:
            continue
        key, chosen = content["key"], _execution(content)
        if (key["machine"], key["precision"]) == (machine, precision) and size in (None, key["size"]):
            speeds[key["size"], key["threads"]] = content["images_per_second"][_describe(chosen)]
    if len({measured for measured, _ in speeds}) != 1:
        return None
    nearest = min(speeds, key=lambda entry: abs(entry[1] - threads))
    return speeds[nearest] * (threads / nearest[1] if nearest[1] else 1.0)


def _describe(execution: Execution) -> str:
    return f"{execution.precision} channels_last={execution.channels_last}"


def _read(path: Path) -> Execution | Damaged | None:
    """Return the choice that is kept in a file, what is wrong with the file, or None without one."""
    if not path.exists():
        return None
    content = read_checked(path)
    if isinstance(content, Damaged):
        return content
    if content.get("entry") != path.stem:
        return Damaged(path, "it is that of something else")
    return _execution(content)


def _execution(content: Mapping[str, Any]) -> Execution:
    return Execution(**content["chosen"])


def _read_or_choose(
    path: Path, backbone: Backbone, precision: str, device: torch.device, key: Mapping[str, Any]
) -> Execution:
    kept = _read(path)
    if isinstance(kept, Execution):
        return kept
    if isinstance(kept, Damaged):
        path.replace(path.with_name(path.name + ".damaged"))
        print(
            f"lnlbench: the calibration {path.name} is damaged ({kept.reason}); moved aside and measured "
            "again. Another choice would change results in their last digits; their records name it.",
            file=sys.stderr,
        )
    speeds = _measure(backbone, precision, device)
    chosen = _choose(speeds)
    report = {
        "entry": path.stem,
        "backbone": backbone.name,
        "chosen": {"precision": chosen.precision, "channels_last": chosen.channels_last},
        "images_per_second": {_describe(execution): speed for execution, speed in speeds.items()},
        "key": {**key, "architecture": len(key["architecture"])},
    }
    write_checked(path, report)
    return chosen


def _choose(speeds: Mapping[Execution, float]) -> Execution:
    """Return the first of the candidates, or a later one that is faster by the margin than any chosen before.

    So the last digits of results do not depend on which of two equally fast ones the stopwatch favours.
    """
    candidates = iter(speeds)
    chosen = next(candidates)
    for rival in candidates:
        if speeds[rival] > MARGIN * speeds[chosen]:
            chosen = rival
    return chosen


def _processor(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return torch.backends.cpu.get_cpu_capability()


def _measure(backbone: Backbone, precision: str, device: torch.device) -> dict[Execution, float]:
    """Return training images per second, best of a few repeats, for every candidate."""
    precisions = automatic_precisions(device) if precision == "auto" else (precision,)
    candidates = [Execution(p, layout) for p in precisions for layout in (False, True)]
    size = backbone.preprocessing.size
    # Asked for all devices, fork_rng would start each GPU of the machine.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            modules = {c: c.prepare(copy.deepcopy(backbone.module).to(device)).train() for c in candidates}
            batches = _affordable_batches(modules, size, device)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            batches = ()
        for batch in batches:
            try:
                return _in_turns(modules, batch, size, device)
            except RuntimeError as error:  # fewer may fit, and probing needs no room for gradients at all
                if not is_out_of_memory(error):
                    raise
    raise WeightsError(
        f"A training step of '{backbone.name}' on {_BATCHES[-1]} images needs more memory than {device} has.",
        "Set backbone_options.gradient_checkpointing = true (if it has this option) or a smaller image_size.",
    )


def _affordable_batches(
    modules: dict[Execution, nn.Module], size: int, device: torch.device
) -> tuple[int, ...]:
    """Return the numbers of images to measure on, in the order in which to try them."""
    seconds = min(_step(c, m, _BATCHES[-1], size, device) for c, m in modules.items()) / _BATCHES[-1]
    steps = (1 + _REPEATS) * len(modules)
    return tuple(b for b in _BATCHES if b * steps * seconds <= _SECONDS) or _BATCHES[-1:]


def _in_turns(
    modules: dict[Execution, nn.Module], batch: int, size: int, device: torch.device
) -> dict[Execution, float]:
    # In turns, so that other work on the machine hits every candidate; the first turn warms up.
    turns = [{c: _step(c, m, batch, size, device) for c, m in modules.items()} for _ in range(1 + _REPEATS)]
    return {c: batch / min(turn[c] for turn in turns[1:]) for c in modules}


def _step(execution: Execution, module: nn.Module, batch: int, size: int, device: torch.device) -> float:
    """Return the seconds of one training step, optimiser not included."""
    # Not zeros: a GPU clocks higher on them.
    images = torch.randn(batch, 3, size, size, device=device)
    if execution.channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    with execution.arithmetic(device):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        started = time.perf_counter()
        with execution.autocast(device):
            output = module(images)
        output.float().sum().backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - started
    module.zero_grad(set_to_none=True)  # or every candidate would hold gradients to the end
    return seconds
