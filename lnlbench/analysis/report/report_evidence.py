"""Sections of the report on why to believe it: protocol, noise, curves, selections, gaps, data."""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from lnlbench.analysis.names import axis_label, display
from lnlbench.analysis.report.report_cells import ReportCell, reasons
from lnlbench.analysis.report.report_charts import (
    COLOURS,
    Dot,
    curve_key,
    flips,
    mark_key,
    scatter,
    small_curves,
)
from lnlbench.analysis.report.report_html import (
    Datum,
    Section,
    bullets,
    bullets_of_html,
    data_table,
    figure,
    folded,
    number,
    paragraphs,
)
from lnlbench.analysis.tables.render_html import escape_html
from lnlbench.analysis.tables.trials_csv import trials_csv
from lnlbench.records.record import Record

# A drawing of more classes would say nothing.
_CLASSES = 20
_LINES = 8
# Significant digits of numbers in the files.
_DIGITS = 7
# What trials that differ in their seed have in common stands in a file of its own, but for these.
_NAMES = (
    *("grid", "dataset", "noise_label", "backbone", "tuning", "method", "setting", "status"),
    *("best", "last", "cost", "train_s"),
)
# A setting's noise, told apart by this.
_NOISE = ("dataset", "dataset_options", "noise_label", "noise_options")


def learning(cells: Sequence[ReportCell], records: Mapping[str, Record]) -> Section | None:
    """Return test accuracy over epochs: a plot per method, a line per setting (mean over seeds)."""
    settings = list(dict.fromkeys(cell.setting for cell in cells))
    together = len(settings) > _LINES
    curves: dict[str, list[tuple[str, int, list[float]]]] = {}
    for cell in cells:
        found = [[epoch["test"] for epoch in records[trial["trial_id"]].history] for trial in cell.used]
        found = [curve for curve in found if curve]
        if found:
            length = min(map(len, found))
            mean = [sum(curve[at] for curve in found) / len(found) for at in range(length)]
            curves.setdefault(cell.entrant, []).append((cell.setting, settings.index(cell.setting), mean))
    if not curves:
        return None
    if together:
        curves = {
            entrant: [("all settings", 0, _average([curve for *_, curve in lines]))]
            for entrant, lines in curves.items()
        }
    values = [value for lines in curves.values() for *_, curve in lines for value in curve]
    room = 0.04 * (max(values) - min(values)) or 1.0
    ends = (min(values) - room, max(values) + room)
    plots = "".join(f"<div>{small_curves(entrant, lines, ends)}</div>" for entrant, lines in curves.items())
    key = curve_key(["mean over settings"] if together else settings)
    intro = (
        "Test accuracy after each epoch over all phases, mean over seeds. A curve that falls learns wrong "
        "labels. Nothing was chosen by these numbers: best epochs are chosen on validation data."
    )
    return Section(
        "curves", "Learning curves", paragraphs([intro]) + key + f'<div class="small">{plots}</div>\n'
    )


def _average(curves: Sequence[Sequence[float]]) -> list[float]:
    return [sum(curve[at] for curve in curves) / len(curves) for at in range(min(map(len, curves)))]


