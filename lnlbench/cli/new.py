"""``lnlbench new``: start a plugin of one's own."""

from __future__ import annotations

import re
from pathlib import Path

import click

from lnlbench._version import __version__
from lnlbench.cli.echo import echo
from lnlbench.errors import UsageError

METHOD = '''\
"""{title}: a method for lnlbench."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lnlbench.api import Batch, Method, functional
from lnlbench.errors import UsageError


class {class_name}(Method):
    """Cross-entropy with smoothed labels: replace it by your own method."""

    name = "{name}"  # when the file is given by its path

    @dataclass(frozen=True)
    class Params:
        """Share of each label that is spread over all classes."""

        smoothing: float = 0.1

        def __post_init__(self) -> None:
            if not 0.0 <= self.smoothing <= 1.0:
                raise UsageError(f"smoothing is {{self.smoothing:g}}; it must lie in [0, 1].")

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the loss of a batch. For more than a loss, see epoch() and predict() in lnlbench.api."""
        logits = self.network(batch.inputs)
        return functional.cross_entropy(logits, batch.labels, label_smoothing=self.params.smoothing)
'''

TEST = """\
from lnlbench.conformance import check_method


def test_keeps_the_rules_of_the_suite():
    report = check_method("{name}")
    assert report.passed, report
"""

SETUP = """\
[metadata]
name = lnlbench-{dashed}
version = 0.1.0
description = {title}, a method for lnlbench

[options]
python_requires = >=3.11
py_modules = {module}
install_requires =
    lnlbench >= {version}

[options.entry_points]
lnlbench.methods =
    {name} = {module}:{class_name}
"""

PYPROJECT = """\
[build-system]
requires = ["setuptools>=69"]
build-backend = "setuptools.build_meta"
"""


@click.group("new")
def command() -> None:
    """Start a method of your own."""


@command.command("method")
@click.argument("name")
@click.option(
    "--dir", "folder", type=click.Path(path_type=Path), help="Folder to make [default: ./lnlbench-NAME]."
)
def method(name: str, folder: Path | None) -> None:
    """Write a distribution with the method NAME, ready to be changed, tested and installed."""
    from lnlbench import registry

    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        raise UsageError(
            f"'{name}' cannot be the name of a method.",
            "Use small letters, digits and single underscores, as in my_method.",
        )
    for entry in registry.methods().entries():
        if entry.name == name:
            raise UsageError(f"The method name '{name}' is taken by {entry.origin}.", "Choose another one.")
    folder = folder or Path(f"lnlbench-{name.replace('_', '-')}")
    files = render(name)
    try:
        if folder.exists() and any(folder.iterdir()):
            raise UsageError(f"'{folder}' exists and is not empty.", "Choose another folder with --dir.")
        for path, text in files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"'{folder}' cannot be written: {error.strerror}.", "Choose another folder with --dir."
        ) from error
    echo(f"Your method is in {folder / f'lnlbench_{name}.py'}. Next:")
    echo(f"  lnlbench check {folder / f'lnlbench_{name}.py'}")
    echo(f"  pip install -e {folder} && pytest {folder}")


def render(name: str) -> dict[str, str]:
    """Return the files of a new method by their path in its folder."""
    words = name.split("_")
    values = {
        "name": name,
        "dashed": "-".join(words),
        "title": " ".join(words).capitalize(),
        "class_name": "".join(word.capitalize() for word in words),
        "module": f"lnlbench_{name}",
        "version": __version__,
    }
    return {
        "pyproject.toml": PYPROJECT,
        "setup.cfg": SETUP.format(**values),
        f"lnlbench_{name}.py": METHOD.format(**values),
        f"tests/test_{name}.py": TEST.format(**values),
    }
