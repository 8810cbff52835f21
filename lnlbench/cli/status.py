"""``lnlbench status``: what is done, what failed and why, and what to do next."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lnlbench._version import __version__
from lnlbench.cli.echo import echo
from lnlbench.cli.options import grid_name, grid_option, out_option, resolve_out

if TYPE_CHECKING:
    from lnlbench.store import Store

_STATUSES = ("done", "failed", "skipped", "pending")


@click.command("status")
@out_option
@grid_option
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(out: Path | None, grid: str | None, form: str) -> None:
    """Show what is done, what failed and why, and what to do next."""
    from lnlbench.store import Store

    folder = resolve_out(out, grid)
    # With --out, --grid means one of the grids in it; alone, it only means the folder.
    report = describe(Store.open(folder), grid_name(grid) if grid and out else None)
    if form == "json":
        echo(json.dumps(report, indent=2))
    else:
        _print(report)


def describe(store: Store, grid: str | None = None) -> dict[str, Any]:
    """Return the state of an output folder as a JSON value.

    Parameters
    ----------
    store : Store
    grid : str, optional
        Restrict the report to one grid.

    Returns
    -------
    dict
        ``out``; ``grids``: counts per status by grid ("" for records in no plan);
        ``failures``, ``skipped`` and ``stale``: trials with their reason; ``damaged``: files
        with theirs; ``next``: the command that takes things further.
    """
    from lnlbench.analysis.stale import staleness
    from lnlbench.errors import UsageError, suggest
    from lnlbench.spec import TrialSpec

    plans = store.plans()
    if grid is not None and grid not in plans:
        raise UsageError(f"There is no grid '{grid}' in '{store.root}'.", suggest(grid, plans))
    records, damaged = store.read_all()
    by_id = {record.trial_id: record for record in records}
    chosen = plans if grid is None else {grid: plans[grid]}
    trials: list[tuple[str, str, str | None]] = []
    names = {record.trial_id: record.spec.describe() for record in records}
    for name, plan in chosen.items():
        for trial in plan["trials"]:
            trials.append((name, trial["trial_id"], trial.get("skip")))
            names.setdefault(trial["trial_id"], TrialSpec.from_dict(trial["spec"]).describe())
    if grid is None:
        planned = {trial_id for _, trial_id, _ in trials}
        trials += [("", trial_id, None) for trial_id in by_id if trial_id not in planned]

    stale = staleness(records, __version__)
    report: dict[str, Any] = {
        "out": str(store.root),
        "grids": {name: dict.fromkeys(_STATUSES, 0) for name in chosen},
        "failures": [],
        "skipped": [],
        "stale": [],
        "damaged": [
            {"path": str(path), "reason": reason} for path, reason in [*damaged, *store.damaged_plans()]
        ],
    }
    for name, trial_id, skip in trials:
        record = by_id.get(trial_id)
        status = str(record.status) if record else "skipped" if skip else "pending"
        report["grids"].setdefault(name, dict.fromkeys(_STATUSES, 0))[status] += 1
        entry = {"grid": name, "trial_id": trial_id, "trial": names[trial_id]}
        if record and record.error:
            message = str(record.error["message"]).strip().splitlines() or [""]
            report["failures"].append(entry | {"reason": f"{record.error['type']}: {message[0]}"})
        elif status == "skipped":
            report["skipped"].append(entry | {"reason": skip})
        if trial_id in stale:
            report["stale"].append(entry | {"reason": stale[trial_id]})
    return report | {"next": _next_command(report, plans)}


def _next_command(report: dict[str, Any], plans: Mapping[str, Any]) -> str:
    """The most useful command for the first grid that is not finished."""
    out = shlex.quote(report["out"])
    for grid, counts in report["grids"].items():
        if grid and counts["pending"]:
            return _run_command(plans[grid], out)
    for retry, entries in (("failed", report["failures"]), ("stale", report["stale"])):
        for entry in entries:
            if entry["grid"]:
                return f"{_run_command(plans[entry['grid']], out)} --retry {retry}"
    grids = [grid for grid in report["grids"] if grid]
    choice = f" --grid {shlex.quote(grids[0])}" if len(grids) > 1 else ""
    return f"lnlbench table --out {out}{choice}"


def _run_command(plan: Mapping[str, Any], out: str) -> str:
    """The command that made a plan, with what it changed in the grid."""
    if "command" in plan.get("source", {}):  # a search, which says itself how it goes on
        return str(plan["source"]["command"])
    command = f"lnlbench run --grid {shlex.quote(plan['grid'])}"
    for override in plan.get("source", {}).get("overrides", []):
        option, _, value = override.partition(" ")
        command += f" {option} {shlex.quote(value)}"
    return f"{command} --out {out}"


def _print(report: dict[str, Any]) -> None:
    import sys

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from lnlbench.analysis.names import clean
    from lnlbench.printable import printable

    console = Console(file=sys.stdout, soft_wrap=True, highlight=False, markup=False, emoji=False)
    counts = Table("grid", box=None, pad_edge=False)
    for status in _STATUSES:
        counts.add_column(status, justify="right")
    for grid, numbers in report["grids"].items():
        name = clean(grid) or "(in no plan)"
        counts.add_row(Text(name), *(str(numbers[status]) for status in _STATUSES))
    console.print(counts)
    for title, key in (("Failed", "failures"), ("Skipped", "skipped"), ("Stale", "stale")):
        if report[key]:
            console.print(f"\n{title}:")
        for entry in report[key]:
            console.print(f"  {entry['trial_id']}  {clean(entry['trial'])}: {clean(entry['reason'])}")
    if report["damaged"]:
        console.print("\nDamaged (the next run moves these aside and repeats the trials):")
    for entry in report["damaged"]:
        console.print(f"  {clean(entry['path'])}: {clean(entry['reason'])}")
    console.print(f"\nNext: {printable(report['next'])}")
