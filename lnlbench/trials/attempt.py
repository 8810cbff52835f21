"""A trial that is attempted: whatever it raises is its record, and what it changes is put back."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import Any

from lnlbench.basics.allocator import is_out_of_memory, return_device_memory, return_freed_memory
from lnlbench.basics.clocks import now
from lnlbench.basics.environment import describe_environment
from lnlbench.basics.facts import ErrorFacts
from lnlbench.basics.process_settings import process_as_found
from lnlbench.errors import LnlbenchError, StoreError
from lnlbench.models.device_trouble import LOST_DEVICE, is_lost, memory_advice
from lnlbench.records.record import Record, Status
from lnlbench.spec import TrialSpec
from lnlbench.trials.checkpoint import Checkpoints, agreed
from lnlbench.trials.recording import record_of
from lnlbench.trials.trial import Trial
from lnlbench.trials.workspace import Workspace

# Characters of a failure that are kept.
MESSAGE_LENGTH = 2_000
TRACE_LENGTH = 20_000


class StopTrial(BaseException):
    """Raised by ``on_epoch`` to end a trial without a record; not an error of the trial."""


def run_trial(
    spec: TrialSpec, workspace: Workspace, on_epoch: Callable[[Mapping[str, Any]], None] | None = None
) -> Record:
    """Run one trial, from its last checkpoint if there is one.

    Parameters
    ----------
    spec : TrialSpec
    workspace : Workspace
        Data, weights and caches of this process.
    on_epoch : callable, optional
        Called after each epoch, when its checkpoint is saved, with what the epoch gave: an
        entry of ``Record.history``; of a trial that is continued, with the earlier ones first.
        May raise :class:`StopTrial`.

    Returns
    -------
    Record
        With status done.

    Raises
    ------
    LnlbenchError
        If the trial cannot be run as specified.
    """
    checkpoints, team = Checkpoints(workspace.setting.checkpoints), workspace.team
    trial = Trial(spec, workspace)
    saved, trial.discarded = checkpoints.load(spec.trial_id, trial.identity, workspace.device)
    if not team.alone:
        saved, trial.discarded = agreed(team, trial.identity, saved, trial.discarded)

    def tell(entry: Mapping[str, Any]) -> None:
        stop: StopTrial | None = None
        if on_epoch is not None:
            try:
                on_epoch(entry)
            except StopTrial as asked:
                stop = asked
        if team.told(stop is not None):  # all processes stop after the same epoch
            raise stop or StopTrial

    if saved is not None:
        for entry in saved["history"]:
            tell(entry)
    for entry in trial.epochs(saved):
        if team.first and trial.finished < spec.epochs:
            checkpoints.save(spec.trial_id, trial.identity, trial.state())
        tell(entry)
    return record_of(trial)


def attempt_trial(
    spec: TrialSpec, workspace: Workspace, on_epoch: Callable[[Mapping[str, Any]], None] | None = None
) -> Record:
    """Run a trial and return its record; a failure is a record too.

    Whatever a plugin raises is caught here, and nowhere else: one broken trial must not take
    the others along, and its reason must not get lost. After one that has lost its GPU,
    ``workspace.lost`` says that no other can run in this process.

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
    describe_environment()  # now: a GPU that is lost could not be asked
    try:
        with process_as_found():
            return run_trial(spec, workspace, on_epoch)
    except StoreError:
        raise
    # A plugin that calls sys.exit() must not end the worker, which other trials need.
    except (Exception, SystemExit) as error:  # noqa: BLE001
        return failed(error, spec, workspace, started)
    finally:
        give_memory_back(workspace)


def failed(error: BaseException, spec: TrialSpec, workspace: Workspace, started: str) -> Record:
    """Return the record of a trial that has raised, while what it raised is handled."""
    workspace.lost = is_lost(workspace.device)
    return failure(
        spec,
        type(error).__name__,
        _message(error),
        hint=_hint(error, spec, workspace),
        trace=traceback.format_exc(),
        started=started,
    )


def give_memory_back(workspace: Workspace) -> None:
    """Return what is free to the system, and to others that share the GPU."""
    return_freed_memory()
    if not workspace.lost:
        return_device_memory()


def _hint(error: BaseException, spec: TrialSpec, workspace: Workspace) -> str | None:
    """Return what to do about a failure, where that can be known."""
    if isinstance(error, LnlbenchError):
        return error.hint
    if workspace.lost:
        return LOST_DEVICE
    return memory_advice(spec, workspace.device) if is_out_of_memory(error) else None


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
    error: ErrorFacts = {"type": kind, "message": message, "hint": hint, "traceback": trace}
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
