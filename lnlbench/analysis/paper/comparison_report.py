"""A comparison as text for terminals, and as JSON for other programs."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from lnlbench.analysis.names import axis_label, clean, display
from lnlbench.analysis.paper.agreement import Lead, Standing, Verdict
from lnlbench.analysis.paper.comparison import ComparedCell, ComparedSetting, Comparison, Number
from lnlbench.analysis.paper.published import AXES, Place, PublishedQuantity, PublishedTable
from lnlbench.analysis.stats import CONFIDENCE
from lnlbench.basics.columns import columns

SOURCE = "Ahn, Kim, Ko & Yun, Fine-tuning Pre-trained Models for Robustness Under Noisy Labels, 2023"

_ANOTHER_PROTOCOL = (
    "MEASURED UNDER ANOTHER PROTOCOL THAN THE PAPER'S. Cells cannot be expected to agree and are not "
    "judged; the order of the rows is compared with the paper's. The runs differ in:"
)
_METHOD = (
    f"Published numbers are single runs of unknown spread ({SOURCE}). measured: mean ± sample standard "
    "deviation (divisor n - 1) over n seeds. tolerance: the fixed part (--tolerance), or, where larger, "
    f"the half-width of the {CONFIDENCE:.0%} prediction interval for one further run with the measured "
    "spread. Kendall's τ-b compares the orders of published numbers and of measured means."
)
_WIDTH = 110
_INDENT = "  "
_BLANK = "-"


def to_text(comparison: Comparison, mismatches: Sequence[str], everything: bool = False) -> str:
    """Return a comparison as plain text: rankings in one table, then cells by setting.

    Parameters
    ----------
    comparison : Comparison
    mismatches : sequence of str
        What contradicts the paper; see :meth:`Comparison.mismatches`.
    everything : bool, default False
        Print all cells, not only those that differ or are incomplete.
    """
    table = comparison.table
    lines = [f"{table.title} of the paper, and what was measured"]
    if comparison.differences:
        lines += ["", *_wrapped(_ANOTHER_PROTOCOL)]
        lines += [f"{_INDENT}{clean(item)} ({_trials(item.trials)})" for item in comparison.differences]
    lines += ["", *columns([_ranking_head(table), *(_ranking(table, group) for group in comparison.groups)])]
    for group in comparison.groups:
        lines += _cells(table, group, not comparison.differences, everything)
    lines += ["", *(line for sentence in _summary(comparison) for line in _wrapped(sentence))]
    if not everything:
        lines.append("Only cells that differ or are incomplete are listed; --all lists every one.")
    lines += ["", *_wrapped(_METHOD)]
    if mismatches:
        lines += ["", *_wrapped(f"Mismatch: {'; '.join(mismatches)}.")]
    return "\n".join(lines) + "\n"


def to_json(comparison: Comparison, mismatches: Sequence[str]) -> str:
    """Return a comparison as JSON: all cells, in full precision."""
    table = comparison.table
    value = {
        "grid": table.grid,
        "table": table.title,
        "same_protocol": not comparison.differences,
        "differences": [asdict(item) for item in comparison.differences],
        "complete": comparison.complete,
        "mismatches": mismatches,
        "mean_kendall_tau": {item.name: comparison.mean_tau(item) for item in table.quantities},
        "groups": [_group_value(table, group) for group in comparison.groups],
        "not_in_the_paper": [
            {**dict(zip(table.entrants, entrant, strict=True)), "trials": count}
            for entrant, count in comparison.strangers.items()
        ],
        "remarks": comparison.remarks,
    }
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _group_value(table: PublishedTable, group: ComparedSetting) -> dict[str, Any]:
    return {
        "setting": _named(table.settings, group.setting),
        "measured": _named(table.settings, group.measured),
        "kendall_tau": {ranking.quantity.name: ranking.tau for ranking in group.rankings},
        "ranked": {ranking.quantity.name: ranking.entrants for ranking in group.rankings},
        "leads": {
            lead.quantity.name: {
                "standing": lead.standing,
                "rival": _named(table.entrants, lead.rival),
                "gap": lead.gap,
            }
            for lead in group.leads
        },
        "cells": [
            {
                **dict(zip(table.entrants, cell.entrant, strict=True)),
                "verdict": cell.verdict,
                "complete": cell.complete,
                "notes": cell.notes,
                "numbers": [_number_value(number) for number in cell.numbers],
            }
            for cell in group.cells
        ],
    }


def _number_value(number: Number) -> dict[str, Any]:
    return {
        "quantity": number.quantity.name,
        "published": number.published,
        **(asdict(number.measured) if number.measured else dict.fromkeys(("mean", "sd", "n"))),
        "difference": number.difference,
        "tolerance": number.allowed,
        "verdict": number.verdict,
    }


def _named(names: Sequence[str], place: Place | None) -> dict[str, str] | None:
    return None if place is None else dict(zip(names, place, strict=True))


def _ranking_head(table: PublishedTable) -> list[str]:
    names = [quantity.label for quantity in table.quantities]
    leads = [f"{_claimant(table)} leads, {name}" for name in names] if table.claim else []
    return ["setting", *(f"τ, {name}" for name in names), "rows", *leads]


def _ranking(table: PublishedTable, group: ComparedSetting) -> list[str]:
    ranked = max(ranking.entrants for ranking in group.rankings)
    labels = [_BLANK if ranking.tau is None else f"{ranking.tau:.2f}" for ranking in group.rankings]
    labels.append(f"{ranked} of {len(group.cells)}")
    if table.claim:
        leads = {lead.quantity.name: _lead(table, lead) for lead in group.leads}
        labels += [leads.get(quantity.name, "not in the paper") for quantity in table.quantities]
    return [_heading(table, group), *labels]


def _lead(table: PublishedTable, lead: Lead) -> str:
    if lead.rival is None or lead.gap is None:
        return "not measured"
    if lead.standing is Standing.LEADS:
        return "yes"
    rival = " ".join(_shown(table.entrants, lead.rival))
    margin = f"{rival} is {lead.gap:.{lead.quantity.decimals}f} higher"
    return f"within tolerance ({margin})" if lead.standing is Standing.TOLERATED else f"no ({margin})"


def _heading(table: PublishedTable, group: ComparedSetting) -> str:
    """Return the setting of a group, and on what it was measured if that is something else."""
    own = _shown(table.settings, group.setting)
    measured = _shown(table.settings, group.measured or group.setting)
    other = [mine for mine, paper in zip(measured, own, strict=True) if mine != paper]
    heading = ", ".join(own) or table.title
    return f"{heading} (measured: {', '.join(other)})" if other else heading


def _cells(table: PublishedTable, group: ComparedSetting, judged: bool, everything: bool) -> list[str]:
    """Return the table of a group's cells that differ or miss something, or of all."""
    cells = [
        cell
        for cell in group.cells
        if everything or not cell.complete or (judged and cell.verdict is Verdict.DIFFERS)
    ]
    if not cells:
        return []
    title = ["", _heading(table, group)]
    reasons = {cell.notes for cell in cells}
    empty = not any(number.measured for cell in cells for number in cell.numbers)
    if len(cells) == len(group.cells) > 1 and len(reasons) == 1 and empty:
        return [*title, f"{_INDENT}all {len(cells)} cells are missing: {'; '.join(reasons.pop())}"]
    names = " / ".join(quantity.label for quantity in table.quantities)
    head = [axis_label(AXES[column]) for column in table.entrants]
    head += [f"paper: {names}", "measured", "n", "difference", "tolerance", "verdict"]
    body = [[*_shown(table.entrants, cell.entrant), *_numbers(cell, judged)] for cell in cells]
    return [*title, *columns([head, *body], _INDENT)]


