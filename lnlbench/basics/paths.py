"""Paths as users write them, and where they are from a process that works elsewhere.

Specs, and so plans and records, keep a path as it was written. Whoever opens it calls
:func:`located` first, with the working folder of the command: a worker has another one.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from lnlbench.errors import UsageError
from lnlbench.spec import BackboneSpec, DatasetSpec, NoiseSpec, holds_path, split_reference

S = TypeVar("S", DatasetSpec, BackboneSpec, NoiseSpec)


def expand(path: str | Path) -> Path:
    """Return a path with ``~`` and ``~user`` replaced.

    Raises
    ------
    UsageError
        If there is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UsageError(
            f"'{path}' starts with the home folder of a user that is not known.", "Write the whole path."
        ) from error


def working_folder() -> Path | None:
    """Return where the process works; None if that folder was removed."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return None


def absolute(path: str | Path) -> Path:
    """Return a path with ``~`` replaced, from the working folder if it is relative.

    Symbolic links stay as they are.

    Raises
    ------
    UsageError
        If the path is relative and the working folder was removed, or see :func:`expand`.
    """
    expanded = expand(path)
    if expanded.is_absolute():
        return expanded
    folder = working_folder()
    if folder is None:
        raise UsageError(
            f"'{path}' is relative to the working folder, which was removed.",
            "Go to another folder, or write the whole path.",
        )
    return folder / expanded


def located(spec: S, folder: Path | None) -> S:
    """Return a spec whose relative paths are absolute if they lead somewhere from ``folder``.

    Paths are the reference of a name (``npz:PATH``, see :func:`lnlbench.spec.holds_path`, and
    ``hf:FOLDER``) and the option ``path``. What is not there stays as it is: it may be in the data
    folder, be the name of a repository, or be missing, and the error then names what was written.

    Parameters
    ----------
    spec : DatasetSpec, BackboneSpec or NoiseSpec
    folder : Path or None
        Working folder of the command; None changes nothing.
    """
    if folder is None:
        return spec

    def find(path: str) -> str:
        there = folder / expand(path)
        return str(there) if os.path.exists(there) else path  # noqa: PTH110 - False for names too long

    changes: dict[str, Any] = {}
    if not isinstance(spec, NoiseSpec):
        scheme, rest = split_reference(spec.name)
        # hub.looks_local takes what exists for a folder, with or without "./".
        if rest and (holds_path(spec.name) or scheme == "hf"):
            changes["name"] = f"{scheme}:{find(rest)}"
    if not isinstance(spec, DatasetSpec):
        changes["options"] = tuple(
            (name, find(value) if name == "path" and isinstance(value, str) else value)
            for name, value in spec.options
        )
    return replace(spec, **changes)
