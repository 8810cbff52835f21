"""The command line: how long ``lnlbench --help`` takes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from .measure import Line, interleave, seconds

AIM = 0.3
ROUNDS, QUICK_ROUNDS = 7, 1


def run(threads: int, quick: bool) -> Iterator[Line]:
    """Measure; yield one line. Threads make no difference here."""
    installed = shutil.which("lnlbench", path=str(Path(sys.executable).parent))
    command = [installed] if installed else [sys.executable, "-m", "lnlbench"]
    times = interleave(
        {
            "lnlbench --help": lambda: _run([*command, "--help"]),
            "python -c pass": lambda: _run([sys.executable, "-c", "pass"]),
        },
        QUICK_ROUNDS if quick else ROUNDS,
    )
    yield Line(
        "cli",
        "wall-clock of lnlbench --help",
        "a process of its own, files in the page cache",
        {name: times.median(name) for name in times.values},
        times.values["lnlbench --help"],
        unit="s",
        aim=AIM,
    )


def _run(command: list[str]) -> float:
    return seconds(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))
