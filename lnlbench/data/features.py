"""The feature cache: what a frozen backbone makes of a data set, computed once.

An entry is one array: features of one view of one split. Its name hashes everything that the
numbers depend on: the content of the data set, the backbone's weights, the preprocessing, the view's
recipe and seed, the precision. How it is kept is :mod:`lnlbench.data.array_folder`'s business.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lnlbench.data.array_folder import ArrayFolder
from lnlbench.errors import CacheError

# Raised when extraction changes in a way that the key does not show.
CACHE_VERSION = 2


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
        self._arrays = ArrayFolder(folder / "features", "cached features")

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

        def make(path: Path) -> dict[str, Any]:
            _write(path, shape, extract)
            return {"key": asdict(key), "threads": torch.get_num_threads()}

        entry = self._arrays.obtain(key.digest, make)
        return CachedFeatures(
            torch.from_numpy(entry.array),
            float(entry.manifest["seconds"]),
            int(entry.manifest["threads"]),
            entry.fresh,
        )

    def has(self, key: FeatureKey) -> bool:
        """Whether an entry exists (not yet verified)."""
        return self._arrays.has(key.digest)


def _write(path: Path, shape: tuple[int, int], extract: Callable[[], Iterator[torch.Tensor]]) -> None:
    # Chunks go to disk as they come: all features of a large data set need not fit in memory.
    target = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    row = 0
    for chunk in extract():
        target[row : row + len(chunk)] = chunk.numpy()
        row += len(chunk)
    if row != shape[0]:
        raise CacheError(f"Feature extraction gave {row} rows instead of {shape[0]}.")
    target.flush()
