"""What must be said about a table or a figure for its numbers to mean something."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from lnlbench.analysis.axes import Trial, is_choice, value_of
from lnlbench.analysis.cells import Draft
from lnlbench.analysis.layout import METRIC, Layout
from lnlbench.analysis.names import axis_label, clean, display
from lnlbench.analysis.protocol import describe_protocol
from lnlbench.analysis.quantities import quantity
from lnlbench.analysis.stats import CONFIDENCE


class _Flag(NamedTuple):
    """A property of trials that readers must know; None where it does not apply."""

    holds: Callable[[Trial], bool | None]
    everywhere: str
    here: str | None


_FLAGS = (
    _Flag(
        lambda trial: bool(trial["standin"]),
        "Made on a stand-in with the layout of the data set and other images: these are no results on it.",
        "made on a stand-in with other images, no result on the data set itself",
    ),
    _Flag(
        lambda trial: bool(trial["validation_labels"] == "clean"),
        "Validation labels are clean, which no method has in practice.",
        "clean validation labels, which no method has in practice",
    ),
    _Flag(
        lambda trial: bool(trial["noise_aware"]),
        "Hyperparameters are noise-aware: they use knowledge of the noise that a method does not have.",
        "noise-aware preset: it uses knowledge of the noise that a method does not have",
    ),
    _Flag(lambda trial: trial["cached"], "Linear probing uses cached features and views.", None),
    _Flag(
        lambda trial: None if trial["cached"] is None else not trial["cached"],
        "Linear probing augments live images in every step.",
        "linear probing on live images, augmented in every step, not on cached features",
    ),
    _Flag(
        lambda trial: bool(trial["shared_device"]),
        "Trials shared their device or cores with others, so times are upper bounds.",
        "shared its device or cores with other trials, so times are upper bounds",
    ),
)


def flag(drafts: Sequence[Draft]) -> list[str]:
    """Return the properties of all trials as sentences; note those of some on their cells."""
    sentences = []
    for holds, everywhere, here in _FLAGS:
        found = [holds(trial) for draft in drafts for trial in draft.used]
        if True in found and False not in found:
            sentences.append(everywhere)
        elif here is not None:
            for draft in drafts:
                if any(holds(trial) for trial in draft.used):
                    draft.notes.append(here)
    return sentences


def lead(title: str, trials: Sequence[Trial], shown: Iterable[str]) -> list[str]:
    """Return the first sentences of a caption: title, what all trials share, protocol.

    Parameters
    ----------
    title : str
    trials : sequence of Trial
    shown : iterable of str
        Axes whose values can be seen, and so need not be said.
    """
    visible = set(shown)
    shared = []
    for axis in ("dataset", "noise_label", "backbone"):
        values = {value_of(trial, axis) for trial in trials}
        if axis not in visible and len(values) == 1:
            shared.append(display(axis, values.pop()))
    sentences = [f"{clean(part).rstrip('.')}." for part in (title, ", ".join(shared)) if part]
    return sentences + describe_protocol(trials)


def table_caption(layout: Layout, trials: Sequence[Trial], drafts: Sequence[Draft]) -> tuple[str, ...]:
    """Return the sentences of a table's caption; adds notes on single cells to their drafts.

    Parameters
    ----------
    layout : Layout
    trials : sequence of Trial
        All trials of the table.
    drafts : sequence of Draft
        Its cells, without extra columns.
    """
    flags = flag(drafts)
    sentences = lead(layout.caption, trials, (*layout.rows, *layout.columns))
    sentences += meanings(layout.metrics, drafts)
    sentences.append(spread(drafts))
    if any(value.best for draft in drafts for value in draft.values):
        sentences.append(_marks(layout, drafts))
    for name in layout.extra:
        meaning = quantity(name).meaning or f"{quantity(name).label}: mean"
        seeds = " and seeds" if name.endswith(("_s", "_min")) else ""
        where = _machines(drafts) if seeds else ""
        sentences.append(f"{meaning}, mean over the group's columns{seeds}{where}.")
    return (*sentences, *flags)


def meanings(metrics: Iterable[str], drafts: Sequence[Draft]) -> list[str]:
    """Return sentences that say what some numbers are."""
    names = list(metrics)
    accuracies = [quantity(name).meaning for name in names if quantity(name).accuracy]
    sentences = [f"Test accuracy in percent ({'; '.join(accuracies)})."] if accuracies else []
    for name in names:
        if quantity(name).meaning and not quantity(name).accuracy:
            where = _machines(drafts) if name.endswith(("_s", "_min")) else ""
            sentences.append(f"{quantity(name).meaning}{where}.")
    return sentences


def spread(drafts: Sequence[Draft]) -> str:
    """Return the sentence on seeds and deviations."""
    sizes = sorted({value.summary.n for draft in drafts for value in draft.values})
    if not sizes:
        return "There are no results to show."
    if sizes == [1]:
        return "One seed per cell (n = 1), so there is no spread and nothing is said about separability."
    n = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    text = f"Mean ± sample standard deviation (divisor n - 1) over n = {n} seeds."
    return text + (" Cells without ± have n = 1." if sizes[0] == 1 else "")


def provenance(drafts: Sequence[Draft], planned: Iterable[Trial]) -> tuple[tuple[str, str], ...]:
    """Return where the numbers come from, as names and values."""
    used = list({trial["trial_id"]: trial for draft in drafts for trial in draft.used}.values())
    commits = [
        f"{trial['commit']}{' (modified)' if trial['dirty'] else ''}" for trial in used if trial["commit"]
    ]
    return (
        ("lnlbench", _distinct(trial["version"] for trial in used)),
        ("commit", _distinct(commits)),
        ("grid", _distinct(trial["grid"] for trial in planned)),
        ("records", str(len(used))),
        ("date", clean(max((trial["finished"] or "" for trial in used), default="")[:10]) or "unknown"),
    )


def _marks(layout: Layout, drafts: Sequence[Draft]) -> str:
    text = f"The highest mean {_compared(layout)} is in bold"
    if any(value.summary.n > 1 for draft in drafts for value in draft.values):
        text += (
            f"; underlined means are not separable from it (Welch's {CONFIDENCE:.0%} interval of the "
            "difference contains 0; only where both have n > 1)"
        )
    return f"{text}."


def _compared(layout: Layout) -> str:
    """Say among which cells the best one is marked."""
    rows = [axis for axis in layout.rows if axis != METRIC]
    columns = [axis for axis in (*layout.columns, *layout.groups) if axis != METRIC]
    if all(map(is_choice, rows)) and not any(map(is_choice, columns)):
        return "of each column"
    if not any(map(is_choice, rows)) and all(map(is_choice, layout.columns)):
        return "of each row"
    problem = [axis_label(axis).lower() for axis in (*rows, *columns) if not is_choice(axis)]
    return f"for the same {' and '.join(problem)}" if problem else "of all"


def _machines(drafts: Sequence[Draft]) -> str:
    used = [trial for draft in drafts for trial in draft.used if trial["device"]]
    machines = {clean(f"{trial['device']}, {trial['threads']} threads") for trial in used}
    if len(machines) > 1:
        return f", not comparable everywhere ({'; '.join(sorted(machines))})"
    return f" ({machines.pop()})" if machines else ""


def _distinct(values: Iterable[object]) -> str:
    return ", ".join(sorted({clean(value) for value in values if value})) or "unknown"
