"""``lnlbench plot``: the figure of a grid, drawn as the grid says."""

from __future__ import annotations

import textwrap
from pathlib import Path

import click

from lnlbench.cli.echo import echo
from lnlbench.cli.options import (
    grid_name,
    grid_option,
    out_option,
    resolve_out,
    save_bytes,
    warn_damaged,
    where_option,
)
from lnlbench.errors import ExitCode, UsageError

_WIDTH = 100


@click.command("plot")
@out_option
@grid_option
@where_option
@click.option(
    "--to",
    "target",
    type=click.Path(path_type=Path),
    help="File to write: .pdf, .svg or .png [default: GRID.pdf].",
)
@click.pass_context
def command(
    context: click.Context,
    out: Path | None,
    grid: str | None,
    conditions: tuple[str, ...],
    target: Path | None,
) -> None:
    """Draw the figure of a grid, as the section [figure] of its file says.

    Prints the caption. Exits with 1 if planned trials are missing in it, with 5 if no trial is
    selected.
    """
    from lnlbench.analysis.figure_page import FORMATS, save_figure
    from lnlbench.analysis.figures import make_figure
    from lnlbench.analysis.frame import build_frame
    from lnlbench.cli.table import choose_grid
    from lnlbench.filters import filter_frame, parse_where
    from lnlbench.store import Store

    where = parse_where(conditions)
    store = Store.open(resolve_out(out, grid))
    plans = store.plans()
    name = choose_grid(plans, grid_name(grid) if grid else None, store.root)
    target = target or Path(f"{name or 'figure'}.pdf")
    form = target.suffix.removeprefix(".").lower()
    if form not in FORMATS:
        raise UsageError(
            f"'{target}' does not say in which format to draw.",
            f"Give it one of the endings {', '.join(f'.{known}' for known in FORMATS)}.",
        )
    plan = plans.get(name, {})
    if not plan.get("figure"):
        raise UsageError(
            f"The grid '{name}' in '{store.root}' has no figure." if name else "Without a plan, no figure.",
            "Write a section [figure] into the grid and run it again, which keeps what is done; "
            "or see lnlbench table.",
        )
    records, damaged = store.read_all()
    warn_damaged(damaged + store.damaged_plans())
    frame = build_frame(plans, records)
    chosen = filter_frame(frame[frame["grid"] == name], where)
    layout = {"caption": plan.get("title", "")} | dict(plan["figure"])
    embeddings = {record.trial_id: record.embedding for record in records if record.embedding}
    figure, story = make_figure(chosen, layout, embeddings)
    save_bytes(target, save_figure(figure, form, str(layout["caption"]) or name, story))
    echo("\n".join(textwrap.wrap(" ".join(story.caption), _WIDTH, break_on_hyphens=False)))
    for note in story.notes:
        echo(f"Note: {note}")
    echo(f"The figure is in {target}.")
    if not story.complete:
        context.exit(ExitCode.INCOMPLETE)
