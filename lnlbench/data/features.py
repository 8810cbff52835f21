"""The feature cache: what a frozen backbone makes of a data set, computed once.

An entry is one array (features of one view of one split) in ``KEY.npy`` with a manifest
``KEY.json``. ``KEY`` hashes everything that the numbers depend on: the content of the data
set, the backbone's weights, the preprocessing, the view's recipe and seed, the precision.
Writers hold a lock per key, write to a temporary file and rename it, so trials of several
processes can share the cache; readers verify the checksum and memory-map the array.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from filelock import FileLock

from lnlbench.errors import CacheError
from lnlbench.files import write_atomically

# Raised when extraction changes in a way that the key does not show.
CACHE_VERSION = 1

_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


@dataclass(frozen=True, slots=True)
class View:
    """One way of looking at every image of a split.

    ``kind`` is ``plain``, ``weak`` or ``strong``; ``number`` tells the K stored views of a
    kind apart, and seeds them.
    """

    kind: str
    number: int = 0
    recipe: str = ""


@dataclass(frozen=True, slots=True)
class FeatureKey:
    """Everything that an array of features depends on."""

    dataset: str
    split: str
    backbone: str
    preprocessing: str
    view: View
    precision: str
    version: int = CACHE_VERSION

    @property
    def digest(self) -> str:
        """Name of the entry: 32 hexadecimal digits."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class CachedFeatures:
    """A verified entry: float32 ``[N, d]``, memory-mapped, and what its extraction took."""

    array: torch.Tensor
    seconds: float
    threads: int
    fresh: bool


