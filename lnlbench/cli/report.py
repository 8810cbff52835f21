"""``lnlbench report``: one HTML file with all that a reader needs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from lnlbench.console.echo import echo
from lnlbench.console.options import (
    grid_name,
    grid_option,
    outs_option,
    plugin_option,
    read_outs,
    save_bytes,
    where_option,
)


@click.command("report")
@outs_option
@grid_option
@where_option
@plugin_option
@click.option(
    "--metric",
    type=click.Choice(["best", "last"]),
    default="best",
    show_default=True,
    help="Accuracy to rank by, and to draw against cost; tables have both.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="HTML file to write.",
)
def command(
    outs: tuple[Path, ...],
    grid: str | None,
    conditions: tuple[str, ...],
    plugins: tuple[str, ...],
    metric: Literal["best", "last"],
    output: Path,
) -> None:
    """Write a report: one HTML file that needs no network, no other file and no script.

    It holds the tables, ranks across settings, accuracy against cost, learning curves, the noise as
    realised, failures with their reasons, the command that makes any cell again, and the trials as
    CSV. The same records give the same bytes.
    """
    from lnlbench.analysis.report.report_page import make_report
    from lnlbench.plugins import registry
    from lnlbench.records.filters import filter_frame, parse_where

    for plugin in plugins:
        registry.add_plugin(plugin)
    where = parse_where(conditions)
    results = read_outs(outs, grid)
    names = results.choose(grid_name(grid)) if grid else list(results.plans) or [""]
    frame = results.frame()
    whole = frame[frame["grid"].isin(names)]
    page = make_report(filter_frame(whole, where), results.plans, results.read(), whole, metric)
    save_bytes(output, page.encode())
    echo(f"The report is in {output} ({len(page.encode()) / 1000:,.0f} kB).")
