"""What is rendered from plans and records: tables, ranking, report. The same records give the same bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from lnlbench.analysis.caption import title_of
from lnlbench.analysis.ranking.contest import axes_of
from lnlbench.analysis.ranking.standings import rank
from lnlbench.analysis.ranking.standings_text import to_markdown
from lnlbench.analysis.report.report_page import make_report
from lnlbench.analysis.tables.render import render
from lnlbench.analysis.tables.tables import build_table
from lnlbench.errors import NothingSelectedError
from lnlbench.records.frame import build_frame
from lnlbench.records.record import Record


def render_all(plans: Mapping[str, Mapping[str, Any]], records: Sequence[Record]) -> dict[str, bytes]:
    """Return the rendered files by name.

    Parameters
    ----------
    plans : mapping
        By grid; each gets a table.
    records : sequence of Record

    Returns
    -------
    dict
        ``table.md``, ``table.tex``, ``report.html``, and ``ranking.md`` if there is something to rank.
    """
    frame = build_frame(plans, records)
    frame = frame[frame["grid"].isin(list(plans))]
    tables = []
    for grid, plan in plans.items():
        layout = dict(plan.get("table") or {})
        layout["caption"] = title_of(plan, layout)
        tables.append(build_table(frame[frame["grid"] == grid], layout, plan))
    files = {
        "table.md": "\n".join(render(table, "markdown") for table in tables),
        "table.tex": "\n".join(render(table, "latex") for table in tables),
        "report.html": make_report(frame, plans, records),
    }
    with suppress(NothingSelectedError):  # one method, or none in common: then nothing is missing
        files["ranking.md"] = to_markdown(rank(frame, by=axes_of(plans.values(), frame)))
    return {name: text.encode() for name, text in files.items()}
