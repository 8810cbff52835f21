"""Paths as users write them."""

from __future__ import annotations

from pathlib import Path

from lnlbench.errors import UsageError


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
