"""The feature cache: what a frozen backbone makes of a data set, computed once.

An entry is one array (features of one view of one split) in ``KEY.npy`` with a manifest
``KEY.json``. ``KEY`` hashes everything that the numbers depend on: the content of the data
set, the backbone's weights, the preprocessing, the view's recipe and seed, the precision.
Writers hold a lock per key, write to a temporary file and rename it, so trials of several
processes can share the cache; readers verify the checksum and memory-map the array.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock

from lnlbench.errors import CacheError
from lnlbench.paths import expand

# Raised when extraction changes in a way that the key does not show.
CACHE_VERSION = 1


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
        return expand(chosen)
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
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / f"{key.digest}.lock"):
                found = self._read(key)
                if found is not None:
                    return found
                self._write(key, shape, extract)
                written = self._read(key)
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

    def _read(self, key: FeatureKey) -> CachedFeatures | None:
        array_path, manifest_path = self._paths(key)
        if not array_path.exists() or not manifest_path.exists():
            return None
        try:
            manifest: dict[str, Any] = json.loads(manifest_path.read_text())
            self._verify(array_path, manifest)
            array = np.load(array_path, mmap_mode="c", allow_pickle=False)
            seconds, threads = float(manifest["seconds"]), int(manifest["threads"])
        except (ValueError, KeyError, TypeError, EOFError) as error:
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
        array_path, manifest_path = self._paths(key)
        part = array_path.with_name(f"{key.digest}.{os.getpid()}.part")
        started = time.perf_counter()
        try:
            target = np.lib.format.open_memmap(part, mode="w+", dtype=np.float32, shape=shape)
            row = 0
            for chunk in extract():
                target[row : row + len(chunk)] = chunk.numpy()
                row += len(chunk)
            if row != shape[0]:
                raise CacheError(f"Feature extraction gave {row} rows instead of {shape[0]}.")
            target.flush()
            del target
            with part.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
                os.fsync(stream.fileno())
            manifest = {
                "key": asdict(key),
                "sha256": digest,
                "seconds": time.perf_counter() - started,
                "threads": torch.get_num_threads(),
            }
            # The array goes first: a manifest always describes a complete array.
            part.replace(array_path)
            manifest_part = manifest_path.with_suffix(f".{os.getpid()}.part")
            manifest_part.write_text(json.dumps(manifest, indent=1))
            manifest_part.replace(manifest_path)
        finally:
            part.unlink(missing_ok=True)
