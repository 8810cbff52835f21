"""``lnlbench status``: what is done, what failed and why, and what to do next."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lnlbench.basics.allocator import patient_collector
from lnlbench.basics.columns import columns
from lnlbench.console.echo import echo
from lnlbench.console.options import grid_name, grid_option, out_option, resolve_out

if TYPE_CHECKING:
    from lnlbench.records.store import Store

_STATUSES = ("done", "failed", "skipped", "pending")


@click.command("status")
@out_option
@grid_option
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(out: Path | None, grid: str | None, form: str) -> None:
    """Show what is done, what failed and why, and what to do next."""
    from lnlbench.records.store import Store

    folder = resolve_out(out, grid)
    # With --out, --grid means one of the grids in it; alone, it only means the folder.
    report = describe(Store.open(folder), grid_name(grid) if grid and out else None)
    if form == "json":
        echo(json.dumps(report, indent=2))
    else:
        _print(report)


@patient_collector()
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
    from lnlbench.errors import UsageError, suggest
    from lnlbench.records.plan_file import planned_spec
    from lnlbench.records.staleness import installed, specs_of, staleness

    plans = store.plans()
    if grid is not None and grid not in plans:
        raise UsageError(f"There is no grid '{grid}' in '{store.root}'.", suggest(grid, plans))
    entries, damaged = store.look()
    by_id = {entry.trial_id: entry for entry in entries}
    chosen = plans if grid is None else {grid: plans[grid]}
    trials: list[tuple[str, str, str | None]] = []
    planned: dict[str, Mapping[str, Any]] = {}
    for name, plan in chosen.items():
        for trial in plan["trials"]:
            trials.append((name, trial["trial_id"], trial.get("skip")))
            planned[trial["trial_id"]] = trial
    if grid is None:
        trials += [("", trial_id, None) for trial_id in by_id if trial_id not in planned]

    stale = staleness(entries, installed(specs_of(entries)))
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
        found = by_id.get(trial_id)
        status = str(found.status) if found else "skipped" if skip else "pending"
        report["grids"].setdefault(name, dict.fromkeys(_STATUSES, 0))[status] += 1
        reasons = {
            "failures": found.error if found else None,
            "skipped": skip if status == "skipped" else None,
            "stale": stale.get(trial_id),
        }
        for kind, reason in reasons.items():
            if reason is not None:
                spec = found.spec if found else planned_spec(planned[trial_id])
                entry = {"grid": name, "trial_id": trial_id, "trial": spec.describe()}
                report[kind].append(entry | {"reason": reason})
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
    source = plan.get("source", {})
    # A grid that was given by its path is known by no other name.
    command = f"lnlbench run --grid {shlex.quote(source.get('grid', plan['grid']))}"
    for plugin in source.get("plugins", []):
        command += f" --plugin {shlex.quote(plugin)}"
    for override in source.get("overrides", []):
        option, _, value = override.partition(" ")
        command += f" {option} {shlex.quote(value)}"
    return f"{command} --out {out}"


def _print(report: dict[str, Any]) -> None:
    from lnlbench.analysis.names import clean

    rows = [["grid", *_STATUSES]]
    for grid, numbers in report["grids"].items():
        rows.append([clean(grid) or "(in no plan)", *(str(numbers[status]) for status in _STATUSES)])
    for line in columns(rows, right=range(1, len(rows[0]))):
        echo(line)
    for title, key in (("Failed", "failures"), ("Skipped", "skipped"), ("Stale", "stale")):
        if report[key]:
            echo(f"\n{title}:")
        for entry in report[key]:
            echo(f"  {entry['trial_id']}  {clean(entry['trial'])}: {clean(entry['reason'])}")
    if report["damaged"]:
        echo("\nDamaged (the next run moves these aside and repeats the trials):")
    for entry in report["damaged"]:
        echo(f"  {clean(entry['path'])}: {clean(entry['reason'])}")
    echo(f"\nNext: {report['next']}")
