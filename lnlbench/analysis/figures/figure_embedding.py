"""Draws maps of features: before training above, after training on each noise below."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lnlbench.analysis.axes import in_order, key_of
from lnlbench.analysis.caption import lead
from lnlbench.analysis.cells import draft_cell
from lnlbench.analysis.figure_layout import FigureLayout
from lnlbench.analysis.figures.figure_data import Drafts, Story, joined, name_of, shown_trials, tell
from lnlbench.analysis.figures.figure_page import (
    CLASS_COLOURS,
    CYCLE,
    MARKERS,
    add_legend,
    house_style,
    legend_size,
    open_page,
)
from lnlbench.analysis.names import clean

_PANEL = 1.75  # inches
_NO_MAP = "without a map of features: give embedding.samples in the grid and run again"


def draw_maps(
    frame: pd.DataFrame, layout: FigureLayout, embeddings: Mapping[str, Mapping[str, Any]]
) -> tuple[Figure, Story]:
    """Draw maps of features: a column per value of the panels' axes, a row per series.

    Of several seeds, the first that has a map is shown, because maps have no mean. There is a legend
    of the classes where they are at most ten.

    Parameters
    ----------
    frame : pandas.DataFrame
        See :func:`lnlbench.records.frame.build_frame`.
    layout : FigureLayout
        Of kind ``embedding``.
    embeddings : mapping
        By trial id, as records hold them; see :func:`lnlbench.trials.measuring.embedding.embed`.

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
    cells: Drafts = []
    shown: dict[tuple[int, int], Mapping[str, Any]] = {}
    several = False
    for row, series in enumerate(rows):
        for column, panel in enumerate(columns):
            mine = [
                trial
                for trial in trials
                if (key_of(trial, layout.series), key_of(trial, layout.panels)) == (series, panel)
            ]
            draft = draft_cell(mine, ())
            with_map = [trial for trial in draft.used if trial["trial_id"] in embeddings]
            if draft.used and not with_map:
                draft.notes.append(_NO_MAP)
                draft.complete = False
            cells.append((joined(name_of(layout.panels, panel), name_of(layout.series, series)), draft))
            several |= len(with_map) > 1
            if with_map:
                shown[row, column] = embeddings[with_map[0]["trial_id"]]
    classes = max((tuple(value["classes"]) for value in shown.values()), key=len, default=())
    caption = [
        *lead(layout.caption, trials, layout.axes),
        "Test features mapped by t-SNE (initialised by PCA), each panel by itself: distances are not "
        "comparable between panels.",
        _colours(len(classes)),
        *(["Of several seeds, the first is shown."] if several else []),
    ]
    story = tell(caption, cells, trials)
    width, height = len(columns) * _PANEL + 0.3, (len(rows) + 1) * _PANEL + 0.3
    names = [clean(name) for name in classes] if len(classes) <= len(CLASS_COLOURS) else []
    legend, below = legend_size(names, width)
    with house_style():
        figure, page = open_page((width, height + below), story.notes)
        grid = page.subplots(len(rows) + 1, len(columns), squeeze=False)
        for column, panel in enumerate(columns):
            grid[0, column].set_title(name_of(layout.panels, panel))
            found = [shown.get((row, column)) for row in range(len(rows))]
            # Before training, all rows are alike.
            first = next(filter(None, found), None)
            for axes, value, when in zip(
                grid[:, column], [first, *found], ["before", *["after"] * len(rows)], strict=True
            ):
                _draw_map(axes, value, when, len(classes))
        grid[0, 0].set_ylabel("before training")
        for axes, series in zip(grid[1:, 0], rows, strict=True):
            axes.set_ylabel(joined("after", name_of(layout.series, series)))
        handles = [
            Line2D([], [], linestyle="none", marker=marker, color=colour, markersize=5)
            for colour, marker in map(_class_look, range(len(names)))
        ]
        add_legend(page, handles, names, legend, (0.2, 1.0))
    return figure, story


def _draw_map(axes: Axes, value: Mapping[str, Any] | None, when: str, classes: int) -> None:
    axes.grid(False)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(visible=True, color="#999999", linewidth=0.6)
    axes.set_box_aspect(1)
    if value is None:
        axes.text(0.5, 0.5, "no result", transform=axes.transAxes, ha="center", va="center", color="#555555")
        return
    points, labels = np.asarray(value[when], dtype=np.float64), np.asarray(value["labels"])
    if not np.ptp(points, axis=0).any():
        axes.text(0.5, 0.4, "all in one point", transform=axes.transAxes, ha="center", color="#555555")
    size = float(np.clip(1500 / len(points), 2.0, 14.0))
    if classes > len(CLASS_COLOURS):
        colours = mpl.colormaps[CYCLE](labels / classes)
        # With an edge, because the map of colours passes through near-white.
        axes.scatter(points[:, 0], points[:, 1], s=size, c=colours, linewidths=0.25, edgecolors="#777777")
        return
    for label in range(classes):
        colour, marker = _class_look(label)
        x, y = points[labels == label].T
        axes.scatter(x, y, s=size, color=colour, marker=marker, linewidths=0)


def _class_look(label: int) -> tuple[str, str]:
    """Colour and marker of a class; neighbours in the list differ in both."""
    return CLASS_COLOURS[label], MARKERS[label % 3]


def _colours(classes: int) -> str:
    if classes == 0:
        return "There are no results to show."
    if classes <= len(CLASS_COLOURS):
        return "Colours and shapes are classes."
    return f"Colours are the {classes} classes in order, on a map of colours that ends where it begins."
