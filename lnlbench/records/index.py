"""A note of what the files of a folder said, so that files which have not changed are not read again.

It is a cache: never trusted over the files, made again when it is missing, damaged or of another version,
and not needed where a folder cannot be written. A file counts as unchanged if its size, its times and its
inode are what they were when it was read, and if it had been left alone for a while even then.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from itertools import repeat
from pathlib import Path
from typing import Any

from lnlbench import spec as spec_module
from lnlbench._version import __version__
from lnlbench.basics import facts as facts_module
from lnlbench.basics.files import Damaged, read_checked, write_checked
from lnlbench.records.entry import Entry
from lnlbench.records.metric_columns import schema
from lnlbench.records.record import Status

# Reading fewer files than this is not worth a file more in the folder.
WORTHWHILE = 200

# A file that was written so short a time ago may be written again within the same tick of its clock.
SETTLED_NS = 2_000_000_000

Signature = tuple[int, ...]


def signature(path: str | Path) -> Signature | None:
    """Return what a change of a file would change; None for one that is not there or not settled.

    To be called before the file is read.
    """
    try:
        found = os.stat(path)  # noqa: PTH116 - of thousands of files
    except OSError:
        return None
    if max(found.st_mtime_ns, found.st_ctime_ns) > time.time_ns() - SETTLED_NS:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


class Index:
    """Entries of records by the names of their files.

    Parameters
    ----------
    path : Path
        Where the note lies.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries = _load(path)
        self._unsaved = 0

    def get(self, name: str, signed: Signature | None) -> Entry | None:
        """Return the entry of a file, if that is what it was."""
        known = self._entries.get(name)
        return known[1] if known is not None and signed is not None and known[0] == signed else None

    def put(self, name: str, signed: Signature | None, entry: Entry) -> None:
        """Remember the entry of a file, unless it may still be changing."""
        if signed is not None:
            self._entries[name] = signed, entry
            self._unsaved += 1

    def save(self, present: Iterable[str]) -> None:
        """Write the note if that is worthwhile and possible; names that are not present are left out."""
        if self._unsaved < WORTHWHILE:
            return
        kept = {name: self._entries[name] for name in present if name in self._entries}
        # Who may only read the folder reads its files every time.
        with suppress(OSError):
            write_checked(self._path, {"version": _version(), **_packed(kept)}, durable=False)
        self._unsaved = 0


def _packed(kept: Mapping[str, tuple[Signature, Entry]]) -> dict[str, Any]:
    """Return entries by column: most columns have one value for all of a folder, which is written once."""
    entries = [entry for _, entry in kept.values()]
    settings = list(dict.fromkeys(entry.setting for entry in entries))
    numbers = {setting: number for number, setting in enumerate(settings)}
    columns = entries[0].columns if entries else ()
    marks = dict.fromkeys(what for entry in entries for what in entry.marks)
    return {
        "settings": settings,
        "names": list(kept),
        "signatures": [_column(part) for part in zip(*(signed for signed, _ in kept.values()), strict=True)],
        "setting": _column([numbers[entry.setting] for entry in entries]),
        "seed": _column([entry.seed for entry in entries]),
        "status": _column([str(entry.status) for entry in entries]),
        "marks": {what: _column([entry.marks.get(what) for entry in entries]) for what in marks},
        "columns": columns,
        "facts": [_column(values) for values in zip(*(_values(e, columns) for e in entries), strict=True)],
    }


def _values(entry: Entry, columns: Sequence[str]) -> list[Any]:
    facts = entry.facts  # made anew whenever it is asked for
    return [facts[name] for name in columns]


def _column(values: Sequence[Any]) -> Sequence[Any]:
    """Return a column, or its one value if it has no other: 1, 1.0 and true are three."""
    first = next(iter(values), None)
    same = all(value is first or (type(value) is type(first) and value == first) for value in values)
    return values[:1] if same else values


def _load(path: Path) -> dict[str, tuple[Signature, Entry]]:
    content = read_checked(path)
    if isinstance(content, Damaged) or content.get("version") != _version():
        return {}
    names, columns = content["names"], tuple(content["columns"])
    settings = content["settings"]
    statuses = {str(status): status for status in Status}

    def rows(*packed: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        whole = [repeat(column[0], len(names)) if len(column) == 1 else column for column in packed]
        return zip(*whole, strict=True)

    of_marks = content["marks"]

    @cache
    def marks_of(row: tuple[str | None, ...]) -> dict[str, str]:
        return {what: mark for what, mark in zip(of_marks, row, strict=True) if mark is not None}

    marks = map(marks_of, rows(*of_marks.values())) if of_marks else repeat({}, len(names))
    entries = {}
    for name, signed, (number, seed, status), mark, values in zip(
        names,
        rows(*content["signatures"]),
        rows(content["setting"], content["seed"], content["status"]),
        marks,
        rows(*content["facts"]),
        strict=True,
    ):
        trial_id = name.removesuffix(".json")
        entries[name] = (
            signed,
            Entry(trial_id, settings[number], seed, statuses[status], columns, values, mark),
        )
    return entries


@cache
def _code() -> str:
    """Hash of the code that makes entries, so that no other code's entries are shown."""
    files = [*Path(__file__).parent.glob("*.py"), Path(str(spec_module.__file__))]
    content = b"".join(path.read_bytes() for path in sorted([*files, Path(str(facts_module.__file__))]))
    return hashlib.sha256(content).hexdigest()


def _version() -> list[str]:
    return [__version__, _code(), *schema()]
