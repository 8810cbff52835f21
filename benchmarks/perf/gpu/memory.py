"""Parts ``memory`` and ``scale``: what is held on the device and on the host, and when."""

from __future__ import annotations

import gc
import resource
from typing import Any

import torch
from torch import nn

from lnlbench.components.running_targets import RunningTargets
from lnlbench.inputs.network_inputs import FeatureInputs
from lnlbench.models.execution import Execution
from lnlbench.records.record import Status
from lnlbench.running.listener import Listener
from lnlbench.running.preflight import extract_features
from lnlbench.spec import PhaseSpec
from lnlbench.trials.attempt import attempt_trial

from ..core_epoch import CoreEpochs
from .bench import Bench, NeedsCUDAError
from .material import TINY, VIT, pixels, trial
from .processes import in_child

HELD = 64.0  # MiB that may be allocated after trials
BEYOND = 2 * 2**30  # bytes that a pass over the whole set may take beside its targets
MIB = 2**20


def memory(bench: Bench) -> None:
    """Report what is allocated after extraction and after trials; run two trials on half a GPU each."""
    backbone, count = (TINY, 24) if bench.quick else (VIT, 512)
    dataset = pixels(bench.folder / "pixels.npz", count, classes=4, test=16)
    precision = "bf16" if bench.cuda else "fp32"
    settings: dict[str, Any] = {"precision": precision, "batch_size": 8 if bench.quick else 64}
    lp, fft = (trial("ce", mode, dataset, backbone, **settings) for mode in ("lp", "fft"))
    assert lp is not None
    assert fft is not None
    # Before this process has a CUDA context: forked ones could not make their own.
    halves = [bench.folder / f"half{number}" for number in (0, 1)]
    in_child(_both, bench, fft, halves, timeout=60.0)
    bench.check("two trials at a time on half a GPU each are done", all(path.exists() for path in halves))
    workspace = bench.workspace()
    extract_features([lp], workspace, Listener())
    del workspace
    gc.collect()
    _held(bench, "after calibration and extraction")
    workspace = bench.workspace("trials")
    for number in range(3):
        record = attempt_trial(fft if number else lp, workspace)
        bench.check(f"trial {number + 1} is done", record.status is Status.DONE, str(record.error or ""))
    _held(bench, "after three trials")
    if not bench.cuda:
        raise NeedsCUDAError("memory of a device")


def _held(bench: Bench, when: str) -> None:
    if not bench.cuda:
        return
    # Working memory of matrix products (32 MiB a handle, as deterministic ones want it) is the library's.
    torch._C._cuda_clearCublasWorkspaces()
    allocated, reserved = torch.cuda.memory_allocated() / MIB, torch.cuda.memory_reserved() / MIB
    free, total = torch.cuda.mem_get_info()
    bench.row(when=when, allocated_mib=allocated, reserved_mib=reserved, device_used_mib=(total - free) / MIB)
    bench.check(f"{when}: allocated ≤ {HELD:g} MiB", allocated <= HELD, f"{allocated:.0f}")


def _both(bench: Bench, spec: Any, files: list[Any]) -> None:
    from multiprocessing import get_context

    started = [get_context("fork").Process(target=_half, args=(bench, spec, file)) for file in files]
    for process in started:
        process.start()
    for process in started:
        process.join()


def _half(bench: Bench, spec: Any, file: Any) -> None:
    if bench.cuda:
        torch.cuda.set_per_process_memory_fraction(0.5)
    if attempt_trial(spec, bench.workspace("half")).status is Status.DONE:
        file.touch()


def scale(bench: Bench) -> None:
    """Take the losses of all samples of WebVision's size, and move targets of that size."""
    samples, classes, dim = (2_000, 20, 8) if bench.quick else (2_320_000, 1_000, 64)
    draw = torch.Generator().manual_seed(0)
    features = torch.randn(samples, dim, generator=draw)
    labels = torch.randint(classes, (samples,), generator=draw)
    core = CoreEpochs(
        PhaseSpec("lp", epochs=1, batch_size=256),
        FeatureInputs(features, (), (), torch.arange(samples), bench.device),
        labels,
        classes=classes,
        feature_dim=dim,
        make_backbone=nn.Identity,
        execution=Execution(),
        device=bench.device,
    )
    targets = RunningTargets(samples, classes, "bfloat16", "device", bench.device)
    kept = _device_bytes(bench)
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if bench.cuda:
        torch.cuda.reset_peak_memory_stats()
    core.phase.start_epoch(0)
    losses = core.phase.losses(core.networks[0])
    for batch in core.phase.batches(torch.arange(min(samples, 64 * 256))):
        targets.update(batch.index, core.networks[0](batch.inputs).softmax(1).detach(), 0.7)
    bench.synchronize()
    peak = torch.cuda.max_memory_allocated() - kept if bench.cuda else 0
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - host
    bench.row(samples=samples, classes=classes, device_mib_beyond=peak / MIB, host_mib_beyond=more / MIB)
    bench.check("every sample has a loss", bool(losses.isfinite().all()) and len(losses) == samples)
    bench.check("device memory beyond the targets ≤ 2 GiB", peak <= BEYOND, f"{peak / MIB:.0f} MiB")
    bench.check("host memory beyond the features ≤ 2 GiB", more <= BEYOND, f"{more / MIB:.0f} MiB")


def _device_bytes(bench: Bench) -> int:
    return torch.cuda.memory_allocated() if bench.cuda else 0
