"""``lnlbench run``: run a grid, or continue it; a client of :func:`lnlbench.run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import lnlbench
from lnlbench.console.echo import echo
from lnlbench.console.options import RUNS, grid_name, warn_damaged, where_option
from lnlbench.console.running_options import listeners_option, running_options
from lnlbench.errors import ExitCode

if TYPE_CHECKING:
    from lnlbench.running.session import RunResult


@click.command("run")
@click.option("--grid", required=True, help="Name of a grid (see lnlbench list grids), or a .toml file.")
@where_option
@click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a setting or an axis of the grid, as in dataset=cifar10 or lp.epochs=5 (repeatable).",
)
@click.option("--seeds", help="Seeds instead of the grid's: 0-4 or 0,2,5.")
@click.option("--dry-run", is_flag=True, help="Show the plan and run nothing.")
@click.option("--retry", type=click.Choice(["failed", "stale", "all"]), help="Also run these trials again.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for results [default: runs/GRID].")
@click.option("--save-models", is_flag=True, help="Keep the trained networks; see lnlbench predict.")
@click.option(
    "--verdicts", is_flag=True, help="Keep what each trial says of every training sample, beside its record."
)
@click.option(
    "--batched", is_flag=True, help="Train linear probing of trials together that see the same batches."
)
@listeners_option
@running_options
def command(
    grid: str,
    conditions: tuple[str, ...],
    sets: tuple[str, ...],
    seeds: str | None,
    dry_run: bool,
    retry: str | None,
    out: Path | None,
    listeners: tuple[str, ...],
    plugins: tuple[str, ...],
    **options: Any,
) -> int:
    """Run a grid, or continue it.

    The same command continues where it stopped: finished trials are kept, failed ones too unless
    --retry failed, and unfinished ones go on after their last epoch. Ctrl-C stops after the epochs
    that run, a second one at once. The table is printed at the end.
    """
    from lnlbench.console.progress import Progress
    from lnlbench.running.listeners.choose import make_listener

    progress = Progress()
    try:
        progress.doing("loading PyTorch")
        told = [progress, *map(make_listener, listeners)]
        plan = lnlbench.plan(grid, where=conditions, sets=sets, seeds=seeds, plugins=plugins)
        out = out or RUNS / grid_name(grid)
        if dry_run:
            from lnlbench.console.dry_run import describe_plan
            from lnlbench.running.job import make_job

            text = describe_plan(plan, out, make_job(out, **options), retry)
            progress.ended()
            echo(text)
            return ExitCode.OK
        return _report(lnlbench.run(plan, out, retry=retry, listener=told, **options))
    finally:
        progress.ended()


def _report(result: RunResult) -> int:
    """Print the table and the next command; say by the exit code whether all is done."""
    from lnlbench.cli.table import make_table
    from lnlbench.records.reading.folders import joined

    out = result.out
    results = joined([result.store])
    warn_damaged(results.damaged)
    echo("\n" + make_table(results, [result.plan.grid], warn=False)[0])
    if not result.complete:
        echo(f"{len(result.failed)} trials failed. See: lnlbench status --out {out}")
        return ExitCode.INCOMPLETE
    echo(f"Records are in {out}. Next: lnlbench table --out {out} --format latex")
    return ExitCode.OK
