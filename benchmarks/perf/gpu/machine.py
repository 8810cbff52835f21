"""Part ``machine``: products of matrices and copies, by which the other parts are read."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

import torch

from lnlbench.basics.environment import describe_environment
from lnlbench.models.execution import Execution

from .bench import Bench, NeedsCUDAError

SIDE, QUICK_SIDE = 8192, 64
COPY = 4 * 2**30  # bytes


def environment(bench: Bench) -> None:
    """Report what results are measured with."""
    bench.row(**describe_environment())


def machine(bench: Bench) -> None:
    """Report the driver, the speed of matrix products and of copies; on a CPU of products alone."""
    if bench.cuda:
        properties = torch.cuda.get_device_properties(bench.device)
        bench.row(
            gpu=properties.name,
            memory_gib=properties.total_memory / 2**30,
            capability=f"{properties.major}.{properties.minor}",
            gpus=torch.cuda.device_count(),
            driver=driver(),
            cuda=torch.version.cuda,
            cudnn=torch.backends.cudnn.version(),
        )
    for precision in ("bf16", "fp16", "tf32", "fp32") if bench.cuda else ("fp32",):
        bench.row(
            product=precision, side=QUICK_SIDE if bench.quick else SIDE, tflops=product(bench, precision)
        )
    if not bench.cuda:
        raise NeedsCUDAError("copies between host and device")
    source = torch.empty(COPY // 4, dtype=torch.float32, device=bench.device)
    target = torch.empty_like(source)
    # Every byte is read once and written once.
    bench.row(copy="on the device", gb_per_s=2 * COPY / 1e9 / seconds(bench, lambda: target.copy_(source)))
    for kind in ("pageable", "pinned"):
        host = torch.empty(COPY // 32, dtype=torch.float32, pin_memory=kind == "pinned")
        part = target[: len(host)]
        bench.row(
            copy=f"host to device, {kind}",
            gb_per_s=COPY
            / 8e9
            / seconds(bench, lambda host=host, part=part: part.copy_(host, non_blocking=True)),  # type: ignore[misc]
        )


def product(bench: Bench, precision: str) -> float:
    """Return the TFLOP/s of a product of two square matrices."""
    side = QUICK_SIDE if bench.quick else SIDE
    dtype = Execution(precision).dtype or torch.float32
    first, second = (torch.randn(side, side, device=bench.device, dtype=dtype) for _ in range(2))
    with Execution(precision).arithmetic(bench.device):
        return 2 * side**3 / 1e12 / seconds(bench, lambda: first @ second)


def seconds(bench: Bench, action: Callable[[], object], repeats: int = 10) -> float:
    """Return the mean seconds of an action, the device synchronised before and after, warmed up by two."""
    for _ in range(2):
        action()
    bench.synchronize()
    started = time.perf_counter()
    for _ in range(repeats):
        action()
    bench.synchronize()
    return (time.perf_counter() - started) / repeats


def driver() -> str | None:
    """Return the version of the GPU's driver, where ``nvidia-smi`` tells it."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip().splitlines()[0]
