"""Draws charts of points and of lines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from lnlbench.analysis.figure_data import Chart, Panel, Point, Series
from lnlbench.analysis.figure_page import open_page
from lnlbench.analysis.figure_style import house_style, look
from lnlbench.analysis.names import axis_label
from lnlbench.analysis.quantities import QUANTITIES, quantity

_PANEL = (3.1, 2.5)  # inches
# A row of panels is as wide as a page at most.
_COLUMNS = 3
# A logarithmic axis begins to pay where the largest value is this many times the smallest.
_LOG_RATIO = 10.0

Look = tuple[str, str, tuple[int, tuple[float, ...]]]


def draw_chart(chart: Chart) -> Figure:
    """Return a chart as a figure: a panel for each x and each value of the panels' axes.

    Series have the same colour and shape in all panels; one legend below names them. Bars are
    the sample standard deviation over seeds, where there are several.
    """
    if len(chart.rows[0]) > 1:
        rows = [list(row) for row in chart.rows]
    else:
        panels = [row[0] for row in chart.rows]
        rows = [panels[start : start + _COLUMNS] for start in range(0, len(panels), _COLUMNS)]
    looks = _looks([series.key for row in chart.rows for panel in row for series in panel.series])
    width, height = _PANEL
    columns = max(map(len, rows))
    entries = legend_rows(map(" ".join, looks), columns * width)
    with house_style():
        size = (columns * width, len(rows) * height + 0.2 * len(entries))
        figure, page = open_page(size, chart.story.notes)
        grid = page.subplots(len(rows), columns, squeeze=False, sharey=True)
        logarithmic = {x: _spans_orders(x, chart) for x in dict.fromkeys(_all_x(chart))}
        handles: dict[tuple[str, ...], Line2D] = {}
        for axes_row, panel_row in zip(grid, rows, strict=True):
            for axes, panel in zip(axes_row, panel_row, strict=False):
                handles |= _draw_panel(axes, panel, chart.kind, looks, logarithmic[panel.x])
            for axes in axes_row[len(panel_row) :]:
                axes.remove()
            axes_row[0].set_ylabel(_number_label(chart.y[0]) if len(chart.y) == 1 else "test accuracy [%]")
        _legend(page, handles, looks, len(entries[0]) if entries else 1)
    return figure


def legend_rows(labels: Iterable[str], width: float) -> list[list[str]]:
    """Distribute the entries of a legend over rows, all as long as the first.

    Parameters
    ----------
    labels : iterable of str
    width : float
        In inches.
    """
    names = list(labels)
    if not names:
        return []
    # An entry is its marker with gaps (0.5 inches) and its text, at 8 points.
    longest = 0.5 + 0.075 * max(map(len, names))
    count = min(len(names), max(1, int(width / longest)))
    return [names[start : start + count] for start in range(0, len(names), count)]


def _looks(keys: Sequence[tuple[str, ...]]) -> dict[tuple[str, ...], Look]:
    """Give every series its colour and shape.

    With several axes, the first one decides about the shape and the others about the colour,
    so that a method has its colour in every tuning mode.
    """
    distinct = list(dict.fromkeys(keys))
    shapes = list(dict.fromkeys(key[:1] for key in distinct))
    colours = list(dict.fromkeys(key[1:] for key in distinct))
    if any(len(key) < 2 for key in distinct):
        return {key: look(number) for number, key in enumerate(distinct)}
    return {key: look(colours.index(key[1:]), shapes.index(key[:1])) for key in distinct}


def _draw_panel(
    axes: Axes, panel: Panel, kind: str, looks: Mapping[tuple[str, ...], Look], logarithmic: bool
) -> dict[tuple[str, ...], Line2D]:
    axes.set_title(panel.title)
    axes.set_xlabel(_number_label(panel.x) if kind == "scatter" else axis_label(panel.x))
    if logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(numticks=6))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    elif all(float(point.x.mean).is_integer() for series in panel.series for point in series.points):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))  # there are no half epochs
    drawn = {}
    for series in panel.series:
        if series.points:
            drawn[series.key] = _draw_series(axes, series, kind, looks[series.key])
    axes.margins(0.08)
    return drawn


def _draw_series(axes: Axes, series: Series, kind: str, style: Look) -> Line2D:
    """Draw a series, and return the line that stands for it in a legend."""
    colour, marker, dashes = style
    x = [point.x.mean for point in series.points]
    y = [point.y.mean for point in series.points]
    axes.errorbar(
        x,
        y,
        xerr=_bars(series.points, "x"),
        yerr=_bars(series.points, "y"),
        fmt="none",
        ecolor=colour,
        elinewidth=1.0,
        capthick=1.0,
        zorder=2,
    )
    (line,) = axes.plot(
        x,
        y,
        color=colour,
        marker=marker,
        linestyle=dashes if kind == "lines" else "none",
        markeredgecolor="white",
        markeredgewidth=0.5,
        label=series.label,
        zorder=3,
    )
    return line


def _bars(points: Sequence[Point], axis: str) -> list[float] | None:
    """Standard deviations, NaN where there is none; None where there are none at all."""
    deviations = [getattr(point, axis).sd for point in points]
    if all(deviation is None for deviation in deviations):
        return None
    return [math.nan if deviation is None else deviation for deviation in deviations]


def _legend(
    page: Figure | SubFigure,
    handles: Mapping[tuple[str, ...], Line2D],
    looks: Mapping[tuple[str, ...], Look],
    columns: int,
) -> None:
    shown = [key for key in looks if key in handles]
    if not any(" ".join(key) for key in shown):
        return
    page.legend(
        [handles[key] for key in shown],
        [" ".join(key) for key in shown],
        loc="outside lower center",
        ncols=columns,
        handletextpad=0.4,
        columnspacing=1.2,
    )


def _all_x(chart: Chart) -> list[str]:
    return [panel.x for row in chart.rows for panel in row]


def _spans_orders(x: str, chart: Chart) -> bool:
    """Tell whether an x axis should be logarithmic; the same in all panels."""
    values = [
        point.x.mean
        for row in chart.rows
        for panel in row
        if panel.x == x
        for series in panel.series
        for point in series.points
    ]
    if not values or min(values) <= 0.0:
        return False
    # Settings such as a number of epochs are read off the axis; costs are compared as ratios.
    ratio = _LOG_RATIO if x in QUANTITIES and quantity(x).wide else _LOG_RATIO**2
    return max(values) >= ratio * min(values)


def _number_label(name: str) -> str:
    return quantity(name).axis or quantity(name).label
