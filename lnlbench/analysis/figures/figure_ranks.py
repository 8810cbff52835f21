"""Draws average ranks with bars over methods that are not separable (a critical-difference diagram)."""

from __future__ import annotations

from matplotlib.figure import Figure

from lnlbench.analysis.figures.figure_data import Story
from lnlbench.analysis.figures.figure_page import COLOURS, house_style, open_page
from lnlbench.analysis.names import clean
from lnlbench.analysis.ranking.standings import Standings
from lnlbench.analysis.ranking.standings_text import sentences

_WIDTH, _LINE, _TOP = 7.0, 0.26, 0.9  # inches


def draw_ranks(standings: Standings) -> tuple[Figure, Story]:
    """Draw the average rank of each method with its interval, the best on top.

    Vertical bars join runs of methods of which no two are separable. Instead of the one critical
    difference of J. Demšar (J. Mach. Learn. Res. 7, 2006), which depends on which methods are in the pool,
    they follow from the signed-rank tests of the pairs (A. Benavoli, G. Corani and F. Mangili, same
    journal 17, 2016).
    """
    count, ties = len(standings.entrants), standings.ties
    notes = [] if not standings.left_out else [f"{len(standings.left_out)} left out, see the ranking"]
    with house_style():
        figure, page = open_page((_WIDTH, _TOP + _LINE * count), notes)
        axes = page.subplots()
        for at, entrant in enumerate(standings.entrants):
            mean, low, high = entrant.rank
            axes.plot([low, high], [at, at], color="#999999", linewidth=1.2, zorder=2)
            axes.plot([mean], [at], "o", color=COLOURS[0], zorder=3)
        right = max(count, *(entrant.rank[0] for entrant in standings.entrants))
        step = 0.03 * (right - 1 or 1)
        for number, (first, last) in enumerate(ties, start=1):
            x = right + (number + 0.5) * step
            axes.plot(
                [x, x], [first - 0.2, last + 0.2], color=COLOURS[6], linewidth=2.5, solid_capstyle="butt"
            )
        names = [f"{clean(each.name)}  {each.rank[0]:.2f}" for each in standings.entrants]
        axes.set_yticks(range(count), names)
        axes.set_ylim(count - 0.4, -0.6)
        axes.set_xlim(1 - step, right + (len(ties) + 1.5) * step)
        axes.grid(axis="y", visible=False)
        bars = "; bars join what is not separable" if ties else ""
        axes.set_xlabel(f"average rank in {len(standings.settings)} settings, 95 % interval{bars}")
    return figure, told(standings, notes)


def told(standings: Standings, notes: list[str]) -> Story:
    """Return what is said beside a figure of a ranking."""
    return Story(tuple(sentences(standings)), tuple(notes), (("ranked by", standings.metric),), True)
