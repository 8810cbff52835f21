"""``lnlbench check``: does a method keep the rules of the suite?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lnlbench.cli.echo import echo
from lnlbench.errors import ExitCode

if TYPE_CHECKING:
    from lnlbench.conformance import Finding


@click.command("check")
@click.argument("method")
@click.option(
    "--plugin", "plugins", multiple=True, metavar="FILE.py[:CLASS]", help="A method that is not installed."
)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(method: str, plugins: tuple[str, ...], form: str) -> int:
    """Check that METHOD (a name, or FILE.py[:CLASS]) keeps the rules of the suite.

    The method is run on a small real problem, in every tuning mode that it supports.
    """
    from lnlbench import registry
    from lnlbench.conformance import check_method

    for plugin in plugins:
        registry.methods().add_path(plugin)
    report = check_method(method, progress=_show if form == "text" else None)
    if form == "json":
        import json

        echo(json.dumps(report.to_dict(), indent=2, ensure_ascii=False))
    else:
        echo(report.summary)
    return ExitCode.OK if report.passed else ExitCode.INCOMPLETE


def _show(finding: Finding) -> None:
    echo(str(finding))
