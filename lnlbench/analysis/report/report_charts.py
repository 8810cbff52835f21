"""Drawings of the report: SVG whose colours follow the reader's theme, with a text for every mark."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from lnlbench.analysis.ranking.standings import Standings
from lnlbench.analysis.tables.render_html import escape_html

COLOURS = 8
_DASHES = ("", "6 3", "2 2", "8 2 2 2", "1 3", "10 3")
_LETTER = 6.9  # width of a letter of a label


@dataclass(frozen=True, slots=True)
class Dot:
    """A mark of a scatter plot.

    Attributes
    ----------
    x, y : float
    label : str
        Written beside it; "" for none.
    kind : int
        Gives its colour and shape.
    text : str
        What a reader is told who points at it, or cannot see it.
    """

    x: float
    y: float
    label: str
    kind: int
    text: str


@dataclass(frozen=True, slots=True)
class Axis:
    """Where numbers lie along one side of a plot, from ``start`` to ``end`` in units of the drawing."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """Return the place of a number."""
        low, high, here = (
            map(math.log, (self.low, self.high, value)) if self.log else (self.low, self.high, value)
        )
        return self.start + (self.end - self.start) * (here - low) / (high - low)

    def ticks(self) -> list[float]:
        """Return a few round numbers on the axis."""
        if self.log:
            found = [m * 10.0**e for e in range(-6, 10) for m in (1, 2, 5)]
            return [value for value in found if self.low <= value <= self.high]
        step = nice_step((self.high - self.low) / 5)
        first = math.ceil(self.low / step - 1e-9)
        return [at * step for at in range(first, math.floor(self.high / step + 1e-9) + 1)]


def nice_step(rough: float) -> float:
    """Return 1, 2 or 5 times a power of ten, at least as large as a number."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))


def span_of(values: Sequence[float], start: float, end: float, log: bool = False) -> Axis:
    """Return an axis on which numbers have some room."""
    low, high = min(values), max(values)
    if log:
        return Axis(low / 1.3, high * 1.3, start, end, True)
    room = 0.08 * (high - low) or max(1.0, abs(high) * 0.05)
    return Axis(low - room, high + room, start, end)


def scatter(
    dots: Sequence[Dot], x_label: str, y_label: str, front: Sequence[tuple[float, float]] = ()
) -> str:
    """Draw marks; x is logarithmic where it spans more than a factor of ten, and is never negative then."""
    width, height, left, bottom = 410.0, 320.0, 40.0, 280.0
    xs, ys = [dot.x for dot in dots], [dot.y for dot in dots]
    x = span_of(xs, left, width - 10, log=min(xs) > 0 and max(xs) > 10 * min(xs))
    y = span_of(ys, bottom, 14)
    parts = _axes(x, y, x_label, y_label)
    corners = [(x.at(cost), y.at(score)) for cost, score in front[:1]]
    for (_, before), (cost, score) in itertools.pairwise(front):
        corners += [(x.at(cost), y.at(before)), (x.at(cost), y.at(score))]
    if corners[1:]:
        points = " ".join(f"{across:.1f},{up:.1f}" for across, up in corners)
        parts.append(f'<polyline class="front" points="{points}"/>')
    # Labels cover neither marks nor the front, which steps to the right and upwards.
    taken = [(x.at(dot.x) - 5, y.at(dot.y) - 5, x.at(dot.x) + 5, y.at(dot.y) + 5) for dot in dots]
    taken += [(a[0] - 1, b[1] - 1, b[0] + 1, a[1] + 1) for a, b in itertools.pairwise(corners)]
    for dot in dots:
        parts.append(_mark(x.at(dot.x), y.at(dot.y), dot.kind, dot.text))
    for dot in sorted(dots, key=lambda each: -each.y):
        parts += _label(dot, x, y, taken, width, bottom)
    return _svg(
        parts, width, height, f"{y_label} against {x_label}: {'; '.join(dot.text for dot in dots[:40])}"
    )


