"""Trials one after the other, or together, under Ray or in this process; the job's listener hears of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from lnlbench.basics.interruption import requested
from lnlbench.errors import DeviceError
from lnlbench.launching.companions import Companions
from lnlbench.launching.local_companions import LocalCompanions
from lnlbench.launching.team_size import processes_of
from lnlbench.records.record import Record
from lnlbench.running.job import Job
from lnlbench.running.worker import work, work_together
from lnlbench.spec import TrialSpec
from lnlbench.trials.batched.grouping import Unit, units_of
from lnlbench.trials.workspace import Workspace


def execute(specs: Sequence[TrialSpec], job: Job) -> None:
    """Run trials, all of them or up to an interruption.

    Raises
    ------
    LnlbenchError
        What the job's listener raises for a record that it cannot keep.
    DeviceError
        If a trial has lost the GPU of this process; those after it have not been run.
    """
    units = units_of(specs, job.resources.jobs) if job.settings.batched else [(spec,) for spec in specs]
    if job.settings.executor == "ray":
        from lnlbench.running.ray_trials import run_with_ray  # imports ray

        run_with_ray(units, job)
        return
    workspace, companions = Workspace(job.settings), LocalCompanions(job.settings)
    try:
        for unit in units:
            for spec in unit:
                job.listener.started(spec)
            for record in _records(unit, workspace, companions, job):
                job.listener.finished(record)
            if workspace.lost:
                raise DeviceError(
                    f"The trial '{unit[0].describe()}' has left its GPU in an error, and this process cannot "
                    "use it any more. What is finished is kept.",
                    "Run the same command again for the trials that are pending; without --executor inline, "
                    "each such trial ends a process of its own.",
                )
            if requested(job.limits.flag):
                return
    finally:
        companions.end()


def _records(unit: Unit, workspace: Workspace, companions: Companions, job: Job) -> Iterator[Record]:
    """Run a trial, or several together, and yield the records of those that were not interrupted."""
    limits, listener = job.limits, job.listener
    if len(unit) > 1:
        yield from work_together(unit, workspace, limits, listener.epoch, listener.warned)
        return
    (spec,) = unit
    others = companions if processes_of(spec, job.settings.processes) > 1 else None
    record = work(spec, workspace, limits, partial(listener.epoch, spec), others)
    if record is not None:
        yield record
