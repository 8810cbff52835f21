"""A history by column: a name is written once, and not for every epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# Entries in which null is a value, and not the lack of one.
_NULLABLE = ("loss", "prediction_changes")


def columns_of(history: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the values of all epochs by name; None where an epoch has none."""
    names = dict.fromkeys(name for entry in history for name in entry)
    return {name: [entry.get(name) for entry in history] for name in names}


def rows_of(history: Any) -> Any:
    """Return a history as a list of entries, whichever way it was written."""
    if not isinstance(history, dict):
        return history
    columns = history.values()
    if not all(isinstance(column, list) for column in columns) or len({*map(len, columns)}) > 1:
        raise ValueError("history has columns that are no lists of one length")
    entries = (dict(zip(history, row, strict=True)) for row in zip(*columns, strict=True))
    return [{k: v for k, v in entry.items() if v is not None or k in _NULLABLE} for entry in entries]
