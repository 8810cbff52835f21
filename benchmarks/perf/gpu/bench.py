"""What a part is given, and what it reports: rows of numbers, and checks that pass or fail."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import torch

from lnlbench.running.job import available_cores
from lnlbench.trials.workspace import RunSettings, Workspace

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


class OutOfTimeError(Exception):
    """A part has used up its time; what is left of it was not run."""


class NeedsCUDAError(Exception):
    """A part has nothing to say without a GPU."""


@dataclass
class Bench:
    """Where a part runs, and where it reports to.

    Attributes
    ----------
    device : torch.device
    quick : bool
        Tiny sizes, which show that it runs and measure nothing.
    folder : Path
        For files; of this part alone.
    seconds : float
        That the part may take; :meth:`in_time` keeps it.
    stream : file
        Gets every report as a line of JSON, at once: what a part had to say before it crashed is kept.
    """

    device: torch.device
    quick: bool
    folder: Path
    seconds: float
    stream: IO[str]
    started: float = field(default_factory=time.perf_counter)

    @property
    def cuda(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.type == "cuda"

    def left(self) -> float:
        """Return the seconds that are left."""
        return self.seconds - (time.perf_counter() - self.started)

    def in_time(self, what: str, needed: float = 0.0) -> None:
        """Raise :class:`OutOfTimeError` where fewer than ``needed`` seconds are left for what comes next."""
        if self.left() < needed and not self.quick:
            raise OutOfTimeError(f"no time was left for: {what}")

    def row(self, **values: Any) -> None:
        """Report numbers that belong together; the first value names them."""
        self._report("rows", {name: _plain(value) for name, value in values.items()})
        print("   " + "  ".join(f"{name} {_short(value)}" for name, value in values.items()), flush=True)

    def check(self, what: str, ok: bool, detail: str = "") -> None:
        """Report whether something that must hold does."""
        self._report("checks", {"what": what, "ok": bool(ok), "detail": detail})
        if not ok:
            print(f"   FAILED: {what}{detail and ': '}{detail}", flush=True)

    def note(self, text: str) -> None:
        """Report what a reader should know."""
        self._report("notes", text)
        print(f"   ({text})", flush=True)

    def _report(self, kind: str, value: Any) -> None:
        self.stream.write(json.dumps({kind: value}) + "\n")
        self.stream.flush()

    def workspace(self, name: str = "cache", device: torch.device | None = None, **more: Any) -> Workspace:
        """Return a workspace with a cache of its own, below the part's folder.

        Features of a CPU and of a GPU differ in their last digits and must not share one.
        """
        place = (device or self.device).type
        threads = 1 if self.quick else available_cores()
        settings: dict[str, Any] = {"data": None, "device": place, "threads": threads, **more}
        return Workspace(RunSettings(cache=self.folder / f"{name}-{place}", **settings))

    def synchronize(self) -> None:
        """Wait until the device has done all that was asked of it."""
        if self.cuda:
            torch.cuda.synchronize(self.device)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_short(item)}" for name, item in value.items())
    return str(value)
