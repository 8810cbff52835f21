"""``lnlbench run``: run a grid, or continue it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lnlbench.cli.echo import echo
from lnlbench.cli.execution import execution_options, read_execution
from lnlbench.cli.options import RUNS, grid_name, where_option
from lnlbench.errors import ExitCode

if TYPE_CHECKING:
    from lnlbench.plan import Plan
    from lnlbench.run import Pending
    from lnlbench.store import Store
    from lnlbench.workspace import Setting


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
@execution_options
def command(
    grid: str,
    conditions: tuple[str, ...],
    sets: tuple[str, ...],
    seeds: str | None,
    dry_run: bool,
    retry: str | None,
    out: Path | None,
    **execution: Any,
) -> int:
    """Run a grid, or continue it.

    The same command continues where it stopped: finished trials are kept, failed ones too unless
    --retry failed, and unfinished ones go on after their last epoch. Ctrl-C stops after the epochs
    that run, a second one at once. The table is printed at the end.
    """
    from lnlbench.cli.progress import Progress
    from lnlbench.cli.session import open_session
    from lnlbench.plan import plan as make_plan
    from lnlbench.provenance import look_up
    from lnlbench.run import execute, find_pending, supervised
    from lnlbench.store import Store
    from lnlbench.workspace import Workspace

    out = out or RUNS / grid_name(grid)
    given = read_execution(out, **execution)
    setting = given.setting
    plan = make_plan(grid, where=conditions, sets=sets, seeds=seeds)
    if dry_run:
        empty = not out.exists() or (out.is_dir() and not any(out.iterdir()))
        known = [] if empty else Store.open(out).records()
        workspace = Workspace(setting)
        pending = find_pending(plan, known, retry, partial(look_up, workspace=workspace))
        _show_plan(plan, pending, setting, out)
        return ExitCode.OK
    store, resources = Store.open(out, create=True), given.resources
    with open_session(store, plan, given, retry, Progress) as session:
        todo, progress = session.pending.todo, session.progress
        if todo:
            with supervised(setting, resources, given.timeout, progress.interrupted) as limits:
                execute(todo, setting, resources, limits, started=progress.started, finished=session.finished)
    return _report(store, plan, out)


def _show_plan(plan: Plan, pending: Pending, setting: Setting, out: Path) -> None:
    """Print what a run would do, and what it would cost."""
    from lnlbench.cli.dry_run import describe_plan

    echo(describe_plan(plan, pending, setting, out))


def _report(store: Store, plan: Plan, out: Path) -> int:
    """Print the table and the next command; say by the exit code whether all is done."""
    from lnlbench.cli.table import make_table

    echo("\n" + make_table(store, plan.grid)[0])
    done = store.done_ids()
    failed = sum(p.skip is None and p.spec.trial_id not in done for p in plan.planned)
    if failed:
        echo(f"{failed} trials failed. See: lnlbench status --out {out}")
        return ExitCode.INCOMPLETE
    echo(f"Records are in {out}. Next: lnlbench table --out {out} --format latex")
    return ExitCode.OK
