"""A trial that is attempted: whatever it raises is its record, and what it changes is put back."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from lnlbench.allocator import return_freed_memory
from lnlbench.environment import describe_environment
from lnlbench.errors import LnlbenchError, StoreError
from lnlbench.record import Record, Status
from lnlbench.spec import TrialSpec
from lnlbench.timing import now
from lnlbench.trial import run_trial
from lnlbench.workspace import Workspace

# Characters of a failure that are kept.
MESSAGE_LENGTH = 2_000
TRACE_LENGTH = 20_000


def attempt_trial(
    spec: TrialSpec, workspace: Workspace, on_epoch: Callable[[Mapping[str, Any]], None] | None = None
) -> Record:
    """Run a trial and return its record; a failure is a record too.

    Whatever a plugin raises is caught here, and nowhere else: one broken trial must not take
    the others along, and its reason must not get lost.

    Parameters
    ----------
    on_epoch : callable, optional
        See :func:`run_trial`.

    Raises
    ------
    StopTrial
        What ``on_epoch`` raises to end a trial that has not failed.
    StoreError
        If its checkpoint cannot be saved. That is no failure of the trial, and a run that went on
        would lose the other trials' epochs as well.
    """
    started = now()
    try:
        with process_as_found():
            return run_trial(spec, workspace, on_epoch)
    except StoreError:
        raise
    # A plugin that calls sys.exit() must not end the worker, which other trials need.
    except (Exception, SystemExit) as error:  # noqa: BLE001
        return failure(
            spec,
            type(error).__name__,
            _message(error),
            hint=error.hint if isinstance(error, LnlbenchError) else None,
            trace=traceback.format_exc(),
            started=started,
        )
    finally:
        return_freed_memory()


def _set_default_device(device: torch.device) -> None:
    torch.set_default_device(None if device.type == "cpu" else device)  # None is how it was before


def _working_folder() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109
    except FileNotFoundError:  # it was removed; a trial may do without
        return None


def _set_working_folder(folder: str | None) -> None:
    if folder is not None:
        os.chdir(folder)


def _set_environment(variables: Mapping[str, str]) -> None:
    for name in os.environ.keys() - variables.keys():
        del os.environ[name]
    os.environ.update(variables)


# Settings of the whole process that change numbers, with what sets them.
_SETTINGS: tuple[tuple[Callable[[], Any], Callable[[Any], object]], ...] = (
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (lambda: torch.backends.cudnn.benchmark, partial(setattr, torch.backends.cudnn, "benchmark")),
    (lambda: torch.backends.cudnn.allow_tf32, partial(setattr, torch.backends.cudnn, "allow_tf32")),
    (torch.get_default_device, _set_default_device),
    (_working_folder, _set_working_folder),
    (lambda: dict(os.environ), _set_environment),
)


@contextmanager
def process_as_found() -> Iterator[None]:
    """Put back what a plugin may have set for the whole process, and so for the trials after its own.

    What it changes inside of other modules stays changed.
    """
    before = [read() for read, _ in _SETTINGS]
    try:
        yield
    finally:
        for (read, write), value in zip(_SETTINGS, before, strict=True):
            if read() != value:
                write(value)


def failure(
    spec: TrialSpec, kind: str, message: str, *, hint: str | None = None, trace: str = "", started: str = ""
) -> Record:
    """Return the record of a trial that failed.

    A message or traceback of megabytes (an array in an exception's text, say) is cut.
    """
    if len(message) > MESSAGE_LENGTH:
        message = f"{message[:MESSAGE_LENGTH]}… ({len(message):,} characters)"
    if len(trace) > TRACE_LENGTH:  # the end says most
        trace = f"({len(trace):,} characters) …{trace[-TRACE_LENGTH:]}"
    error = {"type": kind, "message": message, "hint": hint, "traceback": trace}
    return Record(
        spec,
        Status.FAILED,
        error=error,
        environment=describe_environment(),
        started=started or now(),
        finished=now(),
    )


def _message(error: BaseException) -> str:
    if isinstance(error, LnlbenchError):
        return error.message
    if isinstance(error, SystemExit):
        return f"The code of the trial called sys.exit({error.code!r})."
    try:
        return str(error) or "It was raised without a message."
    # A plugin's own exception class may be broken as well.
    except Exception as broken:  # noqa: BLE001
        return f"Its message cannot be shown ({type(broken).__name__})."
