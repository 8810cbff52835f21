"""Docstrings in numpy's convention, taken apart."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import NamedTuple

_HEADING = re.compile(r"^(\w[\w ]*)\n-{3,}\n", re.MULTILINE)
_PARAMETER = re.compile(r"^(\w+)(?: : .+)?\n((?:[ \n].*\n?)*)", re.MULTILINE)
_DEFAULT = re.compile(r"\bDefault (\"[^\"]*\"|[^\s:;,]+?)(?=[:;,.]?(?:\s|$))")
_MARKED = ("Costs ", "Deviations ", "No deviations known.", "Source: ")


class Parameter(NamedTuple):
    """A parameter as its docstring describes it; "" for what is not said."""

    name: str
    meaning: str
    default: str
    source: str


@dataclass(frozen=True, slots=True)
class Docstring:
    """A docstring's paragraphs, each on one line, and the text of its sections by heading."""

    paragraphs: tuple[str, ...]
    sections: dict[str, str]

    @property
    def claim(self) -> tuple[str, ...]:
        """Paragraphs that say what it is."""
        return tuple(text for text in self.paragraphs if not text.startswith(_MARKED))

    @property
    def source(self) -> str:
        """Paper and code that it follows; "" if none is named."""
        return "".join(self._marked("Source: ")[:1]).removeprefix("Source: ")

    @property
    def deviations(self) -> tuple[str, ...]:
        """Paragraphs on deviations, among them the sentence that there are none."""
        return (*self._marked("Deviations "), *self._marked("No deviations known."))

    @property
    def cost(self) -> str:
        """The paragraph on cost, without its first word; "" without one."""
        return "".join(self._marked("Costs ")[:1]).removeprefix("Costs ")

    def parameters(self, section: str) -> tuple[Parameter, ...]:
        """Return the parameters that a section describes, in its order."""
        found = []
        for name, text in _PARAMETER.findall(self.sections.get(section, "")):
            meaning, _, source = _line(text).partition("Source: ")
            default = _DEFAULT.search(meaning)
            found.append(Parameter(name, meaning.strip(), default[1] if default else "", source))
        return tuple(found)

    def _marked(self, start: str) -> tuple[str, ...]:
        return tuple(text for text in self.paragraphs if text.startswith(start))


def parse(text: str | None) -> Docstring:
    """Take a docstring apart; without one, everything is empty."""
    head, *pieces = _HEADING.split(inspect.cleandoc(text or ""))
    paragraphs = tuple(_line(paragraph) for paragraph in head.split("\n\n") if paragraph.strip())
    return Docstring(paragraphs, dict(zip(pieces[::2], pieces[1::2], strict=True)))


def _line(text: str) -> str:
    return " ".join(text.split())
