"""The formats of tables by name."""

from __future__ import annotations

from collections.abc import Callable

from lnlbench.analysis.tables.render_csv import render_csv
from lnlbench.analysis.tables.render_html import html_document, render_html
from lnlbench.analysis.tables.render_latex import latex_document, render_latex
from lnlbench.analysis.tables.render_markdown import render_markdown
from lnlbench.analysis.tables.render_text import render_text
from lnlbench.analysis.tables.tables import Table
from lnlbench.errors import UsageError

RENDERERS: dict[str, Callable[[Table], str]] = {
    "text": render_text,
    "markdown": render_markdown,
    "latex": render_latex,
    "html": render_html,
    "csv": render_csv,
}


def render(table: Table, form: str) -> str:
    """Return a table in one of the formats of ``RENDERERS``."""
    return RENDERERS[form](table)


def render_document(table: Table, form: str, title: str) -> str:
    """Return a document of its own that shows a table.

    Parameters
    ----------
    table : Table
    form : str
        ``latex`` or ``html``; text in the other formats is a document as it is.
    title : str
        Of a page.

    Raises
    ------
    UsageError
        For a format that has no documents.
    """
    if form == "latex":
        return latex_document([render_latex(table)])
    if form == "html":
        return html_document(title, render_html(table))
    raise UsageError(
        f"A table as {form} is part of no document.", "Leave --standalone out, or choose latex or html."
    )
