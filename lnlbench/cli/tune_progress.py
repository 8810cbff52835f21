"""Progress of a search: trials by their configuration, and validation accuracy only."""

from __future__ import annotations

from lnlbench.cli.progress import Progress
from lnlbench.record import Record
from lnlbench.search.outcome import METRICS, curve_of
from lnlbench.search.space import Space
from lnlbench.search.write import show
from lnlbench.spec import TrialSpec


class SearchProgress(Progress):
    """As :class:`lnlbench.cli.progress.Progress`, for a search.

    Parameters
    ----------
    total : int
        Trials to run.
    space : Space
    metric : str
    """

    def __init__(self, total: int, space: Space, metric: str) -> None:
        super().__init__(total)
        self._names = tuple(space.values)
        self._metric = metric

    def name(self, spec: TrialSpec) -> str:
        """Return a trial's backbone, configuration and seed."""
        values = ", ".join(f"{name} {show(getattr(spec.phases[0], name))}" for name in self._names)
        return f"{spec.backbone.label} {values}, seed {spec.seed}"

    def outcome(self, record: Record) -> str:
        """Return the trial's validation accuracy."""
        score = METRICS[self._metric](curve_of(record).accuracies)
        return f"{self._metric} {score:.2f}, {record.times['train_s']:.1f} s of training"

    def stopped(self, spec: TrialSpec, epoch: int) -> None:
        """Say that the scheduler has ended a trial."""
        self.ended(spec, f"ended early after {epoch} of {spec.epochs} epochs")
