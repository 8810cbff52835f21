"""Epochs and results for Weights & Biases; ``pip install lnlbench[wandb]``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb

from lnlbench.grids.plan import Plan
from lnlbench.records.record import Record, Status
from lnlbench.running.listener import Listener
from lnlbench.running.listeners.curves import epoch_number, numbers, settings_of
from lnlbench.running.pending import Pending
from lnlbench.spec import TrialSpec


class WandB(Listener):
    """Makes a run per trial in a project, in a group of the grid's name.

    ``WANDB_MODE=offline`` and the package's other environment variables hold as ever.

    Parameters
    ----------
    project : str
    """

    def __init__(self, project: str) -> None:
        self._project = project
        self._grid = ""
        self._runs: dict[str, Any] = {}

    def planned(self, plan: Plan, pending: Pending, out: Path) -> None:
        """Note the grid's name."""
        self._grid = plan.grid

    def _run(self, spec: TrialSpec) -> Any:
        if spec.trial_id not in self._runs:
            self._runs[spec.trial_id] = wandb.init(
                project=self._project,
                group=self._grid,
                name=spec.describe(),
                config={"trial_id": spec.trial_id, **settings_of(spec)},
                reinit="create_new",  # trials run side by side
            )
        return self._runs[spec.trial_id]

    def epoch(self, spec: TrialSpec, entry: Mapping[str, Any]) -> None:
        """Log a point of each curve."""
        self._run(spec).log(numbers(entry), step=epoch_number(spec, entry))

    def finished(self, record: Record) -> None:
        """Log the accuracies, or the error, and end the trial's run."""
        run = self._run(record.spec)
        run.summary.update(numbers(record.metrics))
        if record.error is not None:
            run.summary["error"] = f"{record.error.get('type')}: {record.error.get('message')}"
        run.finish(exit_code=0 if record.status is Status.DONE else 1)
        del self._runs[record.trial_id]

    def ended(self) -> None:
        """End the runs of trials that are unfinished."""
        for run in self._runs.values():
            run.finish(exit_code=1)
        self._runs.clear()
