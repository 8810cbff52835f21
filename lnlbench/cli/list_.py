"""``lnlbench list``: what there is, and where it comes from.

Nothing is loaded: plugins are described from their source, so that the list is fast and a
broken plugin is in it.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from typing import NotRequired, TypedDict

import click

from lnlbench.basics.columns import columns
from lnlbench.basics.printable import printable
from lnlbench.console.echo import echo
from lnlbench.plugins.find import Plugin


class Item(TypedDict):
    """One line of a list."""

    name: str
    summary: str
    origin: str
    title: NotRequired[str]
    paper: NotRequired[str]
    licence: NotRequired[str]
    homepage: NotRequired[str]


NOISE = {
    "symmetric": "a share of the samples gets a uniformly random label: symmetric-0.6",
    "asymmetric": "labels flip to a similar class: asymmetric-0.4",
    "instance": "labels flip depending on the input: instance-0.4",
    "human": "labels that people gave: human-worse (cifar10), human-noisy (cifar100)",
    "real": "labels as the data set has them",
    "none": "true labels",
    "file": "labels of a noise file: file:PATH",
}


@click.command("list")
@click.argument(
    "what",
    type=click.Choice(["grids", "methods", "backbones", "datasets", "metrics", "noise", "phase-kinds"]),
)
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Output."
)
def command(what: str, form: str) -> None:
    """List what there is of one kind (methods, data sets, metrics, …), and where it comes from."""
    items = _lists()[what]()
    if form == "json":
        import json

        echo(json.dumps(items, indent=2, ensure_ascii=False))
        return
    terminal = sys.stdout.isatty()
    rows = [("Name", "Origin", "Summary")] if terminal else []  # without it, every line is an item
    rows += [(item["name"], item["origin"], _sentence(item)) for item in items]
    width = shutil.get_terminal_size().columns if terminal else None
    for line in columns([[*map(printable, row)] for row in rows], width=width):
        echo(line)


def _lists() -> dict[str, Callable[[], list[Item]]]:
    from lnlbench.plugins import registry

    return {
        "grids": lambda: _items(registry.grids(), _describe_grid),
        "methods": lambda: _items(registry.methods().entries(), _describe_plugin),
        "backbones": lambda: _items(registry.backbones().entries(), _describe_plugin),
        "datasets": lambda: _items(registry.datasets().entries(), _describe_plugin),
        "phase-kinds": lambda: _items(registry.phase_kinds().entries(), _describe_plugin),
        "metrics": lambda: _items(registry.metrics().entries(), _describe_plugin),
        "noise": lambda: [Item(name=name, summary=text, origin="lnlbench") for name, text in NOISE.items()],
    }


def _items(plugins: tuple[Plugin, ...], describe: Callable[[Plugin], Item]) -> list[Item]:
    from lnlbench.plugins.find import collisions

    items = [describe(plugin) for plugin in plugins]
    clashing = collisions(plugins)
    for item in items:
        if item["name"] in clashing:
            item["summary"] = f"ambiguous: more than one plugin has this name; {item['summary']}"
    return items


def _sentence(item: Item) -> str:
    """The summary, with what to cite and the licence where the plugin says so."""
    known = "; ".join(filter(None, (item.get("paper"), item.get("licence"))))
    return f"{item['summary']} [{known}]" if known else item["summary"]


def _describe_plugin(plugin: Plugin) -> Item:
    from lnlbench.plugins.describe import describe

    said = describe(plugin)
    return Item(
        name=plugin.name,
        summary=said.summary,
        origin=plugin.origin,
        title=said.title or plugin.name,
        paper=said.paper,
        licence=said.licence,
        homepage=said.homepage,
    )


def _describe_grid(entry: Plugin) -> Item:
    from lnlbench.errors import GridError
    from lnlbench.grids.grid_file import read_grid

    assert entry.path is not None  # a grid is a file
    try:
        grid = read_grid(entry.path)
    except GridError as error:
        summary = f"cannot be read: {error.message}"
    else:
        summary = f"{grid.title} ({grid.size} trials)"
    return Item(name=entry.name, summary=summary, origin=entry.origin)
