"""``lnlbench list``: what there is, and where it comes from.

Nothing is loaded: plugins are described from their source, so that the list is fast and a
broken plugin is in it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypedDict

import click

from lnlbench.cli.echo import echo
from lnlbench.entries import Entry


class Item(TypedDict):
    """One line of a list."""

    name: str
    summary: str
    origin: str


NOISE = {
    "symmetric": "a share of the samples gets a uniformly random label: symmetric-0.6",
    "asymmetric": "labels flip to a similar class: asymmetric-0.4",
    "instance": "labels flip depending on the input: instance-0.4",
    "real": "labels as the data set has them",
    "none": "true labels",
    "file": "labels of a noise file: file:PATH",
}


@click.command("list")
@click.argument("what", type=click.Choice(["grids", "methods", "backbones", "datasets", "noise"]))
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Output."
)
def command(what: str, form: str) -> None:
    """List grids, methods, backbones, datasets or noise types, and where they come from."""
    items = _lists()[what]()
    if form == "json":
        import json

        echo(json.dumps(items, indent=2, ensure_ascii=False))
    elif sys.stdout.isatty():
        _print_table(items)
    else:
        widths = [max((len(item[key]) for item in items), default=0) for key in ("name", "origin")]
        for item in items:
            line = f"{item['name']:<{widths[0]}}  {item['origin']:<{widths[1]}}  {item['summary']}"
            echo(line.rstrip())


def _lists() -> dict[str, Callable[[], list[Item]]]:
    from lnlbench import registry

    return {
        "grids": lambda: _items(registry.grids(), _describe_grid),
        "methods": lambda: _items(registry.methods().entries(), _describe_plugin),
        "backbones": lambda: _items(registry.backbones().entries(), _describe_plugin),
        "datasets": lambda: _items(registry.datasets().entries(), _describe_plugin),
        "noise": lambda: [Item(name=name, summary=text, origin="lnlbench") for name, text in NOISE.items()],
    }


def _items(entries: tuple[Entry, ...], describe: Callable[[Entry], str]) -> list[Item]:
    from lnlbench.entries import collisions

    clashing = collisions(entries)
    items: list[Item] = []
    for entry in entries:
        note = "ambiguous: more than one plugin has this name; " if entry.name in clashing else ""
        items.append(Item(name=entry.name, summary=note + describe(entry), origin=entry.origin))
    return items


def _describe_plugin(entry: Entry) -> str:
    from lnlbench.entries import summary

    return summary(entry)


def _describe_grid(entry: Entry) -> str:
    from lnlbench.errors import GridError
    from lnlbench.grid_file import read_grid

    assert entry.path is not None  # a grid is a file
    try:
        grid = read_grid(entry.path)
    except GridError as error:
        return f"cannot be read: {error.message}"
    return f"{grid.title} ({grid.size} trials)"


def _print_table(items: list[Item]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from lnlbench.printable import printable

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("Name", "Origin", "Summary"):
        table.add_column(title)
    for item in items:  # as Text: names and docstrings are not markup
        name, origin, summary = (printable(text) for text in (item["name"], item["origin"], item["summary"]))
        table.add_row(Text(name, style="cyan"), Text(origin), Text(summary))
    Console().print(table)
