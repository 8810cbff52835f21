"""``lnlbench table``: the results of a grid, laid out as the grid says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lnlbench.cli.echo import echo
from lnlbench.cli.options import (
    grid_name,
    grid_option,
    out_option,
    resolve_out,
    save_bytes,
    warn_damaged,
    warn_stale_version,
    where_option,
)
from lnlbench.errors import ExitCode, UsageError, suggest

if TYPE_CHECKING:
    from lnlbench.store import Store

_METRICS = ["best/last", "best", "last", "oracle"]


@click.command("table")
@out_option
@grid_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown", "latex", "html", "csv"]),
    default="text",
    show_default=True,
)
@where_option
@click.option("--metric", type=click.Choice(_METRICS), help="Accuracy to show [default: the grid's].")
@click.option("--standalone", is_flag=True, help="A LaTeX or HTML document of its own, not a part of one.")
@click.option("--output", type=click.Path(path_type=Path), help="Write to this file, not to the terminal.")
@click.pass_context
def command(
    context: click.Context,
    out: Path | None,
    grid: str | None,
    form: str,
    conditions: tuple[str, ...],
    metric: str | None,
    standalone: bool,
    output: Path | None,
) -> None:
    """Show the results of a grid as a table.

    Exits with 1 if planned trials are missing in it, with 5 if no trial is selected.
    """
    from lnlbench.filters import parse_where
    from lnlbench.store import Store

    where = parse_where(conditions)
    store = Store.open(resolve_out(out, grid))
    name = choose_grid(store.plans(), grid_name(grid) if grid else None, store.root)
    text, complete = make_table(store, name, where, form, metric, standalone=standalone)
    if output is None:
        echo(text, nl=False)
    else:
        save_bytes(output, text.encode())
    if not complete:
        context.exit(ExitCode.INCOMPLETE)


def make_table(
    store: Store,
    grid: str,
    where: Mapping[str, list[str]] | None = None,
    form: str = "text",
    metric: str | None = None,
    standalone: bool = False,
) -> tuple[str, bool]:
    """Return the table of a grid, and whether all of its planned cells are there."""
    from lnlbench.analysis.frame import build_frame
    from lnlbench.analysis.render import render, render_document
    from lnlbench.analysis.tables import build_table
    from lnlbench.filters import filter_frame

    plans = store.plans()
    records, damaged = store.read_all()
    warn_damaged(damaged + store.damaged_plans())
    warn_stale_version(records)
    frame = build_frame(plans, records)
    chosen = filter_frame(frame[frame["grid"] == grid], where or {})
    plan = plans.get(grid, {})
    layout: dict[str, Any] = {"caption": plan.get("title", "")} | dict(plan.get("table") or {})
    table = build_table(chosen, layout | ({"metric": metric} if metric else {}))
    if standalone:
        return render_document(table, form, str(layout["caption"]) or grid), table.complete
    return render(table, form), table.complete


def choose_grid(plans: Mapping[str, Any], grid: str | None, root: Path) -> str:
    """Return the grid to show; "" for a folder of records without a plan."""
    if grid is not None:
        if grid not in plans:
            raise UsageError(f"There is no grid '{grid}' in '{root}'.", suggest(grid, plans))
        return grid
    if len(plans) > 1:
        raise UsageError(
            f"'{root}' holds several grids: {', '.join(sorted(plans))}.", "Choose one with --grid."
        )
    return next(iter(plans), "")
