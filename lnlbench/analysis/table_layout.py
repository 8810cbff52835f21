"""What a table shows where: the ``[table]`` section of a grid."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lnlbench.analysis.axes import resolve_axis
from lnlbench.analysis.quantities import check_quantity, expand, label_of
from lnlbench.errors import UsageError, suggest

# Stands for the numbers themselves: puts each into a row or a column of its own.
METRIC = "metric"

Measure = tuple[str, ...]

_DEFAULTS: dict[str, Any] = {
    "rows": ("tuning", "method"),
    "columns": ("noise_label",),
    "groups": ("dataset", "backbone"),
    "metric": "best / last",
    "extra": ("train_s",),
    "caption": "",
    "groups_per_block": None,
}


@dataclass(frozen=True, slots=True)
class Layout:
    """Axes and contents of a table.

    Attributes
    ----------
    rows, columns, groups : tuple of str
        Axes, see :mod:`lnlbench.analysis.axes`; rows or columns may hold ``metric``. Groups
        stand above the columns. Trials that agree in all three share a cell.
    measures : tuple of tuple of str
        What cells show: numbers that stand together in one cell, in order. Several of them
        are told apart by the axis ``metric``.
    extra : tuple of str
        Numbers per row and group, as means over the group's columns.
    caption : str
        First sentence of the caption.
    groups_per_block : int or None
        How many groups stand side by side, the others below; None puts all side by side.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    groups: tuple[str, ...]
    measures: tuple[Measure, ...]
    extra: tuple[str, ...]
    caption: str
    groups_per_block: int | None

    @classmethod
    def parse(cls, values: Mapping[str, Any] | None = None) -> Layout:
        """Read a layout; what it leaves out takes the default.

        Defaults are rows ``tuning, method``; columns ``noise``; groups ``dataset,
        backbone``; metric ``"best / last"``; extra ``train_s``. Several metrics (a list) are
        columns unless ``metric`` is among the rows.

        Raises
        ------
        UsageError
            For an unknown key, axis or number.
        """
        values = values or {}
        for key in values:
            if key not in _DEFAULTS:
                raise UsageError(f"Unknown key '{key}' in the table's layout.", suggest(key, _DEFAULTS))
        merged = _DEFAULTS | dict(values)
        axes = {key: _axes(merged[key], key) for key in ("rows", "columns", "groups")}
        measures = tuple(map(_measure, listed(merged["metric"], "metric", "a table")))
        if not measures:
            raise UsageError("A table needs a metric.", 'Write metric = "best / last", for example.')
        if len(measures) > 1 and METRIC not in (*axes["rows"], *axes["columns"]):
            axes["columns"] += (METRIC,)
        if not axes["rows"] or not axes["columns"]:
            raise UsageError(
                "A table needs rows and columns.", 'Write rows = ["tuning", "method"], for example.'
            )
        if METRIC in axes["rows"] and "extra" not in values:
            merged["extra"] = ()
        extra = listed(merged["extra"], "extra", "a table")
        if extra and METRIC in axes["rows"]:
            raise UsageError(
                "A table whose rows are metrics has no extra columns.",
                f"Add {', '.join(extra)} to its metrics and write extra = [].",
            )
        for name in extra:
            check_quantity(name, "extra column")
        return cls(
            **axes,
            measures=measures,
            extra=extra,
            caption=str(merged["caption"]),
            groups_per_block=_count(merged["groups_per_block"]),
        )

    def without(self, axes: Collection[str]) -> Layout:
        """Return the layout with some axes left out; rows and columns keep one at least."""

        def kept(names: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(name for name in names if name not in axes)

        rows, columns = kept(self.rows) or self.rows[:1], kept(self.columns) or self.columns[:1]
        return replace(self, rows=rows, columns=columns, groups=kept(self.groups))

    @property
    def axes(self) -> tuple[str, ...]:
        """All axes but ``metric``."""
        return tuple(axis for axis in (*self.rows, *self.columns, *self.groups) if axis != METRIC)

    @property
    def metrics(self) -> tuple[str, ...]:
        """All numbers of cells, each once."""
        return tuple(dict.fromkeys(name for measure in self.measures for name in measure))


def heading_of(measure: Measure) -> str:
    """Return how the axis ``metric`` calls numbers that stand together."""
    return label_of(measure, whole=True)


def listed(value: Any, key: str, what: str) -> tuple[str, ...]:
    """Return a text or a list of texts as a tuple.

    Raises
    ------
    UsageError
        If it is anything else.
    """
    items = (value,) if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)) or not all(isinstance(item, str) for item in items):
        raise UsageError(f"'{key}' of {what} must list names.", f'Write {key} = ["…", "…"].')
    return tuple(items)


def _axes(value: Any, key: str) -> tuple[str, ...]:
    names = listed(value, key, "a table's layout")
    if key == "groups" and METRIC in names:
        raise UsageError("A table has its metrics in rows or columns, not in groups.")
    return tuple(name if name == METRIC else resolve_axis(name, "a table") for name in names)


def _measure(text: str) -> Measure:
    names = [name for part in text.split("/") for name in expand(part.strip())]
    return tuple(check_quantity(name, "metric") for name in names)


def _count(value: Any) -> int | None:
    if value is None:
        return None
    if type(value) is not int or value < 1:
        raise UsageError(f"groups_per_block of a table is {value!r}; it must be an integer from 1.")
    return value
