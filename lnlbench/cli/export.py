"""``lnlbench export``: one row per trial, for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from lnlbench.records.reading.folders import Results


@click.command("export")
@outs_option
@grid_option
@click.option("--format", "form", type=click.Choice(["csv", "parquet"]), default="csv", show_default=True)
@where_option
@plugin_option
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    help="Write a folder to publish: records, plans, table, ranking, report, and where they come from.",
)
@click.option("--output", type=click.Path(path_type=Path), help="File to write [default: the terminal].")
def command(
    outs: tuple[Path, ...],
    grid: str | None,
    form: str,
    conditions: tuple[str, ...],
    plugins: tuple[str, ...],
    bundle: Path | None,
    output: Path | None,
) -> None:
    """Write all trials, planned and done, as one table with a row per trial; or a folder to publish."""
    from lnlbench.analysis.tables.trials_csv import trials_csv
    from lnlbench.plugins import registry
    from lnlbench.records.filters import filter_frame, parse_where
    from lnlbench.records.staleness import installed, specs_of

    if form == "parquet" and output is None and bundle is None:
        raise UsageError("Parquet is a binary format and cannot go to the terminal.", "Add --output FILE.")
    for plugin in plugins:
        registry.add_plugin(plugin)
    where = parse_where(conditions)
    results = read_outs(outs, grid)
    if bundle is not None:
        _write_bundle(bundle, results, grid_name(grid) if grid else None, where)
        return
    frame = results.frame(installed(specs_of(results.entries)))
    chosen = filter_frame(frame, where) if where else frame
    if output is None:
        click.echo(trials_csv(chosen), nl=False)
    elif form == "csv":
        save_bytes(output, trials_csv(chosen).encode())
    else:
        save_bytes(output, chosen.to_parquet(index=False))


def _write_bundle(folder: Path, results: Results, grid: str | None, where: dict[str, list[str]]) -> None:
    from lnlbench.publishing.bundle import write_bundle
    from lnlbench.records.filters import filter_frame

    grids = results.choose(grid)
    frame = results.frame()
    chosen = filter_frame(frame[frame["grid"].isin(grids)], where)
    for text in write_bundle(folder, results, grids, chosen):
        echo(f"Warning: {text}", err=True)
    echo(
        f"The results are in {folder}. Write its README.md, and check it: lnlbench verify --results {folder}"
    )
