"""Small images, and manifests that name or hold them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

# path, label, clean, split
ROWS = [
    ("a/0.png", "cat", "cat", "train"),
    ("a/1.png", "cat", "dog", ""),
    ("a/2.png", "dog", "", "train"),
    ("a/3.png", "dog", "dog", "train"),
    ("a/4.png", "cat", "", "test"),
    ("b c/5.png", "dog", "", "test"),
]


def pixels(number: int, size: tuple[int, int] = (6, 5)) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)


def png(number: int, size: tuple[int, int] = (6, 5)) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels(number, size)).save(stream, format="png")
    return stream.getvalue()


def write_images(folder: Path, rows: list[tuple[str, ...]] = ROWS) -> None:
    for number, (name, *_) in enumerate(rows):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(number))


def write_csv(path: Path, rows: Any = ROWS, heading: str = "path,label,clean,split") -> Path:
    path.write_text("".join(f"{line}\n" for line in [heading, *(",".join(map(str, row)) for row in rows)]))
    return path


def write_hub(path: Path, labels: list[Any], names: list[str] | None = None, **columns: list[Any]) -> Path:
    """Write images as ``datasets`` does: a struct with bytes and path, and ClassLabel in the metadata."""
    images = [{"bytes": png(number), "path": f"{number}.png"} for number in range(len(labels))]
    table = pa.table({"image": images, "label": labels, **columns})
    if names is not None:
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path)
    return path
