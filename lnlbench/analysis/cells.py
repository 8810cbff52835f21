"""One cell of a table: which trials it stands for, their numbers, and what must be noted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from lnlbench.analysis.layout import Trial
from lnlbench.analysis.names import clean
from lnlbench.analysis.stats import Summary, separable, summarise
from lnlbench.record import Status

NOTE_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Value:
    """One number of a cell.

    Attributes
    ----------
    summary : Summary
    best : bool
        Highest mean of its column.
    inseparable : bool
        Not the best, and not separable from it; see :func:`lnlbench.analysis.stats.separable`.
    """

    summary: Summary
    best: bool = False
    inseparable: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """What one cell shows.

    Attributes
    ----------
    values : tuple of Value
        One per metric of the column; empty for a blank cell.
    notes : tuple of int
        Numbers of its footnotes, from 1.
    complete : bool
        Whether every planned trial that was not skipped is in it.
    """

    values: tuple[Value, ...]
    notes: tuple[int, ...] = ()
    complete: bool = True


@dataclass(slots=True)
class Draft:
    """A cell in the making: notes are still text, and the trials used are known."""

    values: tuple[Value, ...] = ()
    notes: list[str] = field(default_factory=list)
    complete: bool = True
    used: list[Trial] = field(default_factory=list)


def draft_cell(trials: Sequence[Trial], metrics: Sequence[str]) -> Draft:
    """Summarise the trials of one cell, which differ in their seed.

    Trials that differ in more are never averaged: the cell stays blank and says so. Of
    trials made by different code, or from different data, only the newest kind is used.
    """
    if not trials:
        return Draft(notes=["not in the plan"])
    if len({trial["setting"] for trial in trials}) > 1:
        note = "trials with different settings meet here; separate them with --where or another axis"
        return Draft(notes=[note], complete=False)
    done = [trial for trial in trials if trial["status"] == Status.DONE]
    measured = [trial for trial in done if all(trial[metric] is not None for metric in metrics)]
    used = _newest(measured)
    draft = Draft(used=used)
    reasons = Counter(_reason(trial) for trial in trials if trial["status"] != Status.DONE)
    reasons["made by older code or from other data than the rest, left out"] = len(measured) - len(used)
    reasons[f"without a value for {' / '.join(metrics)}"] = len(done) - len(measured)
    for reason, count in reasons.items():
        if count:
            share = "" if count == len(trials) else f"{count} of {len(trials)} seeds "
            draft.notes.append(f"{share}{reason}")
    if used and used[0]["stale"]:
        draft.notes.append(f"stale: {clean(used[0]['stale'])}")
    skipped = sum(trial["status"] == Status.SKIPPED for trial in trials)
    draft.complete = len(used) + skipped == len(trials)
    if used:
        draft.values = tuple(Value(summarise([trial[metric] for trial in used])) for metric in metrics)
    return draft


def mark_best(column: Sequence[Draft]) -> None:
    """Mark the best mean of each metric, and those not separable from it, in one column."""
    filled = [draft for draft in column if draft.values]
    if len(filled) < 2:
        return
    for metric in range(len(filled[0].values)):
        summaries = [draft.values[metric].summary for draft in filled]
        top = max(summaries, key=lambda summary: summary.mean)
        for draft, summary in zip(filled, summaries, strict=True):
            best = summary.mean == top.mean
            inseparable = not best and separable(top, summary) is False
            marked = replace(draft.values[metric], best=best, inseparable=inseparable)
            draft.values = (*draft.values[:metric], marked, *draft.values[metric + 1 :])


def _newest(trials: Sequence[Trial]) -> list[Trial]:
    def code(trial: Trial) -> tuple[str | None, ...]:
        marks = ("method_fingerprint", "version", "data_fingerprint", "backbone_fingerprint")
        return tuple(trial[mark] for mark in marks)

    if not trials:
        return []
    newest = code(max(trials, key=lambda trial: trial["finished"] or ""))
    return [trial for trial in trials if code(trial) == newest]


def _reason(trial: Trial) -> str:
    if trial["status"] == Status.FAILED:
        lines = (trial["error"] or "no error recorded").strip().splitlines()
        return f"failed: {_shorten(lines[0])}"
    if trial["status"] == Status.SKIPPED:
        return f"skipped: {_shorten(trial['skip'] or 'no reason given')}"
    return "pending"


def _shorten(text: str) -> str:
    text = clean(text)
    return text if len(text) <= NOTE_LENGTH else text[: NOTE_LENGTH - 1] + "…"
