"""Which trials are meant: conditions on axes, for ``--where``, overrides and excludes.

Within an axis, values are alternatives; several axes must all hold.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lnlbench.errors import UsageError, suggest
from lnlbench.printable import shorten
from lnlbench.spec import NOISE_TYPES, NoiseSpec, portable_reference

AXES = ("dataset", "noise", "rate", "backbone", "tuning", "method", "seed")

# Far beyond any benchmark, and small enough to be refused before it fills the memory.
MAX_TRIALS = 100_000

Condition = Mapping[str, frozenset[str]]

# What a row of the grid sets for a trial, as pairs of key and value, the value as text.
Variant = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Point:
    """One trial of a grid, by its coordinates.

    Attributes
    ----------
    dataset, backbone : str
        As the grid gives them.
    noise : NoiseSpec
        Without the options of its type.
    tuning, method : str
    seed : int
    variant : tuple of (key, text)
        What the trial's row sets; each key is an axis too.
    """

    dataset: str
    backbone: str
    noise: NoiseSpec
    tuning: str
    method: str
    seed: int
    variant: Variant = ()

    def values(self, axis: str) -> frozenset[str]:
        """Return all ways to name this point's place on an axis."""
        match axis:
            case "dataset" | "backbone":
                name = getattr(self, axis)
                return frozenset((name, portable_reference(name)))
            case "noise":
                return frozenset((self.noise.label, self.noise.type))
            case "rate":
                return frozenset((f"{self.noise.rate:g}",))
            case "tuning" | "method" | "seed":
                return frozenset((str(getattr(self, axis)),))
            case _:
                return frozenset(text for key, text in self.variant if key == axis)

    def matches(self, condition: Condition) -> bool:
        """Whether the point is one that the condition means."""
        return all(not values.isdisjoint(self.values(axis)) for axis, values in condition.items())


def condition(where: Mapping[str, Iterable[str]], known: Mapping[str, frozenset[str]]) -> Condition:
    """Check and normalise a filter.

    Parameters
    ----------
    where : mapping of axis to values
        As written: ``symmetric-0.60`` and ``0-2`` (seeds) are understood.
    known : mapping of axis to values
        What the grid has; anything else is a mistake of the user's. The keys that its rows set
        are axes as well.

    Raises
    ------
    UsageError
        For an axis that does not exist, or a value that the grid does not have.
    """
    result: dict[str, frozenset[str]] = {}
    for axis, values in where.items():
        if axis not in known:
            raise UsageError(f"There is no axis '{axis}' to filter on.", suggest(axis, known))
        wanted = frozenset(name for value in values for name in _normalise(axis, value))
        for value in sorted(wanted - known[axis]):
            raise UsageError(f"The grid has no {axis} '{value}'.", suggest(value, known[axis]))
        result[axis] = wanted
    return result


def _normalise(axis: str, value: str) -> tuple[str, ...]:
    if axis not in AXES:
        return (value_text(value),)
    if axis == "seed":
        return tuple(str(seed) for seed in parse_seeds(value))
    try:
        if axis == "rate":
            return (f"{float(value):g}",)
        if axis == "noise" and value not in NOISE_TYPES:
            return (NoiseSpec.parse(value).label,)
    except (ValueError, UsageError):
        pass  # not a value of this axis: reported as unknown, with the grid's own values
    return (value,)


def value_text(value: Any) -> str:
    """Return a setting's value as text; two texts are equal if the values are.

    Numbers are written in one way, so that ``0.50``, ``0.5`` and ``5e-1`` are the same.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple, dict)):
        return json.dumps(value, default=str)
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value)
    return str(int(number)) if number.is_integer() else repr(number)


def _is_seed(text: str) -> bool:
    # Eighteen digits fit in 64 bits, as a seed in a record and in a results frame must.
    return text.isascii() and text.isdecimal() and len(text) <= 18


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read ``"3"``, ``"0-4"`` or ``"0,2,5-7"``; keeps the order, removes duplicates.

    Raises
    ------
    UsageError
        If the text is not of this form, or names more seeds than a grid may have trials.
    """
    seeds: dict[int, None] = {}
    for part in text.split(","):
        first, separator, last = (item.strip() for item in part.partition("-"))
        if not _is_seed(first) or (separator and not _is_seed(last)):
            raise UsageError(f"Seeds '{shorten(text)}' cannot be read.", "Write 0-4 or 0,2,5.")
        start, stop = int(first), int(last or first)
        if stop < start:
            raise UsageError(f"Seeds '{shorten(text)}' run backwards.", f"Write {stop}-{start}.")
        count = len(seeds) + stop - start + 1
        if count > MAX_TRIALS:
            raise UsageError(
                f"Seeds '{shorten(text)}' are {count:,} or more; {MAX_TRIALS:,} trials are the limit."
            )
        seeds.update(dict.fromkeys(range(start, stop + 1)))
    return tuple(seeds)
