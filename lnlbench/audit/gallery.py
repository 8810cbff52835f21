"""The page of an audit: one file without scripts, fonts or network, for light and dark screens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from lnlbench.analysis.tables.render_html import escape_html as escape
from lnlbench.audit.advice import describe_estimate, next_steps
from lnlbench.audit.audit_findings import Findings
from lnlbench.audit.thumbnails import thumbnail

PER_CLASS = 24  # pictures
MOST_PICTURES = 480
MOST_FLOWS = 30
LARGEST_MATRIX = 20  # classes; beyond, only the largest flows are listed

# Contrast with its background is at least 4.5 for every text, in both schemes; tests compute it.
COLOURS = {
    "light": {"text": "#1b1b1b", "quiet": "#595959", "page": "#ffffff", "card": "#f3f3f3", "warn": "#a11717"},
    "dark": {"text": "#ececec", "quiet": "#b0b0b0", "page": "#141414", "card": "#232323", "warn": "#ff9a8f"},
}

_CSS = """\
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem;
  color: var(--text); background: var(--page); }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; } h3 { font-size: 1rem; }
small, figcaption span { color: var(--quiet); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; position: sticky; left: 0; max-width: calc(100vw - 3rem); padding-bottom: .3rem; }
th, td { padding: .15rem .6rem; text-align: right; border-bottom: 1px solid var(--quiet); }
th { font-weight: 600; } th[scope=row], th:first-child, td.name { text-align: left; }
.scroll { overflow-x: auto; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: .8rem; padding: 0; }
figure { margin: 0; padding: .5rem; background: var(--card); border-radius: .3rem; font-size: .85rem; }
figure img { display: block; width: 96px; height: 96px; object-fit: contain; margin: 0 auto .4rem; }
figure img.tiny { image-rendering: pixelated; }
figcaption { overflow-wrap: anywhere; } figcaption b { color: var(--warn); }
code { background: var(--card); padding: 0 .2rem; overflow-wrap: anywhere; }
"""


def audit_page(findings: Findings, facts: Mapping[str, Any]) -> str:
    """Return the page.

    Parameters
    ----------
    findings : Findings
    facts : mapping
        As for :func:`~lnlbench.audit.findings_files.save_findings`.
    """
    title = escape(f"Audit of {findings.subject.name}")
    schemes = [
        _variables(COLOURS["light"]),
        f"@media (prefers-color-scheme: dark) {{ {_variables(COLOURS['dark'])} }}",
    ]
    body = [
        f"<h1>{title}</h1>",
        *(f"<p>{escape(line)}</p>" for line in describe_estimate(findings)),
        f"<p><small>{escape('; '.join(_told(facts)))}</small></p>",
        "<h2>What to do next</h2>",
        "<ol>",
        *(f"<li>{escape(step)}</li>" for step in next_steps(findings)),
        "</ol>",
        *_quality(findings),
        *_confusion(findings),
        *_gallery(findings),
    ]
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{title}</title>",
            "<style>",
            *schemes,
            f"{_CSS}</style>",
            "</head>",
            "<body>",
            "<main>",
            *body,
            "</main>",
            "</body>",
            "</html>\n",
        ]
    )


def _told(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield what was asked, as it is written on the command line; not what nobody asked for."""
    for name, value in facts.items():
        text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
        if text:
            yield f"{name}: {text}"


def _variables(colours: Mapping[str, str]) -> str:
    return ":root { " + " ".join(f"--{name}: {colour};" for name, colour in colours.items()) + " }"


def _quality(findings: Findings) -> Iterator[str]:
    if not findings.quality:
        return
    yield "<h2>Against the true labels</h2>"
    yield '<div class="scroll"><table>'
    yield _row(["detector", "AUROC", "average precision", "precision at the estimated rate"], head=True)
    for name, quality in findings.quality.items():
        numbers = (quality.auroc, quality.average_precision, quality.precision)
        yield _row([name, *(f"{number:.3f}" for number in numbers)])
    yield "</table></div>"


def _confusion(findings: Findings) -> Iterator[str]:
    yield "<h2>Given and suggested labels</h2>"
    if not len(findings.suspects):
        yield "<p>No label is suspected.</p>"
        return
    names = findings.subject.classes
    yield '<div class="scroll"><table>'
    if len(names) <= LARGEST_MATRIX:
        yield "<caption>Suspects by given label (row) and suggested label (column)</caption>"
        yield _row(["given", *names, "of"], head=True)
        sizes = np.bincount(findings.subject.labels, minlength=len(names))
        for name, counts, size in zip(names, findings.confusion, sizes, strict=True):
            yield _row([name, *(str(count) if count else "·" for count in counts), f"{size:,}"])
    else:
        yield f"<caption>The {MOST_FLOWS} largest of {len(findings.flows)} pairs</caption>"
        yield _row(["given", "suggested", "suspects"], head=True)
        for given, suggested, count in findings.flows[:MOST_FLOWS]:
            yield _row([names[given], names[suggested], str(count)])
    yield "</table></div>"


def _gallery(findings: Findings) -> Iterator[str]:
    subject, suspects = findings.subject, findings.suspects
    yield "<h2>Suspects by given label, the most suspect first</h2>"
    per_class = max(1, min(PER_CLASS, MOST_PICTURES // len(subject.classes)))
    for label, name in enumerate(subject.classes):
        members = suspects[subject.labels[suspects] == label]
        if not len(members):
            continue
        shown = f", {per_class} shown; verdicts.csv has all" if len(members) > per_class else ""
        yield f"<h3>{escape(name)}: {len(members):,}{shown}</h3>"
        yield '<div class="cards">'
        for sample in members[:per_class]:
            yield _card(findings, int(sample))
        yield "</div>"


def _card(findings: Findings, sample: int) -> str:
    subject, agreed = findings.subject, findings.agreed
    given = escape(subject.classes[subject.labels[sample]])
    suggested = escape(subject.classes[agreed.suggested[sample]])
    where = escape(subject.files[sample] if subject.files is not None else f"sample {sample}")
    picture = ""
    if subject.images is not None:
        address = thumbnail(subject.images, sample)
        tiny = ' class="tiny"' if address.startswith("data:image/png") else ""
        alt = f"{where}, labelled {given}, perhaps {suggested}"
        picture = f'<img{tiny} src="{address}" alt="{alt}" loading="lazy">'
    votes = f"{findings.votes[sample]} of {len(findings.detections)} detectors"
    return (
        f"<figure>{picture}<figcaption>{given} → <b>{suggested}</b><br>"
        f"<span>score {agreed.score[sample]:.2f}, {votes}<br>{where}</span></figcaption></figure>"
    )


def _row(cells: list[str], *, head: bool = False) -> str:
    if head:
        return "<tr>" + "".join(f'<th scope="col">{escape(text)}</th>' for text in cells) + "</tr>"
    first, *rest = (escape(text) for text in cells)
    return f'<tr><th scope="row">{first}</th>' + "".join(f"<td>{text}</td>" for text in rest) + "</tr>"
