"""What a figure shows, as values: points and lines with their spread, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from lnlbench.analysis.axes import Key, Trial, check_parameters, in_order, key_of, value_of
from lnlbench.analysis.caption import flag, lead, meanings, provenance, spread
from lnlbench.analysis.cells import Draft, draft_cell
from lnlbench.analysis.figure_layout import FigureLayout
from lnlbench.analysis.names import axis_label, describe, display
from lnlbench.analysis.quantities import quantity
from lnlbench.analysis.stats import Summary
from lnlbench.analysis.trials import trials_of
from lnlbench.errors import NothingSelectedError, UsageError


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a chart; numbers have their mean and spread over seeds."""

    x: Summary
    y: Summary


@dataclass(frozen=True, slots=True)
class Series:
    """Points of one colour and shape.

    Attributes
    ----------
    key : tuple of str
        Values of the series' axes, as printed; first the name of the number along y where a
        figure has several.
    points : tuple of Point
        By rising x.
    """

    key: tuple[str, ...]
    points: tuple[Point, ...]

    @property
    def label(self) -> str:
        """How a legend calls it."""
        return " ".join(self.key)


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes.

    Attributes
    ----------
    title : str
    x : str
        Name of the number or axis.
    series : tuple of Series
    """

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


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure of points or lines, ready to be drawn.

    Attributes
    ----------
    kind : {"scatter", "lines"}
    y : tuple of str
        Names of the numbers.
    rows : tuple of tuple of Panel
        By value of the panels' axes, and by x.
    story : Story
    """

    kind: str
    y: tuple[str, ...]
    rows: tuple[tuple[Panel, ...], ...]
    story: Story


@dataclass(slots=True)
class Notes:
    """Notes of cells, collected by what they say."""

    drafts: list[Draft] = field(default_factory=list)
    places: list[str] = field(default_factory=list)

    def add(self, place: str, draft: Draft) -> None:
        """Remember a cell and how to call it."""
        self.drafts.append(draft)
        self.places.append(place)

    def sentences(self) -> tuple[str, ...]:
        """Return ``what: where; where`` for every different note."""
        found: dict[str, dict[str, None]] = {}
        for place, draft in zip(self.places, self.drafts, strict=True):
            for note in draft.notes:
                found.setdefault(note, {})[place] = None
        return tuple(
            f"{note} ({'; '.join(filter(None, places))})" if any(places) else note
            for note, places in found.items()
        )


def build_chart(frame: pd.DataFrame, layout: FigureLayout) -> Chart:
    """Arrange results in a chart of points or lines.

    Trials that agree in all axes share a point, as mean over their seeds. As in a table,
    those that differ in more are never averaged: the point is left out and named.

    Parameters
    ----------
    frame : pandas.DataFrame
        See :func:`lnlbench.analysis.frame.build_frame`.
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
    notes = Notes()
    rows = []
    for key in in_order(key_of(trial, layout.panels) for trial in trials):
        mine = [trial for trial in trials if key_of(trial, layout.panels) == key]
        title = name_of(layout.panels, key)
        rows.append(tuple(_panel(layout, x, title, mine, notes) for x in layout.x))
    flags = flag(notes.drafts)
    metrics = (*(layout.x if layout.kind == "scatter" else ()), *layout.y)
    caption = lead(layout.caption, trials, layout.axes) + meanings(metrics, notes.drafts)
    caption.append(spread(notes.drafts))
    story = Story(
        caption=(*caption, *flags),
        notes=notes.sentences(),
        provenance=provenance(notes.drafts, trials),
        complete=all(draft.complete for draft in notes.drafts),
    )
    return Chart(layout.kind, layout.y, tuple(rows), story)


def shown_trials(frame: pd.DataFrame, layout: FigureLayout) -> list[Trial]:
    """Return the trials of a frame, if there are any and they have the layout's axes."""
    if frame.empty:
        raise NothingSelectedError("There is no trial to draw.")
    trials = trials_of(frame)
    check_parameters(layout.axes, trials)
    return trials


def name_of(axes: Sequence[str], key: Key) -> str:
    """Return how a note or a title calls a place."""
    return ", ".join(map(describe, axes, key))


def _panel(layout: FigureLayout, x: str, title: str, trials: Sequence[Trial], notes: Notes) -> Panel:
    series = []
    keys = in_order(key_of(trial, layout.series) for trial in trials)
    for y in layout.y:
        for key in keys:
            mine = [trial for trial in trials if key_of(trial, layout.series) == key]
            shown = tuple(map(display, layout.series, key))
            place = ", ".join(filter(None, (title, " ".join(shown))))
            points = (_dot if layout.kind == "scatter" else _line)(x, y, place, mine, notes)
            number = (quantity(y).label,) if len(layout.y) > 1 else ()
            series.append(Series((*number, *shown), tuple(points)))
    return Panel(title, x, tuple(series))


def _dot(x: str, y: str, place: str, trials: Sequence[Trial], notes: Notes) -> list[Point]:
    draft = draft_cell(trials, (x, y))
    notes.add(place, draft)
    return [Point(*(value.summary for value in draft.values))] if draft.values else []


def _line(x: str, y: str, place: str, trials: Sequence[Trial], notes: Notes) -> list[Point]:
    by_x: dict[float, list[Trial]] = {}
    for trial in trials:
        by_x.setdefault(_position(trial, x), []).append(trial)
    points = []
    for position, mine in sorted(by_x.items()):
        draft = draft_cell(mine, (y,))
        notes.add(", ".join(filter(None, (place, f"{axis_label(x)} = {position:g}"))), draft)
        if draft.values:
            points.append(Point(Summary(position, None, 1), draft.values[0].summary))
    return points


def _position(trial: Trial, x: str) -> float:
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
