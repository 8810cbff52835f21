"""Options that several commands share, and what they mean."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lnlbench.console.echo import echo
from lnlbench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lnlbench.basics.files import Damaged
    from lnlbench.records.reading.folders import Results

# Where `lnlbench run` puts the results of a grid unless --out says otherwise.
RUNS = Path("runs")

out_option = click.option(
    "--out", type=click.Path(path_type=Path), help="Folder with results [default: the only one in ./runs]."
)
outs_option = click.option(
    "--out",
    "outs",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder with results; several are read as one (repeatable) [default: the only one in ./runs].",
)
grid_option = click.option("--grid", help="Name of a grid; without --out, results are in ./runs/GRID.")
data_option = click.option(
    "--data",
    type=click.Path(path_type=Path),
    envvar="LNLBENCH_DATA",
    help="Data folder [env: LNLBENCH_DATA].",
)
cache_option = click.option(
    "--cache-dir", type=click.Path(path_type=Path), help="Cache for features [env: LNLBENCH_CACHE]."
)
where_option = click.option(
    "--where",
    "conditions",
    multiple=True,
    metavar="AXIS=VALUE[,VALUE]",
    help="Keep only these trials, as in method=turn,ce or noise=symmetric-0.6 (repeatable).",
)
# For commands that read results: what a plugin measures and what its methods are called.
plugin_option = click.option(
    "--plugin",
    "plugins",
    multiple=True,
    metavar="FILE.py[:CLASS]",
    help="A plugin that is not installed, for its metric or its title (repeatable).",
)


class FiniteRange(click.FloatRange):
    """A range that not-a-number is outside of; click lets it through, as no comparison holds for it."""

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> float:
        """Return the number, or fail as click does for one out of range."""
        number = float(super().convert(value, param, context))
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, context)
        return number


def grid_name(grid: str) -> str:
    """Return the name of a grid that is given by name or by file."""
    return Path(grid).stem if grid.endswith(".toml") else grid


def resolve_out(out: Path | None, grid: str | None) -> Path:
    """Return the folder of results that ``--out`` and ``--grid`` mean.

    ``--out`` is taken as it is; ``--grid`` alone means ``runs/GRID``; neither means the only
    folder of results in ``runs``.

    Raises
    ------
    UsageError
        If neither is given, and ``runs`` holds no folder of results, or several.
    """
    if out is not None:
        return out
    if grid is not None:
        return RUNS / grid_name(grid)
    found = sorted(path.parent for path in RUNS.glob("*/lnlbench.json"))
    if not found:
        raise UsageError(
            f"There are no results in '{RUNS}'.", "Make some with lnlbench run --grid NAME, or name a --out."
        )
    if len(found) > 1:
        listing = ", ".join(map(str, found))
        raise UsageError(f"There are results in several folders: {listing}.", "Choose one with --out.")
    return found[0]


def read_outs(outs: tuple[Path, ...], grid: str | None) -> Results:
    """Read the folders that ``--out`` and ``--grid`` mean, and name damaged files on standard error."""
    from lnlbench.records.reading.folders import read_results

    results = read_results(outs or (resolve_out(None, grid),))
    warn_damaged(results.damaged)
    return results


def warn_damaged(damaged: Iterable[Damaged]) -> None:
    """Name damaged files on standard error."""
    for path, reason in damaged:
        echo(f"Warning: {path} is damaged: {reason}. Its trial counts as pending.", err=True)


def warn_stale(reasons: Mapping[str, str]) -> None:
    """Say on standard error which records were made by other code or data than there are now.

    Parameters
    ----------
    reasons : mapping of str to str
        By trial id, see :func:`lnlbench.records.staleness.staleness`.
    """
    from lnlbench.records.staleness import stale_warning

    if (warning := stale_warning(reasons)) is not None:
        echo(f"Warning: {warning}", err=True)


def save_bytes(path: Path, content: bytes) -> None:
    """Write a file that the user asked for.

    Raises
    ------
    UsageError
        If it cannot be written.
    """
    from lnlbench.basics.files import write_atomically

    try:
        write_atomically(path, content)
    except OSError as error:
        raise UsageError(
            f"'{path}' cannot be written: {error.strerror}.", "Choose another --output."
        ) from error
