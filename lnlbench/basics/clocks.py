"""Named clocks (monotonic, synchronised with the device, exclusive of each other), and dates."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import torch


class Clocks:
    """Accumulate seconds under names; a nested clock stops the outer one.

    Parameters
    ----------
    device : torch.device
        Its queue is drained before each reading, so that asynchronous kernels are billed
        to the block that launched them.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.seconds: dict[str, float] = {}
        self._running: list[str] = []
        self._since = 0.0

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    def _bill(self) -> None:
        now = self._now()
        if self._running:
            name = self._running[-1]
            self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Bill the ``with`` block to ``name``."""
        self._bill()
        self._running.append(name)
        try:
            yield
        finally:
            self._bill()
            self._running.pop()

    def add(self, name: str, seconds: float) -> None:
        """Bill seconds to ``name`` that another clock has measured."""
        self.seconds[name] = self.read(name) + seconds

    def read(self, name: str) -> float:
        """Seconds under ``name`` so far."""
        return self.seconds.get(name, 0.0)


def now() -> str:
    """Return the present time in UTC, ISO 8601; for people, never for durations."""
    return datetime.now(UTC).isoformat(timespec="seconds")