def small_curves(
    title: str, curves: Sequence[tuple[str, int, Sequence[float]]], y: tuple[float, float]
) -> str:
    """Draw lines over epochs, which are counted from 1.

    Parameters
    ----------
    title : str
        Stands above the plot, and wraps where it is wider.
    curves : sequence of (str, int, sequence of float)
        Name, number of its colour and dashes, and a value for each epoch.
    y : tuple of float
        Ends of the axis, the same for plots that are compared.
    """
    width, height, left, bottom = 210.0, 136.0, 26.0, 114.0
    longest = max(len(values) for _, _, values in curves)
    across = Axis(0.5, longest + 0.5, left, width - 4)
    up = Axis(*y, bottom, 8)
    parts = []
    for value in up.ticks():
        place = up.at(value)
        parts.append(f'<line class="grid" x1="{left}" x2="{width - 4}" y1="{place:.1f}" y2="{place:.1f}"/>')
        parts.append(
            f'<text class="tick" x="{left - 4}" y="{place + 3:.1f}" text-anchor="end">{value:g}</text>'
        )
    for epoch in sorted({1, longest, *range(5, longest, 5)} if longest <= 30 else {1, longest}):
        parts.append(_tick(f"{epoch}", across.at(epoch), bottom + 13))
    for name, kind, values in curves:
        points = " ".join(
            f"{across.at(at):.1f},{up.at(value):.1f}" for at, value in enumerate(values, start=1)
        )
        told = f"<title>{escape_html(f'{title}, {name}: from {values[0]:.1f} to {values[-1]:.1f} %')}</title>"
        if len(values) == 1:
            parts.append(_mark(across.at(1), up.at(values[0]), kind, f"{title}, {name}: {values[0]:.1f} %"))
        else:
            parts.append(
                f'<polyline class="curve k{kind % COLOURS}"{_dash(kind)} points="{points}">{told}</polyline>'
            )
    return _named(title, _svg(parts, width, height, f"{title}: test accuracy over {longest} epochs"))


def curve_key(names: Sequence[str]) -> str:
    """Return the legend of lines, in the order of their numbers."""
    items = "".join(
        _key_item(at, name, f'<line class="curve" x1="0" x2="30" y1="6" y2="6"{_dash(at)}/>')
        for at, name in enumerate(names)
    )
    return f'<ul class="key">{items}</ul>\n'


def mark_key(names: Sequence[str]) -> str:
    """Return the legend of marks, in the order of their numbers."""
    items = "".join(_key_item(at, name, _mark(15, 6, at, "")) for at, name in enumerate(names))
    return f'<ul class="key">{items}</ul>\n'


def _key_item(kind: int, name: str, drawing: str) -> str:
    shown = f'<svg viewBox="0 0 30 12" aria-hidden="true">{drawing}</svg>'
    return f'<li class="k{kind % COLOURS}">{shown}{escape_html(name)}</li>'


def rank_chart(standings: Standings) -> str:
    """Draw average ranks with their intervals, and bars over what is not separable."""
    entrants, ties = standings.entrants, standings.ties
    left = 14 + _LETTER * max(len(entrant.name) for entrant in entrants)
    width, line = left + 290, 20
    bottom = 22 + line * len(entrants)
    plot_end = width - 16 - 9 * len(ties)
    across = Axis(1, max(len(entrants), 2), left, plot_end)
    parts = []
    step = max(1, round((len(entrants) - 1) / 8))
    for rank in range(1, len(entrants) + 1, step):
        place = across.at(rank)
        parts.append(f'<line class="grid" x1="{place:.1f}" x2="{place:.1f}" y1="18" y2="{bottom}"/>')
        parts.append(f'<text class="tick" x="{place:.1f}" y="12" text-anchor="middle">{rank}</text>')
    for at, entrant in enumerate(entrants):
        y = 30 + line * at
        mean, low, high = entrant.rank
        parts.append(
            f'<text x="{left - 12:.1f}" y="{y + 4}" text-anchor="end">{escape_html(entrant.name)}</text>'
        )
        if not math.isnan(low):
            parts.append(_line("range", (across.at(low), y), (across.at(high), y)))
        parts.append(_mark(across.at(mean), y, 0, f"{entrant.name}: average rank {mean:.2f}"))
    for at, (first, last) in enumerate(ties):
        x = plot_end + 14 + 9 * at
        parts.append(
            f'<line class="bar" x1="{x:.1f}" x2="{x:.1f}" y1="{23 + line * first}" y2="{37 + line * last}"/>'
        )
    told = "; ".join(f"{entrant.name} {entrant.rank[0]:.2f}" for entrant in entrants)
    return _svg(parts, width, bottom + 4, f"Average ranks: {told}")


