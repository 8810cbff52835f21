"""A comparison for other programs: all cells, in full precision."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from lnlbench.analysis.comparison.published import Key
from lnlbench.analysis.comparison.result import ComparedCell, Comparison, Group, Number
from lnlbench.analysis.render_csv import escape_csv

_NUMBER = ("published", "mean", "sd", "n", "difference", "tolerance", "verdict")


def render_json(comparison: Comparison, mismatches: Sequence[str], everything: bool = False) -> str:
    """Return a comparison as JSON; ``everything`` changes nothing, since all cells are in it."""
    return json.dumps(to_dict(comparison, mismatches), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def render_csv(comparison: Comparison, mismatches: Sequence[str], everything: bool = False) -> str:
    """Return a comparison as CSV, a line for each number of each cell.

    ``kendall_tau`` is that of the setting, ``protocol`` says whether it is the paper's or differs;
    mismatches are not in it, and ``everything`` changes nothing.
    """
    table = comparison.table
    protocol = "differs" if comparison.differences else "paper"
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    own = [f"measured_{column}" for column in table.settings]
    writer.writerow(
        [*table.settings, *own, *table.entrants, "quantity", *_NUMBER, "kendall_tau", "protocol", "notes"]
    )
    for group in comparison.groups:
        measured = group.measured or ("",) * len(table.settings)
        for cell in group.cells:
            place = [escape_csv(value) for value in (*group.setting, *measured, *cell.entrant)]
            notes = escape_csv("; ".join(cell.notes))
            for number, ranking in zip(cell.numbers, group.rankings, strict=True):
                values = [_cell(value) for value in _number(number).values()]
                writer.writerow([*place, *values, _cell(ranking.tau), protocol, notes])
    return buffer.getvalue()


def to_dict(comparison: Comparison, mismatches: Sequence[str]) -> dict[str, Any]:
    """Return a comparison as a JSON value."""
    table = comparison.table
    return {
        "grid": table.grid,
        "table": table.title,
        "same_protocol": not comparison.differences,
        "differences": [
            {
                "key": item.key,
                "measured": list(item.measured),
                "paper": list(item.paper),
                "trials": item.trials,
            }
            for item in comparison.differences
        ],
        "complete": comparison.complete,
        "mismatches": list(mismatches),
        "mean_kendall_tau": {item.name: comparison.mean_tau(item) for item in table.quantities},
        "groups": [_group(comparison, group) for group in comparison.groups],
        "not_in_the_paper": [
            {**_place(table.entrants, entrant), "trials": count}
            for entrant, count in comparison.strangers.items()
        ],
        "remarks": list(comparison.remarks),
    }


def _group(comparison: Comparison, group: Group) -> dict[str, Any]:
    table = comparison.table
    return {
        "setting": _place(table.settings, group.setting),
        "measured": None if group.measured is None else _place(table.settings, group.measured),
        "kendall_tau": {ranking.quantity.name: ranking.tau for ranking in group.rankings},
        "ranked": {ranking.quantity.name: ranking.entrants for ranking in group.rankings},
        "leads": {
            lead.quantity.name: {
                "standing": str(lead.standing),
                "rival": None if lead.rival is None else _place(table.entrants, lead.rival),
                "gap": lead.gap,
            }
            for lead in group.leads
        },
        "cells": [_compared(table.entrants, cell) for cell in group.cells],
    }


def _compared(columns: Sequence[str], cell: ComparedCell) -> dict[str, Any]:
    return {
        **_place(columns, cell.entrant),
        "verdict": str(cell.verdict),
        "complete": cell.complete,
        "notes": list(cell.notes),
        "numbers": [_number(number) for number in cell.numbers],
    }


def _number(number: Number) -> dict[str, Any]:
    measured = number.measured
    return {
        "quantity": number.quantity.name,
        "published": number.published,
        "mean": None if measured is None else measured.mean,
        "sd": None if measured is None else measured.sd,
        "n": None if measured is None else measured.n,
        "difference": number.difference,
        "tolerance": number.allowed,
        "verdict": str(number.verdict),
    }


def _place(columns: Sequence[str], key: Key) -> dict[str, str]:
    return dict(zip(columns, key, strict=True))


def _cell(value: Any) -> str:
    return "" if value is None else repr(value) if isinstance(value, float) else escape_csv(str(value))
