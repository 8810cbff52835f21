"""``lnlbench export``: one row per trial, for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lnlbench.cli.options import (
    grid_option,
    out_option,
    resolve_out,
    save_bytes,
    warn_damaged,
    where_option,
)
from lnlbench.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd


@click.command("export")
@out_option
@grid_option
@click.option("--format", "form", type=click.Choice(["csv", "parquet"]), default="csv", show_default=True)
@where_option
@click.option("--output", type=click.Path(path_type=Path), help="File to write [default: the terminal].")
def command(
    out: Path | None, grid: str | None, form: str, conditions: tuple[str, ...], output: Path | None
) -> None:
    """Write all trials, planned and done, as one table with a row per trial."""
    from lnlbench.analysis.frame import build_frame
    from lnlbench.filters import filter_frame, parse_where
    from lnlbench.store import Store

    if form == "parquet" and output is None:
        raise UsageError("Parquet is a binary format and cannot go to the terminal.", "Add --output FILE.")
    where = parse_where(conditions)
    store = Store.open(resolve_out(out, grid))
    records, damaged = store.read_all()
    warn_damaged(damaged + store.damaged_plans())
    frame = build_frame(store.plans(), records)
    chosen = filter_frame(frame, where) if where else frame
    if output is None:
        click.echo(_csv(chosen), nl=False)
    elif form == "csv":
        save_bytes(output, _csv(chosen).encode())
    else:
        save_bytes(output, chosen.to_parquet(index=False))


def _csv(frame: pd.DataFrame) -> str:
    """Return a frame as CSV whose texts neither terminals nor spreadsheets take for commands.

    Numbers are as they are, and so is all text that lnlbench writes itself; Parquet holds every
    text unchanged.
    """
    from lnlbench.analysis.frame import SCHEMA
    from lnlbench.analysis.render_csv import defuse
    from lnlbench.printable import printable

    safe = frame.copy()
    for name, kind in SCHEMA.items():
        if kind == "string":
            safe[name] = frame[name].map(lambda text: defuse(printable(text)), na_action="ignore")
    return safe.to_csv(index=False)