def flips(matrix: Sequence[Sequence[float]], title: str) -> str:
    """Draw shares of labels by true class (rows) and given class (columns), in percent of the row."""
    side, left, top = 18.0, 34.0, 20.0
    size = left + side * len(matrix) + 4
    parts = [
        f'<text class="tick" x="{left}" y="{top - 8}">given class →</text>',
        f'<text class="tick" transform="translate(10 {top + 4}) rotate(90)">true class →</text>',
    ]
    for row, shares in enumerate(matrix):
        for column, share in enumerate(shares):
            if share >= 0.05:
                place = f'x="{left + side * column}" y="{top + side * row}"'
                size_of = f'width="{side - 1}" height="{side - 1}"'
                opacity = f'fill-opacity="{max(0.04, math.sqrt(share / 100)):.2f}"'
                told = f"<title>class {row} given as {column}: {share:.1f} %</title>"
                parts.append(f'<rect class="cell" {place} {size_of} {opacity}>{told}</rect>')
    rights = [shares[row] for row, shares in enumerate(matrix)]
    story = f"{title}: between {min(rights):.0f} and {max(rights):.0f} % of a class keep their label"
    return _named(title, _svg(parts, size, top + side * len(matrix) + 4, story))


def _named(title: str, drawing: str) -> str:
    # A text of its own, since one in the drawing would run into its neighbour. The drawing tells it too.
    return f'<div class="name" aria-hidden="true">{escape_html(title)}</div>{drawing}'


def _axes(x: Axis, y: Axis, x_label: str, y_label: str) -> list[str]:
    parts = []
    for value in y.ticks():
        parts.append(_line("grid", (x.start, y.at(value)), (x.end, y.at(value))))
        parts.append(_tick(f"{value:g}", x.start - 6, y.at(value) + 4, "end"))
    for value in x.ticks():
        parts.append(_line("grid", (x.at(value), y.end), (x.at(value), y.start)))
        parts.append(_tick(f"{value:g}", x.at(value), y.start + 15))
    parts.append(_line("axis", (x.start, y.start), (x.end, y.start)))
    parts.append(f'<text x="{x.end}" y="{y.start + 33}" text-anchor="end">{escape_html(x_label)}</text>')
    parts.append(f'<text x="4" y="8">{escape_html(y_label)}</text>')
    return parts


def _line(kind: str, start: tuple[float, float], end: tuple[float, float]) -> str:
    (x1, y1), (x2, y2) = start, end
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _tick(text: str, x: float, y: float, anchor: str = "middle") -> str:
    return f'<text class="tick" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'


def _mark(x: float, y: float, kind: int, text: str) -> str:
    told = f"<title>{escape_html(text)}</title>" if text else ""
    name = f'class="mark k{kind % COLOURS}"'
    if kind % 4 == 0:
        return f'<circle {name} cx="{x:.1f}" cy="{y:.1f}" r="4.5">{told}</circle>'
    shape = (
        ((-4, -4), (4, -4), (4, 4), (-4, 4)),
        ((0, -5.5), (5, 4), (-5, 4)),
        ((0, -6), (6, 0), (0, 6), (-6, 0)),
    )[kind % 4 - 1]
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in shape)
    return f'<polygon {name} points="{points}">{told}</polygon>'


def _label(
    dot: Dot, x: Axis, y: Axis, taken: list[tuple[float, float, float, float]], width: float, bottom: float
) -> list[str]:
    """Return a label where it covers nothing; none if there is no such place, as its mark tells all."""
    length, px, py = _LETTER * len(dot.label), x.at(dot.x), y.at(dot.y)
    places = [
        (left, py + dy)
        for dy in (4, -7, 15)
        for left in (px + 8, px - 8 - length, px - length / 2)
        if dy not in (4,) or left != px - length / 2
    ]
    for left, base in places:
        box = (left, base - 9, left + length, base + 2)
        inside = box[0] >= x.start and box[2] <= width and box[1] >= 10 and box[3] <= bottom
        if inside and not any(_overlap(box, other) for other in taken):
            taken.append(box)
            return (
                [f'<text x="{left:.1f}" y="{base:.1f}">{escape_html(dot.label)}</text>'] if dot.label else []
            )
    return []


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _dash(kind: int) -> str:
    dash = _DASHES[kind // COLOURS % len(_DASHES)] if kind >= COLOURS else _DASHES[kind % len(_DASHES)]
    return f' stroke-dasharray="{dash}"' if dash else ""


def _svg(parts: Sequence[str], width: float, height: float, label: str) -> str:
    inside = "".join(parts)
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape_html(label)}">{inside}</svg>'
    )
