"""The columns of metrics, which plugins bring: each metric by each rule that chooses an epoch.

``balanced_best`` is the balanced accuracy of the test split at the epoch of highest validation accuracy.
Columns are those of the metrics that are installed or given by path; records hold the values of whatever
was measured.
"""

from __future__ import annotations

from functools import partial

from lnlbench.basics.facts import EpochFacts
from lnlbench.plugins.registry import metrics
from lnlbench.records.frame_columns import COLUMNS, NUMBER, SCHEMA, FrameColumn
from lnlbench.records.record import Record

# Rules that choose an epoch, and what their columns hold.
RULES = {
    "best": "of the test split, at the epoch of highest validation accuracy",
    "last": "of the test split, after the last epoch",
    "label_wave": "of the test split, at the epoch that Label Wave chooses",
}
SPLITS = ("validation", "test")


def metric_names() -> tuple[str, ...]:
    """Return the metrics that are known here."""
    return tuple(dict.fromkeys(entry.name for entry in metrics().entries()))


def split_column(name: str) -> tuple[str, str] | None:
    """Return metric and rule of a column, as in ``balanced_best``; None for any other column."""
    found = ((metric, rule) for metric in metric_names() for rule in RULES if name == f"{metric}_{rule}")
    return next(found, None)


def metric_columns() -> tuple[FrameColumn, ...]:
    """Return the columns of all metrics that are known here."""
    return tuple(
        FrameColumn(
            f"{name}_{rule}",
            NUMBER,
            f"measured.{name}",
            f"[{metrics().describe(name).title or name}](measurement.md#other-metrics) {RULES[rule]}",
            partial(_at, name, rule),
        )
        for name in metric_names()
        for rule in RULES
    )


def columns() -> tuple[FrameColumn, ...]:
    """Return all columns of the results frame, those of metrics last."""
    return (*COLUMNS, *metric_columns())


def schema() -> dict[str, str]:
    """Return the names of all columns in order, with their types."""
    return SCHEMA | {f"{name}_{rule}": NUMBER for name in metric_names() for rule in RULES}


def read_metrics(record: Record) -> dict[str, float | None]:
    """Return the columns of metrics of a record."""
    return {f"{name}_{rule}": _at(name, rule, record) for name in metric_names() for rule in RULES}


def curve_columns() -> dict[str, str]:
    """Return the columns of metrics that learning curves have: ``test_balanced`` and so on."""
    return {f"{split}_{name}": NUMBER for name in metric_names() for split in SPLITS}


def read_curve(entry: EpochFacts) -> dict[str, float | None]:
    """Return the columns of metrics of an epoch."""
    measured = entry.get("metrics", {})
    return {
        f"{split}_{name}": measured.get(split, {}).get(name) for name in metric_names() for split in SPLITS
    }


def _at(name: str, rule: str, record: Record) -> float | None:
    return record.measured.get(name, {}).get(rule)
