"""``lnlbench verify``: results beside the numbers of the paper."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lnlbench.cli.echo import echo
from lnlbench.cli.options import grid_name, out_option, resolve_out, save_bytes, warn_damaged, where_option
from lnlbench.errors import ExitCode, NothingSelectedError, UsageError, suggest

if TYPE_CHECKING:
    from lnlbench.analysis.comparison.result import Comparison


@click.command("verify")
@out_option
@click.option("--grid", required=True, help="A grid of the paper, such as paper_table2.")
@where_option
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0.0),
    help="Fixed part of the tolerance in percentage points; for times and sample counts in percent of the "
    "published number [default: 1 point; 25 % for times, 10 % for counts].",
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
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown", "csv", "json"]),
    default="text",
    show_default=True,
)
@click.option("--output", type=click.Path(path_type=Path), help="Write to this file, not to the terminal.")
@click.pass_context
def command(
    context: click.Context,
    out: Path | None,
    grid: str,
    conditions: tuple[str, ...],
    tolerance: float | None,
    allow_different_protocol: bool,
    min_tau: float | None,
    everything: bool,
    form: str,
    output: Path | None,
) -> None:
    """Compare results with the paper's, cell by cell and in their order.

    Exits with 4 if a cell differs by more than its tolerance, or if the method that leads in the
    paper is behind by more than that; else with 1 if numbers are missing. Runs that do not follow
    the paper's protocol are refused (2) unless allowed; then only rankings count.
    """
    from lnlbench.analysis.comparison.render import render

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
    text = render(comparison, mismatches, form, everything)
    if output is None:
        echo(text, nl=False)
    else:
        save_bytes(output, text.encode())
    if mismatches:
        context.exit(ExitCode.MISMATCH)
    if not comparison.complete:
        context.exit(ExitCode.INCOMPLETE)


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
    from lnlbench.analysis.comparison.compare import compare
    from lnlbench.analysis.comparison.matching import make_runs
    from lnlbench.analysis.comparison.published import find_table, read_published, read_sizes
    from lnlbench.analysis.frame import build_frame
    from lnlbench.filters import filter_frame, parse_where
    from lnlbench.plan import plan
    from lnlbench.store import Store

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
