"""Errors that a user can act on: each says what, where and what to do next.

The command line prints these as one paragraph and exits with their code; any other
exception is a bug of ours, goes to a log file and exits with ``ExitCode.INTERNAL``.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every ``lnlbench`` command."""

    OK = 0  # all that was asked for is done
    INCOMPLETE = 1  # some trials failed, or a table has empty cells
    USAGE = 2  # a mistake in the command, a grid, a plugin, the data or a folder
    INTERNAL = 3  # a bug in lnlbench
    MISMATCH = 4  # verify found a difference
    NOTHING_SELECTED = 5  # the filters leave no trial
    INTERRUPTED = 130


class LnlbenchError(Exception):
    """Base of all errors with an audience.

    Parameters
    ----------
    message : str
        What is wrong, and where.
    hint : str, optional
        What to do about it, as an imperative sentence.
    """

    exit_code: ExitCode = ExitCode.USAGE

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[type[LnlbenchError], tuple[str, str | None]]:
        # The default would call the class with `args`, and lose the hint between processes.
        return type(self), (self.message, self.hint)


class UsageError(LnlbenchError):
    """A value on the command line, or a combination of values, is wrong."""


class GridError(LnlbenchError):
    """A grid or hyperparameter file is wrong; the message starts with ``file:line``."""


class PluginError(LnlbenchError):
    """A plugin is unknown, broken, ambiguous or breaks its contract."""


class DataError(LnlbenchError):
    """A data set is missing, unreadable or not what it says it is."""


class WeightsError(LnlbenchError):
    """Weights of a backbone are missing, unreadable or of an unsafe format."""


class NoiseError(LnlbenchError):
    """A noise setting is impossible for the data set, or a noise file is wrong."""


class CacheError(LnlbenchError):
    """A cached file is not what was written."""


class StoreError(LnlbenchError):
    """An output folder or one of its records cannot be used."""


class NothingSelectedError(LnlbenchError):
    """The filters leave nothing to do."""

    exit_code = ExitCode.NOTHING_SELECTED


class DeviceError(LnlbenchError):
    """A GPU cannot be used any more by this process."""

    exit_code = ExitCode.INCOMPLETE


class TrialError(LnlbenchError):
    """A trial cannot go on (for example: its loss is not finite)."""


def suggest(name: str, known: Iterable[str]) -> str:
    """Return ``Did you mean 'x' or 'y'? Known: …``, the hint for an unknown name.

    Named are the known names that are most like it, all of them where several are equally so.
    """
    names = sorted(known)
    listing = "Known: " + ", ".join(names) + "." if names else "None is known."
    close = get_close_matches(name, names)
    likeness = {match: SequenceMatcher(None, match, name).ratio() for match in close}
    closest = [match for match in sorted(close) if likeness[match] == likeness[close[0]]]
    return f"{did_you_mean(closest)} {listing}" if closest else listing


def did_you_mean(names: Iterable[str]) -> str:
    """Return ``Did you mean 'x' or 'y'?``, for one name at least."""
    return f"Did you mean {' or '.join(map(repr, names))}?"
