"""Reading npz archives that come from anywhere: no pickles, no bombs, clear errors."""

from __future__ import annotations

import lzma
import math
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy.typing as npt
from numpy.lib import format as npy

from lnlbench.errors import DataError, LnlbenchError
from lnlbench.printable import shorten

# A declared size above this is taken for damage or malice; full WebVision features stay below.
MAX_BYTES = 64 * 2**30

# Deflate packs up to a thousand times, but only what is constant: images and features pack less than
# ten times. Small arrays (sorted labels) may pack as well as they like.
MAX_RATIO = 200
SMALL = 2**26

_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


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
    try:
        if path.exists() and not path.is_file():  # a device or a pipe may have no end
            raise error(f"{path} is not a file.", "Check the path.")
        with zipfile.ZipFile(path) as archive:
            there = {name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")}
            absent = [name for name in required if name not in there]
            if absent:
                holds = shorten(", ".join(sorted(there))) or "nothing"
                raise error(
                    f"{path} has no array {', '.join(absent)}; it holds {holds}.",
                    f"Save all of {', '.join(required)} with numpy.savez.",
                )
            wanted = [*required, *(name for name in optional if name in there)]
            return {name: _read_member(archive, path, name, error) for name in wanted}
    except FileNotFoundError:
        raise error(f"{path} does not exist.", "Check the path.") from None
    except (zipfile.BadZipFile, NotImplementedError, OSError, EOFError) as problem:
        raise error(
            f"{path} cannot be read as an npz archive: {problem}.", "Copy or create the file again."
        ) from problem


def _read_member(
    archive: zipfile.ZipFile, path: Path, name: str, error: type[LnlbenchError]
) -> npt.NDArray[Any]:
    info = archive.getinfo(f"{name}.npy")
    packed = min(info.compress_size, path.stat().st_size)  # the archive may say anything
    if info.file_size > max(SMALL, MAX_RATIO * packed):
        raise error(
            f"{path}: array {name} would unpack to {info.file_size:,} bytes from {packed:,}, "
            "as no data set does.",
            "Create the file again, with numpy.savez if the data are constant.",
        )
    try:
        with archive.open(info) as stream:
            _check_header(stream, info.file_size, f"{path}: array {name}", error)
        with archive.open(info) as stream:
            array: npt.NDArray[Any] = npy.read_array(stream, allow_pickle=False)
            stream.read(1)  # the archive compares its checksum at the end of a member
            return array
    except (ValueError, TokenError, zlib.error, lzma.LZMAError, RuntimeError, MemoryError) as problem:
        # numpy reads a header as Python's tokens where it is not plainly a literal.
        raise error(
            f"{path}: array {name} cannot be read: {problem}.", "Copy or create the file again."
        ) from problem


def _check_header(stream: IO[bytes], stored: int, where: str, error: type[LnlbenchError]) -> None:
    """Refuse, before anything is allocated, an array that is unsafe or not as long as it says."""
    version = npy.read_magic(stream)
    if version not in _HEADERS:
        raise error(f"{where} has npy format {version}, which is not supported.", "Save plain arrays.")
    shape, _, dtype = _HEADERS[version](stream)
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
