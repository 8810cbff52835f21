"""A note of what the files of a folder said, so that files which have not changed are not read again.

It is a cache: never trusted over the files, made again when it is missing, damaged or of another version,
and not needed where a folder cannot be written. A file counts as unchanged if its size, its times and its
inode are what they were when it was read, and if it had been left alone for a while even then.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache
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
        settings = list(dict.fromkeys(entry.setting for _, entry in kept.values()))
        numbers = {setting: number for number, setting in enumerate(settings)}
        columns = next(iter(kept.values()))[1].columns if kept else ()
        rows = {
            name: [
                signed,
                numbers[entry.setting],
                entry.seed,
                str(entry.status),
                dict(entry.marks),
                _values(entry, columns),
            ]
            for name, (signed, entry) in kept.items()
        }
        # Who may only read the folder reads its files every time.
        with suppress(OSError):
            write_checked(
                self._path,
                {"version": _version(), "columns": columns, "settings": settings, "rows": rows},
                durable=False,
            )
        self._unsaved = 0


def _values(entry: Entry, columns: Sequence[str]) -> list[Any]:
    facts = entry.facts
    return [facts[name] for name in columns]


def _load(path: Path) -> dict[str, tuple[Signature, Entry]]:
    content = read_checked(path)
    if isinstance(content, Damaged) or content.get("version") != _version():
        return {}
    settings, columns = content["settings"], tuple(content["columns"])
    statuses = {str(status): status for status in Status}
    entries = {}
    for name, (signed, number, seed, status, marks, values) in content["rows"].items():
        trial_id = name.removesuffix(".json")
        entry = Entry(trial_id, settings[number], seed, statuses[status], columns, values, marks)
        entries[name] = tuple(signed), entry
    return entries


@cache
def _code() -> str:
    """Hash of the code that makes entries, so that no other code's entries are shown."""
    files = [*Path(__file__).parent.glob("*.py"), Path(str(spec_module.__file__))]
    content = b"".join(path.read_bytes() for path in sorted([*files, Path(str(facts_module.__file__))]))
    return hashlib.sha256(content).hexdigest()


def _version() -> list[str]:
    return [__version__, _code(), *schema()]
