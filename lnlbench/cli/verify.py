"""``lnlbench verify``: results beside the numbers of the paper, or published results made again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lnlbench.console.echo import echo
from lnlbench.console.options import (
    cache_option,
    data_option,
    grid_name,
    out_option,
    resolve_out,
    save_bytes,
    warn_damaged,
    where_option,
)
from lnlbench.errors import ExitCode, NothingSelectedError, UsageError, suggest

if TYPE_CHECKING:
    from lnlbench.analysis.paper.comparison import Comparison


@click.command("verify")
@out_option
@click.option("--grid", help="A grid of the paper, such as paper_table2.")
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    help="Instead: a folder of published results, whose tables and report are made again and compared.",
)
@click.option(
    "--recompute",
    type=click.IntRange(min=0),
    default=0,
    metavar="K",
    help="With --results: also run K linear-probing trials again, drawn at random, and compare bits.",
)
@click.option("--draw", type=int, default=0, show_default=True, help="Seed of that draw.")
@data_option
@cache_option
@where_option
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0.0),
    help="Fixed part of the tolerance in percentage points; for times and sample counts in percent of the "
    "published number [default: 1 point; 25 % for times, 10 % for counts]. With --recompute: of accuracies "
    "where machine or versions are others, in points [default: 1].",
)
@click.option(
    "--allow-different-protocol",
    is_flag=True,
    help="Compare runs on other data, backbones or budgets than the paper's: rankings count, not cells.",
)
@click.option(
    "--min-tau",
    type=click.FloatRange(-1.0, 1.0),
    help="A mean Kendall's τ below this is a mismatch as well [default: none is].",
)
@click.option(
    "--all", "everything", is_flag=True, help="List every cell, not only those that differ or are missing."
)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--output", type=click.Path(path_type=Path), help="Write to this file, not to the terminal.")
@click.pass_context
def command(
    context: click.Context,
    out: Path | None,
    grid: str | None,
    results: Path | None,
    recompute: int,
    draw: int,
    data: Path | None,
    cache_dir: Path | None,
    conditions: tuple[str, ...],
    tolerance: float | None,
    allow_different_protocol: bool,
    min_tau: float | None,
    everything: bool,
    form: str,
    output: Path | None,
) -> None:
    """Compare results with the paper's, cell by cell and in their order; or check published results.

    Exits with 4 if a cell differs by more than its tolerance, or if the method that leads in the
    paper is behind by more than that; else with 1 if numbers are missing. Runs that do not follow
    the paper's protocol are refused (2) unless allowed; then only rankings count.

    With --results, exits with 4 if a file is not what the records give, byte for byte, or if a trial that is
    run again gives other numbers.
    """
    if results is not None:
        if grid or out or conditions:
            raise UsageError("--results checks a folder as it is.", "Drop --grid, --out and --where.")
        text, agrees = _check_results(results, recompute, draw, data, cache_dir, tolerance, form)
        _show(text, output)
        if not agrees:
            context.exit(ExitCode.MISMATCH)
        return
    if grid is None:
        raise UsageError("Nothing is said to be verified.", "Add --grid paper_table2, or --results FOLDER.")
    from lnlbench.analysis.paper.comparison_report import to_json, to_text

    comparison = make_comparison(resolve_out(out, grid), grid_name(grid), conditions, tolerance)
    if comparison.differences and not allow_different_protocol:
        listed = "; ".join(map(str, comparison.differences))
        raise UsageError(
            f"These runs do not follow the protocol of the paper's {comparison.table.title}: {listed}.",
            "Run the grid as it is, or compare rankings all the same with --allow-different-protocol.",
        )
    if not comparison.measured:
        raise NothingSelectedError(
            f"Nothing is measured yet that stands for a number of the paper's {comparison.table.title}.",
            f"Make results with lnlbench run --grid {grid}, or drop --where.",
        )
    mismatches = comparison.mismatches(min_tau)
    as_data = form == "json"
    text = to_json(comparison, mismatches) if as_data else to_text(comparison, mismatches, everything)
    _show(text, output)
    if mismatches:
        context.exit(ExitCode.MISMATCH)
    if not comparison.complete:
        context.exit(ExitCode.INCOMPLETE)


def _show(text: str, output: Path | None) -> None:
    if output is None:
        echo(text, nl=False)
    else:
        save_bytes(output, text.encode())


def _check_results(
    folder: Path,
    count: int,
    draw: int,
    data: Path | None,
    cache: Path | None,
    tolerance: float | None,
    form: str,
) -> tuple[str, bool]:
    """Check published results, and say what was found and whether all of it agrees."""
    import json

    from lnlbench.publishing.checking import Check, check_published
    from lnlbench.records.reading.published_folder import read_published

    published = read_published(folder)
    findings = check_published(published)
    if count:
        from lnlbench.publishing.recomputing import candidates, choose, recompute

        chosen, among = choose(published, count, draw), len(candidates(published))
        if not chosen:
            findings.append(Check("recompute", False, "there is no linear-probing trial that ran on a CPU"))
        for record in chosen:
            told = recompute(record, data=data, cache=cache, tolerance=tolerance, told=_tell)
            findings.append(Check(f"trial {record.trial_id}", told.agrees, f"{told.name}: {told.text}"))
        if chosen:
            echo(f"Run again: {len(chosen)} of {among} linear-probing trials (--draw {draw}).", err=True)
    agrees = all(finding.agrees for finding in findings)
    if form == "json":
        rows = [{"what": each.what, "agrees": each.agrees, "text": each.text} for each in findings]
        return json.dumps({"agrees": agrees, "findings": rows}, indent=1, ensure_ascii=False) + "\n", agrees
    lines = [f"{'ok ' if each.agrees else 'NOT'}  {each.what}: {each.text}" for each in findings]
    last = "All of it agrees." if agrees else f"{sum(not each.agrees for each in findings)} do not agree."
    return "\n".join([*lines, last]) + "\n", agrees


def _tell(text: str) -> None:
    echo(f"running again: {text}", err=True)


def make_comparison(
    out: Path, grid: str, conditions: tuple[str, ...] = (), tolerance: float | None = None
) -> Comparison:
    """Compare what a folder holds of a grid with the paper's table.

    Raises
    ------
    UsageError
        If the paper prints no numbers for the grid, or the folder does not hold it.
    NothingSelectedError
        If the filters leave no trial.
    """
    from lnlbench.analysis.paper.comparison import compare
    from lnlbench.analysis.paper.matching import make_runs
    from lnlbench.analysis.paper.published import find_table, read_published, read_sizes
    from lnlbench.grids.plan import plan
    from lnlbench.records.filters import filter_frame, parse_where
    from lnlbench.records.frame import build_frame
    from lnlbench.records.store import Store

    table = find_table(grid)
    where = parse_where(conditions)
    store = Store.open(out)
    plans = store.plans()
    if grid not in plans:
        raise UsageError(f"There is no grid '{grid}' in '{store.root}'.", suggest(grid, plans))
    records, damaged = store.read_all()
    warn_damaged(damaged + store.damaged_plans())
    frame = build_frame(plans, records)
    chosen = filter_frame(frame[frame["grid"] == grid], where)
    paper = plan(grid).to_dict()
    return compare(
        table,
        read_published(table),
        make_runs(chosen, plans[grid], records),
        make_runs(build_frame({grid: paper}, ()), paper),
        read_sizes(),
        fixed=tolerance,
        narrowed=bool(where),
    )
