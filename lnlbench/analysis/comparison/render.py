"""The formats of comparisons by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lnlbench.analysis.comparison.render_data import render_csv, render_json
from lnlbench.analysis.comparison.render_markdown import render_markdown
from lnlbench.analysis.comparison.render_text import render_text
from lnlbench.analysis.comparison.result import Comparison

RENDERERS: dict[str, Callable[[Comparison, Sequence[str], bool], str]] = {
    "text": render_text,
    "markdown": render_markdown,
    "csv": render_csv,
    "json": render_json,
}


def render(comparison: Comparison, mismatches: Sequence[str], form: str, everything: bool = False) -> str:
    """Return a comparison in one of the formats of ``RENDERERS``."""
    return RENDERERS[form](comparison, mismatches, everything)
