"""Tables for papers: a ``table`` environment that needs booktabs and nothing else."""

from __future__ import annotations

import unicodedata

from lnlbench.analysis.formatting import Style, format_cell, spans, unrepeated
from lnlbench.analysis.names import clean
from lnlbench.analysis.tables import Table

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
    "…": r"\ldots{}",
}


def render_latex(table: Table) -> str:
    """Return a table as LaTeX, to be read with ``\\input`` after ``\\usepackage{booktabs}``."""
    stub, columns = len(table.stub), table.columns
    lines = [f"% {escape_latex(name)}: {escape_latex(value)}" for name, value in table.provenance]
    lines += [r"% Needs \usepackage{booktabs} in the preamble.", r"\begin{table}", r"\centering"]
    lines += [rf"\caption{{{escape_latex(' '.join(table.caption))}}}"]
    lines += [rf"\begin{{tabular}}{{{'l' * stub}{'r' * len(columns)}}}", r"\toprule"]
    if table.grouped:
        lines += _group_lines(table)
    lines.append(_row([*map(escape_latex, table.stub), *(_centred(column.label) for column in columns)]))
    lines.append(_row([*[""] * stub, *(_centred(column.sublabel) for column in columns)]))
    for position, (labels, cells) in enumerate(zip(unrepeated(table), table.cells, strict=True)):
        # A rule where the first label changes: one block per tuning mode, as in the paper.
        if position == 0 or (len(labels) > 1 and labels[0]):
            lines.append(r"\midrule")
        shown = [format_cell(*pair, _STYLE) for pair in zip(cells, columns, strict=True)]
        lines.append(_row([*map(escape_latex, labels), *shown]))
    lines += [r"\bottomrule", r"\end{tabular}"]
    for number, note in enumerate(table.footnotes, start=1):
        lines.append(rf"\par{{\footnotesize \textsuperscript{{{number}}} {escape_latex(note)}}}")
    lines.append(r"\end{table}")
    return "\n".join(lines) + "\n"


def escape_latex(text: str) -> str:
    """Return ASCII source that LaTeX prints as the text (letters without their accents)."""
    return "".join(_ESCAPES.get(symbol) or _ascii(symbol) for symbol in clean(text))


def _ascii(symbol: str) -> str:
    if symbol.isascii():
        return symbol
    plain = unicodedata.normalize("NFKD", symbol).encode("ascii", "ignore").decode()
    return "".join(_ESCAPES.get(part, part) for part in plain) or "?"


def _group_lines(table: Table) -> list[str]:
    heads, rules, first = [""] * len(table.stub), [], len(table.stub) + 1
    for label, count in spans(table):
        heads.append(rf"\multicolumn{{{count}}}{{c}}{{{escape_latex(label)}}}")
        rules.append(rf"\cmidrule(lr){{{first}-{first + count - 1}}}")
        first += count
    return [_row(heads), "".join(rules)]


def _centred(label: str) -> str:
    return rf"\multicolumn{{1}}{{c}}{{{escape_latex(label)}}}" if label else ""


def _row(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"
