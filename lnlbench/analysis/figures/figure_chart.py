"""Draws charts of points and of lines."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from lnlbench.analysis.figure_layout import FigureLayout
from lnlbench.analysis.figures.figure_data import Panel, Series
from lnlbench.analysis.figures.figure_page import Look, add_legend, house_style, legend_size, look, open_page
from lnlbench.analysis.names import axis_label
from lnlbench.analysis.quantities import QUANTITIES, family_of, quantity
from lnlbench.analysis.stats import Summary

_PANEL = (3.1, 2.5)  # inches
# A row of panels is as wide as a page at most.
_COLUMNS = 3
# A logarithmic axis begins to pay where the largest value is this many times the smallest.
_LOG_RATIO = 10.0

SeriesKey = tuple[str, ...]


def draw_chart(layout: FigureLayout, rows: Sequence[Sequence[Panel]], notes: Sequence[str]) -> Figure:
    """Return rows of panels as a figure.

    Series have the same colour and shape in all panels; one legend below names them. Bars are
    the sample standard deviation over seeds, where there are several.
    """
    panels = [panel for row in rows for panel in row]
    if len(rows[0]) == 1:
        rows = [panels[start : start + _COLUMNS] for start in range(0, len(panels), _COLUMNS)]
    looks = _looks([series.key for panel in panels for series in panel.series])
    width, height = max(map(len, rows)) * _PANEL[0], len(rows) * _PANEL[1]
    legend, below = legend_size([" ".join(key) for key in looks], width)
    with house_style():
        figure, page = open_page((width, height + below), notes)
        grid = page.subplots(len(rows), max(map(len, rows)), squeeze=False, sharey=True)
        handles: dict[SeriesKey, Line2D] = {}
        for axes_row, panel_row in zip(grid, rows, strict=True):
            for axes, panel in zip(axes_row, panel_row, strict=False):
                _label_x(axes, layout.kind, panel, [each for each in panels if each.x == panel.x])
                for series in panel.series:
                    if series.points:
                        handles[series.key] = _draw(axes, series, layout.kind, looks[series.key])
                axes.margins(0.08)
            for axes in axes_row[len(panel_row) :]:
                axes.remove()
            family = family_of(layout.y) if len(layout.y) > 1 else None
            axes_row[0].set_ylabel(f"test {family.label}" if family else _number_label(layout.y[0]))
        shown = [key for key in looks if key in handles]
        add_legend(page, [handles[key] for key in shown], [*map(" ".join, shown)], legend, (0.4, 1.2))
    return figure


def _looks(keys: Sequence[SeriesKey]) -> dict[SeriesKey, Look]:
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


def _label_x(axes: Axes, kind: str, panel: Panel, alike: Sequence[Panel]) -> None:
    """Set title, label, scale and ticks; the scale is that of all panels with the same x."""
    axes.set_title(panel.title)
    axes.set_xlabel(_number_label(panel.x) if kind == "scatter" else axis_label(panel.x))
    if _spans_orders(panel.x, [x for each in alike for x in _positions(each)]):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(numticks=6))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    elif all(x.is_integer() for x in _positions(panel)):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))  # there are no half epochs


def _positions(panel: Panel) -> list[float]:
    return [float(point.x.mean) for series in panel.series for point in series.points]


def _spans_orders(x: str, values: Sequence[float]) -> bool:
    if not values or min(values) <= 0.0:
        return False
    # Settings such as a number of epochs are read off the axis; costs are compared as ratios.
    ratio = _LOG_RATIO if x in QUANTITIES and quantity(x).wide else _LOG_RATIO**2
    return max(values) >= ratio * min(values)


def _draw(axes: Axes, series: Series, kind: str, style: Look) -> Line2D:
    """Draw a series, and return the line that stands for it in a legend."""
    colour, marker, dashes = style
    x, y = ([getattr(point, axis) for point in series.points] for axis in "xy")
    at = ([each.mean for each in x], [each.mean for each in y])
    # Without markers and lines, which the plot has.
    axes.errorbar(
        *at,
        yerr=_deviations(y),
        xerr=_deviations(x),
        fmt="none",
        ecolor=colour,
        elinewidth=1.0,
        capthick=1.0,
        zorder=2,
    )
    (line,) = axes.plot(
        *at,
        color=colour,
        marker=marker,
        linestyle=dashes if kind == "lines" else "none",
        markeredgecolor="white",
        markeredgewidth=0.5,
        label=" ".join(series.key),
        zorder=3,
    )
    return line


def _deviations(summaries: Sequence[Summary]) -> list[float] | None:
    """Standard deviations, NaN where there is none; None where there are none at all."""
    found = [math.nan if each.sd is None else each.sd for each in summaries]
    return None if all(map(math.isnan, found)) else found


def _number_label(name: str) -> str:
    return quantity(name).axis or quantity(name).label
