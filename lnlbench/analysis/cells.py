"""One cell of a table: which trials it stands for, their numbers, and what must be noted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from lnlbench.analysis.axes import TrialRow
from lnlbench.analysis.names import clean
from lnlbench.analysis.quantities import quantity
from lnlbench.analysis.stats import Summary, separable, summarise
from lnlbench.plugins.registry import metrics as metrics_registry
from lnlbench.records.costs import newest
from lnlbench.records.metric_columns import split_column
from lnlbench.records.record import Status

NOTE_LENGTH = 200
NO_REFERENCE = "no result of CE with FFT to compare the cost with"


@dataclass(frozen=True, slots=True)
class Value:
    """One number of a cell.

    Attributes
    ----------
    summary : Summary
    best : bool
        Best mean among the cells that it is compared with.
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
    metrics : tuple of str
        Names of its numbers.
    values : tuple of Value
        One per metric; empty for a blank cell.
    notes : tuple of int
        Numbers of its footnotes, from 1.
    complete : bool
        Whether every planned trial that was not skipped is in it.
    """

    metrics: tuple[str, ...]
    values: tuple[Value, ...]
    notes: tuple[int, ...] = ()
    complete: bool = True


@dataclass(slots=True)
class Draft:
    """A cell in the making: notes are still text, and the trials used are known."""

    metrics: tuple[str, ...] = ()
    values: tuple[Value, ...] = ()
    notes: list[str] = field(default_factory=list)
    complete: bool = True
    used: list[TrialRow] = field(default_factory=list)


def draft_cell(trials: Sequence[TrialRow], metrics: tuple[str, ...]) -> Draft:
    """Summarise the trials of one cell, which differ in their seed.

    Trials that differ in more are never averaged: the cell stays blank and says so. Of
    trials made by different code, or from different data, only the newest kind is used.

    Parameters
    ----------
    trials : sequence of TrialRow
        See :func:`lnlbench.analysis.trial_rows.trials_of`.
    metrics : tuple of str
        Numbers that a trial must have to be used; may be empty.
    """
    if not trials:
        return Draft(metrics, notes=["not in the plan"])
    if len({trial["setting"] for trial in trials}) > 1:
        note = "trials with different settings meet here; separate them with --where or another axis"
        return Draft(metrics, notes=[note], complete=False)
    done = [trial for trial in trials if trial["status"] == Status.DONE]
    measured: list[TrialRow] = []
    unmeasured: list[TrialRow] = []
    for trial in done:
        (unmeasured if any(trial[metric] is None for metric in metrics) else measured).append(trial)
    used = newest(measured)
    draft = Draft(metrics, used=used)
    reasons = Counter(_reason(trial) for trial in trials if trial["status"] != Status.DONE)
    reasons["made by older code or from other data than the rest, left out"] = len(measured) - len(used)
    reasons.update(_without(trial, metrics) for trial in unmeasured)
    for reason, count in reasons.items():
        if count:
            share = "" if count == len(trials) else f"{count} of {len(trials)} seeds "
            draft.notes.append(f"{share}{reason}")
    if used and used[0]["stale"]:
        draft.notes.append(f"stale: {clean(used[0]['stale'])}")
    # `auto` resolves by machine, so equal settings may have run in different precisions.
    precisions = sorted({trial["precision"] for trial in used if trial["precision"]})
    if len(precisions) > 1:
        draft.notes.append(f"seeds ran in different precisions ({', '.join(precisions)})")
    early = sum(_best_before_last_phase(trial) for trial in used)
    if early and any(quantity(metric).short == "best" for metric in metrics):
        whose = "best" if early == len(used) else f"best of {early} of {len(used)} seeds"
        draft.notes.append(f"{whose} is from a phase before the last one ({_earlier_phases(used[0])})")
    skipped = sum(trial["status"] == Status.SKIPPED for trial in trials)
    draft.complete = len(used) + skipped == len(trials)
    if used:
        draft.values = tuple(Value(summarise([trial[metric] for trial in used])) for metric in metrics)
    return draft


def mark_best(drafts: Sequence[Draft]) -> None:
    """Mark the best mean of each accuracy or metric, and those not separable from it, in some cells.

    Parameters
    ----------
    drafts : sequence of Draft
        Cells to compare, all of the same metrics.
    """
    filled = [draft for draft in drafts if draft.values]
    if len(filled) < 2:
        return
    for position, metric in enumerate(filled[0].metrics):
        better = quantity(metric).better
        if not better:
            continue
        summaries = [draft.values[position].summary for draft in filled]
        top = (min if better == "lower" else max)(summaries, key=lambda summary: summary.mean)
        for draft, summary in zip(filled, summaries, strict=True):
            best = summary.mean == top.mean
            inseparable = not best and separable(top, summary) is False
            marked = replace(draft.values[position], best=best, inseparable=inseparable)
            draft.values = (*draft.values[:position], marked, *draft.values[position + 1 :])


def _best_before_last_phase(trial: TrialRow) -> bool:
    """Say whether validation chose an epoch of, say, the probing that comes before fine-tuning."""
    epoch = trial["best_epoch"]
    return epoch is not None and epoch < sum(phase["epochs"] for phase in trial["phases"][:-1])


def _earlier_phases(trial: TrialRow) -> str:
    return ", ".join(phase["kind"].upper() for phase in trial["phases"][:-1])


def _without(trial: TrialRow, metrics: tuple[str, ...]) -> str:
    missing = [metric for metric in metrics if trial[metric] is None]
    if missing == ["cost"] and trial["cost_units"] is not None:
        return NO_REFERENCE
    of_metric = split_column(missing[0])
    if of_metric is not None:
        title = metrics_registry().describe(of_metric[0]).title or of_metric[0]
        return f"no {clean(title)} in the record: made before it was measured, or not defined"
    return f"without a value for {' / '.join(metrics)}"


def _reason(trial: TrialRow) -> str:
    if trial["status"] == Status.FAILED:
        lines = (trial["error"] or "no error recorded").strip().splitlines()
        return f"failed: {_shorten(lines[0])}"
    if trial["status"] == Status.SKIPPED:
        return f"skipped: {_shorten(trial['skip'] or 'no reason given')}"
    return "pending"


def _shorten(text: str) -> str:
    text = clean(text)
    return text if len(text) <= NOTE_LENGTH else text[: NOTE_LENGTH - 1] + "…"
