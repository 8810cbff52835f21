"""``lnlbench check``: does a method, a backbone, a data set or a metric keep the rules of the suite?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lnlbench.console.echo import echo
from lnlbench.console.options import data_option
from lnlbench.errors import ExitCode

if TYPE_CHECKING:
    from lnlbench.conformance import Finding


@click.command("check")
@click.argument("name")
@click.option(
    "--plugin", "plugins", multiple=True, metavar="FILE.py[:CLASS]", help="A plugin that is not installed."
)
@data_option
@click.option(
    "--deterministic/--no-deterministic",
    default=True,
    show_default=True,
    help="Have PyTorch refuse algorithms that do not give the same bits every time.",
)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(name: str, plugins: tuple[str, ...], data: Path | None, deterministic: bool, form: str) -> int:
    """Check that NAME keeps the rules of the suite.

    NAME is a method, a backbone (resnet50, timm:resnet18), a data set (digits, npz:pets.npz), a metric
    (ece), or FILE.py[:CLASS] with one of these. A method is run on a small real problem, in every tuning
    mode that it supports; a backbone is tried with random and with its pre-trained weights; a data set as
    it lies in the data folder, and as its stand-in; a metric with predictions that are unlike each other.
    """
    from lnlbench.basics.process_settings import be_deterministic, process_as_found
    from lnlbench.conformance import check_plugin
    from lnlbench.plugins import registry

    for plugin in plugins:
        registry.add_plugin(plugin)
    with process_as_found():
        if deterministic:
            be_deterministic()
        report = check_plugin(name, data=data, progress=_show if form == "text" else None)
    if form == "json":
        import json

        echo(json.dumps(report.to_dict(), indent=2, ensure_ascii=False))
    else:
        echo(report.summary)
    return ExitCode.OK if report.passed else ExitCode.INCOMPLETE


def _show(finding: Finding) -> None:
    echo(str(finding))
