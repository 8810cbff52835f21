"""The formats of tables by name."""

from __future__ import annotations

from collections.abc import Callable

from lnlbench.analysis.render_csv import render_csv
from lnlbench.analysis.render_latex import render_latex
from lnlbench.analysis.render_markdown import render_markdown
from lnlbench.analysis.render_text import render_text
from lnlbench.analysis.tables import Table

RENDERERS: dict[str, Callable[[Table], str]] = {
    "text": render_text,
    "markdown": render_markdown,
    "latex": render_latex,
    "csv": render_csv,
}


def render(table: Table, form: str) -> str:
    """Return a table in one of the formats of ``RENDERERS``."""
    return RENDERERS[form](table)
