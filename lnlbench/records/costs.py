"""What a trial cost, relative to CE with FFT on the same problem (protocol, section 6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lnlbench.records.record import Status

Row = dict[str, Any]

# Of CE with FFT per sample and epoch: a forward as 1 and a backward as 2.
UNITS = 3


def newest(rows: Sequence[Row]) -> list[Row]:
    """Return those rows of a frame that the same code made from the same data as the newest of them."""

    def code(row: Row) -> tuple[str | None, ...]:
        marks = ("method_fingerprint", "version", "data_fingerprint", "backbone_fingerprint")
        return tuple(row.get(mark) for mark in marks)

    if not rows:
        return []
    latest = code(max(rows, key=lambda row: row.get("finished") or ""))
    return [row for row in rows if code(row) == latest]


def add_costs(rows: Sequence[Row]) -> None:
    """Add ``cost`` to rows of the frame that have ``cost_units``.

    The reference is the mean over the seeds of CE with FFT in the same grid, on the same data set,
    noise and backbone, also where a filter leaves it out of a table. Where it was not run, its cost
    is computed from the ``reference_epochs`` of the plan, and ``cost_reference`` says which it is.
    There is none where it was run in several ways, or the plan does not know its epochs.
    """
    references: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        is_reference = row["method"] == "ce" and row["tuning"] == "fft"
        if is_reference and row["status"] == Status.DONE and row.get("cost_units"):
            references.setdefault(_problem(row), []).append(row)
    means = {problem: _mean_units(found) for problem, found in references.items()}
    for row in rows:
        units, reference = row.get("cost_units"), means.get(_problem(row))
        kind = "measured"
        if _problem(row) not in means and row.get("reference_epochs") and row.get("train_samples"):
            reference, kind = UNITS * row["train_samples"] * row["reference_epochs"], "computed"
        if units is not None and reference:
            row["cost"], row["cost_reference"] = units / reference, kind


def _problem(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("grid", "dataset", "noise_label", "backbone"))


def _mean_units(found: Sequence[Row]) -> float | None:
    """Mean cost of trials that differ in their seed alone, in units; None if they differ in more."""
    if len({row["setting"] for row in found}) != 1:
        return None
    units: list[int] = [row["cost_units"] for row in newest(found)]
    return sum(units) / len(units)
