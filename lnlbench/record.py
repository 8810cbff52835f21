"""What a trial leaves behind: facts, as one JSON value.

A record describes itself: the spec, what was measured, on what it was measured and which
code measured it. Tables are functions of records and of nothing else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import NoneType
from typing import Any

from lnlbench.spec import TrialSpec

# Format of a record on disk; raised when old records can no longer be read as they are.
RECORD_VERSION = 1


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
    metrics : dict
        ``best``, ``last``, ``oracle`` test accuracy in percent, ``best_epoch`` and
        ``oracle_epoch`` counted from 0 over all phases (protocol, section 1).
    history : list of dict
        One entry per epoch: ``phase``, ``epoch``, ``loss``, ``validation``, ``test``
        (percent), ``train_s``, ``eval_s`` and, where published, ``selection``.
    times : dict
        Seconds: ``setup_s``, ``features_s``, ``train_s``, ``eval_s``, ``wall_s``.
        ``features_s`` is what extracting the features in use took, whenever that was;
        ``features_shared`` says that another trial or run paid for it.
    ledger : dict
        ``training``, ``evaluation`` and ``features``, each with the six counts
        ``{backbone,head}_{forward,forward_grad,backward}`` in samples. ``features`` are the
        passes that the features in use stand for, whoever made them.
    selection : dict or None
        The last published selection: ``size``, ``purity``, ``recall``, ``auc``, ``per_class``.
    noise : dict
        Report of the corruption: realised rates, prior.
    events : dict
        Degenerate cases that a method met and handled, with their counts.
    data : dict
        ``fingerprint``, sizes and number of classes.
    execution : dict
        Device, precision, layout, threads, executor, jobs, ``shared_device``.
    environment : dict
        Commit, versions, hardware.
    plugin : dict
        ``origin`` and ``fingerprint`` of the method's code; backbone's fingerprint.
    embedding : dict or None
        Maps of test features, where the spec asks for them: ``labels``, ``classes``, ``before``,
        ``after``, ``settings``; see :func:`lnlbench.embedding.embed`.
    started, finished : str
        UTC, ISO 8601.
    error : dict or None
        ``type``, ``message``, ``hint``, ``traceback`` and ``where`` of a failure.
    """

    spec: TrialSpec
    status: Status
    metrics: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    times: dict[str, Any] = field(default_factory=dict)
    ledger: dict[str, dict[str, int]] = field(default_factory=dict)
    selection: dict[str, Any] | None = None
    noise: dict[str, Any] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    execution: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    plugin: dict[str, Any] = field(default_factory=dict)
    embedding: dict[str, Any] | None = None
    started: str = ""
    finished: str = ""
    error: dict[str, Any] | None = None

    @property
    def trial_id(self) -> str:
        """Identity of the trial; see :attr:`lnlbench.spec.TrialSpec.trial_id`."""
        return self.spec.trial_id

    def to_dict(self) -> dict[str, Any]:
        """All fields as a JSON value, readable by :meth:`from_dict`."""
        value = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
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
        fields = {item.name: value[item.name] for item in dataclasses.fields(cls) if item.name in value}
        fields["spec"] = TrialSpec.from_dict(value["spec"])
        fields["status"] = Status(value["status"])
        record = cls(**fields)
        record._check()
        return record

    def _check(self) -> None:
        """Raise a TypeError for a field that is not of its type, a ValueError for one that is missing."""
        empty = Record(self.spec, self.status)
        for item in dataclasses.fields(self):
            value, default = getattr(self, item.name), getattr(empty, item.name)
            expected = dict if default is None else type(default)
            if not isinstance(value, expected) and (value is not None or default is not None):
                raise TypeError(f"{item.name} is a {type(value).__name__}, not a {expected.__name__}")
        if not all(isinstance(entry, dict) for entry in self.history):
            raise TypeError("history is not a list of dicts")
        if self.status is Status.DONE:
            for name in ("best", "last", "oracle"):
                if not isinstance(self.metrics.get(name, ""), (int, float, NoneType)):  # None: not finite
                    raise ValueError(f"metrics.{name} is not a number")
        elif self.status is Status.FAILED:
            error = self.error or {}
            if not isinstance(error.get("type"), str) or not isinstance(error.get("message"), str):
                raise ValueError("error.type or error.message is not a text")
        else:
            raise ValueError(f"a record has not the status {self.status}")
