"""Progress of a run: one live line on a terminal, plain lines otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.status import Status as Spinner
from rich.text import Text

from lnlbench.basics.printable import printable
from lnlbench.console.time_left import TimeLeft, describe_seconds
from lnlbench.records.record import Record, Status
from lnlbench.running.listener import Listener

if TYPE_CHECKING:
    from lnlbench.grids.plan import Plan
    from lnlbench.running.pending import Pending
    from lnlbench.spec import TrialSpec


_LINE_LENGTH = 300  # characters of a failure's reason; the record has the rest
_SPINNER = 2  # columns that it takes
_REFRESH_EVERY = 0.2  # seconds: trials that are trained together tell dozens of epochs at once


class Progress(Listener):
    """Says what is going on, on standard error."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        # Not console.is_terminal: FORCE_COLOR sets that, and a file is no place for a line that moves.
        self._moving = sys.stderr.isatty()
        self._total = 0
        self._finished = 0
        self._failed = 0
        self._since = time.monotonic()
        self._refreshed = 0.0
        self._running: dict[str, tuple[TrialSpec, int]] = {}  # with the epochs that are over
        self._left = TimeLeft()
        self._spinner: Spinner | None = None

    def planned(self, plan: Plan, pending: Pending, out: Path) -> None:
        """Say what will be run, and what need not be."""
        self._total = len(pending.todo)
        skipped = sum(planned.skip is not None for planned in plan.planned)
        kept = [f"{pending.done} done"] if pending.done else []
        kept += [f"{pending.failed} failed (kept; --retry failed runs them again)"] if pending.failed else []
        kept += [f"{skipped} skipped"] if skipped else []
        rest = f"; {', '.join(kept)}" if kept else ""
        self._say(f"{plan.grid}: {len(pending.todo)} trials to run{rest}; results in {out}")

    def doing(self, what: str) -> None:
        """Say what takes its time before the trials."""
        if what:
            self._live(f"{what} …")
        else:
            self._clear()

    def extraction(self, done: int, total: int) -> None:
        """Say how far feature extraction is."""
        if done < total:
            self._live(f"extracting features: {done + 1} of {total} arrays")
            if done == 0 and not self._moving:
                self._say(f"preparing {total} arrays of features")
        else:
            self._clear()

    def expected(self, seconds: Mapping[TrialSpec, tuple[float | None, ...]], jobs: int) -> None:
        """Take what the trials are expected to take."""
        self._left = TimeLeft(seconds, jobs)

    def started(self, spec: TrialSpec) -> None:
        """Note that a trial has started."""
        self._running[spec.trial_id] = spec, 0
        self._left.started(spec)
        self._refresh()

    def epoch(self, spec: TrialSpec, entry: Mapping[str, Any]) -> None:
        """Count an epoch."""
        before = 0
        for phase in spec.phases:
            if phase.kind == entry["phase"]:
                break
            before += phase.epochs
        if spec.trial_id in self._running:
            self._running[spec.trial_id] = spec, before + entry["epoch"] + 1
        self._left.epoch(spec, entry)
        if time.monotonic() - self._refreshed > _REFRESH_EVERY:
            self._refresh()
            self._refreshed = time.monotonic()

    def name(self, spec: TrialSpec) -> str:
        """Return what a trial is called when it is over."""
        return spec.describe()

    def brief(self, spec: TrialSpec) -> str:
        """Return what a trial is called while it runs."""
        return f"{spec.method.name} {spec.tuning}"

    def outcome(self, record: Record) -> str:
        """Return what is said of a trial that is done."""
        metrics, times = record.metrics, record.times
        return f"best {metrics['best']:.2f}, last {metrics['last']:.2f}, {times['train_s']:.1f} s of training"

    def finished(self, record: Record) -> None:
        """Say how a trial ended."""
        if record.status is Status.DONE:
            self._ended(record.spec, self.outcome(record))
        else:
            self._failed += 1
            error = record.error or {}
            lines = str(error.get("message")).strip().splitlines() or [""]
            self._ended(record.spec, f"FAILED, {error.get('type')}: {lines[0][:_LINE_LENGTH]}")

    def stopped(self, spec: TrialSpec, epochs: int) -> None:
        """Say that a scheduler has ended a trial."""
        self._ended(spec, f"ended early after {epochs} of {spec.epochs} epochs")

    def _ended(self, spec: TrialSpec, outcome: str) -> None:
        self._running.pop(spec.trial_id, None)
        self._left.ended(spec)
        self._finished += 1
        self._say(f"[{self._finished}/{self._total}] {self.name(spec)}: {outcome}")
        self._refresh()

    def interrupted(self) -> None:
        """Say what happens after the first Ctrl-C."""
        self._say("Interrupted: finishing and saving the epochs that run. Ctrl-C again stops at once.")

    def warned(self, text: str) -> None:
        """Pass a warning on."""
        self._say(f"Warning: {text}")

    def ended(self) -> None:
        """Remove the live line."""
        self._clear()

    def _refresh(self) -> None:
        if not self._moving:
            return
        left = self._left.seconds()
        said = f", {describe_seconds(left)} left" if left is not None else ""
        failed = f", {self._failed} failed" if self._failed else ""
        running = "; ".join(
            f"{self.brief(spec)} {epochs}/{spec.epochs}" for spec, epochs in self._running.values()
        )
        self._live(f"{self._finished} of {self._total} trials{failed}{said}  {running}")

    def _say(self, text: str) -> None:
        self._console.print(Text(printable(text)))

    def _live(self, text: str) -> None:
        if not self._moving:
            return
        if self._spinner is None:
            self._spinner = self._console.status("")
            self._spinner.start()
        line = Text(printable(text), no_wrap=True)
        line.truncate(max(1, self._console.width - _SPINNER), overflow="ellipsis")
        self._spinner.update(line)

    def _clear(self) -> None:
        if self._spinner is not None:
            self._spinner.stop()
            self._spinner = None
