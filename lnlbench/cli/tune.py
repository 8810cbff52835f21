"""``lnlbench tune``: search hyperparameters, and write them to a file that grids use."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lnlbench.cli.echo import echo
from lnlbench.cli.execution import Execution, execution_options, read_execution
from lnlbench.cli.options import RUNS, grid_name, where_option
from lnlbench.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from lnlbench.cli.session import Session
    from lnlbench.cli.tune_progress import SearchProgress
    from lnlbench.plan import Plan
    from lnlbench.search.design import Search
    from lnlbench.search.journal import Journal, Rule
    from lnlbench.spec import TrialSpec
    from lnlbench.store import Store
    from lnlbench.worker import Limits


@click.command("tune")
@click.option(
    "--tuning", required=True, metavar="lp|fft", help="The phase whose hyperparameters are searched."
)
@click.option(
    "--grid",
    default="paper_table7",
    show_default=True,
    help="Data set, noise, backbones, seeds and epochs: name of a grid, or a .toml file.",
)
@where_option
@click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a setting or an axis of the grid, as in backbone=timm:resnet50 (repeatable).",
)
@click.option("--seeds", help="Seeds instead of the grid's; scores are means over them.")
@click.option("--method", default="ce", show_default=True, help="What the configurations train with.")
@click.option(
    "--space",
    "spaces",
    multiple=True,
    metavar="KEY=VALUE[,VALUE]",
    help="Values of a setting instead of the paper's, as in lr=0.1,0.01; one value fixes it (repeatable).",
)
@click.option(
    "--search",
    "strategy",
    type=click.Choice(["grid", "random", "asha"]),
    default="grid",
    show_default=True,
    help="All configurations, --samples of them, or ASHA, which ends those of little promise early.",
)
@click.option("--samples", type=click.IntRange(1), help="Configurations to draw, for random and asha.")
@click.option("--draw-seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the draw.")
@click.option(
    "--metric",
    default="best_validation",
    show_default=True,
    help="best_validation or last_validation; never a test accuracy.",
)
@click.option("--grace", type=click.IntRange(1), help="asha: epochs of every trial [default: a tenth].")
@click.option("--reduction", type=click.IntRange(2), help="asha: one in how many goes on [default: 3].")
@click.option("--top", type=click.IntRange(1), default=10, show_default=True, help="Configurations to list.")
@click.option("--dry-run", is_flag=True, help="Show the search and run nothing.")
@click.option("--retry", type=click.Choice(["failed", "stale", "all"]), help="Also run these trials again.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for results [default: runs/tune-GRID].")
@click.option(
    "--write",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.toml",
    help="File for the best settings; other entries in it are kept [default: OUT/hyperparameters.toml].",
)
@execution_options
def command(
    tuning: str,
    grid: str,
    conditions: tuple[str, ...],
    sets: tuple[str, ...],
    seeds: str | None,
    method: str,
    spaces: tuple[str, ...],
    strategy: str,
    samples: int | None,
    draw_seed: int,
    metric: str,
    grace: int | None,
    reduction: int | None,
    top: int,
    dry_run: bool,
    retry: str | None,
    out: Path | None,
    write: Path | None,
    **execution: Any,
) -> int:
    """Search hyperparameters for one or several backbones.

    Configurations are compared by validation accuracy, whose labels are as noisy as those of
    training. The same command continues where it stopped. The best settings are written to a file
    that a grid takes with --set hyperparameters=FILE.toml.
    """
    from lnlbench.cli.tune_dry_run import describe_search
    from lnlbench.provenance import look_up
    from lnlbench.run import find_pending
    from lnlbench.search.design import base_plan, make_searches
    from lnlbench.search.journal import Journal
    from lnlbench.search.outcome import check_metric
    from lnlbench.search.space import check_phase, parse_space
    from lnlbench.search.write import check_target
    from lnlbench.store import Store
    from lnlbench.workspace import Workspace

    _check_options(strategy, samples, grace, reduction, execution["executor"])
    space = parse_space(check_phase(tuning), spaces)
    check_metric(metric)
    if write is not None:
        check_target(write)
    out = out or RUNS / f"tune-{grid_name(grid)}"
    given = read_execution(out, **execution)
    base = base_plan(grid, space, method=method, where=conditions, sets=sets, seeds=seeds)
    searches = make_searches(base, space, samples=samples, draw_seed=draw_seed)
    how = strategy if samples is None else f"{strategy}, {samples} drawn with seed {draw_seed}"
    journal = None
    if strategy == "asha":
        rule = _rule(searches, metric, grace, reduction)
        journal = Journal(out, rule, _code(method), fresh=retry == "all")
        how += f", grace {rule.grace}, reduction {rule.reduction}"
    task = _Task(base, searches, _command_line(out), journal)
    if dry_run:
        known = Store.open(out).records() if (out / "lnlbench.json").exists() else []
        plan = task.plan()
        look = partial(look_up, workspace=Workspace(given.setting))
        pending = find_pending(plan, known, retry, look)
        echo(describe_search(plan, searches, pending, given.setting, out))
        return ExitCode.OK
    store = _run(task, given, out, retry, metric)
    return _conclude(task, store, metric, how, write or out / "hyperparameters.toml", top, grid, sets)


def _check_options(
    strategy: str, samples: int | None, grace: int | None, reduction: int | None, executor: str
) -> None:
    if strategy == "random" and samples is None:
        raise UsageError("--search random needs --samples.", "Write, for example, --samples 30.")
    if strategy == "grid" and samples is not None:
        raise UsageError("--search grid tries all configurations.", "Drop --samples, or use --search random.")
    if strategy != "asha" and (grace or reduction):
        raise UsageError("--grace and --reduction are options of --search asha.", "Drop them.")
    if strategy == "asha" and executor == "inline":
        raise UsageError("--search asha needs Ray's scheduler.", "Drop --executor inline.")


def _rule(searches: tuple[Search, ...], metric: str, grace: int | None, reduction: int | None) -> Rule:
    from lnlbench.search.journal import Rule

    epochs = min(search.epochs for search in searches)
    if any(len(search.base) > 1 for search in searches):
        raise UsageError(
            "--search asha compares trials while they run, so it takes one seed.",
            "Write --seeds 0, or use --search random.",
        )
    if grace is not None and grace > epochs:
        raise UsageError(f"--grace is {grace}, but a trial has {epochs} epochs.", "Give fewer.")
    return Rule(metric, grace or max(1, epochs // 10), reduction or 3)


def _command_line(out: Path) -> str:
    """Return this command as it was given, with the folder; ``lnlbench status`` shows it."""
    context = click.get_current_context()
    parts = ["lnlbench", "tune"]
    for parameter in context.command.params:
        value = context.params[parameter.name or ""]
        if parameter.name in ("dry_run", "retry", "out", "top") or value in (None, parameter.default):
            continue
        if isinstance(value, bool):
            parts += [parameter.opts[0]] if value else []
            continue
        for item in value if parameter.multiple else [value]:
            parts += [parameter.opts[0], str(item)]
    return shlex.join([*parts, "--out", str(out)])


def _code(method: str) -> str:
    """Return the fingerprint of a method's code: a scheduler's decisions hold for that."""
    from lnlbench import registry

    return registry.fingerprint(registry.methods().entry(method))["fingerprint"]


@dataclass(frozen=True)
class _Task:
    """What is searched, and what a scheduler has decided before (None without one)."""

    base: Plan
    searches: tuple[Search, ...]
    command: str
    journal: Journal | None

    def plan(self) -> Plan:
        """Return the plan; trials that the scheduler has ended are skipped."""
        from lnlbench.search.design import search_plan

        epochs = self.searches[0].epochs
        ended = self.journal.reasons(epochs) if self.journal else {}
        return search_plan(self.base, self.searches, self.command, ended)


def _run(task: _Task, given: Execution, out: Path, retry: str | None, metric: str) -> Store:
    """Run what is pending, and return the store with all records."""
    from lnlbench.cli.session import open_session
    from lnlbench.cli.tune_progress import SearchProgress
    from lnlbench.run import execute, merge_plans, supervised
    from lnlbench.store import Store

    store, plan = Store.open(out, create=True), task.plan()

    def make_progress(total: int) -> SearchProgress:
        return SearchProgress(total, task.searches[0].space, metric)

    setting, resources = given.setting, given.resources
    with open_session(store, plan, given, retry, make_progress) as session:
        todo, progress = session.pending.todo, session.progress
        if not todo:
            return store
        with supervised(setting, resources, given.timeout, progress.interrupted) as limits:
            if task.journal is None:
                execute(todo, setting, resources, limits, started=progress.started, finished=session.finished)
            else:
                _schedule(task.searches, task.journal, session, given, limits)
        if task.journal is not None:  # trials that the scheduler has ended are skipped from now on
            store.put_plan(merge_plans(store.plans().get(plan.grid), task.plan()))
    return store


def _schedule(
    searches: tuple[Search, ...],
    journal: Journal,
    session: Session[SearchProgress],
    given: Execution,
    limits: Limits,
) -> None:
    from lnlbench.search.asha import run_asha
    from lnlbench.search.outcome import curve_of

    again = {spec.trial_id for spec in session.pending.todo}
    curves = {
        record.trial_id: curve_of(record).accuracies
        for record in session.records
        if record.trial_id not in again
    }

    def stopped(spec: TrialSpec, epochs: int) -> None:
        session.saved.remove(spec.trial_id)
        session.progress.stopped(spec, epochs)

    resources = given.resources
    assert resources is not None  # --executor inline is refused
    for search in searches:
        run_asha(
            search.trials(),
            curves,
            journal,
            given.setting,
            resources,
            limits,
            started=session.progress.started,
            finished=session.finished,
            stopped=stopped,
        )


def _conclude(
    task: _Task,
    store: Store,
    metric: str,
    how: str,
    target: Path,
    top: int,
    grid: str,
    sets: tuple[str, ...],
) -> int:
    """Report on the searches, write the best settings, and name the next command."""
    from lnlbench.search.outcome import State, collect, rank
    from lnlbench.search.report import describe_result
    from lnlbench.search.write import choose, write_hyperparameters

    records = store.records()
    ended = task.journal.curves() if task.journal else {}
    chosen, complete = [], True
    for search in task.searches:
        results = collect(search, records, ended)
        echo(f"\n{describe_result(search, results, metric, top)}")
        ranked = rank(results, metric)
        if ranked:
            chosen.append(choose(search, ranked, metric, how))
        failed = any(result.state in (State.FAILED, State.PENDING) for result in results)
        complete = complete and bool(ranked) and not failed
    if chosen:
        write_hyperparameters(target, chosen, "Found by lnlbench tune")
        names = ", ".join(f"{entry.backbone} {entry.phase}" for entry in chosen)
        command = ["lnlbench", "run", "--grid", "paper_table2" if grid == "paper_table7" else grid]
        for text in sets:
            command += ["--set", text]
        command += ["--set", f"hyperparameters={target}"]
        echo(f"\nThe best settings ({names}) are in {target}. Next: {shlex.join(command)}")
    if not complete:
        echo(f"Not all configurations gave a result. See: lnlbench status --out {store.root}")
        return ExitCode.INCOMPLETE
    return ExitCode.OK