def _numbers(cell: ComparedCell, judged: bool) -> list[str]:
    def joined(parts: Iterable[str]) -> str:
        found = list(parts)
        return " / ".join(found) if any(part != _BLANK for part in found) else _BLANK

    sizes = [str(number.measured.n) for number in cell.numbers if number.measured is not None]
    return [
        joined(_plain(number.quantity, number.published) for number in cell.numbers),
        joined(map(_mean, cell.numbers)),
        sizes[0] if sizes else "",
        joined(_signed(number.quantity, number.difference) for number in cell.numbers),
        joined(_plain(number.quantity, number.allowed) for number in cell.numbers),
        "; ".join((_verdict(cell, judged), *map(clean, cell.notes))),
    ]


def _verdict(cell: ComparedCell, judged: bool) -> str:
    if not judged and cell.verdict is not Verdict.MISSING:
        return "not judged"
    differing = [number.quantity.label for number in cell.numbers if number.verdict is Verdict.DIFFERS]
    some = 0 < len(differing) < len(cell.numbers)
    return f"differs ({', '.join(differing)})" if some else str(cell.verdict)


def _summary(comparison: Comparison) -> list[str]:
    """Return the sentences that sum a comparison up."""
    agree, differ, missing = map(comparison.count, (Verdict.AGREES, Verdict.DIFFERS, Verdict.MISSING))
    counts = f"{agree} agree{'s' * (agree == 1)}, {differ} differ{'s' * (differ == 1)}"
    if comparison.differences:
        counts = f"{agree + differ} not judged"
    lines = [f"{len(comparison.cells)} cells: {counts}, {missing} missing."]
    lines += [_closeness(comparison, quantity) for quantity in comparison.table.quantities]
    lines += filter(None, (_leads(comparison, quantity) for quantity in comparison.table.quantities))
    if comparison.strangers:
        names = (
            f"{' '.join(_shown(comparison.table.entrants, entrant))} ({_trials(count)})"
            for entrant, count in comparison.strangers.items()
        )
        lines.append(f"Not in the paper, and not compared: {', '.join(names)}.")
    return [*lines, *comparison.remarks]


