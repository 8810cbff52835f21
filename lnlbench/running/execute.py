"""Trials one after the other, under Ray or in this process; the listener of the job hears of each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from lnlbench.errors import DeviceError
from lnlbench.launching.local_companions import LocalCompanions
from lnlbench.launching.team_size import processes_of
from lnlbench.running.job import Job
from lnlbench.running.worker import work
from lnlbench.spec import TrialSpec
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
    if job.settings.executor == "ray":
        from lnlbench.running.ray_trials import run_with_ray  # imports ray

        run_with_ray(specs, job)
        return
    workspace, companions = Workspace(job.settings), LocalCompanions(job.settings)
    try:
        for spec in specs:
            job.listener.started(spec)
            others = companions if processes_of(spec, job.settings.processes) > 1 else None
            record = work(spec, workspace, job.limits, partial(job.listener.epoch, spec), others)
            if record is None:  # interrupted
                return
            job.listener.finished(record)
            if workspace.lost:
                raise DeviceError(
                    f"The trial '{spec.describe()}' has left its GPU in an error, and this process cannot "
                    "use it any more. What is finished is kept.",
                    "Run the same command again for the trials that are pending; without --executor inline, "
                    "each such trial ends a process of its own.",
                )
    finally:
        companions.end()
