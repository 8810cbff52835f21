"""Draws maps of features: before training above, after training on each noise below."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lnlbench.analysis.axes import in_order, key_of
from lnlbench.analysis.caption import lead, provenance
from lnlbench.analysis.cells import draft_cell
from lnlbench.analysis.figure_chart import legend_rows
from lnlbench.analysis.figure_data import Notes, Story, name_of, shown_trials
from lnlbench.analysis.figure_layout import FigureLayout
from lnlbench.analysis.figure_page import open_page
from lnlbench.analysis.figure_style import CLASS_COLOURS, CYCLE, MARKERS, house_style
from lnlbench.analysis.names import clean

BEFORE, AFTER = "before training", "after"

_PANEL = 1.75  # inches
_NO_MAP = "without a map of features: give embedding.samples in the grid and run again"


@dataclass(frozen=True, eq=False, slots=True)
class Map:
    """Points of one panel, float ``[n, 2]``, with their classes."""

    points: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Atlas:
    """A figure of maps, ready to be drawn.

    Attributes
    ----------
    rows, columns : tuple of str
        Their headings; the first row is that before training.
    maps : mapping of (row, column) to Map
        By number; what is missing has none.
    classes : tuple of str
        Names of the classes.
    story : Story
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    maps: Mapping[tuple[int, int], Map]
    classes: tuple[str, ...]
    story: Story


def build_atlas(
    frame: pd.DataFrame, layout: FigureLayout, embeddings: Mapping[str, Mapping[str, Any]]
) -> Atlas:
    """Arrange maps of features: a column per value of the panels' axes, a row per series.

    Of several seeds, the first that has a map is shown, because maps have no mean.

    Parameters
    ----------
    frame : pandas.DataFrame
        See :func:`lnlbench.analysis.frame.build_frame`.
    layout : FigureLayout
        Of kind ``embedding``.
    embeddings : mapping
        By trial id, as records hold them; see :func:`lnlbench.embedding.embed`.

    Raises
    ------
    UsageError
        If the layout names a parameter that no method has.
    NothingSelectedError
        If the frame is empty.
    """
    trials = shown_trials(frame, layout)
    columns = in_order(key_of(trial, layout.panels) for trial in trials)
    rows = in_order(key_of(trial, layout.series) for trial in trials)
    notes, maps, classes = Notes(), {}, ()
    several = False
    for row, series in enumerate(rows, start=1):
        for column, panel in enumerate(columns):
            mine = [
                trial
                for trial in trials
                if key_of(trial, layout.series) == series and key_of(trial, layout.panels) == panel
            ]
            draft = draft_cell(mine, ())
            with_map = [trial for trial in draft.used if trial["trial_id"] in embeddings]
            if draft.used and not with_map:
                draft.notes.append(_NO_MAP)
                draft.complete = False
            place = ", ".join(filter(None, (name_of(layout.panels, panel), name_of(layout.series, series))))
            notes.add(place, draft)
            several |= len(with_map) > 1
            if with_map:
                value = embeddings[with_map[0]["trial_id"]]
                labels = np.asarray(value["labels"], dtype=np.int64)
                maps[row, column] = Map(np.asarray(value["after"], dtype=np.float64), labels)
                maps.setdefault((0, column), Map(np.asarray(value["before"], dtype=np.float64), labels))
                classes = max(classes, tuple(value["classes"]), key=len)
    caption = [
        *lead(layout.caption, trials, layout.axes),
        "Test features mapped by t-SNE (initialised by PCA), each panel by itself: distances are not "
        "comparable between panels.",
        *([_colours(len(classes))] if classes else ["There are no results to show."]),
        *(["Of several seeds, the first is shown."] if several else []),
    ]
    story = Story(
        caption=tuple(caption),
        notes=notes.sentences(),
        provenance=provenance(notes.drafts, trials),
        complete=all(draft.complete for draft in notes.drafts),
    )
    return Atlas(
        rows=(BEFORE, *(", ".join(filter(None, (AFTER, name_of(layout.series, key)))) for key in rows)),
        columns=tuple(name_of(layout.panels, key) for key in columns),
        maps=maps,
        classes=classes,
        story=story,
    )


def draw_atlas(atlas: Atlas) -> Figure:
    """Return the maps as a figure, with a legend of the classes where there are at most ten."""
    width, height = len(atlas.columns) * _PANEL + 0.3, len(atlas.rows) * _PANEL + 0.3
    named = 0 < len(atlas.classes) <= len(CLASS_COLOURS)
    entries = legend_rows(map(clean, atlas.classes), width) if named else []
    with house_style():
        figure, page = open_page((width, height + 0.2 * len(entries)), atlas.story.notes)
        grid = page.subplots(len(atlas.rows), len(atlas.columns), squeeze=False)
        for row, axes_row in enumerate(grid):
            for column, axes in enumerate(axes_row):
                _draw_map(axes, atlas.maps.get((row, column)), len(atlas.classes))
            axes_row[0].set_ylabel(atlas.rows[row])
        for axes, title in zip(grid[0], atlas.columns, strict=True):
            axes.set_title(title)
        if entries:
            page.legend(
                [
                    Line2D([], [], linestyle="none", marker=marker, color=colour, markersize=5)
                    for colour, marker in map(_class_look, range(len(atlas.classes)))
                ],
                [clean(name) for name in atlas.classes],
                loc="outside lower center",
                ncols=len(entries[0]),
                handletextpad=0.2,
                columnspacing=1.0,
            )
    return figure


def _draw_map(axes: Axes, content: Map | None, classes: int) -> None:
    axes.grid(False)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(visible=True, color="#999999", linewidth=0.6)
    axes.set_box_aspect(1)
    if content is None:
        axes.text(0.5, 0.5, "no result", transform=axes.transAxes, ha="center", va="center", color="#555555")
        return
    if not np.ptp(content.points, axis=0).any():
        axes.text(0.5, 0.4, "all in one point", transform=axes.transAxes, ha="center", color="#555555")
    size = float(np.clip(1500 / len(content.points), 2.0, 14.0))
    if classes > len(CLASS_COLOURS):
        colours = mpl.colormaps[CYCLE](content.labels / classes)
        # With an edge, because the map of colours passes through near-white.
        axes.scatter(
            content.points[:, 0],
            content.points[:, 1],
            s=size,
            c=colours,
            linewidths=0.25,
            edgecolors="#777777",
        )
        return
    for label in range(classes):
        colour, marker = _class_look(label)
        points = content.points[content.labels == label]
        axes.scatter(points[:, 0], points[:, 1], s=size, color=colour, marker=marker, linewidths=0)


def _class_look(label: int) -> tuple[str, str]:
    """Colour and marker of a class; neighbours in the list differ in both."""
    return CLASS_COLOURS[label], MARKERS[label % 3]


def _colours(classes: int) -> str:
    if classes <= len(CLASS_COLOURS):
        return "Colours and shapes are classes."
    return f"Colours are the {classes} classes in order, on a map of colours that ends where it begins."
