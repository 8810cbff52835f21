"""Epochs and results for TensorBoard; ``pip install lnlbench[tensorboard]``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from lnlbench.basics.paths import absolute
from lnlbench.records.record import Record, Status
from lnlbench.running.listener import Listener
from lnlbench.running.listeners.curves import epoch_number, numbers, settings_of
from lnlbench.spec import TrialSpec


class TensorBoard(Listener):
    """Writes event files: a folder per trial, called by its method, its tuning and its id.

    Parameters
    ----------
    folder : str or Path
        What ``tensorboard --logdir`` is given.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = absolute(folder)
        self._writers: dict[str, SummaryWriter] = {}

    def _writer(self, spec: TrialSpec) -> SummaryWriter:
        if spec.trial_id not in self._writers:
            name = f"{spec.method.name} {spec.tuning} {spec.trial_id}"
            self._writers[spec.trial_id] = SummaryWriter(self._folder / name)
        return self._writers[spec.trial_id]

    def epoch(self, spec: TrialSpec, entry: Mapping[str, Any]) -> None:
        """Write a point of each curve."""
        for name, value in numbers(entry).items():
            self._writer(spec).add_scalar(name, value, epoch_number(spec, entry))

    def finished(self, record: Record) -> None:
        """Write settings beside accuracies, or the error, and close the trial's file."""
        writer = self._writer(record.spec)
        if record.status is Status.DONE:
            writer.add_hparams(settings_of(record.spec), numbers(record.metrics), run_name=".")
        else:
            error = record.error or {}
            writer.add_text("error", f"{error.get('type')}: {error.get('message')}")
        writer.close()
        del self._writers[record.trial_id]

    def ended(self) -> None:
        """Close the files of trials that are unfinished."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()
