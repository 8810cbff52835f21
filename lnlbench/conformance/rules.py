"""Checks by name: a function, and the rule that it stands for."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Generic, TypeVar

import torch

from lnlbench.conformance.findings import Finding, Outcome
from lnlbench.errors import LnlbenchError

T = TypeVar("T")

_TORCH = str(Path(torch.__file__).parent)
_LONGEST = 400  # characters of a message: PyTorch's can fill pages


@dataclass(frozen=True, slots=True)
class NotApplicable:
    """Why a check says nothing here."""

    reason: str


# None: the rule is kept. A string says how it is broken.
Verdict = str | NotApplicable | None


@dataclass(frozen=True, slots=True)
class Rule(Generic[T]):
    """A check.

    Attributes
    ----------
    name : str
    sentence : str
        What is asked for: the first line of the function's docstring.
    function : callable
        Looks at a subject and returns a :data:`Verdict`.
    """

    name: str
    sentence: str
    function: Callable[[T], Verdict]

    def judge(self, subject: T, mode: str) -> Finding:
        """Apply the check; what the plugin raises on the way breaks the rule."""
        try:
            verdict = self.function(subject)
        except Exception as error:  # noqa: BLE001  (a plugin may raise anything at all)
            verdict = describe(error)
        if verdict is None:
            return Finding(mode, self.name, self.sentence, Outcome.PASSED)
        if isinstance(verdict, NotApplicable):
            return Finding(mode, self.name, self.sentence, Outcome.NOT_APPLICABLE, verdict.reason)
        return Finding(mode, self.name, self.sentence, Outcome.FAILED, verdict)


def rule(name: str, collection: list[Rule[T]]) -> Callable[[Callable[[T], Verdict]], Callable[[T], Verdict]]:
    """Enter a function into a collection of checks, in the order of definition."""

    def enter(function: Callable[[T], Verdict]) -> Callable[[T], Verdict]:
        sentence = (function.__doc__ or "").partition("\n")[0]
        collection.append(Rule(name, sentence, function))
        return function

    return enter


def describe(error: Exception) -> str:
    """Return what was raised and where, on one line."""
    if isinstance(error, LnlbenchError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    # Where PyTorch noticed it says nothing to the author of a method.
    outside = [frame for frame in frames if not frame.filename.startswith(_TORCH)] or frames
    text = shorten(f"{type(error).__name__}: {error}", _LONGEST, placeholder=" …")
    return f"{text} ({outside[-1].filename}:{outside[-1].lineno})"
