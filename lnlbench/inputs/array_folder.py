"""Arrays on disk that can always be made again: atomic, locked, verified, shared between processes.

An entry is one array in ``NAME.npy`` with a manifest ``NAME.json``, where the name is a hash of all
that the array depends on. Writers hold a lock per entry, write to a temporary file and rename it;
readers hold none, verify the checksum and memory-map the array.
"""

from __future__ import annotations

import errno
import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from lnlbench.basics.files import Damaged, read_checked, write_checked
from lnlbench.data.mapped import remember
from lnlbench.errors import CacheError

_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


@dataclass(frozen=True, slots=True)
class StoredArray:
    """A verified array, memory-mapped copy-on-write, its manifest, and whether it was just made."""

    array: npt.NDArray[Any]
    manifest: Mapping[str, Any]
    fresh: bool


def is_intact(manifest_path: Path) -> bool:
    """Whether a manifest and its array are as they were written."""
    manifest = read_checked(manifest_path)
    if isinstance(manifest, Damaged):
        return False
    try:
        with manifest_path.with_suffix(".npy").open("rb") as stream:
            return bool(hashlib.file_digest(stream, "sha256").hexdigest() == manifest["sha256"])
    except (OSError, KeyError):
        return False


class ArrayFolder:
    """A folder of arrays.

    Parameters
    ----------
    folder : Path
        Created on first use.
    content : str
        What is in it, in the plural, for messages: ``"cached features"``.
    """

    def __init__(self, folder: Path, content: str) -> None:
        self.folder = folder
        self._content = content
        # Checksums are verified once per process and file state, not at every use.
        self._verified: dict[Path, tuple[int, int]] = {}

    def path(self, name: str) -> Path:
        """Return the file of an entry's array."""
        return self.folder / f"{name}.npy"

    def obtain(
        self,
        name: str,
        make: Callable[[Path], Mapping[str, Any]],
        *,
        key: Mapping[str, Any] | None = None,
        shape: tuple[int, ...] | None = None,
    ) -> StoredArray:
        """Return an entry, making it if it is not there or damaged.

        Parameters
        ----------
        name : str
            Hash of everything that the array depends on.
        make : callable
            Writes the array in npy format to the path it is given, and returns what the manifest is
            to hold besides ``key``, ``sha256`` and ``seconds``. Should not write through a memory
            map: where the disk is full, that kills the process.
        key : mapping, optional
            JSON value that the manifest must hold: files may be whole, and those of another entry.
        shape : tuple of int, optional
            That the array must have.

        Raises
        ------
        CacheError
            If the folder cannot be used.
        """
        try:
            while True:
                # Checksums of large arrays take long, so they are computed before the entry is locked: any
                # number of processes read at the same time, and only writers wait for each other.
                before = self._state(name)
                found = self._read(name, key, shape)
                if isinstance(found, StoredArray):
                    return found
                with self._locked(name) as may_write:
                    if self._state(name) != before:  # somebody else has made it
                        continue
                    if found is not None:
                        self._set_aside(name, found, may_write)
                    self._write(name, make, key)
                written = self._read(name, key, shape)
                break
        except OSError as error:
            raise CacheError(
                f"The cache '{self.folder}' cannot be used: {error}.",
                "Make room or allow writing there, or choose another folder with --cache-dir.",
            ) from error
        if not isinstance(written, StoredArray):
            raise CacheError(
                f"The {self._content} {self.path(name)} do not read back as they were written.",
                "Check the disk, or choose another folder with --cache-dir or LNLBENCH_CACHE.",
            )
        return StoredArray(written.array, written.manifest, fresh=True)

    @contextmanager
    def _locked(self, name: str) -> Iterator[bool]:
        """Hold an entry; yields whether it may be written.

        A cache that somebody else has filled and that is read-only is as good as any for what is
        in it.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / f"{name}.lock")
            lock.acquire()
        except OSError as error:
            if error.errno not in _READ_ONLY or not self.has(name):
                raise
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def has(self, name: str) -> bool:
        """Whether an entry exists (not yet verified)."""
        return self._manifest_path(name).exists()

    def _manifest_path(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _state(self, name: str) -> tuple[tuple[int, int, int] | None, ...]:
        """Return what a writer changes of an entry's files."""
        states: list[tuple[int, int, int] | None] = []
        for path in (self.path(name), self._manifest_path(name)):
            try:
                found = path.stat()
                states.append((found.st_ino, found.st_size, found.st_mtime_ns))
            except FileNotFoundError:
                states.append(None)
        return tuple(states)

    def _read(
        self, name: str, key: Mapping[str, Any] | None, shape: tuple[int, ...] | None
    ) -> StoredArray | Exception | None:
        """Return an entry, what is wrong with it, or None if it is not there."""
        array_path, manifest_path = self.path(name), self._manifest_path(name)
        if not array_path.exists() or not manifest_path.exists():
            return None
        try:
            manifest = read_checked(manifest_path)
            if isinstance(manifest, Damaged):
                raise ValueError(f"the manifest: {manifest.reason}")
            if key is not None and manifest.get("key") != key:
                raise ValueError("they are those of something else")
            self._verify(array_path, manifest["sha256"])
            array = np.load(array_path, mmap_mode="c", allow_pickle=False)
            if shape is not None and array.shape != shape:
                raise ValueError(f"their shape is {array.shape}")
            remember(array)
        except FileNotFoundError:  # moved aside in the meantime
            return None
        except (ValueError, KeyError, EOFError) as error:
            return error
        return StoredArray(array, manifest, fresh=False)

    def _set_aside(self, name: str, error: Exception, may_write: bool) -> None:
        """Move a damaged entry away, aloud, as it can always be made again; the caller holds its lock."""
        array_path = self.path(name)
        if not may_write:
            raise CacheError(
                f"The {self._content} {array_path} are damaged ({error}), and the folder is read-only.",
                "Choose another folder with --cache-dir or LNLBENCH_CACHE.",
            ) from error
        for path in (array_path, self._manifest_path(name)):
            if path.exists():
                path.replace(path.with_name(path.name + ".damaged"))
        print(
            f"lnlbench: {self._content} {array_path.name} are damaged ({error}); moved aside and made again.",
            file=sys.stderr,
        )

    def _verify(self, path: Path, expected: str) -> None:
        state = path.stat()
        seen = (state.st_size, state.st_mtime_ns)
        if self._verified.get(path) == seen:
            return
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if digest != expected:
            raise ValueError("checksum mismatch")
        self._verified[path] = seen

    def _write(
        self, name: str, make: Callable[[Path], Mapping[str, Any]], key: Mapping[str, Any] | None
    ) -> None:
        """Make an entry; the caller holds its lock."""
        for leftover in self.folder.glob(f"{name}.*.part"):  # of a process that was killed
            leftover.unlink(missing_ok=True)
        part = self.folder / f"{name}.{os.getpid()}.part"
        started = time.perf_counter()
        try:
            manifest = dict(make(part))
            with part.open("rb") as stream:
                manifest["sha256"] = hashlib.file_digest(stream, "sha256").hexdigest()
                os.fsync(stream.fileno())
            if key is not None:
                manifest["key"] = dict(key)
            manifest["seconds"] = time.perf_counter() - started
            # The array goes first: a manifest always describes a complete array.
            part.replace(self.path(name))
            write_checked(self._manifest_path(name), manifest)
        finally:
            part.unlink(missing_ok=True)
