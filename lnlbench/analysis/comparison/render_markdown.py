"""A comparison for documents and issues."""

from __future__ import annotations

from collections.abc import Sequence

from lnlbench.analysis.comparison import wording
from lnlbench.analysis.comparison.published import PublishedTable
from lnlbench.analysis.comparison.result import Comparison, Group
from lnlbench.analysis.render_markdown import escape_markdown


def render_markdown(comparison: Comparison, mismatches: Sequence[str], everything: bool = False) -> str:
    """Return a comparison as Markdown: one table of rankings and one of cells.

    Parameters are those of :func:`lnlbench.analysis.comparison.render_text.render_text`.
    """
    table, judged = comparison.table, not comparison.differences
    lines = [f"## {escape_markdown(wording.title(comparison))}", ""]
    notice = wording.protocol(comparison)
    if notice:
        lines += [f"**{escape_markdown(notice[0])}**", "", *_list(notice[1:]), ""]
    lines += _table(_ranking_head(table), [_ranking_row(table, group) for group in comparison.groups])
    cells = [
        [
            wording.heading(table, group),
            *wording.entrant_labels(table, cell.entrant),
            *wording.number_labels(cell, judged),
        ]
        for group in comparison.groups
        for cell in group.cells
        if wording.shown(cell, judged, everything)
    ]
    if cells:
        head = ["setting", *wording.entrant_headings(table), *wording.number_headings(table)]
        lines += ["", *_table(head, cells)]
    lines += ["", *_list(wording.summary(comparison))]
    if not everything:
        lines += _list(["Only cells that differ or are incomplete are listed; --all lists every one."])
    lines += ["", escape_markdown(wording.method())]
    if mismatches:
        lines += ["", f"**Mismatch:** {escape_markdown('; '.join(mismatches))}."]
    return "\n".join(lines) + "\n"


def _ranking_head(table: PublishedTable) -> list[str]:
    head = ["setting", *(f"τ, {quantity.label}" for quantity in table.quantities), "rows ranked"]
    if table.claim:
        head += [f"{wording.claimant(table)} leads, {quantity.label}" for quantity in table.quantities]
    return head


def _ranking_row(table: PublishedTable, group: Group) -> list[str]:
    ranked = max(ranking.entrants for ranking in group.rankings)
    row = [wording.heading(table, group), *map(wording.ranking_label, group.rankings)]
    row.append(f"{ranked} of {len(group.cells)}")
    if table.claim:
        leads = {lead.quantity.name: wording.lead_label(table, lead) for lead in group.leads}
        row += [leads.get(quantity.name, "not in the paper") for quantity in table.quantities]
    return row


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [_row(head), f"|{' --- |' * len(head)}", *map(_row, rows)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(escape_markdown, cells))} |"


def _list(items: Sequence[str]) -> list[str]:
    return [f"- {escape_markdown(item)}" for item in items]
