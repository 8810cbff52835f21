"""``lnlbench table``: the results of a grid, laid out as the grid says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lnlbench.basics.allocator import patient_collector
from lnlbench.console.echo import echo
from lnlbench.console.options import (
    grid_name,
    grid_option,
    outs_option,
    plugin_option,
    read_outs,
    save_bytes,
    warn_stale,
    where_option,
)
from lnlbench.errors import ExitCode

if TYPE_CHECKING:
    from lnlbench.records.reading.folders import Results


@click.command("table")
@outs_option
@grid_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown", "latex", "html", "csv"]),
    default="text",
    show_default=True,
)
@where_option
@plugin_option
@click.option(
    "--metric",
    metavar="NAME[/NAME]",
    help="Number to show: last, best/last, oracle, label_wave, a metric (balanced: its best / last; "
    "balanced_last) or any numeric column of lnlbench export [default: the grid's].",
)
@click.option(
    "--caption",
    type=click.Choice(["full", "short", "none"]),
    default="full",
    show_default=True,
    help="How much stands below the table; notes that cells refer to always do.",
)
@click.option("--standalone", is_flag=True, help="A LaTeX or HTML document of its own, not a part of one.")
@click.option("--output", type=click.Path(path_type=Path), help="Write to this file, not to the terminal.")
@click.pass_context
def command(
    context: click.Context,
    outs: tuple[Path, ...],
    grid: str | None,
    form: str,
    conditions: tuple[str, ...],
    plugins: tuple[str, ...],
    metric: str | None,
    caption: str,
    standalone: bool,
    output: Path | None,
) -> None:
    """Show the results of a grid as a table.

    Several folders are one table, in the layout of the first one's grid.

    Exits with 1 if planned trials are missing in it, with 5 if no trial is selected.
    """
    from lnlbench.plugins import registry
    from lnlbench.records.filters import parse_where

    for plugin in plugins:
        registry.add_plugin(plugin)
    where = parse_where(conditions)
    results = read_outs(outs, grid)
    names = results.choose(grid_name(grid) if grid else None)
    text, complete = make_table(results, names, where, form, metric, standalone=standalone, caption=caption)
    if output is None:
        echo(text, nl=False)
    else:
        save_bytes(output, text.encode())
    if not complete:
        context.exit(ExitCode.INCOMPLETE)


@patient_collector()
def make_table(
    results: Results,
    grids: Sequence[str],
    where: Mapping[str, list[str]] | None = None,
    form: str = "text",
    metric: str | None = None,
    standalone: bool = False,
    warn: bool = True,
    caption: str = "full",
) -> tuple[str, bool]:
    """Return the table of a grid, or of several as one, and whether all of its planned cells are there.

    It depends on the records alone; how they compare with what is installed is said on standard
    error, unless ``warn`` is off.
    """
    from lnlbench.analysis.caption import title_of
    from lnlbench.analysis.tables.render import render, render_document
    from lnlbench.analysis.tables.tables import build_table
    from lnlbench.records.filters import filter_frame
    from lnlbench.records.staleness import installed, specs_of, staleness

    frame = results.frame()
    chosen = filter_frame(frame[frame["grid"].isin(grids)], where or {})
    if warn:
        reasons = staleness(results.entries, installed(specs_of(results.entries)))
        shown = set(chosen["trial_id"])
        warn_stale({trial_id: reason for trial_id, reason in reasons.items() if trial_id in shown})
    plan = results.plan(grids)
    layout: dict[str, Any] = dict(plan.get("table") or {})
    layout["caption"] = title_of(plan, layout)
    table = build_table(chosen, layout | ({"metric": metric} if metric else {}), plan, caption)
    if standalone:
        return render_document(table, form, str(layout["caption"]) or ", ".join(grids)), table.complete
    return render(table, form), table.complete
