"""Printing what may come from files, plugins or the command line."""

from __future__ import annotations

import sys

import click

from lnlbench.basics.printable import printable


def echo(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print text without sending its control characters; see :mod:`lnlbench.basics.printable`."""
    stream = sys.stderr if err else sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    # click would send UTF-8 to a terminal that says it has ASCII.
    shown = printable(text).encode(encoding, "backslashreplace").decode(encoding)
    click.echo(shown, err=err, nl=nl)
