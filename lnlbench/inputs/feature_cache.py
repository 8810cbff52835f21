"""The feature cache: what a frozen backbone makes of a data set, computed once.

An entry is one array: features of one view of one split. Its name hashes everything that the
numbers depend on: the content of the data set, the backbone's weights, the preprocessing, the view's
recipe and seed, the precision, the type of device. How it is kept is
:mod:`lnlbench.inputs.array_folder`'s business.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from lnlbench.basics.paths import expand
from lnlbench.errors import CacheError
from lnlbench.inputs.array_folder import ArrayFolder

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
    device: str = "cpu"

    def to_dict(self) -> dict[str, Any]:
        """All fields as a JSON value, without a device that is the CPU: keys are older than this field."""
        value = asdict(self)
        if self.device == "cpu":
            del value["device"]
        return value

    @property
    def digest(self) -> str:
        """Name of the entry: 32 hexadecimal digits."""
        return digest_of(self.to_dict())


class Key(Protocol):
    """What names an entry: all that its numbers depend on, and a digest of it."""

    def to_dict(self) -> dict[str, Any]:
        """All of it as a JSON value."""

    @property
    def digest(self) -> str:
        """Name of the entry."""


def digest_of(key: Mapping[str, Any]) -> str:
    """Return the name of an entry: 32 hexadecimal digits."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]


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
        self._arrays = ArrayFolder(folder / "features", "cached features")

    def obtain(
        self, key: Key, shape: tuple[int, int], extract: Callable[[], Iterator[torch.Tensor]]
    ) -> CachedFeatures:
        """Return the entry of ``key``, extracting it if it is not there.

        Parameters
        ----------
        key : FeatureKey or :class:`~lnlbench.inputs.text_cache.TextKey`
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
            return {"threads": torch.get_num_threads()}

        entry = self._arrays.obtain(key.digest, make, key=key.to_dict(), shape=shape)
        return CachedFeatures(
            torch.from_numpy(entry.array),
            float(entry.manifest["seconds"]),
            int(entry.manifest["threads"]),
            entry.fresh,
        )

    def has(self, key: Key) -> bool:
        """Whether an entry exists (not yet verified)."""
        return self._arrays.has(key.digest)


def _write(path: Path, shape: tuple[int, int], extract: Callable[[], Iterator[torch.Tensor]]) -> None:
    """Write chunks of rows as one npy file, as they come: they need not all fit in memory."""
    rows = 0
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
        for chunk in extract():
            if chunk.shape[1:] != shape[1:]:
                raise CacheError(
                    f"Feature extraction gave rows of {tuple(chunk.shape[1:])}, not {shape[1:]}."
                )
            stream.write(np.ascontiguousarray(chunk.numpy(), dtype="<f4").data)
            rows += len(chunk)
    if rows != shape[0]:
        raise CacheError(f"Feature extraction gave {rows} rows instead of {shape[0]}.")
