"""Tables for web pages: one accessible ``table`` element, with its notes and its provenance inside."""

from __future__ import annotations

import hashlib
import html
from itertools import groupby

from lnlbench.analysis.names import NO, YES, clean
from lnlbench.analysis.tables.formatting import Style, format_cell
from lnlbench.analysis.tables.tables import Block, Table

_CSS = """\
body { font: 16px/1.45 system-ui, sans-serif; margin: 2rem; color: #111; background: #fff; }
table { border-collapse: collapse; border-block: 2px solid #111; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .6rem; max-width: 60rem; }
th, td { padding: .2rem .7rem; text-align: right; vertical-align: top; white-space: nowrap; }
th { font-weight: normal; text-align: left; }
thead th, .headings th { font-weight: 600; text-align: center; }
tbody { border-top: 1px solid #777; }
tfoot td { text-align: left; white-space: normal; border-top: 1px solid #111; font-size: .85em; }
"""


def render_html(table: Table) -> str:
    """Return a table as one HTML element.

    Every heading has its scope, the best numbers are ``strong``, and nothing in a name can be
    markup.
    """
    text = repr((table.rows, table.caption, table.provenance))
    prefix = f"t{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    style = Style(
        bold=lambda text: f"<strong>{text}</strong>",
        underline=lambda text: f"<u>{text}</u>",
        note=lambda numbers: _references(prefix, numbers),
        plus_minus="±",
        blank="–",
    )
    lines = ["<table>"]
    if table.caption:
        lines.append(f"<caption>{escape_html(' '.join(table.caption))}</caption>")
    for number, block in enumerate(table.blocks):
        # A table has one head; the headings of further blocks stand in bodies of their own.
        tag = "thead" if number == 0 else 'tbody class="headings"'
        lines += [f"<{tag}>", *_heading_lines(table, block), f"</{tag.partition(' ')[0]}>"]
        lines += _body_lines(table, block, style)
    width = len(table.stub) + max(len(block.columns) for block in table.blocks)
    lines += ["<tfoot>", f'<tr><td colspan="{width}">', *_foot_lines(table, prefix), "</td></tr>", "</tfoot>"]
    return "\n".join([*lines, "</table>"]) + "\n"


def html_document(title: str, *parts: str) -> str:
    """Return a page that needs no other file.

    Parameters
    ----------
    title : str
        Plain text.
    *parts : str
        Its content, as :func:`render_html` returns it.
    """
    head = f'<meta charset="utf-8">\n<title>{escape_html(title)}</title>\n<style>\n{_CSS}</style>'
    body = "".join(parts)
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{body}</body>\n</html>\n'


def escape_html(text: str) -> str:
    """Return text that HTML shows as it is, in attributes too."""
    return html.escape(clean(text))


def _heading_lines(table: Table, block: Block) -> list[str]:
    stub = [f'<th scope="col">{_label(heading)}</th>' for heading in table.stub]
    gap = [f'<td colspan="{len(stub)}"></td>']
    lines = []
    if table.grouped:
        groups = [
            f'<th scope="colgroup" colspan="{count}">{escape_html(label)}</th>'
            for label, count in block.spans
        ]
        lines.append(_row([*gap, *groups]))
    lines.append(_row([*stub, *(f'<th scope="col">{_label(label)}</th>' for label, _ in block.headings)]))
    if any(sublabel for _, sublabel in block.headings):
        below = [
            f'<th scope="col">{escape_html(text)}</th>' if text else "<td></td>" for _, text in block.headings
        ]
        lines.append(_row([*gap, *below]))
    return lines


def _body_lines(table: Table, block: Block, style: Style) -> list[str]:
    """One body per first label, which spans its rows."""
    lines = []
    pairs = list(zip(table.labels, block.cells, strict=True))
    nested = len(table.stub) > 1
    for first, part in groupby(pairs, key=lambda pair: pair[0][0] if nested else ""):
        rows = list(part)
        lines.append("<tbody>")
        for position, (labels, cells) in enumerate(rows):
            heads = [f'<th scope="row">{_label(label)}</th>' for label in labels]
            if nested:
                spanning = f'<th scope="rowgroup" rowspan="{len(rows)}">{_label(first)}</th>'
                heads = [*([spanning] if position == 0 else []), *heads[1:]]
            lines.append(_row([*heads, *(f"<td>{format_cell(cell, style)}</td>" for cell in cells)]))
        lines.append("</tbody>")
    return lines


def _foot_lines(table: Table, prefix: str) -> list[str]:
    lines = []
    if table.footnotes:
        notes = enumerate(table.footnotes, start=1)
        items = [f'<li id="{prefix}-{number}">{escape_html(note)}</li>' for number, note in notes]
        lines += ["<ol>", *items, "</ol>"]
    lines += [f"<p>{escape_html(note)}</p>" for note in table.mark_notes]
    provenance = "; ".join(f"{name}: {value}" for name, value in table.provenance)
    return [*lines, f"<small>{escape_html(provenance)}</small>"]


def _references(prefix: str, numbers: str) -> str:
    links = ",".join(f'<a href="#{prefix}-{number}">{number}</a>' for number in numbers.split(","))
    return f" <sup>{links}</sup>"


def _label(text: str) -> str:
    """Return a label; a tick is read out as what it means."""
    if text in (YES, NO):
        return f'<span role="img" aria-label="{"yes" if text == YES else "no"}">{text}</span>'
    return escape_html(text)


def _row(cells: list[str]) -> str:
    return f"<tr>{''.join(cells)}</tr>"
