"""One trial in a worker process: with a time limit, and no longer than the driver lives."""

from __future__ import annotations

import faulthandler
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from lnlbench.interruption import requested
from lnlbench.record import Record
from lnlbench.spec import TrialSpec
from lnlbench.trial import StopTrial, attempt_trial
from lnlbench.workspace import Workspace

HEARTBEAT = 1.0  # seconds between two looks at the driver


@dataclass(frozen=True, slots=True)
class Limits:
    """What a worker process is told about the run.

    Attributes
    ----------
    timeout : float or None
        Seconds that a trial may take.
    traces : Path or None
        Folder for the traceback of a trial that took longer.
    flag : Path or None
        File that says that the run was interrupted.
    driver : (str, int) or None
        Host and process that the worker must not outlive; None on a cluster, whose driver
        may be elsewhere.
    """

    timeout: float | None = None
    traces: Path | None = None
    flag: Path | None = None
    driver: tuple[str, int] | None = None

    def trace_file(self, trial_id: str) -> Path | None:
        """Return where the traceback of a trial that took too long is written."""
        return self.traces / f"{trial_id}.trace" if self.traces is not None else None


def work(
    spec: TrialSpec,
    workspace: Workspace,
    limits: Limits,
    on_epoch: Callable[[Mapping[str, Any]], None] | None = None,
) -> Record | None:
    """Run a trial.

    Parameters
    ----------
    on_epoch : callable, optional
        See :func:`lnlbench.trial.run_trial`.

    Returns
    -------
    Record or None
        None if the trial was stopped: by an interruption of the run, to be continued later, or
        by ``on_epoch``.
    """

    def look(entry: Mapping[str, Any]) -> None:
        if on_epoch is not None:
            on_epoch(entry)
        if requested(limits.flag):
            raise StopTrial

    if requested(limits.flag):
        return None
    try:
        with _time_limit(limits, spec.trial_id):
            return attempt_trial(spec, workspace, look)
    except StopTrial:
        return None


@contextmanager
def _time_limit(limits: Limits, trial_id: str) -> Iterator[None]:
    """End the process if the block takes too long.

    faulthandler's watchdog needs neither the interpreter's lock nor a cooperating trial: it ends
    a loop in native code as well, and says where every thread was.
    """
    if limits.timeout is None:
        yield
        return
    path = limits.trace_file(trial_id)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    with open(path or os.devnull, "w", encoding="utf-8") as file:  # noqa: PTH123
        watch(limits.timeout, file)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
    if path is not None:
        path.unlink(missing_ok=True)


def watch(seconds: float, file: IO[str]) -> None:
    """Write all tracebacks to ``file`` and end the process after some seconds."""
    faulthandler.dump_traceback_later(seconds, exit=True, file=file)


def end_with_driver(limits: Limits) -> None:
    """Start a thread that ends this process when the driver is gone.

    Ray notices some seconds later that its driver was killed; until then a worker would go on
    writing checkpoints of trials that another run may have taken over.
    """
    if limits.driver is None or limits.driver[0] != socket.gethostname():
        return
    pid = limits.driver[1]

    def observe() -> None:
        while True:
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                os._exit(1)
            except PermissionError:
                return  # the number belongs to somebody else's process, or we may not look
            time.sleep(HEARTBEAT)

    threading.Thread(target=observe, name="lnlbench driver watch", daemon=True).start()
