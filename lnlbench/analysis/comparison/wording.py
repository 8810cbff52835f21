"""A comparison in words and formatted numbers, which text and Markdown share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lnlbench.analysis.comparison.published import AXES, Key, PublishedTable, Quantity
from lnlbench.analysis.comparison.ranking import Lead, Standing
from lnlbench.analysis.comparison.result import ComparedCell, Comparison, Group
from lnlbench.analysis.comparison.tolerance import Verdict
from lnlbench.analysis.names import axis_label, clean, display
from lnlbench.analysis.stats import CONFIDENCE, Summary

SOURCE = "Ahn, Kim, Ko & Yun, Fine-tuning Pre-trained Models for Robustness Under Noisy Labels, 2023"

_BLANK = "-"


def title(comparison: Comparison) -> str:
    """Return the heading of a comparison."""
    return f"{comparison.table.title} of the paper, and what was measured"


def protocol(comparison: Comparison) -> list[str]:
    """Return what must be said before any number: on what it was measured, if not on the paper's."""
    if not comparison.differences:
        return []
    lead = (
        "MEASURED UNDER ANOTHER PROTOCOL THAN THE PAPER'S. Cells cannot be expected to agree and are not "
        "judged; the order of the rows is compared with the paper's. The runs differ in:"
    )
    return [lead, *(f"{clean(item)} ({_trials(item.trials)})" for item in comparison.differences)]


def place(columns: Sequence[str], key: Key) -> str:
    """Return values of a published table's columns as tables write them."""
    return ", ".join(display(AXES[column], value) for column, value in zip(columns, key, strict=True))


def heading(table: PublishedTable, group: Group) -> str:
    """Return the setting of a group, and on what it was measured if that is something else."""
    own = place(table.settings, group.setting) or table.title
    if group.measured is None or group.measured == group.setting:
        return own
    other = [
        display(AXES[column], mine)
        for column, mine, paper in zip(table.settings, group.measured, group.setting, strict=True)
        if mine != paper
    ]
    return f"{own} (measured: {', '.join(other)})"


def entrant_labels(table: PublishedTable, key: Key) -> list[str]:
    """Return what is ranked, column by column."""
    return [display(AXES[column], value) for column, value in zip(table.entrants, key, strict=True)]


def entrant_headings(table: PublishedTable) -> list[str]:
    """Return the headings of :func:`entrant_labels`."""
    return [axis_label(AXES[column]) for column in table.entrants]


def number_headings(table: PublishedTable) -> list[str]:
    """Return the headings of :func:`number_labels`."""
    names = " / ".join(quantity.label for quantity in table.quantities)
    return [f"paper: {names}", "measured", "n", "difference", "tolerance", "verdict"]


def number_labels(cell: ComparedCell, judged: bool) -> list[str]:
    """Return the numbers of a cell, column by column.

    Parameters
    ----------
    cell : ComparedCell
    judged : bool
        Whether verdicts count.
    """
    sizes = [str(number.measured.n) for number in cell.numbers if number.measured is not None]
    return [
        _joined(_plain(number.quantity, number.published) for number in cell.numbers),
        _joined(_mean(number.quantity, number.measured) for number in cell.numbers),
        sizes[0] if sizes else "",
        _joined(_signed(number.quantity, number.difference) for number in cell.numbers),
        _joined(_plain(number.quantity, number.allowed) for number in cell.numbers),
        _verdict(cell, judged),
    ]


def ranking_headings(table: PublishedTable) -> list[str]:
    """Return the headings of :func:`ranking_labels`."""
    heads = [f"τ, {quantity.label}" for quantity in table.quantities]
    heads.append("rows")
    if table.claim:
        leader = ", ".join(display(AXES[column], value) for column, value in table.claim.items())
        heads += [f"{leader} leads, {quantity.label}" for quantity in table.quantities]
    return ["setting", *heads]


def ranking_labels(table: PublishedTable, group: Group) -> list[str]:
    """Return Kendall's τ and claimed leads of a setting, column by column."""
    ranked = max(ranking.entrants for ranking in group.rankings)
    labels = [_BLANK if ranking.tau is None else f"{ranking.tau:.2f}" for ranking in group.rankings]
    labels.append(f"{ranked} of {len(group.cells)}")
    if table.claim:
        leads = {lead.quantity.name: lead_label(table, lead) for lead in group.leads}
        labels += [leads.get(quantity.name, "not in the paper") for quantity in table.quantities]
    return [heading(table, group), *labels]


def lead_label(table: PublishedTable, lead: Lead) -> str:
    """Return what became of a claimed lead."""
    if lead.rival is None or lead.gap is None:
        return "not measured"
    if lead.standing is Standing.LEADS:
        return "yes"
    rival = " ".join(entrant_labels(table, lead.rival))
    margin = f"{rival} is {lead.gap:.{lead.quantity.decimals}f} higher"
    return f"within tolerance ({margin})" if lead.standing is Standing.TOLERATED else f"no ({margin})"


def claimant(table: PublishedTable) -> str:
    """Return of whom the paper claims that it leads."""
    return ", ".join(display(AXES[column], value) for column, value in table.claim.items())


