"""Tables for terminals."""

from __future__ import annotations

import textwrap

from lnlbench.analysis.names import clean
from lnlbench.analysis.tables.formatting import Style, format_cell, unrepeated
from lnlbench.analysis.tables.tables import Block, Table

_STYLE = Style(
    bold=lambda text: f"*{text}*",
    underline=lambda text: f"_{text}_",
    note=lambda numbers: f" [{numbers}]",
    plus_minus="±",
    blank="-",
)
_GAP = "  "
_WIDTH = 100


def render_text(table: Table) -> str:
    """Return a table as aligned plain text, with notes and caption below."""
    lines: list[str] = []
    for block in table.blocks:
        lines += [*([""] if lines else []), *_block_lines(table, block)]
    if table.footnotes:
        lines += ["", *(f"[{number}] {note}" for number, note in enumerate(table.footnotes, start=1))]
    if table.mark_notes:
        lines += ["", *table.mark_notes]
    text = f"{' '.join((*table.caption, ''))}Here *x* stands for bold and _x_ for underlined."
    lines += ["", *textwrap.wrap(text, _WIDTH, break_on_hyphens=False)]
    lines.append("; ".join(f"{name}: {clean(value)}" for name, value in table.provenance))
    return "\n".join(lines) + "\n"


def _block_lines(table: Table, block: Block) -> list[str]:
    head = [[*table.stub, *(label for label, _ in block.headings)]]
    if any(sublabel for _, sublabel in block.headings):
        head.append([*("" for _ in table.stub), *(sublabel for _, sublabel in block.headings)])
    body = [
        [*labels, *(format_cell(cell, _STYLE) for cell in cells)]
        for labels, cells in zip(unrepeated(table), block.cells, strict=True)
    ]
    widths = [max(map(len, column)) for column in zip(*head, *body, strict=True)]
    if table.grouped:
        _widen(widths, len(table.stub), block)
    lines = [_line(cells, widths) for cells in (*head, ["-" * width for width in widths], *body)]
    return [_group_line(widths, len(table.stub), block), *lines] if table.grouped else lines


def _line(cells: list[str], widths: list[int]) -> str:
    return _GAP.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _widen(widths: list[int], first: int, block: Block) -> None:
    """Give the last column of each group the room that the group's heading needs."""
    for label, count in block.spans:
        inside = sum(widths[first : first + count]) + len(_GAP) * (count - 1)
        widths[first + count - 1] += max(0, len(label) - inside)
        first += count


def _group_line(widths: list[int], first: int, block: Block) -> str:
    line = [" " * (sum(widths[:first]) + len(_GAP) * (first - 1))]
    for label, count in block.spans:
        line.append(label.ljust(sum(widths[first : first + count]) + len(_GAP) * (count - 1)))
        first += count
    return _GAP.join(line).rstrip()
