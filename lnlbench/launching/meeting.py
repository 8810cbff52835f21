"""Where the processes of a trial meet, and the group that they form there while the trial runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch.distributed as collectives
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from lnlbench.errors import TrialError
from lnlbench.processes.team import ALONE, LostProcessError, Team
from lnlbench.trials.workspace import Workspace

# How long a process waits for another that is alive: what one may do on its own is to extract features that
# another machine has, to write a checkpoint or to draw a map.
PATIENCE = timedelta(hours=1)
# How long they may take to connect when all of them are there.
CONNECTING = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Meeting:
    """A place to meet.

    Attributes
    ----------
    host : str
        Name or address of the first process's machine.
    port : int
    size : int
        Processes that are expected.
    """

    host: str
    port: int
    size: int


class Host:
    """What the first process keeps open: a store, at a free port.

    Parameters
    ----------
    host : str
        What the others know this machine by.
    size : int
    """

    def __init__(self, host: str, size: int) -> None:
        self.store = TCPStore(host, 0, None, is_master=True, timeout=CONNECTING, wait_for_workers=False)
        self.meeting = Meeting(host, self.store.port, size)

    def waits_for(self) -> list[int]:
        """Return the processes that are not there yet."""
        return [rank for rank in range(1, self.meeting.size) if not self.store.check([_here(rank)])]


def _here(rank: int) -> str:
    return f"process {rank} is here"


@contextmanager
def meet(meeting: Meeting, rank: int, workspace: Workspace, store: TCPStore | None = None) -> Iterator[Team]:
    """Be one of the processes of a trial during the ``with`` block.

    Parameters
    ----------
    meeting : Meeting
    rank : int
        Which of them.
    workspace : Workspace
        Trials in it are shared meanwhile.
    store : torch.distributed.TCPStore, optional
        The first process's own. Default: connect to it.

    Raises
    ------
    LostProcessError
        If the others do not come.
    TrialError
        If this process is in another group of torch.
    """
    if collectives.is_initialized():
        raise TrialError(
            "torch.distributed is in use in this process already.",
            "Run lnlbench outside of torchrun: it starts the processes of a trial itself.",
        )
    team = Team(rank, meeting.size)
    backend = "cpu:gloo,cuda:nccl" if workspace.device.type == "cuda" else "gloo"
    try:
        if store is None:
            store = TCPStore(meeting.host, meeting.port, None, timeout=CONNECTING)
        store.set(_here(rank), "")
        collectives.init_process_group(
            backend, store=store, rank=rank, world_size=meeting.size, timeout=PATIENCE
        )
    except RuntimeError as error:
        raise LostProcessError(
            f"The {meeting.size} processes of the trial cannot connect at {meeting.host}:{meeting.port} "
            f"({str(error).partition(chr(10))[0]}).",
            "All machines must reach each other; GLOO_SOCKET_IFNAME (and on GPUs NCCL_SOCKET_IFNAME) says "
            "through which network.",
        ) from error
    workspace.team = team
    try:
        yield team
    finally:
        workspace.team = ALONE
        collectives.destroy_process_group()