def noise(cells: Sequence[ReportCell], records: Mapping[str, Record]) -> Section | None:
    """Return what the noise did: rates, balance, flips; and whether trials of a seed had the same labels."""
    groups: dict[tuple[str, ...], dict[int, list[Any]]] = {}
    names: dict[tuple[str, ...], str] = {}
    for cell in cells:
        for trial in cell.used:
            key = tuple(str(trial[axis]) for axis in _NOISE)
            names.setdefault(
                key, f"{display('dataset', trial['dataset'])}, {display('noise_label', trial['noise_label'])}"
            )
            found = records[trial["trial_id"]].noise
            if found:
                groups.setdefault(key, {}).setdefault(trial["seed"], []).append(found)
    if not groups:
        return None
    agree = [
        len({facts.get("labels_sha256") for facts in found}) == 1
        for seeds in groups.values()
        for found in seeds.values()
    ]
    rows, maps = [], []
    names = _distinct_names(names)
    for key, seeds in groups.items():
        firsts = [found[0] for found in seeds.values()]
        rates = [100 * facts["realised_rate"] for facts in firsts if facts.get("realised_rate") is not None]
        classes = [100 * rate for facts in firsts for rate in facts.get("per_class", ())]
        spans = [f"{min(part):.1f} – {max(part):.1f}" if part else "not known" for part in (rates, classes)]
        largest = [100 * facts["largest_class_share"] for facts in firsts if "largest_class_share" in facts]
        rows.append(
            [
                Datum(names[key]),
                number(len(seeds), 0),
                number(sum(rates) / len(rates) if rates else None),
                Datum(spans[0], min(rates, default=float("nan"))),
                Datum(spans[1], max(classes, default=float("nan"))),
                number(max(largest, default=None), 1),
            ]
        )
        matrices = [facts["transitions"] for facts in firsts if facts.get("transitions")]
        if matrices and len(matrices[0]) <= _CLASSES and sum(rates):
            maps.append(f"<div>{flips(_shares(matrices), names[key])}</div>")
    claim = (
        "In every setting, all methods saw exactly the same labels with the same seed (their SHA-256 agree)."
        if all(agree)
        else f"With {agree.count(False)} of {len(agree)} seeds, methods did not see the same labels."
    )
    heads = [
        "noise",
        "seeds",
        "wrong labels [%]",
        "range over seeds",
        "range over classes",
        "largest class [%]",
    ]
    content = paragraphs([claim]) + data_table(
        "Noise as it was realised in the training labels.", heads, rows
    )
    if maps:
        caption = (
            "Where labels went: a stronger colour is a larger share of the true class; the diagonal is what "
            "kept its label."
        )
        content += figure(f'<div class="small">{"".join(maps)}</div>', caption)
    return Section("noise", "Noise as realised", content)


def _distinct_names(names: Mapping[tuple[str, ...], str]) -> dict[tuple[str, ...], str]:
    """Tell settings of one name apart by their options."""
    counts = list(names.values())
    return {
        key: f"{name}, {key[1]} {key[3]}" if counts.count(name) > 1 else name for key, name in names.items()
    }


def _shares(matrices: Sequence[Sequence[Sequence[int]]]) -> list[list[float]]:
    classes = range(len(matrices[0]))
    sums = [[sum(matrix[row][column] for matrix in matrices) for column in classes] for row in classes]
    return [[100 * count / max(sum(line), 1) for count in line] for line in sums]


def selection(cells: Sequence[ReportCell]) -> Section | None:
    """Return accuracy against purity and recall of what methods took as clean; None if none publishes it."""
    settings = list(dict.fromkeys(cell.setting for cell in cells))
    plots = []
    for name in ("purity", "recall"):
        dots = []
        for cell in cells:
            value, last = cell.mean(name), cell.mean("last")
            if value is not None and last is not None:
                text = f"{cell.entrant}, {cell.setting}: {name} {value:.1f} %, accuracy {last:.2f} %"
                dots.append(Dot(value, last, cell.entrant, settings.index(cell.setting), text))
        if dots:
            plots.append(
                figure(scatter(dots, f"{name} [%]", "last accuracy [%]"), f"Accuracy against {name}.")
            )
    if not plots:
        return None
    intro = (
        "Purity: share of the selected samples whose given label is right. Recall: share of the rightly "
        "labelled samples that are selected. A pure selection that misses much can be worse than an impure "
        "one."
    )
    # Beyond the colours that there are, marks are told apart by their texts alone.
    key = mark_key(settings) if len(settings) <= COLOURS else ""
    content = paragraphs([intro]) + key + f'<div class="plots">{"".join(plots)}</div>\n'
    return Section("selection", "Selection", content)


