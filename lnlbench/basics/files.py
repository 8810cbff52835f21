"""Files that are there in full or not at all, and that notice when they were changed.

Contents are wrapped as ``{"sha256": ..., "payload": ...}``, where the payload is canonical
JSON (sorted keys, no white space) and the sum is that of its bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

# Ending of files in the making: what a killed process leaves has this ending and no other.
TEMPORARY = ".tmp"

_ENVELOPE = re.compile(
    rb'\{"sha256": "(?P<sha256>[0-9a-f]{64})", "payload": (?P<payload>\{.*\})\}\s*', re.DOTALL
)


class Damaged(NamedTuple):
    """A file that is not what the store wrote."""

    path: Path
    reason: str


def write_atomically(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a file so that it is there in full or not at all.

    Parameters
    ----------
    path : Path
    content : bytes
    durable : bool, default True
        Wait for the disk, so that this holds after a power failure too.

    Raises
    ------
    OSError
        If it cannot be written; an earlier file of that name is then unchanged.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    if durable:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_checked(path: Path, payload: Mapping[str, Any], *, durable: bool = True) -> None:
    """Write a JSON object with its checksum, atomically; non-finite numbers become null.

    Parameters
    ----------
    path : Path
    payload : mapping
    durable : bool, default True
        See :func:`write_atomically`.

    Raises
    ------
    OSError
        See :func:`write_atomically`.
    """
    text = json.dumps(_finite(payload), sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    digest = hashlib.sha256(text).hexdigest().encode()
    write_atomically(path, b'{"sha256": "%b", "payload": %b}\n' % (digest, text), durable=durable)


def read_checked(path: Path) -> dict[str, Any] | Damaged:
    """Return the payload of a file that :func:`write_checked` wrote, or what is wrong with it."""
    try:
        content = path.read_bytes()
    except OSError as error:
        return Damaged(path, f"it cannot be read ({error.strerror})")
    # The sum is that of the payload's bytes, so a check costs no second encoding.
    parts = _ENVELOPE.fullmatch(content)
    if parts is None:
        return Damaged(path, _describe(content))
    if hashlib.sha256(parts["payload"]).hexdigest().encode() != parts["sha256"]:
        return Damaged(path, "its content does not match its checksum")
    payload: dict[str, Any] = json.loads(parts["payload"])
    return payload


def _describe(content: bytes) -> str:
    """Say what a file without the envelope is."""
    if not content.strip():
        return "it is empty"
    try:
        json.loads(content)
    except ValueError:
        return "it is truncated or not JSON"
    return "it was not written by lnlbench"


def _finite(value: Any) -> Any:
    """Replace non-finite numbers (a diverged loss, say) by null: JSON has no others."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
