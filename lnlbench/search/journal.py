"""What a scheduler was told and what it decided, on disk, so that an interrupted search goes on.

A trial that a scheduler ends early has run fewer epochs than its spec says, so it gets no record.
Its validation accuracies are kept here instead, a line each, beside the records::

    searches/asha-<settings>.jsonl    {"trial": …, "epoch": 3, "validation": 21.4}
                                      {"trial": …, "stopped": 3}

The file's name is a hash of what the decisions depend on, so other settings have another file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lnlbench.errors import StoreError
from lnlbench.search.outcome import Curve


@dataclass(frozen=True, slots=True)
class HalvingRule:
    """How the scheduler decides.

    Attributes
    ----------
    metric : str
        Of :data:`lnlbench.search.outcome.METRICS`; higher is better.
    grace : int
        Epochs that every trial runs.
    reduction : int
        One in how many goes on at a rung.
    """

    metric: str
    grace: int
    reduction: int


class Journal:
    """Reports and decisions of one scheduler.

    Parameters
    ----------
    out : Path
        Output folder of the search; a missing file is made with the first report.
    rule : HalvingRule
    code : str
        Fingerprint of the method's code.
    fresh : bool, default False
        Forget what is in the file; it is emptied with the first report.

    Attributes
    ----------
    rule : HalvingRule
    reports : dict of str to dict
        By trial id: validation accuracy in percent by epoch, from 1.
    stopped : set of str
        Trials that the scheduler has ended.
    """

    def __init__(self, out: Path, rule: HalvingRule, code: str, *, fresh: bool = False) -> None:
        text = json.dumps({**asdict(rule), "code": code}, sort_keys=True)
        self.path = out / "searches" / f"asha-{hashlib.sha256(text.encode()).hexdigest()[:12]}.jsonl"
        self.rule = rule
        self.reports: dict[str, dict[int, float]] = {}
        self.stopped: set[str] = set()
        self._fresh = fresh
        if self.path.exists() and not fresh:
            for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
                self._take(line)

    def report(self, trial_id: str, epoch: int, validation: float) -> None:
        """Note what an epoch gave.

        Raises
        ------
        StoreError
            If it cannot be written.
        """
        self.reports.setdefault(trial_id, {})[epoch] = validation
        self._append({"trial": trial_id, "epoch": epoch, "validation": validation})

    def stop(self, trial_id: str, epoch: int) -> None:
        """Note that the scheduler ended a trial after an epoch.

        Raises
        ------
        StoreError
            If it cannot be written.
        """
        self.stopped.add(trial_id)
        self._append({"trial": trial_id, "stopped": epoch})

    def curves(self) -> dict[str, Curve]:
        """Return the validation accuracies of the trials that were ended."""
        return {
            key: Curve(tuple(value for _, value in sorted(self.reports.get(key, {}).items())))
            for key in self.stopped
        }

    def reasons(self, epochs: int) -> dict[str, str]:
        """Return why each of these trials has no record, for plans and ``lnlbench status``."""
        return {
            key: f"ended early by ASHA after {len(self.reports.get(key, {}))} of {epochs} epochs"
            for key in self.stopped
        }

    def _append(self, entry: Mapping[str, Any]) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("w" if self._fresh else "a", encoding="utf-8") as file:
                # A line that a killed process left unfinished must not swallow this one.
                file.write(("\n" if file.tell() else "") + json.dumps(entry))
            self._fresh = False
        except OSError as error:
            raise StoreError(
                f"The search could not be noted in '{self.path}': {error}.",
                "Make room or allow writing there, then run the same command again.",
            ) from error

    def _take(self, line: str) -> None:
        """Read a line; one that cannot be read is as good as not written: its epoch runs again."""
        try:
            entry = json.loads(line)
            if "stopped" in entry:
                self.stopped.add(str(entry["trial"]))
            else:
                self.reports.setdefault(str(entry["trial"]), {})[int(entry["epoch"])] = float(
                    entry["validation"]
                )
        except (ValueError, TypeError, KeyError):
            return