def default_cache_folder() -> Path:
    """``LNLBENCH_CACHE``, else ``lnlbench`` in the user's cache folder."""
    chosen = os.environ.get("LNLBENCH_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "lnlbench"


class FeatureCache:
    """A folder of feature arrays, safe to share between processes.

    Parameters
    ----------
    folder : Path
        Created on first use.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "features"
        # Checksums are verified once per process and file state, not once per trial.
        self._verified: dict[Path, tuple[int, int]] = {}

    def obtain(
        self, key: FeatureKey, shape: tuple[int, int], extract: Callable[[], Iterator[torch.Tensor]]
    ) -> CachedFeatures:
        """Return the entry of ``key``, extracting it if it is not there.

        Parameters
        ----------
        key : FeatureKey
        shape : (N, d)
        extract : callable
            Yields consecutive chunks ``[b, d]`` that together have ``shape``.

        Raises
        ------
        CacheError
            If the folder cannot be written, or extraction gives another shape.
        """
        try:
            with self._locked(key) as may_write:
                found = self._read(key, shape, may_write)
                if found is not None:
                    return found
                self._write(key, shape, extract)
                written = self._read(key, shape, may_write)
        except OSError as error:
            raise CacheError(
                f"The feature cache {self.folder} cannot be used: {error}.",
                "Free space there, or choose another folder with --cache-dir or LNLBENCH_CACHE.",
            ) from error
        if written is None:
            raise CacheError(
                f"The cached features {self.folder / key.digest}.npy do not read back as they were written.",
                "Check the disk, or choose another folder with --cache-dir or LNLBENCH_CACHE.",
            )
        return CachedFeatures(written.array, written.seconds, written.threads, fresh=True)

    def has(self, key: FeatureKey) -> bool:
        """Whether an entry exists (not yet verified)."""
        return (self.folder / f"{key.digest}.json").exists()

    def _paths(self, key: FeatureKey) -> tuple[Path, Path]:
        return self.folder / f"{key.digest}.npy", self.folder / f"{key.digest}.json"

    @contextmanager
    def _locked(self, key: FeatureKey) -> Iterator[bool]:
        """Hold an entry; yields whether it may be written.

        A cache that somebody else has filled and that is read-only is as good as any for what is
        in it.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / f"{key.digest}.lock")
            lock.acquire()
        except OSError as error:
            if error.errno not in _READ_ONLY or not self.has(key):
                raise
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def _read(self, key: FeatureKey, shape: tuple[int, int], may_write: bool) -> CachedFeatures | None:
        array_path, manifest_path = self._paths(key)
        if not array_path.exists() or not manifest_path.exists():
            return None
        try:
            manifest: dict[str, Any] = json.loads(manifest_path.read_text())
            # Both files may be whole, and those of another entry.
            if manifest["key"] != asdict(key):
                raise ValueError("they are those of something else")
            self._verify(array_path, manifest)
            array = np.load(array_path, mmap_mode="c", allow_pickle=False)
            if array.shape != shape or array.dtype != np.float32:
                raise ValueError(f"they have type {array.dtype} and shape {array.shape}")
            seconds, threads = float(manifest["seconds"]), int(manifest["threads"])
        except (ValueError, KeyError, TypeError, EOFError) as error:
            if not may_write:
                raise CacheError(
                    f"The cached features {array_path} are damaged ({error}), and the folder is read-only.",
                    "Choose another folder with --cache-dir or LNLBENCH_CACHE.",
                ) from error
            # Features can always be made again, so a damaged entry is replaced, aloud.
            for path in (array_path, manifest_path):
                if path.exists():
                    path.replace(path.with_name(path.name + ".damaged"))
            print(
                f"lnlbench: cached features {array_path.name} are damaged ({error}); "
                "moved aside and extracted again.",
                file=sys.stderr,
            )
            return None
        return CachedFeatures(torch.from_numpy(array), seconds, threads, fresh=False)

    def _verify(self, path: Path, manifest: dict[str, Any]) -> None:
        state = path.stat()
        seen = (state.st_size, state.st_mtime_ns)
        if self._verified.get(path) == seen:
            return
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if digest != manifest["sha256"]:
            raise ValueError("checksum mismatch")
        self._verified[path] = seen

    def _write(
        self, key: FeatureKey, shape: tuple[int, int], extract: Callable[[], Iterator[torch.Tensor]]
    ) -> None:
        """Extract, and write array and manifest; the caller holds the lock."""
        array_path, manifest_path = self._paths(key)
        for leftover in self.folder.glob(f"{key.digest}.*.part"):  # of a process that was killed
            leftover.unlink(missing_ok=True)
        part = array_path.with_name(f"{key.digest}.{os.getpid()}.part")
        started = time.perf_counter()
        try:
            with part.open("wb") as stream:
                # Not through a memory map: where the disk is full, a write to one kills the process.
                digest = _write_array(stream, shape, extract())
                os.fsync(stream.fileno())
            manifest = {
                "key": asdict(key),
                "sha256": digest,
                "seconds": time.perf_counter() - started,
                "threads": torch.get_num_threads(),
            }
            # The array goes first: a manifest always describes a complete array.
            part.replace(array_path)
            write_atomically(manifest_path, json.dumps(manifest, indent=1).encode())
        finally:
            part.unlink(missing_ok=True)


def _write_array(stream: BinaryIO, shape: tuple[int, int], chunks: Iterable[torch.Tensor]) -> str:
    """Write chunks of rows as one npy file, and return its SHA-256."""
    head = io.BytesIO()
    order = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(head, order)
    digest = hashlib.sha256(head.getvalue())
    stream.write(head.getvalue())
    rows = 0
    for chunk in chunks:
        if chunk.shape[1:] != shape[1:]:
            raise CacheError(f"Feature extraction gave rows of {tuple(chunk.shape[1:])}, not {shape[1:]}.")
        content = np.ascontiguousarray(chunk.numpy(), dtype="<f4")
        digest.update(content.data)
        stream.write(content.data)
        rows += len(chunk)
    if rows != shape[0]:
        raise CacheError(f"Feature extraction gave {rows} rows instead of {shape[0]}.")
    return digest.hexdigest()
