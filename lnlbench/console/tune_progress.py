"""Progress of a search: trials by their configuration, and validation accuracy only."""

from __future__ import annotations

from lnlbench.console.progress import Progress
from lnlbench.records.record import Record
from lnlbench.search.outcome import METRICS, curve_of
from lnlbench.search.space import Space
from lnlbench.search.write import show
from lnlbench.spec import TrialSpec


class SearchProgress(Progress):
    """As :class:`lnlbench.console.progress.Progress`, for a search.

    Parameters
    ----------
    space : Space
    metric : str
    """

    def __init__(self, space: Space, metric: str) -> None:
        super().__init__()
        self._names = tuple(space.values)
        self._metric = metric

    def name(self, spec: TrialSpec) -> str:
        """Return a trial's backbone, configuration and seed."""
        values = ", ".join(f"{name} {show(spec.phases[0].settings()[name])}" for name in self._names)
        return f"{spec.backbone.label} {values}, seed {spec.seed}"

    def brief(self, spec: TrialSpec) -> str:
        """Return the same: the method is that of all."""
        return self.name(spec)

    def outcome(self, record: Record) -> str:
        """Return the trial's validation accuracy."""
        score = METRICS[self._metric](curve_of(record).accuracies)
        return f"{self._metric} {score:.2f}, {record.times['train_s']:.1f} s of training"
