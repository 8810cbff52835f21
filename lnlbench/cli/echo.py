"""Printing what may come from files, plugins or the command line."""

from __future__ import annotations

import click

from lnlbench.printable import printable


def echo(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print text without sending its control characters; see :mod:`lnlbench.printable`."""
    click.echo(printable(text), err=err, nl=nl)
