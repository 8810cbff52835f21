"""What must be said about a table for its numbers to mean something."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from lnlbench.analysis.cells import Draft
from lnlbench.analysis.layout import Layout, Trial
from lnlbench.analysis.names import clean
from lnlbench.analysis.stats import CONFIDENCE

_MEANING = {
    "best": "best: at the epoch of highest validation accuracy",
    "last": "last: after the last epoch",
    "oracle": "oracle: highest test accuracy over the epochs, which is selected on the test set and so "
    "is no estimate of what a method reaches",
}


class _Flag(NamedTuple):
    """A property of trials that readers must know; None where it does not apply."""

    holds: Callable[[Trial], bool | None]
    everywhere: str
    here: str | None


_FLAGS = (
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


def caption(
    layout: Layout, lead: Iterable[str], drafts: Sequence[Draft], flags: Iterable[str]
) -> tuple[str, ...]:
    """Return the caption's sentences.

    Parameters
    ----------
    layout : Layout
    lead : iterable of str
        Title and common properties of the whole table; empty ones are left out.
    drafts : sequence of Draft
        All cells of accuracies.
    flags : iterable of str
        See :func:`flag`.
    """
    sentences = [f"{clean(part).rstrip('.')}." for part in lead if part]
    meanings = "; ".join(_MEANING[metric] for metric in layout.metrics)
    sentences.append(f"Test accuracy in percent ({meanings}).")
    sentences += _statistics(drafts)
    if "train_s" in layout.extra:
        sentences.append(
            "train: wall-clock of training without feature extraction and evaluation, "
            f"mean over the group's columns and seeds{_machines(drafts)}."
        )
    if "cost" in layout.extra:
        sentences.append(
            "cost: passes through the backbone (a forward as 1, a backward as 2, feature extraction "
            "included) relative to CE with FFT, mean over the group's columns."
        )
    return (*sentences, *flags)


def provenance(drafts: Sequence[Draft], planned: Iterable[Trial]) -> tuple[tuple[str, str], ...]:
    """Return where the numbers come from, as names and values."""
    used = [trial for draft in drafts for trial in draft.used]
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


def _statistics(drafts: Sequence[Draft]) -> list[str]:
    sizes = sorted({value.summary.n for draft in drafts for value in draft.values})
    if not sizes:
        return ["There are no results yet."]
    if sizes == [1]:
        spread = "One seed per cell (n = 1), so there is no spread and nothing is said about separability."
    else:
        n = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
        spread = f"Mean ± sample standard deviation (divisor n - 1) over n = {n} seeds."
        spread += " Cells without ± have n = 1." if sizes[0] == 1 else ""
    marks = "The highest mean of each column is in bold"
    if sizes != [1]:
        marks += (
            f"; underlined means are not separable from it (Welch's {CONFIDENCE:.0%} interval of the "
            "difference contains 0; only where both have n > 1)"
        )
    return [spread, f"{marks}."]


def _machines(drafts: Sequence[Draft]) -> str:
    used = [trial for draft in drafts for trial in draft.used if trial["device"]]
    machines = {clean(f"{trial['device']}, {trial['threads']} threads") for trial in used}
    if len(machines) > 1:
        return f", not comparable everywhere ({'; '.join(sorted(machines))})"
    return f" ({machines.pop()})" if machines else ""


def _distinct(values: Iterable[object]) -> str:
    return ", ".join(sorted({clean(value) for value in values if value})) or "unknown"
