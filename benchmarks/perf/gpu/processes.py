"""Every part in a process of its own, which may lose its device, hang or be killed without the others.

Processes are forked from one that has imported everything and has never touched a GPU: a part starts at
once, with a CUDA context of its own.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from .bench import Bench, NeedsCUDAError, OutOfTimeError

# Seconds beyond its own time after which a part that does not look at the clock is killed.
GRACE = 30.0

PASSED, FAILED, UNFINISHED, NEEDS_CUDA = "passed", "failed", "unfinished", "needs CUDA"

Function = Callable[[Bench], None]


def run_part(function: Function, device: str, quick: bool, seconds: float) -> dict[str, Any]:
    """Run a part in a process of its own, and return its report.

    Parameters
    ----------
    function : callable
        The part.
    device : {"cpu", "cuda"}
    quick : bool
    seconds : float
        That it may take.

    Returns
    -------
    dict
        ``status``, ``seconds``, ``rows``, ``checks``, ``notes``, and ``error``: the traceback, or None.
    """
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="lnlbench-gpu-", ignore_cleanup_errors=True) as folder:
        reports = Path(folder) / "reports.jsonl"
        reports.touch()
        process = get_context("fork").Process(
            target=_child, args=(function, device, quick, Path(folder), seconds, reports)
        )
        process.start()
        process.join(None if quick else seconds + GRACE)
        killed = process.is_alive()
        if killed:
            process.kill()
            process.join()
        report = read_reports(reports)
    ended = report.pop("ended", None)
    if killed:
        report["error"] = f"It was killed: it took longer than {seconds + GRACE:.0f} s."
    elif ended is None:
        report["error"] = f"Its process ended with exit code {process.exitcode}."
    else:
        report |= ended
    return {"status": _status(report), "seconds": time.perf_counter() - started, **report}


def read_reports(path: Path) -> dict[str, Any]:
    """Collect the reports of a part, however far it got."""
    report: dict[str, Any] = {"rows": [], "checks": [], "notes": [], "error": None}
    for line in path.read_text(encoding="utf-8").splitlines():
        ((kind, value),) = json.loads(line).items()
        if kind == "ended":
            report[kind] = value
        else:
            report[kind].append(value)
    return report


def _status(report: dict[str, Any]) -> str:
    if report["error"] is not None or not all(check["ok"] for check in report["checks"]):
        return FAILED
    if report.pop("needs_cuda", False):
        return NEEDS_CUDA
    return UNFINISHED if report.pop("out_of_time", False) else PASSED


def _child(function: Function, device: str, quick: bool, folder: Path, seconds: float, reports: Path) -> None:
    ended: dict[str, Any] = {}
    with reports.open("a", encoding="utf-8") as stream:
        if device == "cpu":
            torch.set_num_threads(1 if quick else os.cpu_count() or 1)
        bench = Bench(torch.device(device), quick, folder, seconds, stream)
        try:
            function(bench)
        except NeedsCUDAError as reason:
            bench.note(f"needs CUDA: {reason}")
            ended["needs_cuda"] = True
        except OutOfTimeError as reason:
            bench.note(str(reason))
            ended["out_of_time"] = True
        except Exception:  # noqa: BLE001  (whatever it is, it is this part's failure)
            ended["error"] = traceback.format_exc()
            print(ended["error"], flush=True)
        stream.write(json.dumps({"ended": ended}) + "\n")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # a device that was lost would otherwise be waited for


def in_child(function: Callable[..., None], *arguments: Any, timeout: float = 120.0) -> int | None:
    """Call a function in a forked process, and return its exit code; None if it was killed."""
    process = get_context("fork").Process(target=function, args=arguments)
    process.start()
    process.join(timeout)
    if process.is_alive():
        process.kill()
        process.join()
        return None
    return process.exitcode
