"""Draws scores against costs, with the front of what is worth its cost."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from lnlbench.analysis.figures.figure_data import Story
from lnlbench.analysis.figures.figure_page import COLOURS, house_style, open_page
from lnlbench.analysis.figures.figure_ranks import told
from lnlbench.analysis.names import clean
from lnlbench.analysis.quantities import quantity
from lnlbench.analysis.ranking.standings import Standings
from lnlbench.errors import NothingSelectedError

_SIZE = (6.2, 4.0)  # inches


def draw_front(standings: Standings) -> tuple[Figure, Story]:
    """Draw each method's mean over settings against its cost relative to CE with FFT.

    Raises
    ------
    NothingSelectedError
        If no method's cost is known.
    """
    known = [(each, each.cost) for each in standings.entrants if each.cost]
    if not known:
        raise NothingSelectedError("No method's cost is known, so there is nothing to draw it against.")
    without = [clean(each.name) for each in standings.entrants if not each.cost]
    notes = [f"without a known cost: {', '.join(without)}"] if without else []
    front = sorted((cost, each.score) for each, cost in known if each.front)
    with house_style():
        figure, page = open_page(_SIZE, notes)
        axes = page.subplots()
        axes.step(*zip(*front, strict=True), where="post", color="#777777", linewidth=1.2, zorder=1)
        for each, cost in known:
            colour, marker = (COLOURS[1], "o") if each.front else (COLOURS[0], "s")
            axes.plot(
                [cost], [each.score], marker, color=colour, markeredgecolor="white", markeredgewidth=0.5
            )
            axes.annotate(
                clean(each.name), (cost, each.score), xytext=(5, 3), textcoords="offset points", size=7.5
            )
        costs = [cost for _, cost in known]
        if max(costs) > 10 * min(costs):
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(numticks=6))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.margins(0.12)
        axes.set_xlabel("compute, relative to CE with FFT (circles: none is as good and as cheap)")
        axes.set_ylabel(quantity(standings.metric).axis or quantity(standings.metric).label)
    return figure, told(standings, notes)
