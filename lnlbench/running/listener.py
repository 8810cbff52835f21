"""Who is told what happens in a run: the progress on a terminal, TensorBoard, code of one's own.

Events come in the order of a run::

    planned ─▶ doing … extraction … expected ─▶ { started ─▶ epoch … ─▶ finished | stopped } … ─▶ ended

``doing`` and ``warned`` may come at any time, ``interrupted`` once trials run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lnlbench.grids.plan import Plan
    from lnlbench.records.record import Record
    from lnlbench.running.pending import Pending
    from lnlbench.spec import TrialSpec


class Listener:
    """Is told what happens, in the process that called; every method does nothing unless replaced.

    A listener changes no result and loses none: a record is on disk before it is heard of, and a
    listener that raises is not told any more, which is a warning of the run. With several jobs the
    events of trials that run side by side are interleaved.
    """

    def planned(self, plan: Plan, pending: Pending, out: Path) -> None:
        """Take the plan of the run, what of it is to be run, and the folder of its results."""

    def doing(self, what: str) -> None:
        """Take what the run is busy with before its trials, as in ``reading digits``; "" for nothing."""

    def extraction(self, done: int, total: int) -> None:
        """Take how many arrays of features are done; the last call has ``done == total``."""

    def expected(self, seconds: Mapping[TrialSpec, tuple[float | None, ...]], jobs: int) -> None:
        """Take what an epoch of each phase of the trials is expected to take, and how many run at once."""

    def started(self, spec: TrialSpec) -> None:
        """Take a trial that starts, or continues."""

    def epoch(self, spec: TrialSpec, entry: Mapping[str, Any]) -> None:
        """Take what an epoch gave: an entry of :attr:`lnlbench.records.record.Record.history`.

        All epochs come, in order, before ``finished``; those of a worker process come a few times a
        second, several at once where they are short. A trial that is continued, or runs again because
        its node was lost, tells its earlier epochs once more.
        """

    def finished(self, record: Record) -> None:
        """Take the record of a trial that is done or has failed; it is saved."""

    def stopped(self, spec: TrialSpec, epochs: int) -> None:
        """Take a trial that a search has ended after some epochs, without a record."""

    def interrupted(self) -> None:
        """Take note that Ctrl-C was pressed; trials end after the epoch that runs."""

    def warned(self, text: str) -> None:
        """Take what a user should know, as a sentence."""

    def ended(self) -> None:
        """Close what is open: the run is over, however it ended."""


class Listeners(Listener):
    """Several listeners as one; whoever raises is left out from then on.

    Attributes
    ----------
    warnings : list of str
        What :meth:`warned` took.
    """

    def __init__(self, listeners: Iterable[Listener]) -> None:
        self._listeners = list(listeners)
        self.warnings: list[str] = []

    def _tell(self, tell: Callable[[Listener], None]) -> None:
        for listener in tuple(self._listeners):
            try:
                tell(listener)
            # Whatever it is (a full disk, a server that has gone), days of training outweigh it.
            except Exception as error:  # noqa: BLE001
                self._listeners.remove(listener)
                name = type(listener).__name__
                self.warned(
                    f"The listener {name} failed and is left out from now on: {type(error).__name__}: {error}"
                )

    def planned(self, plan: Plan, pending: Pending, out: Path) -> None:
        """Tell all."""
        self._tell(lambda listener: listener.planned(plan, pending, out))

    def doing(self, what: str) -> None:
        """Tell all."""
        self._tell(lambda listener: listener.doing(what))

    def extraction(self, done: int, total: int) -> None:
        """Tell all."""
        self._tell(lambda listener: listener.extraction(done, total))

    def expected(self, seconds: Mapping[TrialSpec, tuple[float | None, ...]], jobs: int) -> None:
        """Tell all."""
        self._tell(lambda listener: listener.expected(seconds, jobs))

    def started(self, spec: TrialSpec) -> None:
        """Tell all."""
        self._tell(lambda listener: listener.started(spec))

    def epoch(self, spec: TrialSpec, entry: Mapping[str, Any]) -> None:
        """Tell all."""
        self._tell(lambda listener: listener.epoch(spec, entry))

    def finished(self, record: Record) -> None:
        """Tell all."""
        self._tell(lambda listener: listener.finished(record))

    def stopped(self, spec: TrialSpec, epochs: int) -> None:
        """Tell all."""
        self._tell(lambda listener: listener.stopped(spec, epochs))

    def interrupted(self) -> None:
        """Tell all."""
        self._tell(lambda listener: listener.interrupted())

    def warned(self, text: str) -> None:
        """Keep a warning, and tell all."""
        self.warnings.append(text)
        self._tell(lambda listener: listener.warned(text))

    def ended(self) -> None:
        """Tell all."""
        self._tell(lambda listener: listener.ended())
