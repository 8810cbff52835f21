"""Are downloaded files still what the hub sent?

The hub's cache names every file by the checksum that the hub gave for it: SHA-256 for large
files, git's SHA-1 for others. A snapshot's folder holds links to those.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from lnlbench.errors import WeightsError

_NAMED_BY_CHECKSUM = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def verify(folder: Path, patterns: Iterable[str]) -> None:
    """Compare the files of a snapshot with the checksums that they are named by.

    Parameters
    ----------
    folder : Path
        Of a snapshot in the hub's cache; files that are no links into it are passed over.
    patterns : iterable of str
        Names of the files that are going to be read.

    Raises
    ------
    WeightsError
        If a file is not what was downloaded; it names it.
    """
    for path in sorted({path for pattern in patterns for path in folder.glob(pattern)}):
        blob = path.resolve()
        if not path.is_symlink() or not _NAMED_BY_CHECKSUM.fullmatch(blob.name) or not blob.is_file():
            continue
        state = blob.stat()
        if _checksum(blob, state.st_size, state.st_mtime_ns) != blob.name:
            raise WeightsError(
                f"'{path}' is damaged: its content does not match the hub's checksum.",
                f"Remove '{blob}' and run the same command again, which fetches it.",
            )


@lru_cache(maxsize=64)
def _checksum(blob: Path, size: int, modified_ns: int) -> str:
    # `modified_ns` makes a file that has changed a different key.
    large = len(blob.name) == 64
    digest = hashlib.sha256() if large else hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with blob.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
