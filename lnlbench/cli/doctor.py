"""``lnlbench doctor``: is this machine, and this installation, fit to run?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from lnlbench.cli.echo import echo
from lnlbench.cli.health import CHECKS, REINSTALL, Folders, Level
from lnlbench.cli.options import RUNS, cache_option, data_option
from lnlbench.errors import ExitCode, LnlbenchError

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
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(data: Path | None, cache_dir: Path | None, out: Path, form: str) -> int:
    """Check the installation and this machine, and say what to do about what is wrong."""
    diagnoses = []
    for diagnosis in examine(data, cache_dir, out):
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
        from lnlbench.data.features import default_cache_folder
    except ImportError as error:  # torch is missing, or its libraries are
        yield Diagnosis("packages", Level.BROKEN, f"{error}.", REINSTALL)
        return
    folders = Folders(cache_dir or default_cache_folder(), out, data)
    for topic, check in CHECKS.items():
        try:
            for finding in check(folders):
                yield Diagnosis(topic, *finding)
        except LnlbenchError as error:
            yield Diagnosis(topic, Level.BROKEN, error.message, error.hint or "")
        except (ImportError, OSError) as error:
            yield Diagnosis(topic, Level.BROKEN, f"{type(error).__name__}: {error}.", REINSTALL)