def _closeness(comparison: Comparison, quantity: PublishedQuantity) -> str:
    numbers = [number for cell in comparison.cells for number in cell.numbers if number.quantity == quantity]
    gaps = [abs(number.difference) for number in numbers if number.difference is not None]
    taus = [
        ranking.tau
        for group in comparison.groups
        for ranking in group.rankings
        if ranking.quantity == quantity and ranking.tau is not None
    ]
    distance, order = "nothing measured", "Kendall's τ is undefined"
    if gaps:
        distance = f"mean absolute difference {sum(gaps) / len(gaps):.{quantity.decimals}f}"
    if taus:
        order = f"mean Kendall's τ {sum(taus) / len(taus):.2f} over {_settings(len(taus))}"
    return f"{quantity.label}: {distance}; {order}."


def _leads(comparison: Comparison, quantity: PublishedQuantity) -> str:
    """Say how often the leads that the paper claims were found; "" if it claims none."""
    found = [
        lead.standing for group in comparison.groups for lead in group.leads if lead.quantity == quantity
    ]
    if not found:
        return ""
    parts = [f"it leads in {found.count(Standing.LEADS)}"]
    for standing, words in (
        (Standing.TOLERATED, "is behind within the tolerance in"),
        (Standing.BEHIND, "is behind in"),
        (Standing.UNKNOWN, "cannot be compared in"),
    ):
        if standing in found:
            parts.append(f"{words} {found.count(standing)}")
    claim = f"the paper has {_claimant(comparison.table)} ahead in {_settings(len(found))}"
    return f"{quantity.label}: {claim}; here {', '.join(parts)}."


def _claimant(table: PublishedTable) -> str:
    return ", ".join(_shown(tuple(table.claim), tuple(table.claim.values())))


def _shown(names: Sequence[str], place: Place) -> list[str]:
    """Return values of a published table's columns as tables write them."""
    return [display(AXES[name], value) for name, value in zip(names, place, strict=True)]


def _trials(count: int) -> str:
    return "1 trial" if count == 1 else f"{count} trials"


def _settings(count: int) -> str:
    return "1 setting" if count == 1 else f"{count} settings"


def _plain(quantity: PublishedQuantity, value: float | None) -> str:
    return _BLANK if value is None else f"{value:.{quantity.decimals}f}"


def _signed(quantity: PublishedQuantity, value: float | None) -> str:
    # Adding zero turns the -0.00 of a small negative difference into +0.00.
    return _BLANK if value is None else f"{round(value, quantity.decimals) + 0.0:+.{quantity.decimals}f}"


def _mean(number: Number) -> str:
    mean, sd = (number.measured.mean, number.measured.sd) if number.measured else (None, None)
    spread = "" if sd is None else f" ± {_plain(number.quantity, sd)}"
    return _plain(number.quantity, mean) + spread


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, break_on_hyphens=False)
