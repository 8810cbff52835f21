"""Features given as an npz archive, kept once more as arrays that can be mapped into memory.

An archive is read as a whole, by every process that trains on it. Here each of its arrays of features is
converted once, to float32, into an entry of the cache that is named by the archive's content: a file that is
moved keeps its entries, one that is changed gets others.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lnlbench.data.arrays import (
    OPTIONAL,
    REQUIRED,
    Arrays,
    check_feature_type,
    check_finite,
    check_validation,
)
from lnlbench.data.npz import SMALL, read_headers, read_npz, read_rows
from lnlbench.errors import DataError
from lnlbench.inputs.array_folder import ArrayFolder

# Raised when the conversion changes.
ARCHIVE_VERSION = 1


class FeatureArchives:
    """A folder of converted arrays, safe to share between processes.

    Parameters
    ----------
    cache : Path
        Folder of all caches; the arrays are in ``archives`` there.
    """

    def __init__(self, cache: Path) -> None:
        self._arrays = ArrayFolder(cache / "archives", "converted features")

    def arrays(self, path: Path) -> Arrays:
        """Return the arrays of an archive of features: labels in memory, features memory-mapped float32.

        Raises
        ------
        DataError
            For an archive that :func:`lnlbench.data.arrays.read_arrays` refuses, or features that are none,
            before anything is kept; and if the file changes in the meantime.
        CacheError
            If the cache cannot be used.
        """
        headers = read_headers(path, REQUIRED, OPTIONAL)
        check_validation(headers, path)
        features = [name for name in headers if name.startswith("x_")]
        for name in features:
            check_feature_type(headers[name].shape, headers[name].dtype, f"{path}: array {name}")
        before = _state(path)
        with path.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        arrays = read_npz(path, [name for name in headers if name not in features])
        for name in features:
            arrays[name] = self._converted(path, name, content, headers[name].shape, before)
        _check_unchanged(path, before)
        return arrays

    def _converted(
        self, path: Path, name: str, content: str, shape: tuple[int, ...], before: tuple[int, ...]
    ) -> npt.NDArray[Any]:
        key = {"archive": content, "array": name, "version": ARCHIVE_VERSION}
        entry = hashlib.sha256(repr(sorted(key.items())).encode()).hexdigest()[:32]

        def make(part: Path) -> Mapping[str, Any]:
            if path.stat().st_size > SMALL:
                print(f"lnlbench: converting {name} of {path}, once", file=sys.stderr)
            _write(part, path, name, shape)
            _check_unchanged(path, before)
            return {}

        return self._arrays.obtain(entry, make, key=key, shape=shape).array


def _state(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _check_unchanged(path: Path, before: tuple[int, ...]) -> None:
    if _state(path) != before:
        raise DataError(f"{path} has changed while it was read.", "Start again when it is complete.")


def _write(part: Path, path: Path, name: str, shape: tuple[int, ...]) -> None:
    """Write an array of an archive as one npy file of finite float32, block by block."""
    finite = []
    with part.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
        for block in read_rows(path, name):
            with np.errstate(over="ignore"):  # reported below
                single = np.ascontiguousarray(block, dtype="<f4")
            finite.append(np.isfinite(single).all(axis=1))
            stream.write(single.data)
    check_finite(np.concatenate(finite), f"{path}: array {name}")
