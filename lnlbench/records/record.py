"""What a trial leaves behind: facts, as one JSON value.

A record describes itself: the spec, what was measured, on what it was measured and which
code measured it. Tables are functions of records and of nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import Any, get_type_hints

from lnlbench.basics.facts import (
    AccuracyFacts,
    CodeFacts,
    DataFacts,
    EmbeddingFacts,
    EnvironmentFacts,
    EpochFacts,
    ErrorFacts,
    ExecutionFacts,
    LedgerFacts,
    ModelFacts,
    NoiseFacts,
    SelectionFacts,
    TimeFacts,
    VerdictFacts,
)
from lnlbench.records.beside.history_columns import rows_of
from lnlbench.records.shapes import checker
from lnlbench.spec import TrialSpec

# Format of a record on disk; raised when earlier versions cannot read it.
RECORD_VERSION = 2
READABLE_VERSIONS = (1, 2)  # 2: history by column, details beside the record


class Status(StrEnum):
    """What became of a planned trial."""

    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    PENDING = "pending"


@dataclass(frozen=True, slots=True)
class Record:
    """One finished (or failed) trial.

    Attributes
    ----------
    spec : TrialSpec
    status : Status
        ``DONE`` or ``FAILED``.
    metrics, history, times, ledger, selection, noise, data, execution, environment, plugin
    embedding, error
        What was measured, on what, with what; :mod:`lnlbench.basics.facts` says it key by key.
        ``selection`` is the last one published, ``error`` only of a failed trial.
    measured : dict
        Other metrics of the test split: by name, then by the rule that chooses the epoch (``best``, ``last``,
        ``oracle``, ``label_wave``).
    verdicts : VerdictFacts or None
        Of the file of verdicts, if there is one.
    models : ModelFacts or None
        Of the saved models, if there are some.
    verdict_table : bytes or None
        Its content, of a trial that has just ended; no part of the record.
    events : dict
        Degenerate cases that a method met and handled, with their counts.
    started, finished : str
        UTC, ISO 8601.
    """

    spec: TrialSpec
    status: Status
    metrics: AccuracyFacts = field(default_factory=AccuracyFacts)
    history: list[EpochFacts] = field(default_factory=list)
    measured: dict[str, dict[str, float | None]] = field(default_factory=dict)
    times: TimeFacts = field(default_factory=TimeFacts)
    ledger: LedgerFacts = field(default_factory=LedgerFacts)
    selection: SelectionFacts | None = None
    noise: NoiseFacts = field(default_factory=NoiseFacts)
    events: dict[str, int] = field(default_factory=dict)
    data: DataFacts = field(default_factory=DataFacts)
    execution: ExecutionFacts = field(default_factory=ExecutionFacts)
    environment: EnvironmentFacts = field(default_factory=EnvironmentFacts)
    plugin: CodeFacts = field(default_factory=CodeFacts)
    embedding: EmbeddingFacts | None = None
    started: str = ""
    finished: str = ""
    error: ErrorFacts | None = None
    verdicts: VerdictFacts | None = None
    models: ModelFacts | None = None
    verdict_table: bytes | None = field(default=None, repr=False, compare=False)

    @property
    def trial_id(self) -> str:
        """Identity of the trial; see :attr:`lnlbench.spec.TrialSpec.trial_id`."""
        return self.spec.trial_id

    def to_dict(self) -> dict[str, Any]:
        """All fields as a JSON value, readable by :meth:`from_dict`."""
        value = {name: getattr(self, name) for name in (*_parts(), "spec", "status")}
        return value | {
            "record_version": RECORD_VERSION,
            "trial_id": self.trial_id,
            "spec": self.spec.to_dict(),
            "status": str(self.status),
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Record:
        """Rebuild a record from :meth:`to_dict`.

        Raises
        ------
        KeyError, TypeError, ValueError
            If it is not what that gives.
        """
        fields = {name: value[name] for name in _parts() if name in value}
        if "history" in fields:
            fields["history"] = rows_of(fields["history"])
        fields["spec"] = TrialSpec.from_dict(value["spec"])
        fields["status"] = Status(value["status"])
        record = cls(**fields)
        record._check()
        return record

    def _check(self) -> None:
        """Raise a TypeError for a value that is not of its type, a ValueError for one that is missing."""
        for name, hint in _parts().items():
            if wrong := checker(hint)(getattr(self, name), name):
                raise TypeError(wrong)
        if self.status is Status.FAILED:
            if self.error is None or not {"type", "message"} <= self.error.keys():
                raise ValueError("error.type or error.message is missing")
        elif self.status is Status.DONE:
            missing = [name for name in ("best", "last", "oracle") if name not in self.metrics]
            if missing:
                raise ValueError(f"metrics.{missing[0]} is missing")
        else:
            raise ValueError(f"a record has not the status {self.status}")


@cache
def _parts() -> dict[str, Any]:
    """Types of all fields but those that have classes of their own."""
    hints = get_type_hints(Record)
    return {name: hint for name, hint in hints.items() if name not in ("spec", "status", "verdict_table")}
