"""Tables for papers: a ``table`` environment that needs booktabs, and uses graphicx if it is there."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from lnlbench.analysis.names import YES, clean
from lnlbench.analysis.tables.formatting import Style, format_cell, starts_block, unrepeated
from lnlbench.analysis.tables.tables import Block, Table

_STYLE = Style(
    bold=lambda text: rf"\textbf{{{text}}}",
    underline=lambda text: rf"\underline{{{text}}}",
    note=lambda numbers: rf"\textsuperscript{{{numbers}}}",
    plus_minus=r"$\pm$",
    blank="--",
)
# Brackets and stars are wrapped because a row break takes them for its own arguments.
_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\char34{}",
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "–": "--",
    "†": r"\textdagger{}",
    "‡": r"\textdaggerdbl{}",
    "§": r"\textsection{}",
    "¶": r"\textparagraph{}",
    "…": r"\ldots{}",
    "✓": r"$\checkmark$",
    "τ": r"$\tau$",
    "λ": r"$\lambda$",
    "α": r"$\alpha$",
    "β": r"$\beta$",
}
# The check mark of amssymb where that is loaded, else the nearest sign of TeX's own fonts.
_TICK = r"\providecommand{\checkmark}{\surd}"
# A table wider than the line is scaled to it, where graphicx is loaded.
_FITTED = (
    r"\ifdim\wd0>\linewidth\ifdefined\resizebox\resizebox{\linewidth}{!}{\usebox0}"
    r"\else\usebox0\fi\else\usebox0\fi"
)
_PREAMBLE = r"""\documentclass{article}
\usepackage[margin=2cm]{geometry}
\usepackage{amssymb,booktabs,graphicx}
\begin{document}
"""


def render_latex(table: Table) -> str:
    """Return a table as LaTeX, to be read with ``\\input`` after ``\\usepackage{booktabs}``."""
    lines = [
        f"% {escape_latex(name)}: {escape_latex(value)}"
        for name, value in (*table.provenance, *table.details)
    ]
    lines += [r"% Needs \usepackage{booktabs} in the preamble; graphicx and amssymb are used if loaded."]
    lines += [r"\begin{table}", r"\centering"]
    if table.caption:
        lines += [rf"\caption{{{escape_latex(' '.join(table.caption))}}}"]
    if any(YES in labels for labels in table.rows):
        lines.append(_TICK)
    columns = max(len(block.columns) for block in table.blocks)
    lines.append(r"\par\medskip")
    lines += [r"\sbox0{%", rf"\begin{{tabular}}{{{'l' * len(table.stub)}{'r' * columns}}}", r"\toprule"]
    # As in the paper, headings that all blocks share stand above the first one only.
    blocks = table.blocks
    longest = max((block.headings for block in blocks), key=len)
    shared = len(blocks) > 1 and all(block.headings == longest[: len(block.columns)] for block in blocks)
    if shared:
        lines += _heading_lines(table, longest)
    for number, block in enumerate(blocks):
        if number > 0 or shared:
            lines.append(r"\midrule")
        if table.grouped:
            lines += _group_lines(table, block)
        if not shared:
            lines += [*_heading_lines(table, block.headings), r"\midrule"]
        lines += _body_lines(table, block)
    lines += [r"\bottomrule", r"\end{tabular}}%", _FITTED]
    if table.footnotes or table.mark_notes:
        lines.append(r"\par\smallskip\footnotesize\raggedright")
    for number, note in enumerate(table.footnotes, start=1):
        lines.append(rf"\textsuperscript{{{number}}} {escape_latex(note)}\par")
    lines += [rf"{escape_latex(note)}\par" for note in table.mark_notes]
    lines.append(r"\end{table}")
    return "\n".join(lines) + "\n"


def latex_document(tables: Iterable[str]) -> str:
    """Return a document of its own that shows tables, each as :func:`render_latex` returns it."""
    return f"{_PREAMBLE}{chr(10).join(tables)}\\end{{document}}\n"


def escape_latex(text: str) -> str:
    """Return ASCII source that LaTeX prints as the text (letters without their accents)."""
    return "".join(_ESCAPES.get(symbol) or _ascii(symbol) for symbol in clean(text))


def _ascii(symbol: str) -> str:
    if symbol.isascii():
        return symbol
    plain = unicodedata.normalize("NFKD", symbol).encode("ascii", "ignore").decode()
    return "".join(_ESCAPES.get(part, part) for part in plain) or "?"


def _heading_lines(table: Table, headings: list[tuple[str, str]]) -> list[str]:
    lines = [_row([*map(escape_latex, table.stub), *(_centred(label) for label, _ in headings)])]
    if any(sublabel for _, sublabel in headings):
        lines.append(_row([*("" for _ in table.stub), *(_centred(sublabel) for _, sublabel in headings)]))
    return lines


def _group_lines(table: Table, block: Block) -> list[str]:
    heads, rules, first = [""] * len(table.stub), [], len(table.stub) + 1
    for label, count in block.spans:
        heads.append(rf"\multicolumn{{{count}}}{{c}}{{{escape_latex(label)}}}")
        rules.append(rf"\cmidrule(lr){{{first}-{first + count - 1}}}")
        first += count
    return [_row(heads), "".join(rules)]


def _body_lines(table: Table, block: Block) -> list[str]:
    lines = []
    rows = zip(unrepeated(table), starts_block(table), block.cells, strict=True)
    for labels, ruled, cells in rows:
        # A rule where the first label changes: one block per tuning mode, as in the paper.
        lines += [r"\midrule"] if ruled else []
        lines.append(_row([*map(escape_latex, labels), *(format_cell(cell, _STYLE) for cell in cells)]))
    return lines


def _centred(label: str) -> str:
    return rf"\multicolumn{{1}}{{c}}{{{escape_latex(label)}}}" if label else ""


def _row(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"
