"""A folder of published results: ``records.parquet``, ``plans.json``, and what is rendered from these.

Layout::

    README.md         how to read the results; written by people, and only begun here
    GRID.toml         the grid as it was written, one file per grid
    plans.json        the plans: every trial with its settings, skipped ones with the reason
    records.parquet   a row per trial: the columns of `lnlbench export`, and the record as JSON
    origin.json       commits, versions, machines; sums of the files above
    table.md, table.tex, ranking.md, report.html    rendered from plans and records alone

Of a record's epochs, selections by class are left out; the last selection has them.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lnlbench._version import __version__
from lnlbench.basics.files import write_atomically
from lnlbench.errors import PluginError, StoreError, UsageError
from lnlbench.plugins.registry import find_grid
from lnlbench.publishing.rendering import render_all
from lnlbench.records.folders import Results
from lnlbench.records.frame import build_frame
from lnlbench.records.record import Record

FORMAT = 1
RECORDS, PLANS, ORIGIN, README = "records.parquet", "plans.json", "origin.json", "README.md"
# Parts of a record in columns of their own, since many trials share them or they are long.
_PARTS = ("history", "noise")
_COLUMNS = [*(f"record_{part}" for part in _PARTS), "record_rest"]

Plans = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A folder of published results that was read.

    Attributes
    ----------
    folder : Path
    plans : dict
        By grid.
    records : list of Record
    frame : pandas.DataFrame
        The columns of ``lnlbench export`` as they were when the folder was made.
    origin : dict
        See :func:`origin_of`.
    """

    folder: Path
    plans: Plans
    records: list[Record]
    frame: pd.DataFrame
    origin: dict[str, Any]


def write_bundle(folder: Path, results: Results, grids: Sequence[str], frame: pd.DataFrame) -> list[str]:
    """Write a folder of results, or write it anew; ``README.md`` stays as it is.

    Parameters
    ----------
    folder : Path
    results : Results
        Output folders of runs.
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
    files, missing = _grid_files(plans)
    files[PLANS] = json.dumps(plans, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"
    files[RECORDS] = _to_parquet(build_frame(plans, records), records)
    origin = origin_of(records) | {"sha256": {name: _sha(content) for name, content in files.items()}}
    files[ORIGIN] = json.dumps(origin, indent=1, ensure_ascii=False).encode() + b"\n"
    # From what was written, as everybody who checks it does.
    files |= render_all(plans, _from_parquet(files[RECORDS], Path(RECORDS))[0])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / README).exists():
            files[README] = _readme(folder.name, plans, origin).encode()
        for name, content in files.items():
            write_atomically(folder / name, content)
    except OSError as error:
        raise UsageError(f"'{folder}' cannot be written: {error.strerror}.", "Choose another one.") from error
    return missing


def read_bundle(folder: Path) -> Bundle:
    """Read a folder of results.

    Raises
    ------
    StoreError
        If it is none, or of another format version, or a record in it cannot be understood.
    """
    try:
        contents = {name: (folder / name).read_bytes() for name in (ORIGIN, PLANS, RECORDS)}
        origin, plans = json.loads(contents[ORIGIN]), json.loads(contents[PLANS])
    except OSError as error:
        raise StoreError(
            f"'{folder}' is no folder of published results: {Path(str(error.filename)).name} cannot be read.",
            "Make one with lnlbench export --bundle.",
        ) from error
    except ValueError as error:
        raise StoreError(f"A file in '{folder}' is damaged: {error}.") from error
    if origin.get("format") != FORMAT:
        raise StoreError(
            f"'{folder}' has format {origin.get('format')}; lnlbench {__version__} reads {FORMAT}.",
            "Use the version that made it.",
        )
    records, frame = _from_parquet(contents[RECORDS], folder / RECORDS)
    return Bundle(folder, plans, records, frame, origin)


def changed_files(bundle: Bundle) -> list[str]:
    """Return the files of a folder that are not what was written with its records."""
    found = []
    for name, sha in bundle.origin.get("sha256", {}).items():
        path = bundle.folder / name
        if not path.is_file() or _sha(path.read_bytes()) != sha:
            found.append(name)
    return found


def origin_of(records: Sequence[Record]) -> dict[str, Any]:
    """Return where records come from: versions, commits, machines and days, with numbers of records."""

    def count(texts: list[str]) -> dict[str, int]:
        return {text: texts.count(text) for text in sorted(set(texts))}

    made = [record.environment for record in records]
    return {
        "format": FORMAT,
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


def _grid_files(plans: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, bytes], list[str]]:
    """Return the files of grids, as far as they are still what the plans were made from."""
    files, missing = {}, []
    for grid, plan in plans.items():
        source = plan.get("source", {})
        try:
            content = find_grid(str(source.get("grid", grid))).read_bytes()
        except (PluginError, OSError):
            missing.append(f"The file of the grid '{grid}' is not here; {PLANS} has all of its trials.")
            continue
        if _sha(content) != source.get("sha256"):
            missing.append(f"The file of the grid '{grid}' has changed since; {PLANS} has what was run.")
        else:
            files[f"{grid}.toml"] = content
    return files, missing


def _to_parquet(frame: pd.DataFrame, records: Sequence[Record]) -> bytes:
    by_id = {record.trial_id: _slim(record.to_dict()) for record in records}
    table = pa.Table.from_pandas(frame, preserve_index=False)
    values = [by_id.get(trial_id) for trial_id in frame["trial_id"]]
    for part in _PARTS:
        texts = [value and _json(value[part]) for value in values]
        table = table.append_column(f"record_{part}", pa.array(texts, pa.string()))
    rest = [
        value and _json({name: each for name, each in value.items() if name not in _PARTS})
        for value in values
    ]
    table = table.append_column("record_rest", pa.array(rest, pa.string()))
    buffer = io.BytesIO()
    # Trials of one seed share their noise: a dictionary holds each once, however long it is.
    pq.write_table(table, buffer, compression="zstd", compression_level=15, dictionary_pagesize_limit=2**26)
    return buffer.getvalue()


def _from_parquet(content: bytes, path: Path) -> tuple[list[Record], pd.DataFrame]:
    try:
        table = pq.read_table(io.BytesIO(content))
        rows = [row for row in table.select(_COLUMNS).to_pylist() if row["record_rest"] is not None]
        found = [
            Record.from_dict(
                json.loads(row["record_rest"]) | {part: json.loads(row[f"record_{part}"]) for part in _PARTS}
            )
            for row in rows
        ]
    except (pa.ArrowException, AttributeError, KeyError, TypeError, ValueError, UsageError) as error:
        raise StoreError(f"'{path}' is damaged, or of another version of lnlbench ({error}).") from error
    frame = table.drop_columns(_COLUMNS).to_pandas()
    # A trial of several grids has a row in each.
    return list({record.trial_id: record for record in found}.values()), frame


def _slim(value: dict[str, Any]) -> dict[str, Any]:
    """Return a record without the selections by class of its epochs."""
    epochs = []
    for epoch in value["history"]:
        selection = epoch.get("selection")
        kept = {key: each for key, each in (selection or {}).items() if key != "per_class"}
        epochs.append({**epoch, "selection": kept} if selection else epoch)
    return {**value, "history": epochs}


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


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
