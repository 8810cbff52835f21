"""Ctrl-C: once to stop after the epoch that runs, twice to stop at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from lnlbench.errors import StoreError

# Schedulers and spot instances send SIGTERM, and some seconds later SIGKILL.
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Catch the first interruption and remember it; used as a context manager.

    Parameters
    ----------
    notify : callable
        Called with no argument at the first interruption.
    flag : Path or None
        A file that is made at the first interruption and removed at the end, for worker processes
        to look at; see :func:`requested`. None if nothing is saved, so that there is nothing to wait
        for: the first interruption stops at once.

    Attributes
    ----------
    requested : bool
        Whether there was an interruption.

    Raises
    ------
    StoreError
        When it is entered, if the flag's folder is none.
    """

    def __init__(self, notify: Callable[[], None], flag: Path | None = None) -> None:
        self.requested = False
        self._notify = notify
        self._flag = flag
        self._before: dict[int, Any] = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested or self._flag is None:
            raise KeyboardInterrupt
        self.requested = True
        try:
            self._flag.parent.mkdir(parents=True, exist_ok=True)
            self._flag.touch()
        except OSError:  # workers cannot be told, so there is nothing to wait for
            raise KeyboardInterrupt from None
        self._notify()

    def __enter__(self) -> Interruption:
        if self._flag is not None:
            try:
                self._flag.unlink(missing_ok=True)
            except OSError as error:
                raise StoreError(
                    f"The folder for unfinished trials cannot be used: {error}.",
                    "Name another one with --checkpoints.",
                ) from error
        if threading.current_thread() is threading.main_thread():  # the only one that may
            self._before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._flag is not None:
            self._flag.unlink(missing_ok=True)


def requested(flag: Path | None) -> bool:
    """Whether the run that works with ``flag`` was interrupted."""
    return flag is not None and flag.exists()