def dead_classes(cells: Sequence[ReportCell]) -> Section | None:
    """Return the cells whose accuracy hides classes that are hardly ever predicted; None if not measured."""
    measured = [(cell, cell.mean("dead_classes_last")) for cell in cells]
    known = [(cell, dead) for cell, dead in measured if dead is not None]
    if not known:
        return None
    rows = [
        [
            Datum(cell.entrant),
            Datum(cell.setting),
            number(dead, 1),
            number(cell.mean("last")),
            number(cell.mean("balanced_last")),
            number(cell.mean("worst_recall_last")),
        ]
        for cell, dead in known
        if dead > 0
    ]
    if not rows:
        text = (
            f"None: in all {len(known)} cells, every class has a recall of at least a tenth of chance after "
            "the last epoch."
        )
        return Section("dead", "Dead classes", paragraphs([text]))
    heads = ["method", "setting", "dead classes", "last", "balanced accuracy", "worst recall"]
    caption = (
        "Classes with a recall below a tenth of chance after the last epoch, mean over seeds; cells without "
        "any are left out."
    )
    return Section("dead", "Dead classes", data_table(caption, heads, rows))


def gaps(cells: Sequence[ReportCell]) -> Section:
    """Return what failed, was skipped or was not run, each with its reason."""
    rows = [
        [Datum(entrant), Datum(setting), Datum(f"{count} of {planned}", float(count)), Datum(why)]
        for entrant, setting, count, planned, why in reasons(cells)
    ]
    notes = dict.fromkeys(
        f"{cell.entrant}, {cell.setting}: {note}" for cell in cells if cell.used for note in cell.draft.notes
    )
    content = (
        data_table("Trials without a result.", ["method", "setting", "trials", "why"], rows)
        if rows
        else paragraphs(["Every planned trial is done."])
    )
    if notes:
        content += folded(f"Notes on cells that have results ({len(notes)})", bullets(notes))
    return Section("gaps", "Failures and blanks", content)


def data(frame: pd.DataFrame, how: Sequence[str]) -> Section:
    """Return the trials as files inside the page, and how to make all of this again."""
    varying = [str(column) for column in frame if frame[column].nunique(dropna=False) > 1]
    shared = [str(column) for column in frame if column not in varying and frame[column].notna().any()]
    groups = frame.groupby("setting")
    others = [column for column in varying if column not in _NAMES]
    of_settings = [column for column in others if groups[column].nunique(dropna=False).max() == 1]
    trials = ["trial_id", *(column for column in varying if column not in {"trial_id", *of_settings})]
    links = [_download("trials.csv", frame[trials], "trial")]
    if of_settings:
        links.append(_download("settings.csv", frame[["setting", *of_settings]].drop_duplicates(), "setting"))
    content = bullets_of_html(links) + paragraphs(
        ["Every number on this page comes from these files, but for learning curves and flips of labels."]
    )
    if shared:
        rows = [[Datum(axis_label(column)), Datum(str(frame[column].dropna().iloc[0]))] for column in shared]
        caption = "Columns left out of the files."
        content += folded("What all trials have in common", data_table(caption, ["column", "value"], rows))
    content += "<h3>Make it again</h3>\n<pre>" + escape_lines(how) + "</pre>\n"
    return Section("data", "Data and commands", content)


def _download(name: str, frame: pd.DataFrame, noun: str) -> str:
    """Return a link to a file that is in the link itself, so that it works without a script."""
    text = trials_csv(frame, digits=_DIGITS)
    # What an address must not hold is escaped.
    link = "data:text/csv;charset=utf-8," + urllib.parse.quote(text, safe="!$()*,/:;=?@[]{}|'")
    size = f"{len(frame):,} {noun}{'' if len(frame) == 1 else 's'}, {len(text.encode()) / 1000:,.0f} kB"
    return f'<a download="{name}" href="{escape_html(link)}">Download {name}</a> ({size})'


def escape_lines(lines: Sequence[str]) -> str:
    """Return lines of text that HTML shows as they are."""
    return "\n".join(map(escape_html, lines))
