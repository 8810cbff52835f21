"""Is a folder of results what it says? Sums, records that agree with themselves, and rendering again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import pandas as pd

from lnlbench.publishing.bundle import changed_files, origin_of
from lnlbench.publishing.rendering import render_all
from lnlbench.records.frame import build_frame
from lnlbench.records.reading.published_folder import ORIGIN, PLANS, RECORDS, PublishedResults
from lnlbench.records.record import Record, Status

# Numbers in records are exact; this allows for the last digit of a decimal.
_ROUNDING = 1e-9
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes
    ----------
    what : str
    agrees : bool
    text : str
        What was found.
    """

    what: str
    agrees: bool
    text: str


def check_published(published: PublishedResults) -> list[Check]:
    """Look at everything that can be checked without running anything."""
    changed = changed_files(published)
    sums = "sums agree" if not changed else f"not what was written: {', '.join(changed)}"
    origin = {key: value for key, value in published.origin.items() if key not in ("format", "sha256")}
    agrees = origin == origin_of(published.records)
    findings = [
        Check("files", not changed, sums),
        Check(
            ORIGIN,
            agrees,
            "versions, commits and machines are those of the records"
            if agrees
            else "versions, commits or machines are not those of the records",
        ),
    ]
    problems = [problem for record in published.records for problem in contradictions(record)]
    problems += list(_columns_that_differ(published))
    done = sum(record.status is Status.DONE for record in published.records)
    text = f"{len(published.records)} records, {done} of them done, agree with themselves and with {PLANS}"
    if problems:
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        text = "; ".join(problems[:_SHOWN]) + more
    findings.append(Check(RECORDS, not problems, text))
    return [*findings, *_render_again(published)]


def contradictions(record: Record) -> Iterator[str]:
    """Yield where a record contradicts itself: accuracies that its epochs do not have."""
    if record.status is not Status.DONE or not record.history:
        return
    curve = [epoch.get("test") for epoch in record.history]
    metrics = record.metrics
    expected = {
        "last": curve[-1],
        "oracle": max((value for value in curve if value is not None), default=None),
    }
    if (at := metrics.get("best_epoch")) is not None:
        expected["best"] = curve[at] if 0 <= at < len(curve) else None
    for name, value in expected.items():
        stated = {"last": metrics["last"], "oracle": metrics["oracle"], "best": metrics["best"]}[name]
        if value is None or abs(stated - value) > _ROUNDING:
            yield f"{record.trial_id}: {name} is {stated}, and {value} among its epochs"


def _columns_that_differ(published: PublishedResults) -> Iterator[str]:
    """Yield trials and columns that are not what the records give; columns of other versions aside."""
    planned = [trial["trial_id"] for plan in published.plans().values() for trial in plan["trials"]]
    strangers = {record.trial_id for record in published.records} - set(planned)
    yield from (f"{trial_id}: in no plan" for trial_id in sorted(strangers))
    again = build_frame(published.plans(), published.records)
    if list(again["trial_id"]) != list(published.frame["trial_id"]):
        yield f"the trials are not those of {PLANS}"
        return
    for column in again:
        if column in published.frame:
            stored = published.frame[column].astype(again[column].dtype)
            for trial_id in again["trial_id"][_unequal(stored, again[column])]:
                yield f"{trial_id}: the column {column} is not what its record says"


def _unequal(first: pd.Series[Any], second: pd.Series[Any]) -> pd.Series[bool]:
    missing = first.isna() & second.isna()
    return ~((first == second).fillna(False).astype(bool) | missing)


def _render_again(published: PublishedResults) -> Iterator[Check]:
    for name, content in sorted(render_all(published.plans(), published.records).items()):
        path = published.root / name
        if not path.is_file():
            yield Check(name, False, "is missing")
        elif path.read_bytes() == content:
            yield Check(name, True, f"the same, byte for byte ({len(content):,} bytes)")
        else:
            yield Check(name, False, _first_difference(path.read_text("utf-8", "replace"), content.decode()))


def _first_difference(stored: str, made: str) -> str:
    lines = zip_longest(stored.splitlines(), made.splitlines(), fillvalue="(nothing)")
    for number, (old, new) in enumerate(lines, start=1):
        if old != new:
            start = next((at for at, pair in enumerate(zip(old, new, strict=False)) if pair[0] != pair[1]), 0)
            shown = [f"“{line[max(0, start - 30) : start + 50]}”" for line in (old, new)]
            return f"differs from line {number} on: {shown[0]} is there, and the records give {shown[1]}"
    return "differs in the ends of its lines"
