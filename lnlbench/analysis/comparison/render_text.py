"""A comparison for terminals."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from lnlbench.analysis.comparison import wording
from lnlbench.analysis.comparison.published import PublishedTable
from lnlbench.analysis.comparison.result import Comparison, Group

_WIDTH = 110
_INDENT = "  "


def render_text(comparison: Comparison, mismatches: Sequence[str], everything: bool = False) -> str:
    """Return a comparison as plain text, a paragraph for each setting.

    Parameters
    ----------
    comparison : Comparison
    mismatches : sequence of str
        What contradicts the paper; see :meth:`Comparison.mismatches`.
    everything : bool, default False
        Print all cells, not only those that differ or are incomplete.
    """
    judged = not comparison.differences
    lines = [wording.title(comparison)]
    notice = wording.protocol(comparison)
    if notice:
        lines += ["", *_wrapped(notice[0]), *(_INDENT + item for item in notice[1:])]
    for group in comparison.groups:
        lines += ["", *_group(comparison.table, group, judged, everything)]
    lines += ["", *(line for sentence in wording.summary(comparison) for line in _wrapped(sentence))]
    if not everything:
        lines += _wrapped("Only cells that differ or are incomplete are listed; --all lists every one.")
    lines += ["", *_wrapped(wording.method())]
    if mismatches:
        lines += ["", *_wrapped(f"Mismatch: {'; '.join(mismatches)}.")]
    return "\n".join(lines) + "\n"


def _group(table: PublishedTable, group: Group, judged: bool, everything: bool) -> list[str]:
    lines = [wording.heading(table, group)]
    if group.measured is not None:
        orders = ", ".join(
            f"{ranking.quantity.label} {wording.ranking_label(ranking)}" for ranking in group.rankings
        )
        ranked = max(ranking.entrants for ranking in group.rankings)
        lines += _wrapped(f"Kendall's τ: {orders} ({ranked} of {len(group.cells)} rows)", _INDENT)
    if group.leads and group.measured is not None:
        claims = ", ".join(f"{lead.quantity.label} {wording.lead_label(table, lead)}" for lead in group.leads)
        lines += _wrapped(f"{wording.claimant(table)} leads, as in the paper: {claims}", _INDENT)
    cells = [cell for cell in group.cells if wording.shown(cell, judged, everything)]
    reasons = {cell.notes for cell in cells}
    if len(cells) == len(group.cells) > 1 and len(reasons) == 1 and not any(map(wording.has_numbers, cells)):
        return [*lines, f"{_INDENT}all {len(cells)} cells are missing: {'; '.join(reasons.pop())}"]
    if cells:
        head = [*wording.entrant_headings(table), *wording.number_headings(table)]
        body = [
            [*wording.entrant_labels(table, cell.entrant), *wording.number_labels(cell, judged)]
            for cell in cells
        ]
        lines += _columns([head, *body])
    return lines


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        (_INDENT + _INDENT.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip()
        for row in rows
    ]


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=indent, subsequent_indent=indent * 2, break_on_hyphens=False
    )
