"""Writing a folder of published results; what is in it: :mod:`lnlbench.records.reading.published_folder`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd

from lnlbench.basics.files import write_atomically
from lnlbench.errors import PluginError, UsageError
from lnlbench.plugins.registry import find_grid
from lnlbench.publishing.rendering import render_all
from lnlbench.records.frame import build_frame
from lnlbench.records.plan_file import pack
from lnlbench.records.reading.folders import Results
from lnlbench.records.reading.published_folder import FORMAT, ORIGIN, PLANS, RECORDS, Plans, PublishedResults
from lnlbench.records.reading.record_table import from_parquet, to_parquet
from lnlbench.records.record import Record

README = "README.md"


def write_bundle(folder: Path, results: Results, grids: Sequence[str], frame: pd.DataFrame) -> list[str]:
    """Write a folder of results, or write it anew; ``README.md`` stays as it is.

    Parameters
    ----------
    folder : Path
    results : Results
        Of runs, or published before.
    grids : sequence of str
        Which of their grids.
    frame : pandas.DataFrame
        Which of the grids' trials.

    Returns
    -------
    list of str
        What could not be written, and why.

    Raises
    ------
    UsageError
        If the trials belong to no grid, or the folder cannot be written.
    """
    ids = set(frame["trial_id"])
    plans = {grid: _part(results.plans[grid], ids) for grid in grids if grid in results.plans}
    if not plans:
        raise UsageError("These records are in no plan, so nobody could make them again.", "Run their grid.")
    records = [record for record in results.read() if record.trial_id in ids]
    files, missing = _grid_files(plans, [folder.root for folder in results.folders])
    written = {grid: pack(plan) for grid, plan in plans.items()}
    files[PLANS] = json.dumps(written, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"
    files[RECORDS] = to_parquet(build_frame(plans, records), records)
    sums = {name: _sha(content) for name, content in files.items()}
    origin = {"format": FORMAT} | origin_of(records) | {"sha256": sums}
    files[ORIGIN] = json.dumps(origin, indent=1, ensure_ascii=False).encode() + b"\n"
    # From what was written, as everybody who checks it does.
    files |= render_all(plans, from_parquet(files[RECORDS], Path(RECORDS))[0])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / README).exists():
            files[README] = _readme(folder.name, plans, origin).encode()
        for name, content in files.items():
            write_atomically(folder / name, content)
    except OSError as error:
        raise UsageError(f"'{folder}' cannot be written: {error.strerror}.", "Choose another one.") from error
    return missing


def changed_files(published: PublishedResults) -> list[str]:
    """Return the files of a folder that are not what was written with its records."""
    found = []
    for name, sha in published.origin.get("sha256", {}).items():
        path = published.root / name
        if not path.is_file() or _sha(path.read_bytes()) != sha:
            found.append(name)
    return found


def origin_of(records: Sequence[Record]) -> dict[str, Any]:
    """Return where records come from: versions, commits, machines and days, with numbers of records."""

    def count(texts: list[str]) -> dict[str, int]:
        return {text: texts.count(text) for text in sorted(set(texts))}

    made = [record.environment for record in records]
    return {
        "records": len(records),
        "lnlbench": count([str(each.get("lnlbench", "unknown")) for each in made]),
        "commits": count(
            [
                f"{each.get('commit') or 'unknown'}{' (modified)' if each.get('dirty') else ''}"
                for each in made
            ]
        ),
        "machines": count([_machine(each) for each in made]),
        "days": count([record.finished[:10] or "unknown" for record in records]),
    }


def _machine(environment: Mapping[str, Any]) -> str:
    versions = environment.get("versions") or {}
    parts = [environment.get("cpu"), f"{environment.get('cores')} cores", environment.get("gpu") or "no GPU"]
    parts += [environment.get("platform"), f"Python {environment.get('python')}"]
    parts += [f"{name} {version}" for name, version in sorted(versions.items())]
    return ", ".join(map(str, parts))


def _part(plan: Mapping[str, Any], ids: set[str]) -> dict[str, Any]:
    return {**plan, "trials": [trial for trial in plan["trials"] if trial["trial_id"] in ids]}


def _grid_files(
    plans: Mapping[str, Mapping[str, Any]], published: Iterable[Path]
) -> tuple[dict[str, bytes], list[str]]:
    """Return the files of grids as plans were made from them, from where they are or were published."""
    files, missing = {}, []
    for grid, plan in plans.items():
        source = plan.get("source", {})
        paths = [root / f"{grid}.toml" for root in published]
        with suppress(PluginError):
            paths.append(find_grid(str(source.get("grid", grid))))
        contents = []
        for path in paths:
            with suppress(OSError):
                contents.append(path.read_bytes())
        as_run = [content for content in contents if _sha(content) == source.get("sha256")]
        if as_run:
            files[f"{grid}.toml"] = as_run[0]
        elif contents:
            missing.append(f"The file of the grid '{grid}' has changed since; {PLANS} has what was run.")
        else:
            missing.append(f"The file of the grid '{grid}' is not here; {PLANS} has all of its trials.")
    return files, missing


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _readme(name: str, plans: Plans, origin: Mapping[str, Any]) -> str:
    titles = "; ".join(dict.fromkeys(str(plan.get("title") or grid) for grid, plan in plans.items()))
    commands = []
    for grid, plan in plans.items():
        source = plan.get("source", {})
        words = [str(source.get("grid", grid)), *map(str, source.get("overrides", ()))]
        commands.append(f"lnlbench run --grid {' '.join(words)}")
    machines = "\n".join(f"- {machine}: {count} records" for machine, count in origin["machines"].items())
    commits = ", ".join(origin["commits"])
    return (
        f"# {titles}\n\n"
        "What was asked, what came out and how far it can be trusted, in half a page: to be written.\n\n"
        "[Table](table.md) · [ranking](ranking.md) · [report](report.html) (one file, to be opened in a "
        "browser) · [records](records.parquet)\n\n"
        f"Made at commit {commits} by\n\n```sh\n" + "\n".join(commands) + "\n```\n\n"
        f"on\n\n{machines}\n\n"
        f"Check it with `lnlbench verify --results results/{name}`; `--recompute 5` runs five trials again.\n"
    )
