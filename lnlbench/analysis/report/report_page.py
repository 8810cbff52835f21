"""The report: one HTML file from plans and records, the same bytes for the same records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from lnlbench.analysis.axes import TrialRow
from lnlbench.analysis.caption import provenance, title_of
from lnlbench.analysis.names import clean, display
from lnlbench.analysis.ranking.contest import axes_of, group_trials, option_axes
from lnlbench.analysis.ranking.standings import Standings, rank
from lnlbench.analysis.report.report_cells import ReportCell, command_of, make_cells
from lnlbench.analysis.report.report_evidence import data, dead_classes, gaps, learning, noise, selection
from lnlbench.analysis.report.report_html import Section, bullets, document, paragraphs
from lnlbench.analysis.report.report_results import (
    Accuracy,
    costs,
    kinds_of,
    list_of_cells,
    printed_tables,
    ranking,
)
from lnlbench.analysis.tables.render_html import escape_html
from lnlbench.analysis.tables.tables import Table, build_table
from lnlbench.analysis.trial_rows import trials_of
from lnlbench.errors import LnlbenchError, NothingSelectedError, UsageError
from lnlbench.records.record import Record, Status


def make_report(
    frame: pd.DataFrame,
    plans: Mapping[str, Mapping[str, Any]],
    records: Iterable[Record],
    whole: pd.DataFrame | None = None,
    metric: Accuracy = "best",
) -> str:
    """Return a report as one HTML page that needs nothing else, not even a script.

    Parameters
    ----------
    frame : pandas.DataFrame
        Trials to report on; see :func:`lnlbench.records.frame.build_frame`.
    plans : mapping
        Plans by grid; those of which the frame has trials count.
    records : iterable of Record
        Of these trials at least.
    whole : pandas.DataFrame, optional
        All trials of the grids, of which the frame may be a part; commands must tell them apart.
    metric : {"best", "last"}
        What methods are ranked by, and what is drawn against cost. The tables have both.

    Raises
    ------
    NothingSelectedError
        If the frame is empty.
    """
    if frame.empty:
        raise NothingSelectedError("There is no trial to report on.")
    grids = list(dict.fromkeys(frame["grid"]))
    chosen = {grid: plans[grid] for grid in grids if grid in plans}
    by_id = {record.trial_id: record for record in records}
    trials = trials_of(frame)
    axes = axes_of(chosen.values(), frame)
    cells = make_cells(group_trials(trials, axes))
    pairs = [(frame[frame["grid"] == grid], chosen.get(grid, {})) for grid in grids]
    tables = [_table(part, plan, "short") for part, plan in pairs]
    standings = _rank(frame, axes, metric)
    kinds = kinds_of(cells)
    everything = frame if whole is None else whole
    varying = {name for name in ("dataset", "backbone") if everything[name].nunique() > 1}
    noises = dict(zip(frame["trial_id"], frame["noise_label"], strict=True))
    told_apart = (*axes, *option_axes(chosen.values()))
    commands = []
    for cell in cells:
        first = cell.trials[0]
        plan = chosen.get(first["grid"], {})
        commands.append(command_of(cell, plan, told_apart, varying, noises[first["trial_id"]]))
    sections = [
        _belief(cells, by_id, _table(*pairs[0], "full").caption),
        printed_tables(tables),
        ranking(standings),
        costs(cells, standings, kinds, metric),
        list_of_cells(cells, commands, metric),
        learning(cells, by_id),
        noise(cells, by_id),
        selection(cells),
        dead_classes(cells),
        gaps(cells),
        data(frame, _how(chosen, metric)),
    ]
    titles = [title_of(plan, plan.get("table") or {}) or grid for grid, plan in chosen.items()]
    origin = provenance([cell.draft for cell in cells], trials)
    return document(
        clean("; ".join(dict.fromkeys(titles)) or "Results"),
        _lead(cells, standings),
        [section for section in sections if section is not None],
        f"<p>{escape_html('; '.join(f'{name}: {value}' for name, value in origin))}</p>\n",
    )


def _table(frame: pd.DataFrame, plan: Mapping[str, Any], caption: str) -> Table:
    layout = plan.get("table") or {}
    return build_table(frame, {**layout, "caption": title_of(plan, layout)}, plan, caption)


def _rank(frame: pd.DataFrame, axes: Sequence[str], metric: Accuracy) -> Standings | LnlbenchError:
    try:
        return rank(frame, metric, axes)
    except (NothingSelectedError, UsageError) as error:  # a report says so, and has the rest
        return error


def _lead(cells: Sequence[ReportCell], standings: Standings | LnlbenchError) -> str:
    """Return the answer in a sentence or two, and the numbers of what there is."""
    trials = [trial for cell in cells for trial in cell.trials]
    done = sum(trial["status"] == Status.DONE for trial in trials)
    seeds = sorted({len(cell.used) for cell in cells if cell.used}) or [0]
    facts = {
        "methods": str(len({cell.entrant for cell in cells})),
        "settings": str(len({cell.setting for cell in cells})),
        "seeds a cell": str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} – {seeds[-1]}",
        "trials done": f"{done:,} of {len(trials):,}",
        "data": ", ".join(dict.fromkeys(display("dataset", trial["dataset"]) for trial in trials)),
        "backbone": ", ".join(
            dict.fromkeys(display("backbone", trial["backbone"] or "none") for trial in trials)
        ),
    }
    items = "".join(
        f"<div><dt>{name}</dt><dd>{escape_html(value)}</dd></div>" for name, value in facts.items()
    )
    answer = [] if isinstance(standings, LnlbenchError) else [_answer(standings)]
    few = sum(0 < len(cell.used) < 3 for cell in cells)
    warning = (
        [f"{few} of {len(cells)} cells have fewer than 3 seeds: their order is a hint and no result."]
        if few
        else []
    )
    return paragraphs(answer, "lead") + paragraphs(warning, "warn") + f'<dl class="facts">{items}</dl>\n'


def _answer(standings: Standings) -> str:
    first = standings.entrants[0]
    where = f"{len(standings.settings)} settings" if len(standings.settings) > 1 else "one setting"
    beaten = {pair.other for pair in standings.pairs if pair.separable and pair.better == first.name}
    tied = [each.name for each in standings.entrants[1:] if each.name not in beaten]
    text = (
        f"{first.name} has the best average rank ({first.rank[0]:.2f} of {len(standings.entrants)} methods) "
        f"in {where}, with a mean {standings.metric} accuracy of {first.score:.2f} %. "
    )
    if not standings.enough:
        return text + "Settings and seeds are too few for a test across settings: see the tables."
    if not tied:
        return text + "It is separable from all others."
    listed = ", ".join(tied[:4]) + (f" and {len(tied) - 4} more" if len(tied) > 4 else "")
    return text + f"It is not separable from {listed}."


def _belief(cells: Sequence[ReportCell], records: Mapping[str, Record], caption: Sequence[str]) -> Section:
    """Return how the numbers were made, as far as the records say it."""
    used = [trial for cell in cells for trial in cell.used]
    stale = sum(trial["stale"] is not None for trial in used)
    aware = sorted({cell.entrant for cell in cells if any(trial["noise_aware"] for trial in cell.used)})
    events = _events(used, records)
    shared = sum(bool(trial["shared_device"]) for trial in used)
    points = [
        *caption[1:],
        _code(used),
        f"{stale} records are stale: other code, data or weights made them than the newest."
        if stale
        else "All records are of one version of the code, data and weights each.",
        _machine(used, records),
        f"Presets that use knowledge of the noise: {', '.join(aware)}."
        if aware
        else "No method was given knowledge of the noise.",
    ]
    if shared:
        points.append(f"{shared} trials shared their device or cores, so their times are upper bounds.")
    if events:
        points.append(f"Degenerate cases that methods met and handled: {'; '.join(events)}.")
    points.append(
        "Nothing on this page was chosen by test accuracy. Every number is computed from records that carry "
        "checksums; the commands below make any of them again."
    )
    return Section("belief", "How this was made", bullets(points))


def _events(used: Sequence[TrialRow], records: Mapping[str, Record]) -> list[str]:
    """Return how often trials of each method met each degenerate case."""
    counts: dict[tuple[str, str], list[int]] = {}
    for trial in used:
        for event, times in records[trial["trial_id"]].events.items():
            counts.setdefault((trial["method"], event), []).append(times)
    found = []
    for (method, event), each in sorted(counts.items()):
        often = f"{min(each)} to {max(each)}" if min(each) < max(each) else f"{each[0]}"
        found.append(f"{method}: {event} ({often} times in {len(each)} of its trials)")
    return found


def _code(used: Sequence[TrialRow]) -> str:
    modified = sum(bool(trial["dirty"]) for trial in used)
    return (
        f"Code: lnlbench {_listed(trial['version'] for trial in used)}, commit "
        f"{_listed((trial['commit'] or '')[:12] for trial in used)}"
        f"{f' ({modified} trials from a modified checkout)' if modified else ''}; methods from "
        f"{_listed(trial['method_origin'] for trial in used)}."
    )


def _machine(used: Sequence[TrialRow], records: Mapping[str, Record]) -> str:
    made = [records[trial["trial_id"]].environment for trial in used]
    gpus = [each.get("gpu") for each in made if each.get("gpu")]
    versions = "".join(
        f", {name} {_listed(each.get('versions', {}).get(name) for each in made)}"
        for name in ("torch", "numpy")
    )
    return (
        f"Machine: {_listed(each.get('cpu') for each in made)}, {_listed(gpus) if gpus else 'no GPU'}; "
        f"{_listed(trial['device'] for trial in used)}, {_listed(trial['precision'] for trial in used)}, "
        f"{_listed(trial['threads'] for trial in used)} threads; Python "
        f"{_listed(each.get('python') for each in made)}{versions}."
    )


def _listed(values: Iterable[Any]) -> str:
    found = sorted({clean(value) for value in values if value not in (None, "")})
    return ", ".join(found) if found else "unknown"


def _how(plans: Mapping[str, Mapping[str, Any]], metric: Accuracy) -> list[str]:
    lines = []
    for grid, plan in plans.items():
        source = plan.get("source", {})
        overrides = " ".join(str(each) for each in source.get("overrides", ()))
        lines.append(
            f"lnlbench run --grid {source.get('grid', grid)} {overrides} --out runs/{grid}".replace("  ", " ")
        )
    outs = " ".join(f"--out runs/{grid}" for grid in plans)
    ranked = "" if metric == "best" else f" --metric {metric}"
    return [*lines, f"lnlbench report {outs}{ranked} --output report.html"]
