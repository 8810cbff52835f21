"""Progress of a run: one live line on a terminal, plain lines otherwise."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.status import Status as Spinner
from rich.text import Text

from lnlbench.printable import printable
from lnlbench.record import Record, Status

if TYPE_CHECKING:
    from lnlbench.plan import Plan
    from lnlbench.run import Pending
    from lnlbench.spec import TrialSpec


_LINE_LENGTH = 300  # characters of a failure's reason; the record has the rest


class Progress:
    """Says what is going on, on standard error; used as a context manager while trials run.

    Parameters
    ----------
    total : int
        Trials to run.
    """

    def __init__(self, total: int) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._total = total
        self._finished = 0
        self._failed = 0
        self._since = time.monotonic()
        self._running: dict[str, str] = {}
        self._spinner: Spinner | None = None

    def plan(self, plan: Plan, pending: Pending, out: Path) -> None:
        """Say what will be run, and what need not be."""
        skipped = sum(planned.skip is not None for planned in plan.planned)
        kept = [f"{pending.done} done"] if pending.done else []
        kept += [f"{pending.failed} failed (kept; --retry failed runs them again)"] if pending.failed else []
        kept += [f"{skipped} skipped"] if skipped else []
        rest = f"; {', '.join(kept)}" if kept else ""
        self._say(f"{plan.grid}: {len(pending.todo)} trials to run{rest}; results in {out}")

    def extraction(self, done: int, total: int) -> None:
        """Say how far feature extraction is."""
        if total and done < total:
            self._live(f"features {done + 1} of {total}")
            if done == 0 and not self._console.is_terminal:
                self._say(f"preparing {total} arrays of features")
        elif self._spinner is not None:
            self._spinner.stop()
            self._spinner = None

    def started(self, spec: TrialSpec) -> None:
        """Note that a trial has started."""
        self._running[spec.trial_id] = self.name(spec)
        self._refresh()

    def name(self, spec: TrialSpec) -> str:
        """Return what a trial is called here."""
        return spec.describe()

    def outcome(self, record: Record) -> str:
        """Return what is said of a trial that is done."""
        metrics, times = record.metrics, record.times
        return f"best {metrics['best']:.2f}, last {metrics['last']:.2f}, {times['train_s']:.1f} s of training"

    def finished(self, record: Record) -> None:
        """Say how a trial ended."""
        if record.status is Status.DONE:
            self.ended(record.spec, self.outcome(record))
        else:
            self._failed += 1
            error = record.error or {}
            lines = str(error.get("message")).strip().splitlines() or [""]
            self.ended(record.spec, f"FAILED, {error.get('type')}: {lines[0][:_LINE_LENGTH]}")

    def ended(self, spec: TrialSpec, outcome: str) -> None:
        """Count a trial, and say what came of it."""
        self._running.pop(spec.trial_id, None)
        self._finished += 1
        self._say(f"[{self._finished}/{self._total}] {self.name(spec)}: {outcome}")
        self._refresh()

    def interrupted(self) -> None:
        """Say what happens after the first Ctrl-C."""
        self._say("Interrupted: finishing and saving the epochs that run. Ctrl-C again stops at once.")

    def __enter__(self) -> Progress:
        self._since = time.monotonic()
        self._refresh()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._spinner is not None:
            self._spinner.stop()
            self._spinner = None

    def _refresh(self) -> None:
        elapsed = time.monotonic() - self._since
        left = ""
        if self._finished:
            remaining = elapsed / self._finished * (self._total - self._finished)
            left = f", about {remaining / 60:.0f} min left"
        failed = f", {self._failed} failed" if self._failed else ""
        running = "; ".join(self._running.values())
        self._live(f"{self._finished} of {self._total} trials{failed}{left}  {running}")

    def _say(self, text: str) -> None:
        self._console.print(Text(printable(text)))

    def _live(self, text: str) -> None:
        if not self._console.is_terminal:
            return
        if self._spinner is None:
            self._spinner = self._console.status("")
            self._spinner.start()
        self._spinner.update(Text(printable(text)))
