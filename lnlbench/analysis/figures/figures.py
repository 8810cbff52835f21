"""Figures by kind, from records to files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from lnlbench.analysis.figure_layout import FigureLayout
from lnlbench.analysis.figures.figure_chart import draw_chart
from lnlbench.analysis.figures.figure_data import Story, build_chart
from lnlbench.analysis.figures.figure_embedding import draw_maps


def make_figure(
    frame: pd.DataFrame,
    layout: Mapping[str, Any],
    embeddings: Mapping[str, Mapping[str, Any]] | None = None,
) -> tuple[Figure, Story]:
    """Draw a figure.

    Parameters
    ----------
    frame : pandas.DataFrame
        Trials to show; see :func:`lnlbench.records.frame.build_frame`.
    layout : mapping
        See :meth:`lnlbench.analysis.figure_layout.FigureLayout.parse`.
    embeddings : mapping, optional
        Maps of features by trial id, for the kind ``embedding``.

    Returns
    -------
    figure : matplotlib.figure.Figure
        Save it with :func:`lnlbench.analysis.figures.figure_page.save_figure`.
    story : Story
        Caption, notes and provenance.

    Raises
    ------
    UsageError
        If the layout is wrong.
    NothingSelectedError
        If the frame is empty.
    """
    shape = FigureLayout.parse(layout)
    if shape.kind == "embedding":
        return draw_maps(frame, shape, embeddings or {})
    rows, story = build_chart(frame, shape)
    return draw_chart(shape, rows, story.notes), story
