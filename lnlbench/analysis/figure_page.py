"""The page of a figure: room for the panels, and notes below; and the file that it becomes."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure

from lnlbench.analysis.figure_data import Story
from lnlbench.analysis.figure_style import NOTE_SIZE, house_style
from lnlbench.analysis.names import clean
from lnlbench.errors import UsageError, suggest

FORMATS = ("pdf", "svg", "png")

_LINE = 0.14  # inches per line of a note
_LETTERS = 17  # of a note's line, per inch
_NOTES = 6  # lines at most; the command line prints them all


def open_page(size: tuple[float, float], notes: Sequence[str]) -> tuple[Figure, Figure | SubFigure]:
    """Return a figure, and the part of it that the panels belong in.

    Parameters
    ----------
    size : (float, float)
        Width and height of that part, in inches.
    notes : sequence of str
        Written below it.
    """
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
    foot.text(0.01, 1.0, "\n".join(lines), size=NOTE_SIZE, va="top", linespacing=1.3, color="#333333")
    return figure, page


def save_figure(figure: Figure, form: str, title: str, story: Story) -> bytes:
    """Return the content of a file with a figure; the same figure gives the same bytes.

    Title, caption and provenance are in the file's metadata, and no time.

    Parameters
    ----------
    figure : Figure
    form : {"pdf", "svg", "png"}
    title : str
    story : Story

    Raises
    ------
    UsageError
        For another format.
    """
    if form not in FORMATS:
        raise UsageError(f"A figure cannot be written as '{form}'.", suggest(form, FORMATS))
    buffer = io.BytesIO()
    with house_style():
        figure.savefig(buffer, format=form, metadata=_metadata(form, title, story))
    return buffer.getvalue()


def _metadata(form: str, title: str, story: Story) -> Mapping[str, str | None]:
    caption = clean(" ".join(story.caption))
    origin = "; ".join(f"{name}: {clean(value)}" for name, value in story.provenance)
    match form:
        case "pdf":
            return {"Title": clean(title), "Subject": caption, "Keywords": origin, "CreationDate": None}
        case "svg":
            return {"Title": clean(title), "Description": caption, "Source": origin, "Date": None}
        case _:
            return {"Title": clean(title), "Description": caption, "Source": origin}
