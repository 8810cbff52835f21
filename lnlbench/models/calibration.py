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
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import nn

from lnlbench.errors import CacheError, WeightsError
from lnlbench.files import Damaged, read_checked, write_checked
from lnlbench.models.backbone import Backbone

# A rival has to be this much faster than plain float32 to be worth its different rounding.
MARGIN = 1.1
_BATCHES = (64, 32, 16, 8, 4)  # images; the first that memory and time allow
# Raised when a file of choices can no longer be read as it is.
FORMAT = 2
_REPEATS = 3
_SECONDS = 60.0  # that it may take, about


@dataclass(frozen=True, slots=True)
class Execution:
    """How a backbone is executed.

    Attributes
    ----------
    precision : {"fp32", "bf16"}
    channels_last : bool
    """

    precision: str = "fp32"
    channels_last: bool = False

    @property
    def dtype(self) -> torch.dtype | None:
        """Type for autocast, or None for float32 throughout."""
        return torch.bfloat16 if self.precision == "bf16" else None

    def prepare(self, module: nn.Module) -> nn.Module:
        """Return the module in the chosen memory layout."""
        if self.channels_last:
            return module.to(memory_format=torch.channels_last)
        return module

    def autocast(self, device: torch.device) -> AbstractContextManager[None]:
        """Return the context for forward passes."""
        if self.dtype is None:
            return nullcontext()
        return torch.autocast(device.type, dtype=self.dtype)


def calibrate(
    backbone: Backbone, precision: str, *, device: torch.device, threads: int, folder: Path
) -> Execution:
    """Return the fastest execution of a backbone's training step on this device.

    Parameters
    ----------
    backbone : Backbone
    precision : {"auto", "fp32", "bf16"}
        Anything but ``auto`` fixes the precision and leaves only the layout to be chosen.
    device : torch.device
    threads : int
        CPU threads that trials use.
    folder : Path
        Where choices are kept.

    Raises
    ------
    CacheError
        If the choice cannot be kept: another measurement might choose otherwise, and so give
        other numbers.
    """
    architecture = [[name, list(p.shape)] for name, p in backbone.module.named_parameters()]
    key: dict[str, Any] = {
        "architecture": architecture,
        "size": backbone.preprocessing.size,
        "precision": precision,
        "threads": threads,
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


def _read(path: Path) -> Execution | Damaged | None:
    """Return the choice that is kept in a file, what is wrong with the file, or None without one."""
    if not path.exists():
        return None
    content = read_checked(path)
    if isinstance(content, Damaged):
        return content
    if content.get("entry") != path.stem:
        return Damaged(path, "it is that of something else")
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
    plain = next(iter(speeds))
    fastest = max(speeds, key=lambda rival: speeds[rival])
    chosen = fastest if speeds[fastest] > MARGIN * speeds[plain] else plain
    report = {
        "entry": path.stem,
        "chosen": asdict(chosen),
        "images_per_second": {f"{e.precision} channels_last={e.channels_last}": s for e, s in speeds.items()},
        "key": {**key, "architecture": len(key["architecture"])},
    }
    write_checked(path, report)
    return chosen


def _processor(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return torch.backends.cpu.get_cpu_capability()


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16, rather than emulating it many times slower."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    information = Path("/proc/cpuinfo")
    return information.exists() and "bf16" in information.read_text()


def _measure(backbone: Backbone, precision: str, device: torch.device) -> dict[Execution, float]:
    """Return training images per second, best of a few repeats, for every candidate."""
    automatic = ("fp32", "bf16") if has_bfloat16(device) else ("fp32",)
    precisions = automatic if precision == "auto" else (precision,)
    candidates = [Execution(p, layout) for p in precisions for layout in (False, True)]
    size = backbone.preprocessing.size
    with torch.random.fork_rng():
        modules = {c: c.prepare(copy.deepcopy(backbone.module).to(device)).train() for c in candidates}
        for batch in _affordable_batches(modules, size, device):
            try:
                return _in_turns(modules, batch, size, device)
            except torch.cuda.OutOfMemoryError:
                continue  # fewer may fit, and linear probing needs no room for gradients at all
    raise WeightsError(
        f"A training step of '{backbone.name}' on {_BATCHES[-1]} images needs more memory than {device} has.",
        "Set backbone_options.gradient_checkpointing = true (if it has this option) or a smaller image_size.",
    )


def _affordable_batches(
    modules: dict[Execution, nn.Module], size: int, device: torch.device
) -> tuple[int, ...]:
    """Return the numbers of images to measure on, in the order in which to try them."""
    try:
        seconds = min(_step(c, m, _BATCHES[-1], size, device) for c, m in modules.items()) / _BATCHES[-1]
    except torch.cuda.OutOfMemoryError:
        return ()
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
    images = torch.zeros(batch, 3, size, size, device=device)
    if execution.channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    started = time.perf_counter()
    with execution.autocast(device):
        output = module(images)
    output.float().sum().backward()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - started
    module.zero_grad(set_to_none=True)  # or every candidate would hold gradients to the end
    return seconds
