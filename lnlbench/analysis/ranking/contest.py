"""What is ranked: one number per entrant, setting and seed, out of the results frame."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lnlbench.analysis.axes import (
    OPTIONS,
    Key,
    TrialRow,
    absent_parameters,
    check_parameters,
    in_order,
    is_choice,
    key_of,
    resolve_axis,
)
from lnlbench.analysis.cells import draft_cell
from lnlbench.analysis.names import clean, describe
from lnlbench.analysis.quantities import check_quantity, quantity
from lnlbench.analysis.table_layout import Layout
from lnlbench.errors import NothingSelectedError, UsageError

Numbers = NDArray[np.float64]

# What a method is given and does not choose: trials that agree in all of it are of one setting.
PROBLEM = ("dataset", "noise_label", "backbone", "dataset_options", "noise_options", "backbone_options")
BY = ("tuning", "method")


@dataclass(frozen=True, slots=True)
class Contest:
    """A complete table of results: every entrant has a number in every setting.

    Attributes
    ----------
    metric : str
    entrants : tuple of str
        How they are called.
    settings : tuple of str
    keys : tuple of dict
        Of each setting, ``dataset``, ``noise_label``, ``noise`` and ``backbone``.
    values : array [settings, entrants, seeds]
        The metric, or its negative where less of it is better: the larger one is ahead. NaN where a seed was
        not run.
    costs : array [settings, entrants]
        Means of the column ``cost``; NaN where it is not known.
    shared : tuple of bool
        By setting, whether trials of one seed saw the same data and the same wrong labels, so
        that they can be compared in pairs.
    left_out : tuple of str
        What was not ranked, and why.
    sign : float
        What makes numbers of the metric of ``values`` and of their differences, 1 or −1.
    """

    metric: str
    entrants: tuple[str, ...]
    settings: tuple[str, ...]
    keys: tuple[dict[str, str], ...]
    values: Numbers
    costs: Numbers
    shared: tuple[bool, ...]
    left_out: tuple[str, ...]
    sign: float = 1.0

    @property
    def means(self) -> Numbers:
        """Means over seeds, [settings, entrants]."""
        return np.asarray(np.nanmean(self.values, axis=2), dtype=np.float64)

    def pick(self, settings: Sequence[int]) -> Contest:
        """Return the contest in some of its settings."""
        return Contest(
            self.metric,
            self.entrants,
            tuple(self.settings[at] for at in settings),
            tuple(self.keys[at] for at in settings),
            self.values[list(settings)],
            self.costs[list(settings)],
            tuple(self.shared[at] for at in settings),
            (),
            self.sign,
        )


@dataclass(frozen=True, slots=True)
class Grouped:
    """Trials by setting and entrant.

    Attributes
    ----------
    axes : tuple of str
        What tells entrants apart.
    settings, entrants : list of tuple
        Keys in order of first appearance.
    titles, names : list of str
        How settings and entrants are called.
    cells : dict
        By keys of setting and entrant, trials that differ in their seed.
    """

    axes: tuple[str, ...]
    settings: list[Key]
    entrants: list[Key]
    titles: list[str]
    names: list[str]
    cells: dict[tuple[Key, Key], list[TrialRow]]


def group_trials(trials: Sequence[TrialRow], by: Iterable[str] = ()) -> Grouped:
    """Group trials by setting and entrant; see :func:`make_contest` for what it takes and raises."""
    axes = tuple(resolve_axis(name, "a ranking") for name in by) or BY
    for axis in axes:
        if not is_choice(axis):
            raise UsageError(f"'{axis}' is part of the problem, and tells no methods apart.")
    check_parameters(axes, trials)
    cells: dict[tuple[Key, Key], list[TrialRow]] = {}
    examples: dict[Key, TrialRow] = {}
    for trial in trials:
        setting = _problem(trial)
        examples.setdefault(setting, trial)
        cells.setdefault((setting, key_of(trial, axes)), []).append(trial)
    settings = in_order(examples)
    entrants = in_order(entrant for _, entrant in cells)
    return Grouped(
        axes,
        settings,
        entrants,
        _setting_names([examples[setting] for setting in settings]),
        [_entrant_name(axes, entrant) for entrant in entrants],
        cells,
    )


def axes_of(plans: Iterable[Mapping[str, Any]], frame: pd.DataFrame) -> tuple[str, ...]:
    """Return the axes that tell entrants apart in the tables of some plans: the choices among their axes.

    Parameters of methods that are not in the frame tell nothing, and are left out as in tables.
    """
    axes = [axis for axis in _table_axes(plans) if is_choice(axis)]
    shown = [{"params": json.loads(text)} for text in frame["params"].unique()]
    absent = absent_parameters(axes, shown)
    return tuple(axis for axis in axes if axis not in absent)


def option_axes(plans: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the options of data sets and backbones that are axes of the tables of some plans."""
    return tuple(axis for axis in _table_axes(plans) if axis.partition(".")[0] in OPTIONS)


def _table_axes(plans: Iterable[Mapping[str, Any]]) -> dict[str, None]:
    shapes = [Layout.parse(plan.get("table")) for plan in plans]
    return dict.fromkeys(axis for shape in shapes for axis in shape.axes)


