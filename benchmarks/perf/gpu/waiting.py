"""Parts ``syncs`` and ``methods``: how often a step waits for the device, and what methods cost."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from lnlbench.api import Phase
from lnlbench.basics.facts import units_of
from lnlbench.basics.process_settings import process_as_found
from lnlbench.conformance.device_trace import crossings_per_step, mark_steps
from lnlbench.inputs import augment
from lnlbench.records.record import Status
from lnlbench.spec import TrialSpec
from lnlbench.trials.attempt import attempt_trial
from lnlbench.trials.trial import Trial
from lnlbench.trials.workspace import Workspace

from .bench import Bench, NeedsCUDAError
from .material import METHODS, MODES, QUICK_METHODS, TINY, VIT, digits, pixels, trial

BUDGET = 0  # times that a step may wait, with data in memory
UNITS = 1.15  # time per unit of the ledger, beside CE


def syncs(bench: Bench) -> None:
    """Count, per training step and by line of code, how often the host waits for the device."""
    if not bench.cuda:
        raise NeedsCUDAError("a CPU has no queue to wait for")
    dataset = digits(bench.folder / "digits.npz", 32, train_per_class=20, test_per_class=3)
    workspace = bench.workspace()
    for method in METHODS:
        for mode in MODES:
            spec = trial(method, mode, dataset, TINY, batch_size=32)
            if spec is None:
                continue
            bench.in_time(f"{method} {mode} and what follows")
            with process_as_found():
                _count(bench, f"{method} {mode}", Trial(spec, workspace))


def _count(bench: Bench, cell: str, run: Trial) -> None:
    steps: list[int] = []
    epoch = run.method.epoch

    def watched(phase: Phase) -> None:
        torch.cuda.set_sync_debug_mode("warn")
        try:
            epoch(phase)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    run.method.epoch = watched  # type: ignore[method-assign]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mark_steps(run, steps, lambda: sum(map(_is_wait, caught)))
        for _ in run.epochs():
            pass
    found = filter(_is_wait, caught)
    places = Counter(f"{Path(warning.filename).name}:{warning.lineno}" for warning in found)
    per_step = crossings_per_step(steps)
    bench.row(cell=cell, per_step=per_step, steps=len(steps), places=dict(places.most_common(4)))
    held = per_step <= BUDGET
    bench.check(f"{cell}: waits per step ≤ {BUDGET}", held, "" if held else f"{per_step}")


def _is_wait(warning: warnings.WarningMessage) -> bool:
    return "synchroniz" in str(warning.message)


def methods(bench: Bench) -> None:
    """Report, for an epoch of every method, its time, time per unit, memory, and time spent on views."""
    backbone, count = (TINY, 30) if bench.quick else (VIT, 1024)
    dataset = pixels(bench.folder / "pixels.npz", count, classes=3 if bench.quick else 10, test=64)
    workspace = bench.workspace()
    settings: dict[str, Any] = {
        "precision": "bf16" if bench.cuda else "fp32",
        "batch_size": 8 if bench.quick else 128,
    }
    for method in ("ce", "turn"):  # kernels, and the library of mixtures that selections import
        warm = trial(method, "fft", dataset, backbone, **settings)
        assert warm is not None
        attempt_trial(warm, workspace)
    of_ce = 0.0
    for mode in ("fft", "lp", "lp-fft"):
        for method in QUICK_METHODS if bench.quick else METHODS:
            spec = trial(method, mode, dataset, backbone, **settings)
            if spec is None:
                continue
            bench.in_time(f"{method} {mode} and what follows", 2.0)
            per_unit = _measure(bench, f"{method} {mode}", spec, workspace)
            if mode != "fft" or per_unit is None:
                continue
            of_ce = of_ce or per_unit
            ratio = per_unit / of_ce
            bench.row(unit=method, of_ce=ratio)
            if not bench.quick:
                bench.check(
                    f"{method}: time per unit ≤ {UNITS:g} × CE",
                    ratio <= UNITS,
                    "" if ratio <= UNITS else f"{ratio:.2f}",
                )


def _measure(bench: Bench, cell: str, spec: TrialSpec, workspace: Workspace) -> float | None:
    """Run a trial, report it, and return its seconds per unit of the ledger."""
    on_views = [0.0]

    def timed(make: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def call(*arguments: Any) -> torch.Tensor:
            started = time.perf_counter()
            try:
                return make(*arguments)
            finally:
                on_views[0] += time.perf_counter() - started

        return call

    if bench.cuda:
        torch.cuda.reset_peak_memory_stats()
    # A strong view is made of a weak one by the recipe itself, so nothing is timed twice.
    with (
        patch.object(augment, "weak", timed(augment.weak)),
        patch.object(augment, "strong", timed(augment.strong)),
    ):
        record = attempt_trial(spec, workspace)
    done = record.status is Status.DONE
    bench.check(f"{cell}: done", done, "" if done else str((record.error or {}).get("message")))
    if not done:
        return None
    seconds, units = float(record.times["train_s"]), units_of(record.ledger["training"])
    memory = {}
    if bench.cuda:
        memory = {
            "peak_mib": torch.cuda.max_memory_allocated() / 2**20,
            "reserved_mib": torch.cuda.max_memory_reserved() / 2**20,
        }
    bench.row(
        cell=cell,
        train_s=seconds,
        features_s=record.times["features_s"],
        units=units,
        views_of_time=on_views[0] / max(sum((seconds, record.times["features_s"])), 1e-9),
        **memory,
    )
    return seconds / units if units else None
