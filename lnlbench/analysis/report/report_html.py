"""The pieces of a page: tables, lists, and the document around them."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files

from lnlbench.analysis.tables.render_html import escape_html


@dataclass(frozen=True, slots=True)
class Datum:
    """A cell of a table.

    Attributes
    ----------
    text : str
        Plain text.
    value : float or None
        What it is sorted by; None for text, NaN for a number that is missing.
    best : bool
        Whether it is marked.
    code : bool
        Whether it is a command.
    """

    text: str
    value: float | None = None
    best: bool = False
    code: bool = False


def number(value: float | None, decimals: int = 2, best: bool = False) -> Datum:
    """Return a number as a cell; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return Datum("–", math.nan)
    return Datum(f"{value:,.{decimals}f}", value, best)


def data_table(caption: str, headings: Sequence[str], rows: Sequence[Sequence[Datum]]) -> str:
    """Return a table that can be sorted; the first column names the rows.

    A column is one of text if its first cell is.
    """
    textual = [bool(rows) and rows[0][at].value is None for at in range(len(headings))]
    heads = "".join(
        f'<th scope="col"{_kind(text)}>{escape_html(heading)}</th>'
        for heading, text in zip(headings, textual, strict=True)
    )
    body = "\n".join(
        "<tr>" + "".join(_cell(datum, at == 0, textual[at]) for at, datum in enumerate(row)) + "</tr>"
        for row in rows
    )
    return scrolling(
        f'<table class="sortable">\n<caption>{escape_html(caption)}</caption>\n'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>",
        caption,
        tall=True,
    )


def _kind(textual: bool) -> str:
    return ' class="text"' if textual else ""


def _cell(datum: Datum, first: bool, textual: bool) -> str:
    text = escape_html(datum.text)
    if datum.code:
        text = f"<code>{text}</code>"
    if first:
        return f'<th scope="row">{text}</th>'
    # A few digits are enough to sort by.
    key = "" if datum.value is None else "" if math.isnan(datum.value) else f"{datum.value:.6g}"
    data = "" if datum.value is None else f' data-v="{key}"'
    names = " ".join(name for name, holds in (("text", textual), ("best", datum.best)) if holds)
    return f"<td{f' class={chr(34)}{names}{chr(34)}' if names else ''}{data}>{text}</td>"


def scrolling(table: str, name: str, tall: bool = False) -> str:
    """Return something wide (and tall) in a box that scrolls, with the keyboard too."""
    label = escape_html(name.split(".")[0][:80])
    kind = "scroll tall" if tall else "scroll"
    return f'<div class="{kind}" tabindex="0" role="region" aria-label="{label}">\n{table}\n</div>\n'


def paragraphs(texts: Iterable[str], kind: str = "") -> str:
    """Return plain texts as paragraphs."""
    return "".join(
        f"<p{f' class={chr(34)}{kind}{chr(34)}' if kind else ''}>{escape_html(text)}</p>\n" for text in texts
    )


def bullets(texts: Iterable[str]) -> str:
    """Return plain texts as a list; nothing if there are none."""
    return bullets_of_html(map(escape_html, texts))


def bullets_of_html(items: Iterable[str]) -> str:
    """Return pieces of HTML as a list; nothing if there are none."""
    lines = "".join(f"<li>{item}</li>\n" for item in items)
    return f"<ul>\n{lines}</ul>\n" if lines else ""


def folded(summary: str, content: str) -> str:
    """Return what is shown on request."""
    return f"<details>\n<summary>{escape_html(summary)}</summary>\n{content}</details>\n"


def figure(content: str, caption: str) -> str:
    """Return a drawing with its caption."""
    return f"<figure>\n{content}\n<figcaption>{escape_html(caption)}</figcaption>\n</figure>\n"


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page; ``content`` is HTML, the others plain text."""

    anchor: str
    title: str
    content: str


def document(title: str, lead: str, sections: Sequence[Section], foot: str) -> str:
    """Return a page that needs no other file and asks for none.

    Parameters
    ----------
    title : str
        Plain text.
    lead, foot : str
        HTML above and below the sections.
    sections : sequence of Section
    """
    style, script = (_asset(name) for name in ("report.css", "report.js"))
    # Nothing can be loaded from anywhere, and only this script and this style count.
    policy = (
        f"default-src 'none'; style-src '{_sha(style)}'; script-src '{_sha(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    links = "".join(f'<li><a href="#{each.anchor}">{escape_html(each.title)}</a></li>' for each in sections)
    body = "".join(
        f'<section id="{each.anchor}">\n<h2>{escape_html(each.title)}</h2>\n{each.content}</section>\n'
        for each in sections
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape_html(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        '<a class="skip" href="#main">Skip to the content</a>\n'
        f"<header>\n<h1>{escape_html(title)}</h1>\n{lead}"
        f'<nav aria-label="Contents"><ul>{links}</ul></nav>\n</header>\n<main id="main">\n{body}</main>\n'
        f"<footer>\n{foot}</footer>\n<script>{script}</script>\n</body>\n</html>\n"
    )


def _asset(name: str) -> str:
    return files("lnlbench.analysis.report").joinpath(name).read_text(encoding="utf-8")


def _sha(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
