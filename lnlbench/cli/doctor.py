"""``lnlbench doctor``: is this machine, and this installation, fit to run?"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import click

from lnlbench.console.echo import echo
from lnlbench.console.health import CHECKS, REINSTALL, Folders, HealthFinding, Level
from lnlbench.console.options import RUNS, cache_option, data_option
from lnlbench.errors import ExitCode, LnlbenchError, UsageError

_MARKS = {Level.FINE: "✓", Level.WARNING: "!", Level.BROKEN: "✗"}


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One thing that was looked at.

    Attributes
    ----------
    topic : str
    level : Level
    text : str
        What was found.
    remedy : str
        What to do about it; empty if nothing is to be done.
    """

    topic: str
    level: Level
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        remedy = f" {self.remedy}" if self.remedy else ""
        return f"{_MARKS[self.level]} {self.topic:<12}  {self.text}{remedy}"


@click.command("doctor")
@data_option
@cache_option
@click.option(
    "--out", type=click.Path(path_type=Path), default=RUNS, show_default=True, help="Folder for results."
)
@click.option("--backbone", help="With --dataset: does batch normalisation stand in the way of fine-tuning?")
@click.option("--dataset", help="Data set for --backbone.")
@click.option(
    "--image-size", type=click.IntRange(min=8), help="Image size for --backbone [default: its own]."
)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(
    data: Path | None,
    cache_dir: Path | None,
    out: Path,
    backbone: str | None,
    dataset: str | None,
    image_size: int | None,
    form: str,
) -> int:
    """Check the installation and this machine, and say what to do about what is wrong.

    With --backbone and --dataset: measure instead, on a few images, how many predictions change between
    eval and train mode and between images and weak views of them.
    """
    if (backbone is None) != (dataset is None):
        raise UsageError("--backbone and --dataset go together.", "Give both, or neither.")
    if backbone is None or dataset is None:
        found = examine(data, cache_dir, out)
    else:
        found = examine_modes(backbone, dataset, image_size, data, cache_dir)
    diagnoses = []
    for diagnosis in found:
        diagnoses.append(diagnosis)
        if form == "text":
            echo(str(diagnosis))
    if form == "json":
        echo(json.dumps([asdict(diagnosis) for diagnosis in diagnoses], indent=2, ensure_ascii=False))
    broken = any(diagnosis.level is Level.BROKEN for diagnosis in diagnoses)
    return ExitCode.USAGE if broken else ExitCode.OK


def examine(data: Path | None, cache_dir: Path | None, out: Path) -> Iterator[Diagnosis]:
    """Look at everything, one topic after the other."""
    try:
        from lnlbench.inputs.feature_cache import default_cache_folder
    except ImportError as error:  # torch is missing, or its libraries are
        yield Diagnosis("packages", Level.BROKEN, f"{error}.", REINSTALL)
        return
    folders = Folders(cache_dir or default_cache_folder(), out, data)
    for topic, check in CHECKS.items():
        yield from _diagnose(topic, partial(check, folders))


def examine_modes(
    backbone: str, dataset: str, image_size: int | None, data: Path | None, cache_dir: Path | None
) -> Iterator[Diagnosis]:
    """Look at one backbone on one data set."""
    from lnlbench.console.mode_check import compare_modes
    from lnlbench.inputs.feature_cache import default_cache_folder

    cache = cache_dir or default_cache_folder()
    yield from _diagnose("batch norm", partial(compare_modes, backbone, dataset, image_size, data, cache))


def _diagnose(topic: str, check: Callable[[], Iterator[HealthFinding]]) -> Iterator[Diagnosis]:
    try:
        for finding in check():
            yield Diagnosis(topic, *finding)
    except LnlbenchError as error:
        yield Diagnosis(topic, Level.BROKEN, error.message, error.hint or "")
    except (ImportError, OSError) as error:
        yield Diagnosis(topic, Level.BROKEN, f"{type(error).__name__}: {error}.", REINSTALL)
