"""``lnlbench plot``: the figure of a grid, drawn as the grid says."""

from __future__ import annotations

import textwrap
from pathlib import Path

import click

from lnlbench.console.echo import echo
from lnlbench.console.options import (
    grid_name,
    grid_option,
    out_option,
    plugin_option,
    read_outs,
    resolve_out,
    save_bytes,
    where_option,
)
from lnlbench.errors import ExitCode, UsageError

_WIDTH = 100


@click.command("plot")
@out_option
@grid_option
@where_option
@plugin_option
@click.option(
    "--metric",
    metavar="NAME",
    help="Number along y: last, a metric (balanced: its best and last; balanced_last) or any numeric column "
    "of lnlbench export [default: the grid's].",
)
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
    plugins: tuple[str, ...],
    metric: str | None,
    target: Path | None,
) -> None:
    """Draw the figure of a grid, as the section [figure] of its file says.

    Prints the caption. Exits with 1 if planned trials are missing in it, with 5 if no trial is
    selected.
    """
    from lnlbench.analysis.caption import title_of
    from lnlbench.analysis.figures.figure_page import FORMATS, save_figure
    from lnlbench.analysis.figures.figures import make_figure
    from lnlbench.plugins import registry
    from lnlbench.records.filters import filter_frame, parse_where

    for plugin in plugins:
        registry.add_plugin(plugin)
    where = parse_where(conditions)
    results = read_outs((resolve_out(out, grid),), grid)
    (name,) = results.choose(grid_name(grid) if grid else None)
    target = target or Path(f"{name or 'figure'}.pdf")
    form = target.suffix.removeprefix(".").lower()
    if form not in FORMATS:
        raise UsageError(
            f"'{target}' does not say in which format to draw.",
            f"Give it one of the endings {', '.join(f'.{known}' for known in FORMATS)}.",
        )
    plan = results.plans.get(name, {})
    if not plan.get("figure"):
        raise UsageError(
            f"The grid '{name}' in '{results.folders[0].root}' has no figure."
            if name
            else "Without a plan, no figure.",
            "Write a section [figure] into the grid and run it again, which keeps what is done; "
            "or see lnlbench table.",
        )
    frame = results.frame()
    chosen = filter_frame(frame[frame["grid"] == name], where)
    layout = dict(plan["figure"])
    layout["caption"] = title_of(plan, layout)
    if metric is not None:
        layout["y"] = [part.strip() for part in metric.split("/")]
    embeddings = {}
    if layout.get("kind") == "embedding":
        embeddings = {record.trial_id: record.embedding for record in results.read() if record.embedding}
    figure, story = make_figure(chosen, layout, embeddings)
    save_bytes(target, save_figure(figure, form, str(layout["caption"]) or name, story))
    echo("\n".join(textwrap.wrap(" ".join(story.caption), _WIDTH, break_on_hyphens=False)))
    for note in story.notes:
        echo(f"Note: {note}")
    echo(f"The figure is in {target}.")
    if not story.complete:
        context.exit(ExitCode.INCOMPLETE)
