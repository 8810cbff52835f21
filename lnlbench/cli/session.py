"""An output folder, locked and tidied, with what is to be run in it: what ``run`` and ``tune`` share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from lnlbench.cli.echo import echo
from lnlbench.record import Status

if TYPE_CHECKING:
    from lnlbench.checkpoint import Checkpoints
    from lnlbench.cli.execution import Execution
    from lnlbench.cli.progress import Progress
    from lnlbench.plan import Plan
    from lnlbench.provenance import Present
    from lnlbench.record import Record
    from lnlbench.run import Pending
    from lnlbench.store import Store

P = TypeVar("P", bound="Progress")


@dataclass(frozen=True)
class Session(Generic[P]):
    """What is known when trials can start.

    Attributes
    ----------
    store : Store
    records : tuple of Record
        As they were before.
    pending : Pending
    progress : Progress
    saved : Checkpoints
    present : Present
        Code and data of the trials to run.
    """

    store: Store
    records: tuple[Record, ...]
    pending: Pending
    progress: P
    saved: Checkpoints
    present: Present

    def finished(self, record: Record) -> None:
        """Keep a result, before anything else happens with it."""
        record = self.present.complete(record)
        self.store.put(record)
        if record.status is Status.DONE:
            self.saved.remove(record.trial_id)
        self.progress.finished(record)


@contextmanager
def open_session(
    store: Store, plan: Plan, given: Execution, retry: str | None, make_progress: Callable[[int], P]
) -> Iterator[Session[P]]:
    """Hold an output folder: tidy it, see what is pending, check and prepare what that needs.

    Parameters
    ----------
    store : Store
    plan : Plan
    given : Execution
    retry : {"failed", "stale", "all"} or None
    make_progress : callable
        From the number of trials to run.

    Raises
    ------
    LnlbenchError
        If another run holds the folder, or for what would fail every trial.
    """
    from lnlbench.checkpoint import Checkpoints
    from lnlbench.provenance import look_up
    from lnlbench.run import extract_features, find_pending, merge_plans, preflight, tidy
    from lnlbench.workspace import Workspace

    saved = Checkpoints(given.setting.checkpoints)
    with store.lock():
        records, notes = tidy(store, saved)
        for note in notes:
            echo(f"Warning: {note}", err=True)
        workspace = Workspace(replace(given.setting, threads=given.cores))
        pending = find_pending(plan, records, retry, partial(look_up, workspace=workspace))
        _warn_stale(pending)
        progress = make_progress(len(pending.todo))
        progress.plan(plan, pending, store.root)
        if pending.todo:
            preflight(pending.todo, workspace)
            if given.ray_address is None:  # a cluster's nodes extract what they need themselves
                extract_features(pending.todo, workspace, progress.extraction)
        present = look_up(pending.todo, workspace)
        del workspace  # data and weights; trials load their own
        store.put_plan(merge_plans(store.plans().get(plan.grid), plan))
        with progress if pending.todo else nullcontext():
            yield Session(store, tuple(records), pending, progress, saved, present)


def _warn_stale(pending: Pending) -> None:
    if pending.stale:
        reasons = "; ".join(dict.fromkeys(pending.stale.values()))
        echo(
            f"Warning: {len(pending.stale)} records are stale: {reasons}. Run them again with --retry stale.",
            err=True,
        )
