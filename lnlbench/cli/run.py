"""``lnlbench run``: run a grid, or continue it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lnlbench.cli.echo import echo
from lnlbench.cli.options import RUNS, FiniteRange, cache_option, data_option, grid_name, where_option
from lnlbench.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from lnlbench.plan import Plan
    from lnlbench.record import Record
    from lnlbench.run import Pending
    from lnlbench.store import Store
    from lnlbench.workspace import Setting

MOST = 9999  # jobs, cores and GPUs: larger numbers are slips, and overflow in libraries


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
@data_option
@cache_option
@click.option(
    "--plugin", "plugins", multiple=True, metavar="FILE.py[:CLASS]", help="A method that is not installed."
)
@click.option(
    "--jobs", type=click.IntRange(1, MOST), default=1, show_default=True, help="Trials at the same time."
)
@click.option("--cpus-per-trial", type=click.IntRange(1, MOST), help="[default: the cores divided by --jobs]")
@click.option("--gpus-per-trial", type=FiniteRange(0, MOST), help="[default: 1 with CUDA, else 0]")
@click.option("--ray-address", help="Run on an existing Ray cluster, for example auto or ray://host:10001.")
@click.option(
    "--executor",
    type=click.Choice(["ray", "inline"]),
    default="ray",
    show_default=True,
    help="inline runs the trials in this process, for debugging.",
)
@click.option(
    "--trial-timeout",
    type=FiniteRange(0, 10**9, min_open=True),
    metavar="SECONDS",
    help="End a trial that takes longer; it is recorded as failed.",
)
@click.option(
    "--checkpoints",
    type=click.Path(path_type=Path),
    help="Folder where unfinished trials are saved after every epoch "
    "[default: OUT/checkpoints; with --ray-address none].",
)
def command(
    grid: str,
    conditions: tuple[str, ...],
    sets: tuple[str, ...],
    seeds: str | None,
    dry_run: bool,
    retry: str | None,
    out: Path | None,
    data: Path | None,
    cache_dir: Path | None,
    plugins: tuple[str, ...],
    jobs: int,
    cpus_per_trial: int | None,
    gpus_per_trial: float | None,
    ray_address: str | None,
    executor: str,
    trial_timeout: float | None,
    checkpoints: Path | None,
) -> int:
    """Run a grid, or continue it.

    The same command continues where it stopped: finished trials are kept, failed ones too unless
    --retry failed, and unfinished ones go on after their last epoch. Ctrl-C stops after the epochs
    that run, a second one at once. The table is printed at the end.
    """
    from lnlbench import registry
    from lnlbench.checkpoint import Checkpoints
    from lnlbench.cli.progress import Progress
    from lnlbench.data.features import default_cache_folder
    from lnlbench.plan import plan as make_plan
    from lnlbench.record import Status
    from lnlbench.run import execute, extract_features, find_pending, merge_plans, preflight, tidy
    from lnlbench.store import Store
    from lnlbench.workspace import Setting, Workspace

    if executor == "inline" and (jobs > 1 or ray_address):
        raise UsageError(
            "--executor inline runs one trial at a time, here.", "Drop --jobs and --ray-address."
        )
    if executor == "inline" and trial_timeout is not None:
        raise UsageError(
            "--trial-timeout ends the process of a trial, which --executor inline shares.",
            "Drop one of the two.",
        )
    for plugin in plugins:
        registry.methods().add_path(plugin)
    plan = make_plan(grid, where=conditions, sets=sets, seeds=seeds)
    out = out or RUNS / grid_name(grid)
    device, gpus = _device(gpus_per_trial)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if checkpoints is None and ray_address is None:
        checkpoints = out / "checkpoints"
    setting = Setting(
        data=data.absolute() if data else None,
        cache=(cache_dir or default_cache_folder()).absolute(),
        plugins=tuple(registry.references()),
        device=device,
        threads=cpus_per_trial or max(1, cores // jobs),
        executor=executor,
        jobs=jobs,
        checkpoints=checkpoints.absolute() if checkpoints else None,
    )
    if dry_run:
        empty = not out.exists() or (out.is_dir() and not any(out.iterdir()))
        known = [] if empty else Store.open(out).records()
        _show_plan(plan, find_pending(plan, known, retry), setting, out)
        return ExitCode.OK

    store, saved = Store.open(out, create=True), Checkpoints(setting.checkpoints)
    with store.lock():
        records, notes = tidy(store, saved)
        for note in notes:
            echo(f"Warning: {note}", err=True)
        pending = find_pending(plan, records, retry)
        _warn_stale(pending)
        progress = Progress(len(pending.todo))
        progress.plan(plan, pending, out)
        if pending.todo:
            workspace = Workspace(replace(setting, threads=cores))
            preflight(pending.todo, workspace)
            if ray_address is None:  # a cluster's nodes extract what they need themselves
                extract_features(pending.todo, workspace, progress.extraction)
            del workspace
        store.put_plan(merge_plans(store.plans().get(plan.grid), plan))
        if pending.todo:
            resources = None
            if executor == "ray":
                from lnlbench.runner import Resources

                resources = Resources(jobs, setting.threads, gpus, ray_address)

            def finished(record: Record) -> None:
                store.put(record)
                if record.status is Status.DONE:
                    saved.remove(record.trial_id)
                progress.finished(record)

            with progress:
                execute(
                    pending.todo,
                    setting,
                    resources,
                    timeout=trial_timeout,
                    started=progress.started,
                    finished=finished,
                    interrupted=progress.interrupted,
                )
    return _report(store, plan, out)


def _device(gpus_per_trial: float | None) -> tuple[str, float]:
    """Return the device of the trials, and how many GPUs each gets."""
    import torch

    available = torch.cuda.is_available()
    gpus = (1.0 if available else 0.0) if gpus_per_trial is None else gpus_per_trial
    if gpus and not available:
        raise UsageError("--gpus-per-trial asks for a GPU, and there is none here.", "Drop the option.")
    return ("cuda" if gpus else "cpu"), gpus


def _warn_stale(pending: Pending) -> None:
    if pending.stale:
        reasons = "; ".join(dict.fromkeys(pending.stale.values()))
        echo(
            f"Warning: {len(pending.stale)} records are stale: {reasons}. Run them again with --retry stale.",
            err=True,
        )


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
