"""Records as a parquet table: the columns of ``lnlbench export``, and each record in full as JSON."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lnlbench.errors import StoreError, UsageError
from lnlbench.records.record import Record

# Parts of a record in columns of their own, since many trials share them or they are long.
_PARTS = ("history", "noise")
_COLUMNS = [*(f"record_{part}" for part in _PARTS), "record_rest"]


def to_parquet(frame: pd.DataFrame, records: Sequence[Record]) -> bytes:
    """Return the content of a file with a row per trial of a frame, and the records of those that have one.

    Of a record's epochs, selections by class are left out; the last selection has them.
    """
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


def from_parquet(content: bytes, path: Path) -> tuple[list[Record], pd.DataFrame]:
    """Return the records of a file, each once, and its frame.

    Raises
    ------
    StoreError
        If the content is not what :func:`to_parquet` returned; it names ``path``.
    """
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
