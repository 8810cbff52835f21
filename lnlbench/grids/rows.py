"""Rows of a grid: a tuning mode, methods, and settings that differ from row to row.

A row may set anything that a grid can set, and a list of values makes a row of each::

    [[rows]]
    tuning = "lp-fft"
    method = "turn"
    set = { "methods.turn.tau" = [0.3, 0.6, 0.9] }
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product

from lnlbench.grids.points import Variant
from lnlbench.grids.settings import Setting, Settings, phase_key
from lnlbench.grids.toml import Origin
from lnlbench.grids.tuning import kinds_of
from lnlbench.records.filters import value_text


@dataclass(frozen=True, slots=True)
class Row:
    """A tuning mode with the methods that run in it: a group of rows of the table.

    Attributes
    ----------
    tuning : str
    methods : tuple of str
    origin : Origin
        Where the methods were given.
    sets : mapping of key to tuple of Setting
        Values that the row's trials are run with, each in turn; several keys are crossed.
    """

    tuning: str
    methods: tuple[str, ...]
    origin: Origin
    sets: Mapping[str, tuple[Setting, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Contender:
    """What a grid compares: one tuning mode, one method, one value of every key that the row sets.

    Attributes
    ----------
    tuning, method : str
    origin : Origin
        Of the row.
    settings : mapping of key to Setting
        Those of the row that matter to the tuning mode and the method.
    """

    tuning: str
    method: str
    origin: Origin
    settings: Settings = field(default_factory=dict)

    @property
    def variant(self) -> Variant:
        """The settings as text, for comparison and for filters."""
        return tuple((key, value_text(setting.value)) for key, setting in self.settings.items())


def contenders_of(rows: Iterable[Row], fixed: Container[str] = ()) -> tuple[Contender, ...]:
    """Take rows apart, in order; of equal contenders the first is kept.

    Parameters
    ----------
    rows : iterable of Row
    fixed : container of str
        Keys that the command line has set for all trials, and that rows set no more.
    """
    found: dict[tuple[str, str, frozenset[tuple[str, str]]], Contender] = {}
    for row in rows:
        for method in row.methods:
            keys = [key for key in row.sets if key not in fixed and _matters(key, row.tuning, method)]
            for values in product(*(row.sets[key] for key in keys)):
                one = Contender(row.tuning, method, row.origin, dict(zip(keys, values, strict=True)))
                found.setdefault((row.tuning, method, frozenset(one.variant)), one)
    return tuple(found.values())


def _matters(key: str, tuning: str, method: str) -> bool:
    """Whether a setting can make a difference in a tuning mode, with a method."""
    section, _, rest = key.partition(".")
    if section == "methods":
        return rest.split(".")[0] == method
    if phase_key(key) is None:
        return True
    return section == tuning or section in kinds_of(tuning)
