"""Sections of the report on what came out: summary, tables, ranks, accuracy against cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from lnlbench.analysis.cells import Value
from lnlbench.analysis.names import display
from lnlbench.analysis.quantities import quantity
from lnlbench.analysis.ranking.standings import Standings
from lnlbench.analysis.ranking.standings_text import (
    concordance_lines,
    headings,
    line_of,
    p_text,
    sentences,
    span,
)
from lnlbench.analysis.report.report_cells import ReportCell
from lnlbench.analysis.report.report_charts import Dot, mark_key, rank_chart, scatter
from lnlbench.analysis.report.report_html import (
    Datum,
    Section,
    bullets,
    data_table,
    figure,
    folded,
    number,
    paragraphs,
    scrolling,
)
from lnlbench.analysis.tables.render_html import render_html
from lnlbench.analysis.tables.tables import Table
from lnlbench.errors import LnlbenchError

# Numbers that the list of cells shows where there are any: of the frame, and of metrics by plugins.
_NUMBERS = (
    "balanced_best",
    "balanced_last",
    "worst_recall_last",
    "dead_classes_last",
    "ece_last",
    "purity",
    "recall",
)
_COSTS = ("cost", "train_s")
# Which of the two accuracies of a cell methods are compared by.
Accuracy = Literal["best", "last"]
# Kinds of marks: one per tuning mode, in order of appearance.
Kinds = dict[str, int]


def kinds_of(cells: Sequence[ReportCell]) -> Kinds:
    """Number the tuning modes, for colours and shapes."""
    modes = dict.fromkeys(cell.trials[0]["tuning"] for cell in cells)
    return {mode: at for at, mode in enumerate(modes)}


def printed_tables(tables: Sequence[Table]) -> Section:
    """Return the tables of the grids as they are printed elsewhere."""
    content = "".join(
        scrolling(render_html(table), table.caption[0] if table.caption else "Table") for table in tables
    )
    return Section("table", "Results", content)


def list_of_cells(cells: Sequence[ReportCell], commands: Sequence[str], metric: Accuracy) -> Section:
    """Return every cell on a line, to be sorted and filtered, with the command that makes it again."""
    shown = [name for name in (*_NUMBERS, *_COSTS) if any(cell.mean(name) is not None for cell in cells)]
    behind = "behind the best" if metric == "best" else "last, behind the best"
    heads = ["method", "setting", "best", behind, "last", "seeds"]
    heads += [quantity(name).label for name in shown]
    tops = _tops(cells, metric)
    rows = []
    for cell in cells:
        rows.append(
            [
                Datum(cell.entrant),
                Datum(cell.setting),
                _mean(_accuracy(cell, "best")),
                _behind(_accuracy(cell, metric), tops.get(cell.setting)),
                _mean(_accuracy(cell, "last")),
                number(len(cell.used), 0),
                *(_quantity(cell, name) for name in shown),
            ]
        )
    text = (
        "One line per method and setting: means over seeds ± sample standard deviation. The best mean of "
        "each setting is shaded. “tie”: Welch's 95 % interval of the difference from the best contains 0."
    )
    remake = data_table(
        "The command that makes a cell again. It runs what is not recorded yet, and keeps what is.",
        ["method", "setting", "command"],
        [
            [Datum(cell.entrant), Datum(cell.setting), Datum(command, code=True)]
            for cell, command in zip(cells, commands, strict=True)
        ],
    )
    return Section(
        "cells",
        "All cells",
        data_table(text, heads, rows) + folded("Commands that make a cell again", remake),
    )


def _accuracy(cell: ReportCell, metric: Accuracy) -> Value | None:
    best, last = cell.draft.values if cell.draft.values else (None, None)
    return best if metric == "best" else last


def _tops(cells: Sequence[ReportCell], metric: Accuracy) -> dict[str, float]:
    tops: dict[str, float] = {}
    for cell in cells:
        if (value := _accuracy(cell, metric)) is not None:
            mean = value.summary.mean
            tops[cell.setting] = max(mean, tops.get(cell.setting, mean))
    return tops


def _mean(value: Value | None) -> Datum:
    if value is None:
        return number(None)
    spread = "" if value.summary.sd is None else f" ± {value.summary.sd:.2f}"
    return Datum(f"{value.summary.mean:.2f}{spread}", value.summary.mean, value.best)


def _behind(value: Value | None, top: float | None) -> Datum:
    if value is None or top is None:
        return number(None)
    gap = top - value.summary.mean
    text = "best" if value.best else f"{gap:.2f}{' tie' if value.inseparable else ''}"
    return Datum(text, gap)


def _quantity(cell: ReportCell, name: str) -> Datum:
    value = cell.mean(name)
    return number(None) if value is None else Datum(quantity(name).write(value), value)


def ranking(standings: Standings | LnlbenchError) -> Section:
    """Return ranks, tests and agreement of rankings; or why there are none."""
    if isinstance(standings, LnlbenchError):
        return Section("ranks", "Ranks across settings", paragraphs([str(standings)], "muted"))
    rows = []
    for at, entrant in enumerate(standings.entrants, start=1):
        texts = line_of(at, entrant)
        keys = (
            *(
                None,
                entrant.rank[0],
                entrant.score,
                entrant.first,
                float(entrant.tally.wins),
                entrant.regret[0],
            ),
            float("nan") if entrant.cost is None else entrant.cost,
        )
        rows.append([Datum(text, key) for text, key in zip(texts[1:], keys, strict=True)])
    content = paragraphs(sentences(standings)[:3])
    content += figure(
        scrolling(rank_chart(standings), "Average ranks"),
        "Average rank (dot) with its 95 % interval (line); methods beside one bar are not separable.",
    )
    content += data_table(
        "The ranking; * marks methods that no other beats in both score and cost.",
        headings(standings)[1:],
        rows,
    )
    content += folded("How to read these numbers", bullets(sentences(standings)[3:]))
    pairs = [
        [
            Datum(pair.better),
            Datum(pair.other),
            Datum(f"{pair.difference[0]:+.2f}{span(pair.difference[1:])}", pair.difference[0]),
            Datum(p_text(pair.p), pair.p, pair.separable),
            Datum(f"{pair.won[0]} / {pair.won[1]} / {pair.won[2]}", float(pair.won[0])),
        ]
        for pair in standings.pairs
    ]
    caption = "All pairs; shaded p (after Holm's correction): separable."
    pairs_table = data_table(
        caption, ["higher mean", "other", "difference [95 %]", "p", "settings won / tied / lost"], pairs
    )
    content += folded(f"All pairs ({len(pairs)})", pairs_table)
    if lines := concordance_lines(standings):
        intro = (
            "Kendall's τ-b between rankings: 1 is the same order, 0 none, -1 the reverse; in brackets, 95 % "
            "of the values over resampled settings and seeds."
        )
        content += "<h3>Do rankings agree?</h3>\n" + paragraphs([intro]) + bullets(lines)
    if standings.left_out:
        content += folded(f"Not ranked ({len(standings.left_out)})", bullets(standings.left_out))
    return Section("ranks", "Ranks across settings", content)


def costs(
    cells: Sequence[ReportCell], standings: Standings | LnlbenchError, kinds: Kinds, metric: Accuracy
) -> Section | None:
    """Return accuracy against cost, over all settings and setting by setting; None without any cost."""
    content = ""
    if not isinstance(standings, LnlbenchError):
        modes = {cell.entrant: cell.trials[0]["tuning"] for cell in cells}
        known = [(each, each.cost) for each in standings.entrants if each.cost is not None]
        dots = [
            Dot(
                cost,
                each.score,
                each.name,
                kinds[modes[each.name]],
                f"{each.name}: {each.score:.2f} % at cost {cost:.2f}",
            )
            for each, cost in known
        ]
        front = sorted((cost, each.score) for each, cost in known if each.front)
        if dots:
            drawing = scatter(
                dots, "compute / CE with FFT", f"{metric} accuracy, mean over settings [%]", front
            )
            caption = "The dashed line is the Pareto front: no other method is as good and as cheap."
            content += mark_key([display("tuning", mode) for mode in kinds]) + figure(drawing, caption)
    plots = [_cost_plot(setting, part, kinds, metric) for setting, part in by_setting(cells).items()]
    drawn = [plot for plot in plots if plot]
    if len(drawn) > 1:
        content += folded("Setting by setting", f'<div class="plots">{"".join(drawn)}</div>\n')
    elif drawn and not content:
        content = mark_key([display("tuning", mode) for mode in kinds]) + drawn[0]
    if not content:
        return None
    note = (
        "Compute: passes through the backbone (a forward as 1, a backward as 2, extraction included), "
        "relative to CE with FFT."
    )
    return Section("cost", "Accuracy against cost", paragraphs([note]) + content)


def by_setting(cells: Sequence[ReportCell]) -> dict[str, list[ReportCell]]:
    """Return the cells of each setting, in order of appearance."""
    parts: dict[str, list[ReportCell]] = {}
    for cell in cells:
        parts.setdefault(cell.setting, []).append(cell)
    return parts


def _cost_plot(setting: str, cells: Sequence[ReportCell], kinds: Kinds, metric: Accuracy) -> str:
    dots = []
    for cell in cells:
        cost, accuracy = cell.mean("cost"), cell.mean(metric)
        if cost is not None and accuracy is not None:
            text = f"{cell.entrant}: {accuracy:.2f} % at cost {cost:.2f}"
            dots.append(Dot(cost, accuracy, cell.entrant, kinds[cell.trials[0]["tuning"]], text))
    return figure(scatter(dots, "compute / CE with FFT", f"{metric} accuracy [%]"), setting) if dots else ""
