"""Arrays that stay in their files: read through the page cache, and not kept by the process that reads them.

What a process has read of a mapped file counts as its memory until the mapping ends, and mapping it again
after each time that it is let go costs more than to copy a row. So single rows of large arrays are read from
the file instead; what goes through an array from its start to its end lets go of it piece by piece. The
system keeps in its page cache what fits there.
"""

from __future__ import annotations

import mmap
import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lnlbench.data.npz import check_header
from lnlbench.errors import DataError, LnlbenchError

if TYPE_CHECKING:
    import torch

# Arrays above this size, in bytes, are not kept mapped.
LIMIT = 2**30
_PIECE = 2**26  # bytes


class _Mapped(NamedTuple):
    """Where an array lies: its mapping, its file (open), and its first byte there."""

    mapping: weakref.ref[mmap.mmap]
    file: int
    offset: int


# By the address of the array's first element.
_MAPPED: dict[int, _Mapped] = {}


def map_array(path: Path, error: type[LnlbenchError] = DataError) -> npt.NDArray[Any]:
    """Return the array of an ``.npy`` file, mapped copy-on-write.

    Raises
    ------
    LnlbenchError
        Of the class ``error``, if there is no such file, or it is no plain array.
    """
    try:
        with path.open("rb") as stream:
            check_header(stream, path.stat().st_size, str(path), error)
        array: npt.NDArray[Any] = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError) as problem:
        raise error(
            f"{path} cannot be read as an npy file: {problem}.", "Create the file again."
        ) from problem
    remember(array)
    return array


def remember(array: npt.NDArray[Any]) -> None:
    """Let a memory map of a whole array be read by :func:`take_rows` as its size asks for."""
    mapping = getattr(array, "_mmap", None)
    if isinstance(array, np.memmap) and array.filename is not None and mapping is not None:
        file = os.open(array.filename, os.O_RDONLY)
        weakref.finalize(mapping, os.close, file)
        _MAPPED[array.ctypes.data] = _Mapped(weakref.ref(mapping), file, array.offset)


def forget(array: npt.NDArray[Any] | torch.Tensor) -> None:
    """Let go of what this process has mapped of an array; does nothing for one that is no mapped file."""
    found = _find(array)
    mapping = found and found.mapping()
    if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
        # Of a private mapping that nobody has written to, this loses nothing.
        mapping.madvise(mmap.MADV_DONTNEED)


def take_rows(array: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Return a copy of some rows of an array ``[N, …]``; those of a large one are read from its file.

    Parameters
    ----------
    array : torch.Tensor
        In memory or mapped, and then as it is in its file: not written to.
    rows : torch.Tensor, int64 ``[M]``
        In any order, from 0 to N − 1.

    Raises
    ------
    DataError
        If the file has become shorter since it was mapped.
    """
    found = _find(array) if array.nbytes > LIMIT and array.is_contiguous() else None
    wanted = rows.numpy()
    inside = len(wanted) and 0 <= wanted.min() <= wanted.max() < len(array)
    if found is None or not inside or not hasattr(os, "preadv"):
        return array[rows]
    taken = array.new_empty((len(wanted), *array.shape[1:]))
    into = taken.numpy().data.cast("B")
    size = array.nbytes // len(array)
    # Rows that follow each other, as in an evaluation, are read at once.
    firsts = np.flatnonzero(np.diff(wanted, prepend=wanted[0] - 2) != 1)
    for first, end, row in zip(
        firsts.tolist(), [*firsts[1:].tolist(), len(wanted)], wanted[firsts].tolist(), strict=True
    ):
        part, start = into[first * size : end * size], found.offset + row * size
        read = os.preadv(found.file, [part], start)
        while read < len(part):
            more = os.preadv(found.file, [part[read:]], start + read)
            if not more:
                raise DataError("A file of features has become shorter while it was read.", "Run again.")
            read += more
    return taken


def pieces(array: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    """Yield an array in consecutive blocks of rows, and let go of what has been seen."""
    each = max(1, _PIECE // max(1, array[:1].nbytes))
    for start in range(0, len(array), each):
        yield array[start : start + each]
        if array.nbytes > LIMIT:
            forget(array)


def _find(array: npt.NDArray[Any] | torch.Tensor) -> _Mapped | None:
    address = int(array.ctypes.data) if isinstance(array, np.ndarray) else array.data_ptr()
    found = _MAPPED.get(address)
    if found is not None and found.mapping() is None:  # it is gone, and something else may lie there
        del _MAPPED[address]
        return None
    return found


__all__ = ["forget", "map_array", "pieces", "remember", "take_rows"]
