"""``lnlbench rank``: methods across settings, with tests, intervals and what a wrong choice costs."""

from __future__ import annotations

from pathlib import Path

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
from lnlbench.errors import UsageError


@click.command("rank")
@outs_option
@grid_option
@where_option
@plugin_option
@click.option(
    "--metric",
    default="best",
    show_default=True,
    help="Number to rank by: the highest first; the lowest, where less is better.",
)
@click.option(
    "--by",
    help="Axes that tell methods apart, as in tuning,method,params.tau [default: those of the grid's table].",
)
@click.option(
    "--unit",
    type=click.Choice(["auto", "settings", "seeds"]),
    default="auto",
    show_default=True,
    help="One observation of a test: a setting, or a seed of it; auto takes settings if they are enough.",
)
@click.option(
    "--format", "form", type=click.Choice(["text", "markdown", "json"]), default="text", show_default=True
)
@click.option("--output", type=click.Path(path_type=Path), help="Write to this file, not to the terminal.")
@click.option("--ranks", type=click.Path(path_type=Path), help="Draw the ranks: a .pdf, .svg or .png file.")
@click.option(
    "--front", type=click.Path(path_type=Path), help="Draw accuracy against cost, with the Pareto front."
)
def command(
    outs: tuple[Path, ...],
    grid: str | None,
    conditions: tuple[str, ...],
    plugins: tuple[str, ...],
    metric: str,
    by: str | None,
    unit: str,
    form: str,
    output: Path | None,
    ranks: Path | None,
    front: Path | None,
) -> None:
    """Rank methods across settings (data set, noise, backbone).

    Average ranks with Friedman's test, pairs by Wilcoxon's test and Holm's correction, intervals by a
    nested bootstrap, wins in single settings, regret, cost, and whether rankings agree. Exits with 5 if
    no two methods have results in the same setting.
    """
    from lnlbench.analysis.ranking.contest import axes_of
    from lnlbench.analysis.ranking.standings import rank
    from lnlbench.analysis.ranking.standings_text import to_json, to_markdown, to_text
    from lnlbench.plugins import registry
    from lnlbench.records.filters import filter_frame, parse_where

    for plugin in plugins:
        registry.add_plugin(plugin)
    where = parse_where(conditions)
    results = read_outs(outs, grid)
    names = [grid_name(grid)] if grid else list(results.plans) or [""]
    if grid:
        results.choose(names[0])
    frame = results.frame()
    chosen = filter_frame(frame[frame["grid"].isin(names)], where)
    axes = by.split(",") if by else axes_of((results.plans[name] for name in names if name), chosen)
    standings = rank(chosen, metric, [axis.strip() for axis in axes], unit)
    text = {"text": to_text, "markdown": to_markdown, "json": to_json}[form](standings)
    if output is None:
        echo(text, nl=False)
    else:
        save_bytes(output, text.encode())
    if ranks or front:
        from lnlbench.analysis.figures.figure_front import draw_front
        from lnlbench.analysis.figures.figure_page import FORMATS, save_figure
        from lnlbench.analysis.figures.figure_ranks import draw_ranks

        for target, draw in ((ranks, draw_ranks), (front, draw_front)):
            if target is None:
                continue
            kind = target.suffix.removeprefix(".").lower()
            if kind not in FORMATS:
                known = ", ".join(f".{known}" for known in FORMATS)
                raise UsageError(
                    f"'{target}' does not say in which format to draw.",
                    f"Give it one of the endings {known}.",
                )
            figure, story = draw(standings)
            save_bytes(target, save_figure(figure, kind, "Ranking", story))
            echo(f"The figure is in {target}.", err=True)
