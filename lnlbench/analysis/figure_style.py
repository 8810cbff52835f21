"""How figures look: sizes, fonts, and colours that those who are colour-blind can tell apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl

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

NOTE_SIZE = 7.0

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


def look(number: int, shape: int | None = None) -> tuple[str, str, tuple[int, tuple[float, ...]]]:
    """Return colour, marker and dashes of the n-th series.

    Parameters
    ----------
    number : int
        Gives the colour; after as many series as there are colours, the shape changes too.
    shape : int, optional
        Gives the marker and the dashes; the same as ``number`` if it is left out.
    """
    shape = number + number // len(COLOURS) if shape is None else shape + number // len(COLOURS)
    return (
        COLOURS[number % len(COLOURS)],
        MARKERS[shape % len(MARKERS)],
        DASHES[shape % len(DASHES)],
    )
