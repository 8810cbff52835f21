"""A trial, or several together, in a worker process: with a time limit, no longer than the driver lives."""

from __future__ import annotations

import faulthandler
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any

from lnlbench.basics.interruption import requested
from lnlbench.errors import StoreError
from lnlbench.launching.companions import Companions, attempt_with
from lnlbench.records.record import Record
from lnlbench.spec import TrialSpec
from lnlbench.trials.attempt import StopTrial, attempt_trial
from lnlbench.trials.batched.together import Together
from lnlbench.trials.workspace import Workspace

_STANDARD_ERROR = 2  # the file descriptor: sys.stderr may be anything in a worker
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
    isolated : bool
        Whether trials run in processes of their own, whose end is not the run's.
    """

    timeout: float | None = None
    traces: Path | None = None
    flag: Path | None = None
    driver: tuple[str, int] | None = None
    isolated: bool = False

    def trace_file(self, trial_id: str) -> Path | None:
        """Return where the traceback of a trial is written whose process cannot go on."""
        return self.traces / f"{trial_id}.trace" if self.traces is not None else None

    def take_trace(self, trial_id: str) -> str:
        """Return the last words of a trial whose process is gone, and remove their file; "" for none."""
        path = self.trace_file(trial_id)
        if path is None or not path.exists():
            return ""
        text = path.read_text(encoding="utf-8", errors="replace")
        path.unlink(missing_ok=True)
        return text


def work(
    spec: TrialSpec,
    workspace: Workspace,
    limits: Limits,
    on_epoch: Callable[[Mapping[str, Any]], None] | None = None,
    companions: Companions | None = None,
) -> Record | None:
    """Run a trial.

    Parameters
    ----------
    companions : Companions, optional
        Processes that share it.
    on_epoch : callable, optional
        See :func:`lnlbench.trials.attempt.run_trial`.

    Returns
    -------
    Record or None
        None if the trial was stopped: by an interruption of the run, to be continued later, or
        by ``on_epoch``.

    Raises
    ------
    StoreError
        If the trial cannot be saved, which the next one could not be either.
    """

    def look(entry: Mapping[str, Any]) -> None:
        if on_epoch is not None:
            on_epoch(entry)
        if requested(limits.flag):
            raise StopTrial

    if requested(limits.flag):
        return None
    try:
        with _last_words(limits, spec.trial_id):
            if companions is not None:
                return attempt_with(companions, spec, workspace, lambda: attempt_trial(spec, workspace, look))
            return attempt_trial(spec, workspace, look)
    except StopTrial:
        return None


def work_together(
    specs: Sequence[TrialSpec],
    workspace: Workspace,
    limits: Limits,
    on_epoch: Callable[[TrialSpec, Mapping[str, Any]], None],
    warn: Callable[[str], None],
) -> Iterator[Record]:
    """Run trials that can be trained together; yield their records as they are over.

    None of those comes that an interruption of the run has left unfinished. Where something is raised that is
    no trial's own, what is left is run trial by trial. The time limit of a trial holds for as many as there
    are.

    Parameters
    ----------
    on_epoch : callable
        Called with a trial, and what an epoch of it gave.
    warn : callable
        Called with a sentence where trials that could be trained together are not.

    Raises
    ------
    StoreError
        If a trial cannot be saved, which the next one could not be either.
    """
    if requested(limits.flag):
        return
    timeout = None if limits.timeout is None else limits.timeout * len(specs)
    group = Together(specs, workspace, on_epoch, lambda: requested(limits.flag))
    with _last_words(replace(limits, timeout=timeout), specs[0].trial_id):
        yield from group.records()
    if group.reason and not requested(limits.flag):
        warn(
            f"{len(group.apart)} trials could not be trained together ({group.reason}); they run one by one."
        )
    for spec in group.apart:
        if workspace.lost:
            return
        record = work(spec, workspace, limits, partial(on_epoch, spec))
        if record is None:
            return
        yield record


@contextmanager
def _last_words(limits: Limits, trial_id: str) -> Iterator[None]:
    """Let a block that crashes, or takes too long, leave its traceback; the second ends the process.

    faulthandler needs neither the interpreter's lock nor a cooperating trial: it ends a loop in
    native code as well, and says where every thread was.
    """
    path = limits.trace_file(trial_id)
    if not limits.isolated or (path is None and limits.timeout is None):
        yield
        return
    try:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path or os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    except OSError as error:
        raise StoreError(
            f"'{path}' cannot be written: {error}.",
            "Make room or allow writing there, then run the same command again.",
        ) from error
    with file:
        before = faulthandler.is_enabled()
        if path is not None:
            faulthandler.enable(file)
        if limits.timeout is not None:
            watch(limits.timeout, file)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
            faulthandler.disable()
            if before:
                faulthandler.enable(_STANDARD_ERROR)
            if path is not None:  # whoever gets here can speak for itself
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
