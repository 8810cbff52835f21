"""``lnlbench tune``: search hyperparameters, and write them to a file that grids use."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lnlbench.console.echo import echo
from lnlbench.console.options import RUNS, grid_name, where_option
from lnlbench.console.running_options import listeners_option, running_options
from lnlbench.errors import ExitCode

if TYPE_CHECKING:
    from lnlbench.search.search_run import SearchRun


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
@click.option(
    "--batched/--no-batched",
    default=None,
    help="Train linear probing of configurations together that see the same batches [default: but for asha].",
)
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
@listeners_option
@running_options
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
    batched: bool | None,
    top: int,
    dry_run: bool,
    retry: str | None,
    out: Path | None,
    write: Path | None,
    listeners: tuple[str, ...],
    plugins: tuple[str, ...],
    **options: Any,
) -> int:
    """Search hyperparameters for one or several backbones.

    Configurations are compared by validation accuracy, whose labels are as noisy as those of
    training. The same command continues where it stopped. The best settings are written to a file
    that a grid takes with --set hyperparameters=FILE.toml.
    """
    from lnlbench.console.tune_progress import SearchProgress
    from lnlbench.running.job import add_plugins, make_job
    from lnlbench.running.listener import Listeners
    from lnlbench.running.listeners.choose import make_listener
    from lnlbench.search.design import base_plan, make_searches
    from lnlbench.search.outcome import check_metric
    from lnlbench.search.search_run import SearchRun, check_strategy
    from lnlbench.search.space import check_phase, parse_space
    from lnlbench.search.write import check_target

    check_strategy(strategy, samples, grace, reduction, options["executor"], batched=bool(batched))
    options["batched"] = strategy != "asha" if batched is None else batched
    space = parse_space(check_phase(tuning), spaces)
    check_metric(metric)
    if write is not None:
        check_target(write)
    out = out or RUNS / f"tune-{grid_name(grid)}"
    add_plugins(plugins)
    base = base_plan(grid, space, method=method, where=conditions, sets=sets, seeds=seeds)
    searches = make_searches(base, space, samples=samples, draw_seed=draw_seed)
    search = SearchRun(base, searches, out, metric, _command_line(out))
    how = strategy if samples is None else f"{strategy}, {samples} drawn with seed {draw_seed}"
    if strategy == "asha":
        search = search.with_asha(grace, reduction, fresh=retry == "all")
        assert search.journal is not None
        how += f", grace {search.journal.rule.grace}, reduction {search.journal.rule.reduction}"
    if dry_run:
        from lnlbench.console.tune_dry_run import describe_search

        echo(describe_search(search, make_job(out, **options), retry))
        return ExitCode.OK
    told = [SearchProgress(space, metric), *map(make_listener, listeners)]
    search.run(make_job(out, listener=Listeners(told), **options), retry)
    return _conclude(search, how, write or out / "hyperparameters.toml", top, grid, sets)


def _command_line(out: Path) -> str:
    """Return this command as it was given, with the folder; ``lnlbench status`` shows it."""
    context = click.get_current_context()
    parts = ["lnlbench", "tune"]
    for parameter in context.command.params:
        value = context.params[parameter.name or ""]
        if parameter.name in ("dry_run", "retry", "out", "top") or value in (None, parameter.default):
            continue
        if isinstance(value, bool):
            parts += (parameter.opts if value else parameter.secondary_opts)[:1]
            continue
        for item in value if parameter.multiple else [value]:
            parts += [parameter.opts[0], str(item)]
    return shlex.join([*parts, "--out", str(out)])


def _conclude(search: SearchRun, how: str, target: Path, top: int, grid: str, sets: tuple[str, ...]) -> int:
    """Report on the searches, write the best settings, and name the next command."""
    from lnlbench.search.search_report import describe_result
    from lnlbench.search.write import write_hyperparameters

    for one, results in search.results():
        echo(f"\n{describe_result(one, results, search.metric, top)}")
    chosen, complete = search.choose(how)
    if chosen:
        write_hyperparameters(target, chosen, "Found by lnlbench tune")
        names = ", ".join(f"{entry.backbone} {entry.phase}" for entry in chosen)
        command = ["lnlbench", "run", "--grid", search.base.source.get("used_by", grid)]
        for text in (*sets, f"hyperparameters={target}"):
            command += ["--set", text]
        echo(f"\nThe best settings ({names}) are in {target}. Next: {shlex.join(command)}")
    if not complete:
        echo(f"Not all configurations gave a result. See: lnlbench status --out {search.out}")
        return ExitCode.INCOMPLETE
    return ExitCode.OK
