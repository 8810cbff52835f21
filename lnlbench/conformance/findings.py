"""What the conformance kit found: one finding per check and mode."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

# Stands for the mode in findings about the class itself, which no trial is needed for.
DECLARATION = "class"


class Outcome(StrEnum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_APPLICABLE = "not applicable"


MARKS = {Outcome.PASSED: "✓", Outcome.FAILED: "✗", Outcome.NOT_APPLICABLE: "–"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One check in one mode.

    Attributes
    ----------
    mode : str
        Of a method ``lp``, ``fft``, ``lp-fft``; of a backbone its weights, ``none`` or ``pretrained``; of
        a data set ``data`` or ``stand-in``; of a metric ``split``; ``class`` for checks that need none of
        these.
    check : str
        Name of the check.
    rule : str
        What the check asks for, as a sentence.
    outcome : Outcome
    reason : str
        Why it failed or does not apply; empty if it passed.
    """

    mode: str
    check: str
    rule: str
    outcome: Outcome
    reason: str = ""

    def __str__(self) -> str:
        line = f"{MARKS[self.outcome]} {self.mode:<6}  {self.check}"
        if self.reason:
            line += f": {self.reason}"
        return line if self.outcome is not Outcome.FAILED else f"{line}\n           Rule: {self.rule}"


@dataclass(frozen=True, slots=True)
class Report:
    """All findings on one plugin; prints as a readable table.

    Attributes
    ----------
    name : str
        Name under which the plugin was checked.
    origin : str
        Where it comes from.
    findings : tuple of Finding
    seconds : float
        What the checks took.
    kind : {"method", "backbone", "data set", "metric"}
    """

    name: str
    origin: str
    findings: tuple[Finding, ...]
    seconds: float
    kind: str = "method"

    @property
    def method(self) -> str:
        """The name, as tests of methods have it."""
        return self.name

    @property
    def failures(self) -> tuple[Finding, ...]:
        """The checks that failed."""
        return tuple(finding for finding in self.findings if finding.outcome is Outcome.FAILED)

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return not self.failures

    def to_dict(self) -> dict[str, Any]:
        """Return all fields, and whether the plugin passed, as a JSON value; ``method`` too for a method."""
        named = {"method": self.name} if self.kind == "method" else {}
        return {**named, **asdict(self), "passed": self.passed}

    @property
    def summary(self) -> str:
        """The result in a sentence."""
        count = sum(finding.outcome is not Outcome.NOT_APPLICABLE for finding in self.findings)
        result = (
            f"fails {len(self.failures)} of {count} checks" if self.failures else f"passes {count} checks"
        )
        return f"{self.name} ({self.origin}) {result}, in {self.seconds:.0f} s."

    def __str__(self) -> str:
        return "\n".join([*map(str, self.findings), self.summary])
