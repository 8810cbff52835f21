"""A trial with others: start it in all processes, and say why it failed if one of them did."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lnlbench.launching.meeting import PATIENCE, Host, Meeting, meet
from lnlbench.processes.team import LostProcessError
from lnlbench.records.record import Record, Status
from lnlbench.spec import TrialSpec
from lnlbench.trials.attempt import StopTrial, attempt_trial, failure
from lnlbench.trials.workspace import Workspace

# Seconds between two looks at processes that are to come, and those that they may take to end a trial that
# is over in the first one.
LOOK, ENDING = 0.05, 20.0


@dataclass(frozen=True, slots=True)
class Ending:
    """How a trial ended in one of the other processes.

    Attributes
    ----------
    record : dict or None
        Of a trial that has failed there; None if it has not.
    death : str
        How the process ended that should not have; "" if it lives.
    trace : str
        Its last words.
    """

    record: dict[str, Any] | None = None
    death: str = ""
    trace: str = ""


class Companions(ABC):
    """The processes of trials other than the first, in which this object is.

    Attributes
    ----------
    host : str
        What they know this machine by.
    size : int
        All processes of a trial, the first included.
    """

    host: str
    size: int

    @abstractmethod
    def begin(self, spec: TrialSpec, meeting: Meeting) -> None:
        """Let all of them run a trial; starts them, if they are not there."""

    @abstractmethod
    def outcomes(self, seconds: float) -> Sequence[Ending | None]:
        """Return how the trial ended in each of them; None where it has not after some seconds."""

    @abstractmethod
    def end(self) -> None:
        """End them at once."""


def take_part(spec: TrialSpec, meeting: Meeting, rank: int, workspace: Workspace) -> Ending:
    """Run a trial in a process that is not its first."""
    try:
        with meet(meeting, rank, workspace):
            record = attempt_trial(spec, workspace)
    except StopTrial:
        return Ending()
    except LostProcessError as error:
        record = failure(spec, type(error).__name__, error.message, hint=error.hint)
    return Ending(record.to_dict() if record.status is Status.FAILED else None)


def attempt_with(
    companions: Companions, spec: TrialSpec, workspace: Workspace, attempt: Callable[[], Record]
) -> Record:
    """Run a trial in this process and in others; whatever happens in one of them is in the record.

    Parameters
    ----------
    companions : Companions
    spec : TrialSpec
    workspace : Workspace
    attempt : callable
        Runs the trial here, and returns its record, which may be that of a failure.

    Raises
    ------
    StopTrial, StoreError
        As ``attempt`` does; the others have ended the trial then, or are ended.
    """
    try:
        try:
            host = Host(companions.host, companions.size)
            companions.begin(spec, host.meeting)
            _wait(host, companions)
            with meet(host.meeting, 0, workspace, host.store):
                record = attempt()
        except LostProcessError as error:
            record = failure(spec, type(error).__name__, error.message, hint=error.hint)
        found = companions.outcomes(ENDING)
    except StopTrial:
        if not _all_alive(companions.outcomes(ENDING)):
            companions.end()
        raise
    except BaseException:
        companions.end()
        raise
    if not _all_alive(found):
        companions.end()
    return _explained(record, found, companions.size)


def _wait(host: Host, companions: Companions) -> None:
    """Return when all processes are there.

    Raises
    ------
    LostProcessError
        If one of them will not come.
    """
    until = time.monotonic() + PATIENCE.total_seconds()
    while host.waits_for():
        if time.monotonic() > until or any(outcome is not None for outcome in companions.outcomes(0.0)):
            raise LostProcessError("A process of the trial did not start.")
        time.sleep(LOOK)


def _all_alive(outcomes: Sequence[Ending | None]) -> bool:
    """Whether all processes have ended the trial, and can run the next."""
    return all(outcome is not None and not outcome.death for outcome in outcomes)


def _explained(record: Record, outcomes: Sequence[Ending | None], size: int) -> Record:
    """Return the record of a trial, with the reason of the process that was the first to fail."""
    lost = LostProcessError.__name__
    if record.error is None or record.error["type"] != lost:
        return record
    for number, outcome in enumerate(outcomes, start=2):
        if outcome is None:
            continue
        who = f"Process {number} of the {size} that shared the trial"
        if outcome.death:
            return failure(
                record.spec,
                "ProcessDied",
                f"{who} was killed or ended itself ({outcome.death}); the usual cause is that the machine "
                "ran out of memory.",
                hint="Give it more memory or fewer --jobs, then use --retry failed.",
                trace=outcome.trace,
                started=record.started,
            )
        if outcome.record is not None and outcome.record["error"]["type"] != lost:
            error = outcome.record["error"]
            return failure(
                record.spec,
                error["type"],
                f"{who}: {error['message']}",
                hint=error["hint"],
                trace=error["traceback"],
                started=record.started,
            )
    return record
