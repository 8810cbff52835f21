"""The paper's tables as data: which numbers they print, and what they are compared with here."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources

from lnlbench.errors import DataError, UsageError, suggest

# Columns of published tables that place a number → the axis of our tables that they are.
AXES = {
    "dataset": "dataset",
    "backbone": "backbone",
    "tuning": "tuning",
    "method": "method",
    "noise": "noise_label",
    "cleansing": "params.cleansing",
    "tau": "params.tau",
}

Place = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PublishedQuantity:
    """A number that a table prints for each of its cells.

    Attributes
    ----------
    name : str
        Column of the published table.
    label : str
    source : str
        Column of the results frame that holds the same number.
    fixed : float
        Default of the fixed part of the tolerance; see
        :func:`lnlbench.analysis.paper.agreement.tolerance`.
    relative : bool
        Whether ``fixed`` is in percent of the published number, not in percentage points.
    reference : str
        A method by whose number all numbers are divided, on both sides; "" for none.
    decimals : int
    """

    name: str
    label: str
    source: str
    fixed: float = 1.0
    relative: bool = False
    reference: str = ""
    decimals: int = 2


BEST = PublishedQuantity("best", "best", "best")
LAST = PublishedQuantity("last", "last", "last")
SELECTED = PublishedQuantity("selected", "selected", "selected", fixed=10.0, relative=True, decimals=0)
PURITY = PublishedQuantity("purity", "purity", "purity")
# Minutes on the authors' machine say nothing about another one; how methods relate does.
TIME = PublishedQuantity("minutes", "time / CE", "train_s", fixed=25.0, relative=True, reference="ce")


@dataclass(frozen=True, slots=True)
class PublishedTable:
    """What a table of the paper has where.

    Attributes
    ----------
    number : int
    settings : tuple of str
        Columns under which its numbers are ranked against each other: one ranking for each
        combination of their values.
    entrants : tuple of str
        Columns that say what is ranked.
    quantities : tuple of PublishedQuantity
    claim : mapping of column to value
        The entrant of which the paper says that it leads; empty if it says so of none.
    """

    number: int
    settings: tuple[str, ...]
    entrants: tuple[str, ...]
    quantities: tuple[PublishedQuantity, ...]
    claim: Mapping[str, str] = field(default_factory=dict)

    @property
    def grid(self) -> str:
        """Name of the grid that runs it."""
        return f"paper_table{self.number}"

    @property
    def title(self) -> str:
        """How the paper calls it."""
        return f"Table {self.number}"

    @property
    def keys(self) -> tuple[str, ...]:
        """All columns that place a number."""
        return (*self.settings, *self.entrants)

    def claimed(self, entrant: Place) -> bool:
        """Whether the paper claims that this entrant leads."""
        place = dict(zip(self.entrants, entrant, strict=True))
        return bool(self.claim) and all(place[column] == value for column, value in self.claim.items())


_TURN = {"method": "turn"}
TABLES = {
    table.grid: table
    for table in (
        PublishedTable(1, (), ("method",), (TIME,)),
        PublishedTable(2, ("dataset", "backbone", "noise"), ("tuning", "method"), (BEST, LAST), _TURN),
        PublishedTable(3, ("dataset", "backbone", "noise"), ("tuning", "method"), (BEST, LAST), _TURN),
        PublishedTable(
            4,
            ("backbone", "noise"),
            ("tuning", "cleansing"),
            (LAST,),
            {"tuning": "lp-fft", "cleansing": "multiple"},
        ),
        PublishedTable(5, ("dataset", "backbone", "noise"), ("tuning", "method"), (BEST, LAST), _TURN),
        PublishedTable(9, ("noise",), ("tau",), (SELECTED, PURITY, BEST, LAST)),
    )
}


@dataclass(frozen=True, slots=True)
class PublishedCell:
    """The numbers of one place of a table.

    Attributes
    ----------
    setting, entrant : tuple of str
        Values of the table's columns of these names.
    values : tuple of float
        One per quantity of the table.
    """

    setting: Place
    entrant: Place
    values: tuple[float, ...]


def find_table(grid: str) -> PublishedTable:
    """Return the table that a grid runs.

    Raises
    ------
    UsageError
        If the paper prints no numbers for this grid.
    """
    if grid not in TABLES:
        raise UsageError(f"The paper prints no numbers for the grid '{grid}'.", suggest(grid, TABLES))
    return TABLES[grid]


def read_published(table: PublishedTable) -> tuple[PublishedCell, ...]:
    """Return the cells of a table, in the paper's order.

    Raises
    ------
    DataError
        If the installed file is missing or is not this table.
    """
    rows = _read(f"table{table.number}.csv", (*table.keys, *(item.name for item in table.quantities)))
    # What is compared in relation to a method is divided by its number; such a table has one setting.
    units = {
        item.name: next(float(row[item.name]) for row in rows if row["method"] == item.reference)
        for item in table.quantities
        if item.reference
    }
    return tuple(
        PublishedCell(
            setting=tuple(canonical(row[column]) for column in table.settings),
            entrant=tuple(canonical(row[column]) for column in table.entrants),
            values=tuple(float(row[item.name]) / units.get(item.name, 1.0) for item in table.quantities),
        )
        for row in rows
    )


def read_sizes() -> dict[str, dict[str, int]]:
    """Return the paper's Table 6: classes and split sizes by data set.

    Returns
    -------
    dict
        ``classes``, ``train``, ``validation`` and ``test``, as far as the paper gives them. It
        rounds: Clothing1M's test split is "10K".
    """
    names = {"classes": "classes", "train": "train", "validation": "valid", "test": "test"}
    return {
        row["dataset"].lower().replace("-", ""): {
            name: int(row[column]) for name, column in names.items() if row[column]
        }
        for row in _read("table6.csv", ("dataset", *names.values()))
    }


def canonical(value: object) -> str:
    """Return a value of an axis as text, numbers in one form: ``0.60`` is ``0.6``."""
    text = str(value)
    try:
        return f"{float(text):g}"
    except ValueError:
        return text


def _read(name: str, columns: Iterable[str]) -> list[dict[str, str]]:
    """Read an installed table and check that it has the columns that are asked for."""
    path = resources.files("lnlbench.benchmarks").joinpath("paper", name)
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    except OSError as error:
        raise DataError(f"The paper's numbers ({path}) cannot be read: {error}.", _REINSTALL) from error
    missing = [column for column in columns if not rows or column not in rows[0]]
    if missing:
        raise DataError(f"{path} has no column {', '.join(missing)}.", _REINSTALL)
    return rows


_REINSTALL = "They are part of lnlbench: install it again."
