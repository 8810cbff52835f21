"""One writer per folder, who leaves word of who it is."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from lnlbench.basics.files import write_atomically
from lnlbench.errors import StoreError


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold a folder during the ``with`` block, without waiting for it.

    The lock is the operating system's, so it ends with the process that holds it, however
    that ends.

    Raises
    ------
    StoreError
        If another process (which the message names) holds it, or it cannot be locked.
    """
    lock, holder = FileLock(folder / ".lock"), folder / ".lock.json"
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise StoreError(
            f"Another run is writing to '{folder}' ({_describe(holder)}).",
            "Wait for it to end, or name another folder with --out.",
        ) from None
    except (OSError, NotImplementedError) as error:
        raise StoreError(
            f"The output folder '{folder}' cannot be locked: {error}.",
            "Name a folder on a local disk that you may write to with --out.",
        ) from error
    try:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        info = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
        with suppress(OSError):  # without it, the other run's error message is only less precise
            write_atomically(holder, json.dumps(info).encode())
        yield
    finally:
        with suppress(OSError):
            holder.unlink()
        lock.release()


def _describe(holder: Path) -> str:
    """Say who holds the lock, as far as the holder could leave word."""
    try:
        info = json.loads(holder.read_bytes())
        return f"process {info['pid']} on {info['host']}, since {info['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "its process is unknown"
