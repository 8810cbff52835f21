"""Runs of the real command in processes of their own, that can be killed with all they started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pandas as pd
from tiny_run import TIMES

import lnlbench
from lnlbench.records.record import Record
from lnlbench.records.store import Store

EVERY_METHOD = """
schema = 1
title = "Every method in every tuning mode, on a few digits"
dataset = "digits"
backbone = "efficientnet_lite0"
noise = ["symmetric-0.4"]
seeds = [0]
precision = "fp32"
[[rows]]
tuning = "lp"
method = ["ce", "gce", "elr", "elr_plus", "dividemix", "unicon"]
[[rows]]
tuning = ["fft", "lp-fft"]
method = ["ce", "gce", "elr", "elr_plus", "dividemix", "unicon", "turn"]
[dataset_options]
train_per_class = 4
test_per_class = 4
validation_fraction = 0.1
[backbone_options]
image_size = 32
[lp]
epochs = 4
batch_size = 16
[fft]
epochs = 2
batch_size = 16
lr = 0.001
"""


class Run:
    """``lnlbench run`` on one grid file in one folder.

    Parameters
    ----------
    folder : Path
        Working directory; the grid is ``grid.toml`` in it.
    grid : str
    cache : Path
    options : sequence of str
        More options of the command.
    """

    def __init__(self, folder: Path, grid: str, cache: Path, options: Sequence[str] = ()) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "grid.toml").write_text(grid)
        self.out = folder / "runs" / "grid"
        self.command = [sys.executable, "-m", "lnlbench", "run", "--grid", "grid.toml"]
        self.command += ["--cache-dir", str(cache), "--cpus-per-trial", "1", *options]

    def start(self, *options: str) -> subprocess.Popen[str]:
        """Start the command in a session of its own; its error output goes to ``stderr.txt``."""
        with (self.folder / "stderr.txt").open("w") as errors:
            return subprocess.Popen(
                [*self.command, *options],
                cwd=self.folder,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                text=True,
                start_new_session=True,
            )

    def complete(self, *options: str, timeout: float = 280) -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
        return subprocess.run(
            [*self.command, *options], cwd=self.folder, capture_output=True, text=True, timeout=timeout
        )

    def records(self) -> dict[str, Record]:
        """Return what is recorded, by trial; nothing if the run has not come that far."""
        if not (self.out / "lnlbench.json").exists():
            return {}
        return {record.trial_id: record for record in Store.open(self.out).records()}

    def checkpoints(self) -> set[str]:
        """Return the trials that have a checkpoint."""
        return {path.stem for path in (self.out / "checkpoints").glob("*.ckpt")}

    def export(self) -> pd.DataFrame:
        """Return the results without what may differ, in the order of the trials."""
        frame = lnlbench.load(self.out).drop(columns=TIMES)
        return frame.sort_values("trial_id").reset_index(drop=True)


def descendants(pid: int) -> set[int]:
    """Return the processes that a process has started, and those that these have started."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # gone meanwhile
                continue
            parents[int(entry.name)] = int(fields[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def kill_all(process: subprocess.Popen[str]) -> None:
    """Kill a process with all that it has started, as a machine that goes down does."""
    victims = descendants(process.pid)
    for pid in (process.pid, *victims):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    # What was started between the look and the kill ends by itself; wait until all is quiet.
    deadline = time.monotonic() + 30
    while any(map(is_running, victims)):
        assert time.monotonic() < deadline, "killed processes are still there"
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    """Whether a process is there, and not only waits for its parent to take note of its end."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
