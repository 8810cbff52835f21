"""``lnlbench new``: start a plugin of one's own."""

from __future__ import annotations

import re
from pathlib import Path

import click

from lnlbench.console.echo import echo
from lnlbench.errors import UsageError


@click.command("new")
@click.argument("kind", type=click.Choice(["method", "backbone", "dataset"]))
@click.argument("name")
@click.option(
    "--dir", "folder", type=click.Path(path_type=Path), help="Folder to make [default: ./lnlbench-NAME]."
)
def command(kind: str, name: str, folder: Path | None) -> None:
    """Write a distribution with a method, backbone or data set NAME.

    It works as it stands: change it, check it, install it, publish it.
    """
    from lnlbench.plugins import registry, templates

    words = templates.TEMPLATES[kind].words
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        raise UsageError(
            f"'{name}' cannot be the name of a {words}.",
            f"Use small letters, digits and single underscores, as in my_{kind}.",
        )
    (known,) = (known for known in registry.registries() if known.group == f"lnlbench.{kind}s")
    for entry in known.entries():
        if entry.name == name:
            raise UsageError(f"The {words} name '{name}' is taken by {entry.origin}.", "Choose another one.")
    folder = folder or Path(f"lnlbench-{name.replace('_', '-')}")
    try:
        if folder.exists() and any(folder.iterdir()):
            raise UsageError(f"'{folder}' exists and is not empty.", "Choose another folder with --dir.")
        for path, text in templates.render(kind, name).items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"'{folder}' cannot be written: {error.strerror}.", "Choose another folder with --dir."
        ) from error
    echo(f"Your {words} is in {folder / f'lnlbench_{name}.py'}. Next:")
    echo(f"  lnlbench check {folder / f'lnlbench_{name}.py'}")
    echo(f"  pip install -e {folder} && pytest {folder}")
