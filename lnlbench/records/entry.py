"""What tables, status and staleness need of a record: a small part of it, which an index can hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

from lnlbench.basics.facts import CodeFacts
from lnlbench.plugins.fingerprint import COVERAGE
from lnlbench.records.frame_columns import read_record
from lnlbench.records.metric_columns import read_metrics
from lnlbench.records.record import Record, Status
from lnlbench.spec import TrialSpec

# What may have changed since a trial was run.
METHOD, KINDS, VERSION, DATA, LABELS, WEIGHTS = (
    "method",
    "kinds of phases",
    "lnlbench",
    "data",
    "noisy labels",
    "weights",
)


@dataclass(frozen=True)  # without slots, for the cached spec
class Entry:
    """A record without what only curves, figures and the comparison with the paper read.

    Attributes
    ----------
    trial_id : str
    setting : str
        The spec without its seed, as JSON: trials that differ in their seed alone share this text, so
        that whatever follows from it is computed once for all of them. See :func:`setting_of`.
    seed : int
    status : Status
    columns : sequence of str
        Of the frame, those that come from the record. One object for all entries of an index.
    values : sequence
        Of the columns.
    marks : mapping of str to str
        Code and data that made it, by what they are (:data:`METHOD` and so on), as far as they are known.
    """

    trial_id: str
    setting: str
    seed: int
    status: Status
    columns: Sequence[str]
    values: Sequence[Any]
    marks: Mapping[str, str]

    @cached_property
    def spec(self) -> TrialSpec:
        """The trial."""
        return spec_of(self.setting, self.seed)

    @property
    def facts(self) -> dict[str, Any]:
        """Values by column; made when it is asked for, since a hundred thousand of them fill a gigabyte."""
        return dict(zip(self.columns, self.values, strict=True))

    @property
    def error(self) -> str | None:
        """Type of a failure and the first line of its message; None of a trial that is done."""
        error = self._fact("error")
        if not error:
            return None
        kind, _, message = str(error).partition(": ")
        return f"{kind}: {(message.strip().splitlines() or [''])[0]}"

    @property
    def finished(self) -> str:
        """When, in UTC; "" where the record does not say it."""
        return str(self._fact("finished") or "")

    def _fact(self, name: str) -> Any:
        return self.values[self.columns.index(name)]


def entry_of(record: Record | Entry) -> Entry:
    """Return what an index keeps of a record."""
    if isinstance(record, Entry):
        return record
    spec = record.spec.to_dict()
    marks = {what: mark for what, read in _MARKS.items() if (mark := read(record))}
    facts = read_record(record) | read_metrics(record)
    columns, values = tuple(facts), tuple(facts.values())
    return Entry(record.trial_id, setting_of(spec), record.spec.seed, record.status, columns, values, marks)


def setting_of(spec: Mapping[str, Any]) -> str:
    """Return the text of a spec without its seed, see :attr:`Entry.setting`.

    Parameters
    ----------
    spec : mapping
        As :meth:`lnlbench.spec.TrialSpec.to_dict` returns it.
    """
    return json.dumps({**spec, "seed": None}, sort_keys=True)


def spec_of(setting: str, seed: int) -> TrialSpec:
    """Return the trial of a setting and a seed."""
    return replace(_first_of(setting), seed=seed)


@lru_cache(maxsize=4096)
def _first_of(setting: str) -> TrialSpec:
    return TrialSpec.from_dict({**json.loads(setting), "seed": 0})


def kinds_mark(spec: TrialSpec, known: Mapping[str, str]) -> str:
    """Return the code of a trial's kinds of phases; "" unless all of it is known."""
    names = dict.fromkeys(phase.kind for phase in spec.phases)
    if not all(known.get(name) for name in names):
        return ""
    return ", ".join(f"{name} {short(known[name])}" for name in names)


def short(mark: str) -> str:
    """Return a mark as messages show it."""
    return mark.removeprefix(COVERAGE)[:12]


def _kinds(plugin: CodeFacts) -> Mapping[str, str]:
    return plugin.get("kinds", {})


_MARKS: dict[str, Callable[[Record], str]] = {
    METHOD: lambda record: str(record.plugin.get("fingerprint") or ""),
    KINDS: lambda record: kinds_mark(record.spec, _kinds(record.plugin)),
    VERSION: lambda record: str(record.environment.get("lnlbench") or ""),
    DATA: lambda record: str(record.data.get("fingerprint") or ""),
    LABELS: lambda record: str(record.noise.get("labels_sha256") or ""),
    WEIGHTS: lambda record: str(record.plugin.get("backbone") or ""),
}
