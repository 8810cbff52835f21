"""``lnlbench data``: fetch a data set into the data folder, or check one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lnlbench.cli.echo import echo
from lnlbench.errors import DataError, UsageError

if TYPE_CHECKING:
    from lnlbench.data.source import Dataset, DatasetSource

_data_option = click.option(
    "--data",
    "root",
    type=click.Path(path_type=Path),
    envvar="LNLBENCH_DATA",
    help="Data folder [env: LNLBENCH_DATA].",
)


@click.group("data")
def command() -> None:
    """Fetch or check a data set."""


@command.command("fetch")
@click.argument("name")
@_data_option
def fetch(name: str, root: Path | None) -> None:
    """Download the data set NAME into the data folder."""
    source, path = _source(name)
    if source.missing(path, root) is None:
        echo(f"'{name}' is there already. Check it with: lnlbench data check {name}")
        return
    if root is None:
        raise UsageError("There is no data folder to put it in.", "Give --data DIR, or set LNLBENCH_DATA.")
    try:
        source.fetch(root)
    except OSError as error:  # network and disk alike
        raise DataError(
            f"'{name}' could not be fetched into {root}: {error}.",
            "Check the network and the disk, and try again.",
        ) from error
    missing = source.missing(path, root)
    if missing is not None:
        raise DataError(f"The download of '{name}' is incomplete. {missing}")
    echo(f"'{name}' is in {root}. Check it with: lnlbench data check {name} --data {root}")


@command.command("check")
@click.argument("name")
@_data_option
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def check(name: str, root: Path | None, form: str) -> None:
    """Read the data set NAME (or SCHEME:PATH) in full, and describe it."""
    from lnlbench.spec import DatasetSpec

    source, path = _source(name)
    missing = source.missing(path, root)
    if missing is not None:
        raise DataError(missing)
    description = describe(source.load(DatasetSpec(name), root))
    if form == "json":
        import json

        echo(json.dumps(description, indent=2, ensure_ascii=False))
        return
    echo(f"{description['name']}: {description['classes']} classes, {description['content']}")
    for part, sizes in description["splits"].items():
        per_class = f"{sizes['smallest_class']} to {sizes['largest_class']} of a class"
        echo(f"  {part:<10}  {sizes['samples']} samples, {per_class}")
    echo(f"  fingerprint {description['fingerprint']}")


def describe(dataset: Dataset) -> dict[str, Any]:
    """Return sizes, content and fingerprint of a data set as a JSON value."""
    import numpy as np

    splits = {}
    for part in ("train", "validation", "test"):
        split = getattr(dataset, part)
        if split is not None:
            counts = np.bincount(split.labels, minlength=len(dataset.classes))
            splits[part] = {
                "samples": len(split),
                "smallest_class": int(counts.min()),
                "largest_class": int(counts.max()),
            }
    images, features = dataset.train.images, dataset.train.features
    if features is not None:
        content = f"features of length {features.shape[1]}"
    elif images is not None and images.size is not None:
        content = "images of {} × {} pixels".format(*images.size)
    else:
        content = "images of various sizes"
    return {
        "name": dataset.name,
        "family": dataset.family,
        "classes": len(dataset.classes),
        "content": content,
        "splits": splits,
        "fingerprint": dataset.fingerprint,
    }


def _source(name: str) -> tuple[DatasetSource, str | None]:
    """Return the source of a data set, and the path that its name holds."""
    from lnlbench import registry
    from lnlbench.spec import split_reference

    scheme, path = split_reference(name)
    return registry.datasets().load(scheme)(), path
