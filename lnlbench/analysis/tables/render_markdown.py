"""Tables for README files and issues (GitHub-flavoured Markdown)."""

from __future__ import annotations

import re

from lnlbench.analysis.names import clean
from lnlbench.analysis.tables.formatting import Style, format_cell
from lnlbench.analysis.tables.tables import Block, Table

_STYLE = Style(
    bold=lambda text: f"**{text}**",
    underline=lambda text: f"<ins>{text}</ins>",
    note=lambda numbers: f" <sup>{numbers}</sup>",
    plus_minus="±",
    blank="–",
)
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def render_markdown(table: Table) -> str:
    """Return a table as Markdown: groups are part of the column headings."""
    lines: list[str] = []
    for block in table.blocks:
        lines += [*([""] if lines else []), *_block_lines(table, block)]
    for number, note in enumerate(table.footnotes, start=1):
        lines += ["", f"<sup>{number}</sup> {escape_markdown(note)}"]
    for note in table.mark_notes:
        lines += ["", escape_markdown(note)]
    if table.caption:
        lines += ["", escape_markdown(" ".join(table.caption))]
    provenance = "; ".join(f"{name}: {value}" for name, value in (*table.provenance, *table.details))
    lines += ["", f"<!-- {_in_comment(provenance)} -->"]
    return "\n".join(lines) + "\n"


def _block_lines(table: Table, block: Block) -> list[str]:
    stub = [escape_markdown(heading) for heading in table.stub]
    headings = []
    for column in block.columns:
        parts = (column.group if table.grouped else "", column.label + column.mark, column.sublabel)
        headings.append("<br>".join(escape_markdown(part) for part in parts if part))
    lines = [_row([*stub, *headings]), _row([*(":--" for _ in stub), *("--:" for _ in headings)])]
    for labels, cells in zip(table.labels, block.cells, strict=True):
        shown = [format_cell(cell, _STYLE) for cell in cells]
        lines.append(_row([*map(escape_markdown, labels), *shown]))
    return lines


def escape_markdown(text: str) -> str:
    """Return text that Markdown shows as it is, in a table cell too."""
    escaped = re.sub(r"([\\`*_{}\[\]|~$])", r"\\\1", clean(text))
    # At its start, text could be a heading or a list.
    escaped = re.sub(r"^(\d*)([#+\-.)])", r"\1\\\2", escaped)
    return re.sub(r"[&<>]", lambda match: _HTML[match[0]], escaped)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _in_comment(text: str) -> str:
    """Return text that cannot end an HTML comment."""
    return re.sub(r"-(?=-)", "- ", clean(text)).replace("<", "&lt;").replace(">", "&gt;")
