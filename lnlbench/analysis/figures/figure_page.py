"""What all figures share: colours that the colour-blind can tell apart, page, legend, notes, file."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from lnlbench.analysis.figures.figure_data import Story
from lnlbench.analysis.names import clean
from lnlbench.errors import UsageError, suggest

# By format, the names that it has for caption and source, and for the time.
_METADATA: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "pdf": ("Subject", "Keywords", ("CreationDate",)),
    "svg": ("Description", "Source", ("Date",)),
    "png": ("Description", "Source", ()),
}
FORMATS = tuple(_METADATA)

# Colour, marker, and dashes of a line.
Look = tuple[str, str, tuple[int, tuple[float, ...]]]

_LINE = 0.14  # inches per line of a note
_LETTERS = 17  # of a note's line, per inch
_NOTES = 6  # lines at most; the command line prints them all

# Okabe & Ito's colours without yellow, which is hard to see on white, from most to least
# different from each other. Source: M. Okabe & K. Ito, Color Universal Design, 2008.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# Colours never stand alone: each comes with a shape, or with a dash pattern of a line.
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES: tuple[tuple[int, tuple[float, ...]], ...] = (
    (0, ()),
    (0, (5, 1.5)),
    (0, (1.5, 1.5)),
    (0, (5, 1.5, 1.5, 1.5)),
    (0, (8, 2)),
    (0, (3, 1, 1, 1, 1, 1)),
    (0, (1, 3)),
)
# Ten colours for classes: the first nine of Paul Tol's "muted" scheme, and black. Source: P. Tol,
# Colour schemes, SRON technical note EPS/TN/09-002, 2021.
CLASS_COLOURS = (
    *("#332288", "#CC6677", "#117733", "#DDCC77", "#88CCEE"),
    *("#882255", "#44AA99", "#999933", "#AA4499", "#000000"),
)
# More classes than that take a place each on a colour map that ends where it begins.
CYCLE = "twilight_shifted"

_SETTINGS = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so it is the same everywhere
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.labelsize": 9.0,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "legend.fontsize": 8.0,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "lines.markersize": 5.5,
    "errorbar.capsize": 2.5,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.dpi": 300,
    # A name is text, whatever dollars and backslashes are in it.
    "text.parse_math": False,
    "text.usetex": False,
    "axes.formatter.use_mathtext": False,
    # Fonts in the file as TrueType (PDF) and as outlines (SVG): any viewer shows the same.
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    # Otherwise identifiers in an SVG file would be random.
    "svg.hashsalt": "lnlbench",
}


@contextmanager
def house_style() -> Iterator[None]:
    """Draw and save in the style of the suite, whatever the user's own settings are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS)  # type: ignore[arg-type]
        yield


def look(number: int, shape: int | None = None) -> Look:
    """Return the look of the n-th series.

    Parameters
    ----------
    number : int
        Gives the colour; after as many series as there are colours, the shape changes too.
    shape : int, optional
        Gives the marker and the dashes; the same as ``number`` if it is left out.
    """
    shape = (number if shape is None else shape) + number // len(COLOURS)
    return COLOURS[number % len(COLOURS)], MARKERS[shape % len(MARKERS)], DASHES[shape % len(DASHES)]


def open_page(size: tuple[float, float], notes: Sequence[str]) -> tuple[Figure, Figure | SubFigure]:
    """Return a figure, and the part of it, as wide and high in inches, that panels and legend belong in."""
    width, height = size
    lines = [line for note in notes for line in textwrap.wrap(clean(note), int(width * _LETTERS))]
    if len(lines) > _NOTES:
        lines = [*lines[: _NOTES - 1], f"… and {len(lines) - _NOTES + 1} more lines of notes"]
    below = (len(lines) + 0.4) * _LINE if lines else 0.0
    figure = Figure(figsize=(width, height + below), layout="constrained")
    FigureCanvasAgg(figure)
    if not lines:
        return figure, figure
    page, foot = figure.subfigures(2, 1, height_ratios=[height, below], squeeze=False)[:, 0]
    foot.text(0.01, 1.0, "\n".join(lines), size=7.0, va="top", linespacing=1.3, color="#333333")
    return figure, page


def add_legend(
    page: Figure | SubFigure,
    handles: Sequence[Line2D],
    names: Sequence[str],
    columns: int,
    gaps: tuple[float, float],
) -> None:
    """Add a legend below the panels; ``gaps`` are those before a text and between columns."""
    if any(names):
        page.legend(
            handles,
            names,
            loc="outside lower center",
            ncols=columns,
            handletextpad=gaps[0],
            columnspacing=gaps[1],
        )


def legend_size(labels: Collection[str], width: float) -> tuple[int, float]:
    """Return the columns of a legend that has a width in inches, and its height."""
    # An entry is its marker with gaps (0.5 inches) and its text, at 8 points.
    longest = 0.5 + 0.075 * max(map(len, labels), default=0)
    columns = max(1, min(len(labels), int(width / longest)))
    return columns, 0.2 * math.ceil(len(labels) / columns)


def save_figure(figure: Figure, form: str, title: str, story: Story) -> bytes:
    """Return the content of a file with a figure; the same figure gives the same bytes.

    Title, caption and provenance are in the file's metadata, and no time.

    Raises
    ------
    UsageError
        For a format that is none of ``FORMATS``.
    """
    if form not in FORMATS:
        raise UsageError(f"A figure cannot be written as '{form}'.", suggest(form, FORMATS))
    caption, source, time = _METADATA[form]
    origin = "; ".join(f"{name}: {clean(value)}" for name, value in story.provenance)
    metadata = {"Title": clean(title), caption: clean(" ".join(story.caption)), source: origin}
    buffer = io.BytesIO()
    with house_style():
        # None leaves the time out, which would otherwise be that of saving.
        figure.savefig(buffer, format=form, metadata=metadata | dict.fromkeys(time))
    return buffer.getvalue()