def make_contest(trials: Sequence[TrialRow], metric: str = "best", by: Iterable[str] = ()) -> Contest:
    """Arrange results for ranking.

    Parameters
    ----------
    trials : sequence of TrialRow
        See :func:`lnlbench.analysis.trial_rows.trials_of`.
    metric : str, default "best"
        Any number of the results frame. Where less of it is better, the lowest is ahead, else the highest.
    by : iterable of str
        Axes that tell entrants apart. Default: tuning mode and method.

    Returns
    -------
    Contest
        Where numbers are missing, the entrant or the setting that lacks most of them is left out,
        again and again until the rest is complete.

    Raises
    ------
    UsageError
        For an unknown metric or axis, or one that belongs to the problem and not to a method.
    NothingSelectedError
        If fewer than two entrants have results in a common setting.
    """
    check_quantity(metric, "metric")
    sign = -1.0 if quantity(metric).better == "lower" else 1.0
    grouped = group_trials(trials, by)
    cells, settings, entrants = grouped.cells, grouped.settings, grouped.entrants
    titles, names = grouped.titles, grouped.names
    drafts = {place: draft_cell(found, (metric,)) for place, found in cells.items()}
    used = {place: draft.used for place, draft in drafts.items() if draft.used}
    present = np.array([[(s, e) in used for e in entrants] for s in settings], dtype=bool)
    rows, columns, left_out = _complete(present, titles, names)
    left_out += sorted(
        f"{names[entrants.index(entrant)]}, {titles[settings.index(setting)]}: {note}"
        for (setting, entrant), draft in drafts.items()
        for note in draft.notes
        if not draft.used
    )
    if len(columns) < 2 or not rows:
        raise NothingSelectedError(
            "There is nothing to rank: no two methods have results in the same setting.",
            "; ".join(left_out[:3]) or None,
        )
    places = [[used[settings[row], entrants[column]] for column in columns] for row in rows]
    seeds = sorted({trial["seed"] for line in places for found in line for trial in found})
    values = np.full((len(rows), len(columns), len(seeds)), np.nan)
    costs = np.full((len(rows), len(columns)), np.nan)
    for i, line in enumerate(places):
        for j, found in enumerate(line):
            for trial in found:
                values[i, j, seeds.index(trial["seed"])] = sign * trial[metric]
            known = [trial["cost"] for trial in found if trial["cost"] is not None]
            costs[i, j] = np.mean(known) if known else np.nan
    return Contest(
        metric,
        tuple(names[column] for column in columns),
        tuple(titles[row] for row in rows),
        tuple(_key(places[i][0][0]) for i in range(len(rows))),
        values,
        costs,
        tuple(_shared(line) for line in places),
        tuple(left_out),
        sign,
    )


def _problem(trial: TrialRow) -> Key:
    return tuple(repr(trial[axis]) if axis.endswith("_options") else trial[axis] for axis in PROBLEM)


def _key(trial: TrialRow) -> dict[str, str]:
    return {axis: trial[axis] or "" for axis in ("dataset", "noise_label", "noise", "backbone")}


def _entrant_name(axes: Sequence[str], key: Key) -> str:
    pairs = zip(axes, key, strict=True)
    return " ".join(describe(axis, value) for axis, value in pairs if value != "")


def _setting_names(examples: Sequence[TrialRow]) -> list[str]:
    """Name settings, each by one of its trials, by what they do not share with all others."""
    parts: list[list[str]] = [[] for _ in examples]
    for axis in PROBLEM:
        values = [trial[axis] for trial in examples]
        if axis.endswith("_options"):
            for part, value in zip(parts, values, strict=True):
                part += _differing(value, values)
        elif len(set(values)) > 1 or (axis == "noise_label" and len(values) == 1):
            for part, value in zip(parts, values, strict=True):
                part.append(describe(axis, value or "none"))
    return [", ".join(part) or "all" for part in parts]


def _differing(mine: Mapping[str, object], others: Sequence[Mapping[str, object]]) -> list[str]:
    """Return the options that not all settings have."""
    return [
        f"{clean(name)}={clean(value)}"
        for name, value in mine.items()
        if any(other.get(name) != value for other in others)
    ]


def _complete(
    present: NDArray[np.bool_], settings: Sequence[str], entrants: Sequence[str]
) -> tuple[list[int], list[int], list[str]]:
    """Return settings and entrants without gaps, and what was left out for that."""
    rows, columns = list(range(len(settings))), list(range(len(entrants)))
    left_out = []
    while rows and columns:
        gaps = ~present[np.ix_(rows, columns)]
        if not gaps.any():
            break
        by_row, by_column = gaps.mean(axis=1), gaps.mean(axis=0)
        if by_row.max() >= by_column.max():
            at = rows.pop(int(by_row.argmax()))
            left_out.append(
                f"{settings[at]}: {int(by_row.max() * len(columns) + 0.5)} methods have no result"
            )
        else:
            at = columns.pop(int(by_column.argmax()))
            missing = int(by_column.max() * len(rows) + 0.5)
            left_out.append(f"{entrants[at]}: no result in {missing} of {len(rows)} settings")
    return rows, columns, left_out


def _shared(line: Sequence[Sequence[TrialRow]]) -> bool:
    """Tell whether the trials of a setting that have a seed in common have data and labels in common."""
    seen: dict[int, set[tuple[object, object]]] = {}
    for found in line:
        for trial in found:
            seen.setdefault(trial["seed"], set()).add((trial["data_fingerprint"], trial["realised_rate"]))
    return all(len(marks) == 1 for marks in seen.values())
