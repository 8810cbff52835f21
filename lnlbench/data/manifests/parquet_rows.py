"""Parquet manifests: a column of paths, or of images with their bytes, as the Hugging Face hub has them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lnlbench.basics.printable import shorten
from lnlbench.data.manifests.manifest_rows import SPLITS, ManifestRow
from lnlbench.data.npz import MAX_BYTES, MAX_RATIO, SMALL
from lnlbench.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

# Names that columns of images have on the hub.
_IMAGES = ("image", "img")
_HINT = "A manifest has columns path (or image), label, and perhaps clean and split."


@dataclass(frozen=True, eq=False)
class Shard:
    """What a parquet file holds.

    Attributes
    ----------
    rows : list of ManifestRow
    contents : list of bytes
        Of the images, one per row; empty if the rows have paths.
    names : tuple of str or None
        Of the classes, where the file says them as the hub's data sets do.
    """

    rows: list[ManifestRow]
    contents: list[bytes]
    names: tuple[str, ...] | None


def shards_of(path: Path) -> list[tuple[Path, str]]:
    """Return the parquet files that a path means, each with the split that its name says.

    A file says nothing of splits. In a folder (or its folder ``data``) files are named ``SPLIT.parquet`` or
    ``SPLIT-00000-of-00002.parquet``, as on the hub.
    """
    if not path.is_dir():
        return [(path, "")]
    folder = path / "data" if (path / "data").is_dir() else path
    found = []
    for file in sorted(folder.glob("*.parquet")):
        split = file.stem.partition("-")[0]
        if split not in SPLITS:
            raise DataError(
                f"{file} does not say by its name which split it is.", f"Begin it with {', '.join(SPLITS)}."
            )
        found.append((file, split))
    if not found:
        raise DataError(f"{folder} holds no .parquet file.", "Name the file, or the folder that holds them.")
    return found


def read_parquet(path: Path, split: str) -> Shard:
    """Read a parquet file.

    Parameters
    ----------
    path : Path
    split : str
        That of all its rows; "" where a column says it.

    Raises
    ------
    DataError
        If it is damaged, has no such columns, or images without bytes.
    """
    table = _open(path)
    names = set(table.column_names)
    images = [name for name in _IMAGES if name in names]
    if len(names) < len(table.column_names) or "label" not in names or not (images or "path" in names):
        raise DataError(f"{path} lacks a column; it has {shorten(', '.join(table.column_names))}.", _HINT)
    classes = _class_names(table, path)
    contents, paths = _images(table, images[0], path) if images else ([], _texts(table, "path", path, None))
    columns = {name: _texts(table, name, path, classes) for name in ("label", "clean") if name in names}
    splits = _texts(table, "split", path, None) if "split" in names else [split] * len(paths)
    clean = columns.get("clean", [""] * len(paths))
    rows = [
        ManifestRow(number, "" if contents else name, *rest)
        for number, (name, *rest) in enumerate(zip(paths, columns["label"], clean, splits, strict=True))
    ]
    return Shard(rows, contents, classes)


def _open(path: Path) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if path.exists() and not path.is_file():
            raise DataError(f"{path} is not a file.", "Check the path.")
        with pq.ParquetFile(path) as file:
            facts = file.metadata
            size = sum(facts.row_group(number).total_byte_size for number in range(facts.num_row_groups))
            if not 0 <= size <= min(MAX_BYTES, max(SMALL, MAX_RATIO * path.stat().st_size)):
                raise DataError(
                    f"{path} would unpack to {size:,} bytes, as no data set does.", "Create the file again."
                )
            wanted = {*_IMAGES, "path", "label", "clean", "split"}
            table = file.read([name for name in file.schema_arrow.names if name in wanted])
            table.validate(full=True)  # texts are UTF-8, offsets lead somewhere
            return table
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.", "Check the path.") from None
    except (pa.ArrowException, OSError, ValueError, MemoryError) as problem:
        raise DataError(
            f"{path} cannot be read as parquet: {shorten(str(problem))}.", "Copy or create the file again."
        ) from problem


def _images(table: pa.Table, name: str, path: Path) -> tuple[list[bytes], list[str]]:
    """Return the bytes of images; the hub's structs also hold a path, which says nothing."""
    import pyarrow as pa

    column, found = table.column(name), _values(table, name, path)
    if pa.types.is_struct(column.type) and column.type.get_field_index("bytes") >= 0:
        values = [item and item.get("bytes") for item in found]
    else:
        values = found
    for number, value in enumerate(values):
        if not isinstance(value, bytes) or not value:
            raise DataError(
                f"{path}, row {number}: its image has no bytes.",
                "An image is a struct with bytes and path, or bytes alone.",
            )
    return values, [""] * len(values)


def _values(table: pa.Table, name: str, path: Path) -> list[Any]:
    try:
        values: list[Any] = table.column(name).to_pylist()
    except (ValueError, OverflowError) as problem:  # times beyond those of Python, for example
        raise DataError(f"{path}: column {name} cannot be read: {problem}.", _HINT) from problem
    return values


def _texts(table: pa.Table, name: str, path: Path, classes: tuple[str, ...] | None) -> list[str]:
    """Return a column as texts: numbers become the names of classes where these are known, null is ""."""
    found = []
    for number, value in enumerate(_values(table, name, path)):
        if type(value) is int and classes is not None:
            if not -1 <= value < len(classes):
                raise DataError(
                    f"{path}, row {number}: {name} {value} is none of {len(classes)} classes.", _HINT
                )
            value = classes[value] if value >= 0 else None  # the hub's sign for no label
        if value is not None and type(value) not in (int, str):
            raise DataError(f"{path}, row {number}: {name} is no text and no number.", _HINT)
        found.append("" if value is None else str(value))
    return found


def _class_names(table: pa.Table, path: Path) -> tuple[str, ...] | None:
    """Return the names of classes in the hub's description of the column of labels."""
    raw = (table.schema.metadata or {}).get(b"huggingface")
    if raw is None:
        return None
    try:
        names: Any = json.loads(raw)["info"]["features"]["label"].get("names")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as problem:
        raise DataError(f"{path} has a description of its columns that is damaged.", _HINT) from problem
    if names is None:
        return None
    sound = isinstance(names, list) and all(isinstance(name, str) and name.strip() for name in names)
    if not sound or len(set(names)) < len(names):
        raise DataError(f"{path} has names of classes that are none, or are not different.", _HINT)
    return tuple(names)


def walk(shards: list[Shard]) -> Iterator[ManifestRow]:
    """Yield the rows of all shards."""
    for shard in shards:
        yield from shard.rows
