"""What a table shows where: the ``[table]`` section of a grid."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lnlbench.analysis.frame import SCHEMA
from lnlbench.analysis.names import METRICS
from lnlbench.errors import UsageError, suggest

Trial = dict[str, Any]

_DEFAULTS: dict[str, Any] = {
    "rows": ("tuning", "method"),
    "columns": ("noise_label",),
    "groups": ("dataset", "backbone"),
    "metric": "best / last",
    "extra": ("train_s",),
    "caption": "",
}


@dataclass(frozen=True, slots=True)
class Layout:
    """Axes and contents of a table.

    Attributes
    ----------
    rows, columns, groups : tuple of str
        Columns of the results frame, or ``params.NAME`` for a parameter of the method.
        Groups stand above the columns. Trials that agree in all three share a cell.
    metrics : tuple of {"best", "last", "oracle"}
        What a cell shows, in order.
    extra : tuple of str
        Numbers per row and group: numeric columns of the frame, or ``cost`` (passes through
        the backbone relative to CE with FFT in the same group).
    caption : str
        First sentence of the caption.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    groups: tuple[str, ...]
    metrics: tuple[str, ...]
    extra: tuple[str, ...]
    caption: str

    @classmethod
    def parse(cls, values: Mapping[str, Any] | None = None) -> Layout:
        """Read a layout; what it leaves out takes the default.

        Defaults are rows ``tuning, method``; columns ``noise``; groups ``dataset,
        backbone``; metric ``"best / last"``; extra ``train_s``.

        Raises
        ------
        UsageError
            For an unknown key, axis, metric or extra column.
        """
        values = values or {}
        for key in values:
            if key not in _DEFAULTS:
                raise UsageError(f"Unknown key '{key}' in the table's layout.", suggest(key, _DEFAULTS))
        merged = _DEFAULTS | dict(values)
        axes = {key: tuple(map(_axis, _listed(merged[key], key))) for key in ("rows", "columns", "groups")}
        if not axes["rows"] or not axes["columns"]:
            raise UsageError(
                "A table needs rows and columns.", 'Write rows = ["tuning", "method"], for example.'
            )
        metrics = tuple(part.strip() for part in str(merged["metric"]).split("/"))
        for metric in metrics:
            if metric not in METRICS:
                raise UsageError(f"Unknown metric '{metric}'.", suggest(metric, METRICS))
        extra = _listed(merged["extra"], "extra")
        numeric = [name for name, kind in SCHEMA.items() if kind in ("float64", "Int64")]
        for name in extra:
            if name not in (*numeric, "cost"):
                raise UsageError(
                    f"Unknown extra column '{name}' of a table.", suggest(name, (*numeric, "cost"))
                )
        return cls(**axes, metrics=metrics, extra=extra, caption=str(merged["caption"]))

    def row_of(self, trial: Trial) -> tuple[Any, ...]:
        """Return the row key of a trial."""
        return tuple(value_of(trial, axis) for axis in self.rows)

    def group_of(self, trial: Trial) -> tuple[Any, ...]:
        """Return the group key of a trial."""
        return tuple(value_of(trial, axis) for axis in self.groups)

    def column_of(self, trial: Trial) -> tuple[Any, ...]:
        """Return the column key of a trial, without its group."""
        return tuple(value_of(trial, axis) for axis in self.columns)


def value_of(trial: Trial, axis: str) -> Any:
    """Return where a trial (one row of the frame) lies on an axis; "" if nowhere."""
    if axis.startswith("params."):
        value = json.loads(trial["params"]).get(axis.removeprefix("params."))
    else:
        value = trial[axis]
    return "" if value is None else value if isinstance(value, (str, int, float)) else json.dumps(value)


def _axis(name: str) -> str:
    # A grid's "noise" is type and rate together; the frame has them apart as well.
    axis = "noise_label" if name == "noise" else name
    if axis not in SCHEMA and not axis.startswith("params."):
        raise UsageError(f"Unknown axis '{name}' of a table.", suggest(name, ("noise", *SCHEMA)))
    return axis


def _listed(value: Any, key: str) -> tuple[str, ...]:
    listed = (value,) if isinstance(value, str) else tuple(value)
    if not all(isinstance(item, str) for item in listed):
        raise UsageError(f"'{key}' of a table's layout must list names.")
    return listed
