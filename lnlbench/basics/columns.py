"""Columns of text, as wide as their longest entry."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Sequence


def columns(
    rows: Sequence[Sequence[str]], indent: str = "", right: Collection[int] = (), width: int | None = None
) -> list[str]:
    """Return rows as lines with their columns under each other, two spaces apart.

    Parameters
    ----------
    rows : sequence of sequences of str
        As long as each other. There may be none.
    indent : str, default ""
        Before every line.
    right : collection of int
        Positions of the columns that end under each other, as numbers do.
    width : int, optional
        Of a terminal: the last column is wrapped to fit, if that leaves it 20 characters.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    before = len(indent) + sum(widths[:-1]) + 2 * len(widths[:-1])
    lines = []
    for row in rows:
        cells = [
            cell.rjust(size) if position in right else cell.ljust(size)
            for position, (cell, size) in enumerate(zip(row, widths, strict=True))
        ]
        last = cells[-1:]
        if width is not None and width - before >= 20:
            last = textwrap.wrap(row[-1], width - before) or [""]
        lines.append(indent + "  ".join([*cells[:-1], *last[:1]]))
        lines += [" " * before + line for line in last[1:]]
    return [line.rstrip() for line in lines]