def summary(comparison: Comparison) -> list[str]:
    """Return the sentences that sum a comparison up."""
    lines = [f"{len(comparison.cells)} cells: {', '.join(_counts(comparison))}."]
    lines += [_closeness(comparison, quantity) for quantity in comparison.table.quantities]
    lines += [
        sentence for quantity in comparison.table.quantities if (sentence := _leads(comparison, quantity))
    ]
    if comparison.strangers:
        names = ", ".join(
            f"{' '.join(entrant_labels(comparison.table, key))} ({_trials(count)})"
            for key, count in comparison.strangers.items()
        )
        lines.append(f"Not in the paper, and not compared: {names}.")
    return [*lines, *comparison.remarks]


def method() -> str:
    """Return how the numbers were compared."""
    return (
        f"Published numbers are single runs of unknown spread ({SOURCE}). measured: mean ± sample standard "
        "deviation (divisor n - 1) over n seeds. tolerance: the fixed part (--tolerance), or, where larger, "
        f"the half-width of the {CONFIDENCE:.0%} prediction interval for one further run with the measured "
        "spread. Kendall's τ-b compares the orders of published numbers and of measured means."
    )


def shown(cell: ComparedCell, judged: bool, everything: bool) -> bool:
    """Whether a cell is printed in full: it differs, or something is missing."""
    return everything or not cell.complete or (judged and cell.verdict is Verdict.DIFFERS)


def has_numbers(cell: ComparedCell) -> bool:
    """Whether anything was measured for a cell."""
    return any(number.measured is not None for number in cell.numbers)


def _counts(comparison: Comparison) -> list[str]:
    agree, differ, missing, unpublished = (
        comparison.count(verdict)
        for verdict in (Verdict.AGREES, Verdict.DIFFERS, Verdict.MISSING, Verdict.UNPUBLISHED)
    )
    counts = [f"{agree + differ} not judged"]
    if not comparison.differences:
        counts = [f"{agree} {'agrees' if agree == 1 else 'agree'}"]
        counts.append(f"{differ} {'differs' if differ == 1 else 'differ'}")
    counts.append(f"{missing} missing")
    return [*counts, f"{unpublished} not in the paper"] if unpublished else counts


def _closeness(comparison: Comparison, quantity: Quantity) -> str:
    gaps = [
        abs(number.difference)
        for cell in comparison.cells
        for number in cell.numbers
        if number.quantity == quantity and number.difference is not None
    ]
    tau = comparison.mean_tau(quantity)
    defined = sum(
        ranking.quantity == quantity and ranking.tau is not None
        for group in comparison.groups
        for ranking in group.rankings
    )
    order = (
        "Kendall's τ is undefined"
        if tau is None
        else f"mean Kendall's τ {tau:.2f} over {defined} {'setting' if defined == 1 else 'settings'}"
    )
    distance = (
        f"mean absolute difference {sum(gaps) / len(gaps):.{quantity.decimals}f}"
        if gaps
        else "nothing measured"
    )
    return f"{quantity.label}: {distance}; {order}."


def _leads(comparison: Comparison, quantity: Quantity) -> str:
    leads = [lead for group in comparison.groups for lead in group.leads if lead.quantity == quantity]
    if not leads:
        return ""
    counts = {standing: sum(lead.standing is standing for lead in leads) for standing in Standing}
    parts = [f"it leads in {counts[Standing.LEADS]}"]
    for standing, words in (
        (Standing.TOLERATED, "is behind within the tolerance in"),
        (Standing.BEHIND, "is behind in"),
        (Standing.UNKNOWN, "cannot be compared in"),
    ):
        if counts[standing]:
            parts.append(f"{words} {counts[standing]}")
    settings = "1 setting" if len(leads) == 1 else f"{len(leads)} settings"
    claim = f"the paper has {claimant(comparison.table)} ahead in {settings}"
    return f"{quantity.label}: {claim}; here {', '.join(parts)}."


def _verdict(cell: ComparedCell, judged: bool) -> str:
    differing = [number.quantity.label for number in cell.numbers if number.verdict is Verdict.DIFFERS]
    if cell.verdict is Verdict.DIFFERS and len(differing) < len(cell.numbers):
        words = f"differs ({', '.join(differing)})"
    else:
        words = str(cell.verdict)
    if not judged and cell.verdict in (Verdict.AGREES, Verdict.DIFFERS):
        words = "not judged"
    return "; ".join((words, *map(clean, cell.notes)))


def _trials(count: int) -> str:
    return "1 trial" if count == 1 else f"{count} trials"


def _joined(parts: Iterable[str]) -> str:
    found = list(parts)
    return " / ".join(found) if any(part != _BLANK for part in found) else _BLANK


def _plain(quantity: Quantity, value: float | None) -> str:
    return _BLANK if value is None else f"{value:.{quantity.decimals}f}"


def _signed(quantity: Quantity, value: float | None) -> str:
    # Adding zero turns the -0.00 of a small negative difference into +0.00.
    return _BLANK if value is None else f"{round(value, quantity.decimals) + 0.0:+.{quantity.decimals}f}"


def _mean(quantity: Quantity, measured: Summary | None) -> str:
    if measured is None or measured.sd is None:
        return _plain(quantity, measured.mean if measured else None)
    return f"{_plain(quantity, measured.mean)} ± {_plain(quantity, measured.sd)}"
