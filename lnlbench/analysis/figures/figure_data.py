"""What a figure shows, as values: points and lines with their spread, and what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from lnlbench.analysis.axes import Key, TrialRow, check_parameters, in_order, key_of, value_of
from lnlbench.analysis.caption import flag, lead, meanings, precisions, provenance, spread
from lnlbench.analysis.cells import Draft, draft_cell
from lnlbench.analysis.figure_layout import FigureLayout
from lnlbench.analysis.names import axis_label, describe, display
from lnlbench.analysis.quantities import quantity
from lnlbench.analysis.stats import Summary
from lnlbench.analysis.trial_rows import trials_of
from lnlbench.errors import NothingSelectedError, UsageError


@dataclass(frozen=True, slots=True)
class ChartPoint:
    """A point of a chart; numbers have their mean and spread over seeds."""

    x: Summary
    y: Summary


@dataclass(frozen=True, slots=True)
class Series:
    """Points of one colour and shape, by rising x.

    ``key`` are values of the series' axes, as printed; first the name of the number along y where a
    figure has several.
    """

    key: tuple[str, ...]
    points: tuple[ChartPoint, ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes; ``x`` names the number or axis along x."""

    title: str
    x: str
    series: tuple[Series, ...]


@dataclass(frozen=True, slots=True)
class Story:
    """What is said beside a figure.

    Attributes
    ----------
    caption : tuple of str
        Sentences.
    notes : tuple of str
        What is missing or special, and where.
    provenance : tuple of (str, str)
    complete : bool
        Whether no planned trial is pending, failed or left out.
    """

    caption: tuple[str, ...]
    notes: tuple[str, ...]
    provenance: tuple[tuple[str, str], ...]
    complete: bool


# Cells that a figure shows, and how notes call them.
Drafts = list[tuple[str, Draft]]


def tell(caption: Iterable[str], drafts: Drafts, trials: Sequence[TrialRow]) -> Story:
    """Return what is said beside a figure; each different note is said once, with all its places."""
    found: dict[str, dict[str, None]] = {}
    for place, draft in drafts:
        for note in draft.notes:
            found.setdefault(note, {})[place] = None
    return Story(
        caption=tuple(caption),
        notes=tuple(
            f"{note} ({'; '.join(filter(None, places))})" if any(places) else note
            for note, places in found.items()
        ),
        provenance=provenance([draft for _, draft in drafts], trials),
        complete=all(draft.complete for _, draft in drafts),
    )


def build_chart(frame: pd.DataFrame, layout: FigureLayout) -> tuple[list[list[Panel]], Story]:
    """Arrange results in a chart of points or lines: rows of panels, and what is said beside them.

    There is a row for each value of the panels' axes, with a panel for each x. Trials that agree in
    all axes share a point, as mean over their seeds. As in a table, those that differ in more are
    never averaged: the point is left out and named.

    Parameters
    ----------
    frame : pandas.DataFrame
        See :func:`lnlbench.records.frame.build_frame`.
    layout : FigureLayout
        Of kind ``scatter`` or ``lines``.

    Raises
    ------
    UsageError
        If the layout names a parameter that no method has, or x is not a number.
    NothingSelectedError
        If the frame is empty.
    """
    trials = shown_trials(frame, layout)
    cells: Drafts = []
    rows = []
    for key in in_order(key_of(trial, layout.panels) for trial in trials):
        mine = [trial for trial in trials if key_of(trial, layout.panels) == key]
        rows.append([_panel(layout, x, name_of(layout.panels, key), mine, cells) for x in layout.x])
    drafts = [draft for _, draft in cells]
    metrics = (*(layout.x if layout.kind == "scatter" else ()), *layout.y)
    flags = flag(drafts, metrics)  # first, because it adds notes
    caption = lead(layout.caption, trials, layout.axes) + meanings(metrics, drafts)
    return rows, tell((*caption, spread(drafts), *precisions(drafts), *flags), cells, trials)


def shown_trials(frame: pd.DataFrame, layout: FigureLayout) -> list[TrialRow]:
    """Return the trials of a frame, if there are any and they have the layout's axes."""
    if frame.empty:
        raise NothingSelectedError("There is no trial to draw.")
    trials = trials_of(frame)
    check_parameters(layout.axes, trials)
    return trials


def name_of(axes: Sequence[str], key: Key) -> str:
    """Return how a note or a title calls a place."""
    return ", ".join(map(describe, axes, key))


def joined(*names: str) -> str:
    """Return names with commas between them, without the empty ones."""
    return ", ".join(filter(None, names))


def _panel(layout: FigureLayout, x: str, title: str, trials: Sequence[TrialRow], cells: Drafts) -> Panel:
    series = []
    keys = in_order(key_of(trial, layout.series) for trial in trials)
    for y in layout.y:
        for key in keys:
            mine = [trial for trial in trials if key_of(trial, layout.series) == key]
            shown = tuple(map(display, layout.series, key))
            points = (_dot if layout.kind == "scatter" else _line)(x, y, joined(title, " ".join(shown)), mine)
            cells += [(place, draft) for place, draft, _ in points]
            number = (quantity(y).short,) if len(layout.y) > 1 else ()
            series.append(
                Series((*number, *shown), tuple(point for *_, point in points if point is not None))
            )
    return Panel(title, x, tuple(series))


# A cell of a chart: how notes call it, the cell, and its point if there is one.
_Spot = tuple[str, Draft, ChartPoint | None]


def _dot(x: str, y: str, place: str, trials: Sequence[TrialRow]) -> list[_Spot]:
    draft = draft_cell(trials, (x, y))
    return [(place, draft, ChartPoint(*(value.summary for value in draft.values)) if draft.values else None)]


def _line(x: str, y: str, place: str, trials: Sequence[TrialRow]) -> list[_Spot]:
    by_x: dict[float, list[TrialRow]] = {}
    for trial in trials:
        by_x.setdefault(_position(trial, x), []).append(trial)
    spots: list[_Spot] = []
    for position, mine in sorted(by_x.items()):
        draft = draft_cell(mine, (y,))
        point = ChartPoint(Summary(position, None, 1), draft.values[0].summary) if draft.values else None
        spots.append((joined(place, f"{axis_label(x)} = {position:g}"), draft, point))
    return spots


def _position(trial: TrialRow, x: str) -> float:
    value = value_of(trial, x)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        where = " ".join(display(axis, trial[axis]) for axis in ("tuning", "method"))
        raise UsageError(
            f"{x} is {value!r} in {where}, and lines need a number along x."
            if value != ""
            else f"{where} has no {x}, and lines need a number along x.",
            "Choose another x, or leave these trials out with --where.",
        )
    return float(value)
