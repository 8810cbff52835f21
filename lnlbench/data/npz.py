"""Reading npz archives that come from anywhere: no pickles, no bombs, clear errors."""

from __future__ import annotations

import lzma
import math
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from lnlbench.basics.printable import shorten
from lnlbench.errors import DataError, LnlbenchError

# A declared size above this is taken for damage or malice; full WebVision features stay below.
MAX_BYTES = 64 * 2**30

# Deflate packs up to a thousand times, but only what is constant: images and features pack less than
# ten times. Small arrays (sorted labels) may pack as well as they like.
MAX_RATIO = 200
SMALL = 2**26

_PIECE = 2**26  # bytes

_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


class Header(NamedTuple):
    """What an array says of itself before its values."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]


def read_npz(
    path: Path,
    required: Iterable[str],
    optional: Iterable[str] = (),
    error: type[LnlbenchError] = DataError,
) -> dict[str, npt.NDArray[Any]]:
    """Read named arrays of an npz archive.

    Parameters
    ----------
    path : Path
    required, optional : iterable of str
        Names of arrays. Other arrays in the archive are not looked at.
    error : type of LnlbenchError, default DataError
        What is raised for a file that is missing, damaged, unsafe or incomplete.

    Returns
    -------
    dict
        The required arrays, and those optional ones that are there.
    """
    required = tuple(required)
    with _opened(path, error) as archive:
        wanted = _wanted(archive, path, required, optional, error)
        return {name: _read_member(archive, path, name, error) for name in wanted}


def read_headers(
    path: Path,
    required: Iterable[str],
    optional: Iterable[str] = (),
    error: type[LnlbenchError] = DataError,
) -> dict[str, Header]:
    """Return the headers of what :func:`read_npz` would read, and refuse what it would refuse for them."""
    with _opened(path, error) as archive:
        wanted = _wanted(archive, path, tuple(required), optional, error)
        return {name: _check_member(archive, path, name, error) for name in wanted}


def read_rows(path: Path, name: str, error: type[LnlbenchError] = DataError) -> Iterator[npt.NDArray[Any]]:
    """Yield an array of an archive in consecutive blocks of rows, of which one at a time is in memory.

    Except an array in Fortran's order, which is one block. The archive's checksum is compared at the end.
    """
    with _opened(path, error) as archive:
        header = _check_member(archive, path, name, error)
        if header.fortran_order or not header.shape:
            yield _read_member(archive, path, name, error)
            return
        row = math.prod(header.shape[1:]) * header.dtype.itemsize
        each = max(1, _PIECE // max(1, row))
        with _reading(path, name, error), archive.open(f"{name}.npy") as stream:
            _read_header(stream)
            for start in range(0, header.shape[0], each):
                rows = min(each, header.shape[0] - start)
                block = np.frombuffer(stream.read(rows * row), dtype=header.dtype)
                yield block.reshape(rows, *header.shape[1:])
            stream.read(1)


@contextmanager
def _opened(path: Path, error: type[LnlbenchError]) -> Iterator[zipfile.ZipFile]:
    try:
        if path.exists() and not path.is_file():  # a device or a pipe may have no end
            raise error(f"{path} is not a file.", "Check the path.")
        with zipfile.ZipFile(path) as archive:
            yield archive
    except FileNotFoundError:
        raise error(f"{path} does not exist.", "Check the path.") from None
    except (zipfile.BadZipFile, NotImplementedError, OSError, EOFError) as problem:
        raise error(
            f"{path} cannot be read as an npz archive: {problem}.", "Copy or create the file again."
        ) from problem


def _wanted(
    archive: zipfile.ZipFile,
    path: Path,
    required: tuple[str, ...],
    optional: Iterable[str],
    error: type[LnlbenchError],
) -> list[str]:
    """Return the names of the arrays to read, or say which are absent."""
    there = {name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")}
    absent = [name for name in required if name not in there]
    if absent:
        holds = shorten(", ".join(sorted(there))) or "nothing"
        raise error(
            f"{path} has no array {', '.join(absent)}; it holds {holds}.",
            f"Save all of {', '.join(required)} with numpy.savez.",
        )
    return [*required, *(name for name in optional if name in there)]


@contextmanager
def _reading(path: Path, name: str, error: type[LnlbenchError]) -> Iterator[None]:
    try:
        yield
    except (ValueError, TokenError, zlib.error, lzma.LZMAError, RuntimeError, MemoryError) as problem:
        # numpy reads a header as Python's tokens where it is not plainly a literal.
        raise error(
            f"{path}: array {name} cannot be read: {problem}.", "Copy or create the file again."
        ) from problem


def _check_member(archive: zipfile.ZipFile, path: Path, name: str, error: type[LnlbenchError]) -> Header:
    """Refuse, before anything is allocated, an array that is a bomb, unsafe or not as long as it says."""
    info = archive.getinfo(f"{name}.npy")
    packed = min(info.compress_size, path.stat().st_size)  # the archive may say anything
    if info.file_size > max(SMALL, MAX_RATIO * packed):
        raise error(
            f"{path}: array {name} would unpack to {info.file_size:,} bytes from {packed:,}, "
            "as no data set does.",
            "Create the file again, with numpy.savez if the data are constant.",
        )
    with _reading(path, name, error), archive.open(info) as stream:
        return check_header(stream, info.file_size, f"{path}: array {name}", error)


def _read_member(
    archive: zipfile.ZipFile, path: Path, name: str, error: type[LnlbenchError]
) -> npt.NDArray[Any]:
    _check_member(archive, path, name, error)
    with _reading(path, name, error), archive.open(f"{name}.npy") as stream:
        array: npt.NDArray[Any] = npy.read_array(stream, allow_pickle=False)
        stream.read(1)  # the archive compares its checksum at the end of a member
        return array


def _read_header(stream: IO[bytes]) -> Header:
    """Read what comes before an array's values."""
    return Header(*_HEADERS[npy.read_magic(stream)](stream))


def check_header(stream: IO[bytes], stored: int, where: str, error: type[LnlbenchError]) -> Header:
    """Refuse, before anything is allocated, an array that is unsafe or not as long as it says."""
    version = npy.read_magic(stream)
    if version not in _HEADERS:
        raise error(f"{where} has npy format {version}, which is not supported.", "Save plain arrays.")
    header = Header(*_HEADERS[version](stream))
    shape, _, dtype = header
    if dtype.hasobject:
        raise error(
            f"{where} holds Python objects, which can run code when they are read.",
            "Save it again as an array of numbers or of fixed-width text.",
        )
    declared = math.prod(shape) * dtype.itemsize
    if any(length < 0 for length in shape) or declared > MAX_BYTES:
        raise error(f"{where} declares the shape {shape}, which is not plausible.", "Create the file again.")
    if declared != stored - stream.tell():
        raise error(
            f"{where} declares {declared} bytes but stores {stored - stream.tell()}.",
            "Create the file again.",
        )
    return header
