"""``lnlbench data``: fetch a data set into the data folder, check one, or make a stand-in for one."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lnlbench.console.echo import echo
from lnlbench.console.options import data_option
from lnlbench.errors import DataError, ExitCode, UsageError

if TYPE_CHECKING:
    from lnlbench.data.dataset import Dataset
    from lnlbench.data.source import DatasetSource

_SAMPLE = 2000


@click.group("data")
def command() -> None:
    """Fetch or check a data set, or make a small stand-in for one."""


@command.command("fetch")
@click.argument("name")
@data_option
def fetch(name: str, data: Path | None) -> None:
    """Download the data set NAME into the data folder, or say how to get it."""
    source, path = _source(name)
    if source.missing(path, data) is None:
        echo(f"'{name}' is there already. Check it with: lnlbench data check {name}")
        _say_human_labels(source, data)
        return
    if source.by_hand is not None:
        raise DataError(f"'{name}' cannot be downloaded by a program.", source.by_hand)
    if data is None:
        raise UsageError("There is no data folder to put it in.", "Give --data DIR, or set LNLBENCH_DATA.")
    try:
        source.fetch(data)
    except OSError as error:  # network and disk alike
        raise DataError(
            f"'{name}' could not be fetched into {data}: {error}.",
            "Check the network and the disk, and try again.",
        ) from error
    missing = source.missing(path, data)
    if missing is not None:
        raise DataError(f"The download of '{name}' is incomplete. {missing}")
    echo(f"'{name}' is in {data}. Check it with: lnlbench data check {name} --data {data}")
    _say_human_labels(source, data)


def _say_human_labels(source: DatasetSource, data: Path | None) -> None:
    """Say where the labels are that people gave, unless they are there: no program may pass them on."""
    human = source.human
    if human is not None and not (data is not None and (data / human.file).is_file()):
        echo(f"For noise {', '.join(human.names)}: {human.advice}")


@command.command("make-standin")
@click.argument("name")
@data_option
@click.option(
    "--per-class", type=click.IntRange(1), default=4, show_default=True, help="Training images of a class."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of all that is random.")
def make_standin(name: str, data: Path | None, per_class: int, seed: int) -> None:
    """Write a small stand-in for the data set NAME into the data folder.

    It has the layout of the real data and images of its own, so that a whole grid can be tried out.
    """
    source, _ = _source(name)
    if data is None:
        raise UsageError("There is no data folder to put it in.", "Give --data DIR, or set LNLBENCH_DATA.")
    written = source.make_standin(data, per_class, seed)
    echo(f"A stand-in for '{name}' is in {written}. No number measured on it says anything about")
    echo(f"the real data. Check it with: lnlbench data check {name} --data {data}")


@command.command("check")
@click.argument("name")
@data_option
@click.option(
    "--sample",
    default=str(_SAMPLE),
    show_default=True,
    metavar="N|all",
    help="How many images of each split to decode, where they are in files.",
)
@click.option(
    "--limit", type=click.IntRange(1), default=20, show_default=True, help="How many problems to list."
)
@click.option(
    "--workers", type=click.IntRange(0), help="Processes that decode images [default: one per core]."
)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def check(name: str, data: Path | None, sample: str, limit: int, workers: int | None, form: str) -> int:
    """Look for everything that is wrong with the data set NAME (or SCHEME:PATH), and describe it.

    The exit code is 1 if something is. A number of samples that differs from that of the complete data
    set is a warning only.
    """
    count = _sample_size(sample)
    source, path = _source(name)
    missing = source.missing(path, data)
    if missing is not None:
        raise DataError(missing)
    problems = source.inspect(path, data)
    description: dict[str, Any] = {"name": name}
    if not problems:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        description = _describe(source, name, data, count, cores if workers is None else workers)
        problems = description["problems"]
    description |= {"problems": problems}
    if form == "json":
        import json

        echo(json.dumps(description, indent=2, ensure_ascii=False))
    else:
        _show(description, limit)
    return ExitCode.INCOMPLETE if problems else ExitCode.OK


def _describe(
    source: DatasetSource, name: str, root: Path | None, sample: int | None, workers: int
) -> dict[str, Any]:
    """Load a data set, and return all that can be said about it as a JSON value."""
    from lnlbench.inputs.inspection import compare_counts, describe, try_images
    from lnlbench.inputs.loader import Workers
    from lnlbench.spec import DatasetSpec

    dataset = source.load(DatasetSpec(name), root)
    tried = try_images(dataset, sample, Workers(workers))
    return describe(dataset) | {
        "warnings": compare_counts(dataset, source.official),
        "human_labels": _human_labels(source, dataset, root),
        "decoded": {part: {"decoded": item.decoded, "of": item.total} for part, item in tried.items()},
        "problems": [problem for item in tried.values() for problem in item.problems],
    }


def _human_labels(source: DatasetSource, dataset: Dataset, root: Path | None) -> list[str]:
    from dataclasses import replace

    from lnlbench.noise.human import describe_human_labels

    if source.human is None:
        return []
    human = replace(source.human, folder=root)
    return describe_human_labels(human, dataset.train.labels, len(dataset.classes))


def _show(description: dict[str, Any], limit: int) -> None:
    """Print a description for people; problems go to standard error."""
    name = description["name"]
    if "splits" in description:
        echo(f"{name}: {description['classes']} classes, {description['content']}")
        for part, sizes in description["splits"].items():
            per_class = f"{sizes['smallest_class']} to {sizes['largest_class']} of a class"
            echo(f"  {part:<10}  {sizes['samples']} samples, {per_class}")
            if sizes.get("verified"):
                share = f"{sizes['wrong']:,} of {sizes['verified']:,} labels whose truth is known are wrong"
                echo(f"  {'':<10}  {share} ({sizes['wrong'] / sizes['verified']:.2%})")
        echo(f"  fingerprint {description['fingerprint']}")
        for part, item in description["decoded"].items():
            echo(f"  {part:<10}  {item['decoded']:,} of {item['of']:,} images decoded")
        _list(f"  {line}" for line in description["human_labels"])
        if description["standin"]:
            echo("This is a stand-in: it has the layout of the data set, and images of its own.")
        else:
            _list(f"Warning: {text}." for text in description["warnings"])
    problems = description["problems"]
    if problems:
        echo(f"{name}: {len(problems):,} problems", err=True)
        _list((f"  {problem}" for problem in problems[:limit]), err=True)
        if len(problems) > limit:
            echo(f"  … and {len(problems) - limit:,} more (see --limit)", err=True)


def _list(lines: Iterable[str], *, err: bool = False) -> None:
    for line in lines:
        echo(line, err=err)


def _sample_size(text: str) -> int | None:
    """Return the number that ``--sample`` means; None means all."""
    if text == "all":
        return None
    if text.isascii() and text.isdigit():
        return int(text)
    raise UsageError(f"--sample is '{text}'.", "Give a number of images, or all.")


def _source(name: str) -> tuple[DatasetSource, str | None]:
    """Return the source of a data set, and the path that its name holds."""
    from lnlbench.plugins import registry
    from lnlbench.spec import split_reference

    scheme, path = split_reference(name)
    return registry.datasets().load(scheme)(), path
