"""Whole runs of the real command on a few digits, in this process or in one of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import given_plugins
import pandas as pd
from small_grid import SMALL_GRID

import lnlbench
from lnlbench.cli import main
from lnlbench.records.record import Status
from lnlbench.records.store import Store

# Columns of times, of who paid for a shared feature extraction, and of the checkout, which a
# developer may change while a test runs.
TIMES = ["setup_s", "features_s", "features_shared", "train_s", "eval_s", "wall_s", "finished"]
CHECKOUT = ["commit", "dirty"]


def arguments(cache: Path, *options: str, executor: str = "inline") -> list[str]:
    """Return the arguments of ``lnlbench`` for a run of ``tiny.toml`` into ``runs/tiny``."""
    command = ["run", "--grid", "tiny.toml", "--cache-dir", str(cache), "--cpus-per-trial", "1"]
    return [*command, "--executor", executor, *options]


T = TypeVar("T")


class Tiny:
    """A folder with the grid ``tiny.toml``, which is the working folder of what is run."""

    def __init__(self, folder: Path, cache: Path, capture: Any) -> None:
        self.folder = folder
        self.cache = cache
        self.out = folder / "runs" / "tiny"
        self._capture = capture
        (folder / "tiny.toml").write_text(SMALL_GRID)

    def run(self, *options: str, executor: str = "inline") -> tuple[int, str, str]:
        """Run in this process; returns exit code, standard output and error."""
        return self.call(*arguments(self.cache, *options, executor=executor))

    def call(self, *command: str) -> tuple[int, str, str]:
        """Run any ``lnlbench`` command in this process."""
        given_plugins.forget()
        self._capture.readouterr()
        code = main(list(command))
        captured = self._capture.readouterr()
        return code, captured.out, captured.err

    def start(self, *options: str, executor: str = "inline", **settings: Any) -> subprocess.Popen[str]:
        """Start a run in a process group of its own, as a terminal would."""
        return subprocess.Popen(
            [sys.executable, "-m", "lnlbench", *arguments(self.cache, *options, executor=executor)],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **settings,
        )

    def frame(self) -> pd.DataFrame:
        """Return the results by method."""
        return lnlbench.load(self.out).set_index("method")

    def numbers(self) -> list[dict[str, Any]]:
        """Return everything but times and the checkout's state that an export holds, by trial."""
        frame = lnlbench.load(self.out).sort_values("trial_id")
        kept = frame.drop(columns=TIMES + CHECKOUT)
        values: list[dict[str, Any]] = kept.astype(object).where(kept.notna(), None).to_dict("records")
        return values

    def losses(self) -> dict[str, list[float]]:
        """Return the loss of every epoch of the trials that are done, by method."""
        return {
            record.spec.method.name: [entry["loss"] for entry in record.history]
            for record in Store.open(self.out).records()
            if record.status is Status.DONE
        }

    def records(self) -> dict[str, int]:
        """Return the records' files with the time of their last change."""
        return {path.name: path.stat().st_mtime_ns for path in (self.out / "trials").glob("*.json")}


def wait_for(condition: Callable[[], T], process: subprocess.Popen[Any], seconds: float = 400) -> T:
    """Wait until something holds, while a process is running; returns what it is."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
    return value


def end(process: subprocess.Popen[str]) -> None:
    """Kill a process group, if it is still there."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
