"""``python -m lnlbench.fidelity [--check] [--output FILE]``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from lnlbench.errors import ExitCode, LnlbenchError, UsageError

ROOT = Path(__file__).parents[2]


def build(root: Path) -> tuple[str, list[str]]:
    """Return the page of a source checkout, and what is missing for it to be complete.

    Raises
    ------
    LnlbenchError
        If there are no tests, or a method cannot be loaded.
    """
    from lnlbench.fidelity.coverage import covering_tests
    from lnlbench.fidelity.gaps import gaps
    from lnlbench.fidelity.page import render
    from lnlbench.fidelity.subjects import component_facts, method_facts, noise_facts

    tests = covering_tests(root)
    methods, noises = method_facts(), noise_facts()
    missing = gaps(methods, noises, tests)
    return render(methods, noises, component_facts(), tests), missing


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; fail if the page is out of date.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=ROOT / "docs" / "fidelity.md",
    show_default="docs/fidelity.md",
    help="The page.",
)
def command(check: bool, output: Path) -> int:
    """Make the page on fidelity from the code, and name what is missing in it."""
    page, missing = build(ROOT)
    for gap in missing:
        click.echo(gap, err=True)
    try:
        if not check:
            output.write_text(page, encoding="utf-8")
        elif not output.is_file() or output.read_text(encoding="utf-8") != page:
            click.echo(f"{output} is out of date. Make it anew: python -m lnlbench.fidelity", err=True)
            return ExitCode.MISMATCH
    except OSError as problem:
        raise UsageError(f"{output} cannot be used: {problem}.", "Choose another place.") from problem
    return ExitCode.INCOMPLETE if missing else ExitCode.OK


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code; see :class:`lnlbench.errors.ExitCode`."""
    try:
        return int(command.main(arguments, prog_name="python -m lnlbench.fidelity", standalone_mode=False))
    except LnlbenchError as error:
        click.echo(f"Error: {error}", err=True)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return ExitCode.USAGE


if __name__ == "__main__":
    sys.exit(main())
