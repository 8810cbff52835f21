"""Docstrings in numpy's convention, taken apart."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass

_HEADING = re.compile(r"^(\w[\w ]*)\n-{3,}\n", re.MULTILINE)
_PARAMETER = re.compile(r"^(\w+)(?: : (.+))?$", re.MULTILINE)
_DEFAULT = re.compile(r"\bDefault (\"[^\"]*\"|[^\s:;,]+?)(?=[:;,.]?(?:\s|$))")
_MARKED = ("Costs ", "Deviations ", "No deviations known.", "Source: ")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter as its docstring describes it.

    Attributes
    ----------
    name : str
    choices : str
        Its type, or the set of its values.
    meaning : str
        Description, without the source.
    default : str
        The default as it is written there; "" if it is not.
    source : str
        What follows ``Source:``; "" if nothing does.
    """

    name: str
    choices: str
    meaning: str
    default: str
    source: str


@dataclass(frozen=True, slots=True)
class Docstring:
    """A docstring's paragraphs, each on one line, and its sections.

    Attributes
    ----------
    paragraphs : tuple of str
        All that stands before the first section; the summary comes first.
    sections : dict of str
        Text by heading.
    """

    paragraphs: tuple[str, ...]
    sections: dict[str, str]

    @property
    def claim(self) -> tuple[str, ...]:
        """Paragraphs that say what it is."""
        return tuple(text for text in self.paragraphs if not text.startswith(_MARKED))

    @property
    def source(self) -> str:
        """Paper and code that it follows; "" if none is named."""
        return next((text.removeprefix("Source: ") for text in self.marked("Source: ")), "")

    @property
    def deviations(self) -> tuple[str, ...]:
        """Paragraphs on deviations, among them the sentence that there are none."""
        return (*self.marked("Deviations "), *self.marked("No deviations known."))

    @property
    def cost(self) -> str:
        """The paragraph on cost; "" without one."""
        return next(iter(self.marked("Costs ")), "")

    def marked(self, start: str) -> tuple[str, ...]:
        """Return the paragraphs that begin with ``start``."""
        return tuple(text for text in self.paragraphs if text.startswith(start))

    def parameters(self, section: str) -> tuple[Parameter, ...]:
        """Return the parameters that a section describes, in its order."""
        text = self.sections.get(section, "")
        found = list(_PARAMETER.finditer(text))
        ends = [*(match.start() for match in found[1:]), len(text)]
        return tuple(
            _parameter(match[1], match[2] or "", _line(text[match.end() : end]))
            for match, end in zip(found, ends, strict=False)  # without a parameter there is an end too many
        )


def parse(text: str | None) -> Docstring:
    """Take a docstring apart; without one, everything is empty."""
    pieces = _HEADING.split(inspect.cleandoc(text or ""))
    paragraphs = tuple(_line(paragraph) for paragraph in pieces[0].split("\n\n") if paragraph.strip())
    return Docstring(paragraphs, dict(zip(pieces[1::2], pieces[2::2], strict=True)))


def _parameter(name: str, choices: str, text: str) -> Parameter:
    meaning, _, source = text.partition("Source: ")
    default = _DEFAULT.search(meaning)
    return Parameter(name, choices, meaning.strip(), default[1] if default else "", source.strip())


def _line(text: str) -> str:
    return " ".join(text.split())
