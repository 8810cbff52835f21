"""Epochs and results for MLflow; ``pip install lnlbench[mlflow]``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from lnlbench.basics.paths import absolute
from lnlbench.grids.plan import Plan
from lnlbench.records.record import Record, Status
from lnlbench.running.listener import Listener
from lnlbench.running.listeners.curves import epoch_number, numbers, settings_of
from lnlbench.running.pending import Pending
from lnlbench.spec import TrialSpec


class MLflow(Listener):
    """Makes an experiment per grid, and a run per trial in it.

    Parameters
    ----------
    where : str
        A folder, or the address of a server (``http://…``) or database (``sqlite:///…``).
    """

    def __init__(self, where: str) -> None:
        if "://" not in where:
            # MLflow would rather have a database, which its small package cannot write.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
            where = absolute(where).as_uri()
        self._client = MlflowClient(where)
        self._experiment = "0"
        self._runs: dict[str, str] = {}

    def planned(self, plan: Plan, pending: Pending, out: Path) -> None:
        """Find the grid's experiment, or make it."""
        known = self._client.get_experiment_by_name(plan.grid)
        self._experiment = known.experiment_id if known else self._client.create_experiment(plan.grid)

    def _run(self, spec: TrialSpec) -> str:
        if spec.trial_id not in self._runs:
            tags = {"trial_id": spec.trial_id}
            run = self._client.create_run(self._experiment, tags=tags, run_name=spec.describe())
            self._runs[spec.trial_id] = run.info.run_id
            for name, value in settings_of(spec).items():
                self._client.log_param(run.info.run_id, name, value)
        return self._runs[spec.trial_id]

    def epoch(self, spec: TrialSpec, entry: Mapping[str, Any]) -> None:
        """Log a point of each curve."""
        for name, value in numbers(entry).items():
            self._client.log_metric(self._run(spec), name, value, step=epoch_number(spec, entry))

    def finished(self, record: Record) -> None:
        """Log the accuracies, or the error, and end the trial's run."""
        run = self._run(record.spec)
        for name, value in numbers(record.metrics).items():
            self._client.log_metric(run, name, value)
        if record.error is not None:
            self._client.set_tag(run, "error", f"{record.error.get('type')}: {record.error.get('message')}")
        self._client.set_terminated(run, "FINISHED" if record.status is Status.DONE else "FAILED")
        del self._runs[record.trial_id]

    def ended(self) -> None:
        """End the runs of trials that are unfinished."""
        for run in self._runs.values():
            self._client.set_terminated(run, "KILLED")
        self._runs.clear()
