"""What a report is about: cells, that is all seeds of a method in a setting, and how to make them again."""

from __future__ import annotations

import shlex
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lnlbench.analysis.axes import TrialRow, value_of
from lnlbench.analysis.cells import NOTE_LENGTH, Draft, draft_cell, mark_best
from lnlbench.analysis.names import clean
from lnlbench.analysis.ranking.contest import Grouped
from lnlbench.analysis.stats import summarise
from lnlbench.records.record import Status


@dataclass(frozen=True, slots=True)
class ReportCell:
    """All trials of a method in a setting.

    Attributes
    ----------
    entrant, setting : str
        How they are called.
    trials : list of TrialRow
        Planned ones that did not end well too.
    draft : Draft
        Of best and last accuracy, the best of each setting marked.
    """

    entrant: str
    setting: str
    trials: list[TrialRow]
    draft: Draft

    @property
    def used(self) -> list[TrialRow]:
        """The trials whose numbers count."""
        return self.draft.used

    def mean(self, name: str) -> float | None:
        """Return the mean of a number over the trials that have it; None if none has."""
        found = [trial[name] for trial in self.used if trial.get(name) is not None]
        return summarise(found).mean if found else None


def make_cells(grouped: Grouped) -> list[ReportCell]:
    """Return all planned cells, method by method, with the best of each setting marked."""
    cells = []
    for entrant, name in zip(grouped.entrants, grouped.names, strict=True):
        for setting, title in zip(grouped.settings, grouped.titles, strict=True):
            trials = grouped.cells.get((setting, entrant))
            if trials:
                cells.append(ReportCell(name, title, trials, draft_cell(trials, ("best", "last"))))
    for title in grouped.titles:
        mark_best([cell.draft for cell in cells if cell.setting == title])
    return cells


def reasons(cells: Iterable[ReportCell]) -> list[tuple[str, str, int, int, str]]:
    """Return what has no result: method, setting, trials without one, trials planned, and why."""
    found = []
    for cell in cells:
        by_reason: dict[str, int] = {}
        for trial in cell.trials:
            if trial["status"] != Status.DONE:
                why = clean(trial["error"] or trial["skip"] or "not run yet")
                text = f"{trial['status']}: {why if len(why) <= NOTE_LENGTH else why[:NOTE_LENGTH] + '…'}"
                by_reason[text] = by_reason.get(text, 0) + 1
        found += [
            (cell.entrant, cell.setting, count, len(cell.trials), why) for why, count in by_reason.items()
        ]
    return found


def seeds_text(seeds: Iterable[int]) -> str:
    """Return seeds as ``--seeds`` takes them, as in ``0-4,7``."""
    runs: list[list[int]] = []
    for seed in sorted(set(seeds)):
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def command_of(
    cell: ReportCell, plan: Mapping[str, Any], axes: Sequence[str], varying: Container[str], noise: str
) -> str:
    """Return the command that runs the trials of a cell, and no others of its grid.

    Parameters
    ----------
    cell : ReportCell
    plan : mapping
        Of the cell's grid, as it is stored; may be empty.
    axes : sequence of str
        What tells the cell's method from others, and its setting where that is an option.
    varying : container of str
        Columns in which the trials of the grid differ.
    noise : str
        As ``--where`` takes it; tables may call a noise file by its title.
    """
    trial, source = cell.trials[0], plan.get("source", {})
    words = ["lnlbench", "run", "--grid", str(source.get("grid", trial["grid"] or "GRID"))]
    for plugin in source.get("plugins", ()):
        words += ["--plugin", str(plugin)]
    for override in source.get("overrides", ()):
        option, _, value = str(override).partition(" ")
        words += [option, value] if option == "--set" and not value.startswith("seeds=") else []
    for axis in ("dataset", "backbone"):
        words += ["--where", f"{axis}={trial[axis]}"] if axis in varying and trial[axis] else []
    words += ["--where", f"noise={noise}"]
    words += ["--where", f"tuning={trial['tuning']}", "--where", f"method={trial['method']}"]
    for axis in axes:
        head, dot, name = axis.partition(".")
        if dot and (value := value_of(trial, axis)) != "":
            setting = f"methods.{trial['method']}.{name}" if head == "params" else axis
            words += ["--where", f"{setting}={value}"]
    return shlex.join([*words, "--seeds", seeds_text(each["seed"] for each in cell.trials)])
