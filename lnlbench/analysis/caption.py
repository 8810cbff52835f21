"""What must be said about a table or a figure for its numbers to mean something."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from lnlbench.analysis.axes import TrialRow, is_choice, value_of
from lnlbench.analysis.cells import Draft
from lnlbench.analysis.names import axis_label, clean, display
from lnlbench.analysis.protocol_text import describe_protocol
from lnlbench.analysis.quantities import Family, is_time, quantity
from lnlbench.analysis.stats import CONFIDENCE
from lnlbench.analysis.table_layout import METRIC, Layout
from lnlbench.basics.facts import LARGE_SHIFT


class _Flag(NamedTuple):
    """A property of trials that readers must know; None where it does not apply."""

    holds: Callable[[TrialRow], bool | None]
    everywhere: str
    here: str | None
    of_times: bool = False  # told only where times are shown


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
    _Flag(
        lambda trial: bool((trial.get("dead_classes_last") or 0) > 0),
        "Every trial has dead classes after the last epoch: with a recall below a tenth of chance.",
        "dead classes after the last epoch: with a recall below a tenth of chance",
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
        of_times=True,
    ),
    _Flag(
        lambda trial: bool((trial.get("batched") or 0) > 0),
        "Trials were trained together; times are shares of what they took.",
        "were trained together with others; times are shares of what all took",
    ),
)


def flag(drafts: Sequence[Draft], numbers: Iterable[str]) -> list[str]:
    """Return the properties of all trials as sentences; note those of some on their cells.

    Parameters
    ----------
    drafts : sequence of Draft
    numbers : iterable of str
        Names of what is shown.
    """
    sentences = []
    timed = any(map(is_time, numbers))
    for holds, everywhere, here, of_times in _FLAGS:
        if of_times and not timed:
            continue
        found = [holds(trial) for draft in drafts for trial in draft.used]
        if True in found and False not in found:
            sentences.append(everywhere)
        elif here is not None:
            for draft in drafts:
                if any(holds(trial) for trial in draft.used):
                    draft.notes.append(here)
    _note_shifts(drafts)
    return sentences


def _note_shifts(drafts: Sequence[Draft]) -> None:
    """Note on their cells that fine-tuning started from other networks than the probed ones."""
    changes = [
        max((trial["statistics_change"] or 0.0 for trial in draft.used), default=0.0) for draft in drafts
    ]
    large = sorted({round(change) for change in changes if change >= LARGE_SHIFT})
    if not large:
        return
    # One text for all cells, so that they share one mark.
    share = f"{large[0]}" if len(large) == 1 else f"{large[0]} to {large[-1]}"
    for draft, change in zip(drafts, changes, strict=True):
        if change >= LARGE_SHIFT:
            draft.notes.append(
                f"batch statistics change {share} % of the predictions: see docs/measurement.md"
            )


def title_of(plan: Mapping[str, Any], layout: Mapping[str, Any]) -> str:
    """Return the title of a table or figure: the layout's or the plan's, and what ``--set`` changed.

    A title speaks of the grid as it is written, so a run that changed it must say so. The seeds are
    left out, because every caption gives their number.

    Parameters
    ----------
    plan : mapping
        As :meth:`lnlbench.records.store.Store.plans` returns it; may be empty.
    layout : mapping
        Its ``table`` or ``figure``, whose ``caption`` goes before the plan's title.
    """
    title = str(layout.get("caption", plan.get("title", "")))
    overrides = plan.get("source", {}).get("overrides", [])
    sets = [text.removeprefix("--set ") for text in overrides if text.startswith("--set ")]
    changed = [_without_folders(text) for text in sets if not text.startswith("seeds=")]
    if not title or not changed:
        return title
    return f"{title.rstrip('.')}, changed by {'; '.join(changed)}"


def _without_folders(assignment: str) -> str:
    """Shorten the paths among the values of ``key=value,value`` to names."""
    key, _, values = assignment.partition("=")
    shown = []
    for value in values.split(","):
        # `hf:owner/name` is no path.
        parts = [part.rstrip("/").rpartition("/")[2] for part in value.split(":")]
        shown.append(value if value.startswith("hf:") else ":".join(parts))
    return f"{key}={','.join(shown)}"


def lead(title: str, trials: Sequence[TrialRow], shown: Iterable[str]) -> list[str]:
    """Return the first sentences of a caption: title, what all trials share, protocol.

    Parameters
    ----------
    title : str
    trials : sequence of TrialRow
    shown : iterable of str
        Axes whose values can be seen, and so need not be said.
    """
    visible = set(shown)
    shared = []
    for axis in ("dataset", "noise_label", "backbone"):
        values = {value_of(trial, axis) for trial in trials}
        if axis not in visible and len(values) == 1 and values != {""}:
            shared.append(display(axis, values.pop()))
    sentences = [f"{clean(part).rstrip('.')}." for part in (title, ", ".join(shared)) if part]
    return sentences + describe_protocol(trials)


def table_caption(
    layout: Layout, trials: Sequence[TrialRow], drafts: Sequence[Draft], length: str = "full"
) -> tuple[str, ...]:
    """Return the sentences of a table's caption; adds notes on single cells to their drafts.

    Parameters
    ----------
    layout : Layout
    trials : sequence of TrialRow
        All trials of the table.
    drafts : sequence of Draft
        Its cells, without extra columns.
    length : {"full", "short", "none"}, default="full"
        See :func:`lnlbench.analysis.tables.tables.build_table`.
    """
    flags = flag(drafts, (*layout.metrics, *layout.extra))
    if length == "none":
        return ()
    if length == "short":
        title = (f"{clean(layout.caption).rstrip('.')}.",) if layout.caption else ()
        return (*title, *meanings(layout.metrics, drafts), *_spread_and_marks(layout, drafts))
    sentences = lead(layout.caption, trials, (*layout.rows, *layout.columns))
    sentences += meanings(layout.metrics, drafts)
    sentences += [*_spread_and_marks(layout, drafts), *precisions(drafts)]
    for name in layout.extra:
        meaning = quantity(name).meaning or f"{quantity(name).label}: mean"
        seeds = " and seeds" if is_time(name) else ""
        where = _machines(drafts) if seeds else ""
        sentences.append(f"{meaning}, mean over the group's columns{seeds}{where}.")
    if "cost" in (*layout.metrics, *layout.extra) and any(
        trial["cost_reference"] == "computed" for draft in drafts for trial in draft.used
    ):
        sentences.append("Where CE with FFT was not run, its cost is computed: 3 × samples × epochs.")
    return (*sentences, *flags)


def hyperparameter_file(source: Mapping[str, Any]) -> list[str]:
    """Return the sentence on the hyperparameter file of a plan, from the plan's source."""
    file = source.get("hyperparameters")
    return [f"Hyperparameters: {clean(file['name'])} (sha256 {file['sha256'][:8]})."] if file else []


def meanings(metrics: Iterable[str], drafts: Sequence[Draft]) -> list[str]:
    """Return sentences that say what some numbers are."""
    names = list(metrics)
    families: dict[Family, list[str]] = {}
    for name in names:
        if family := quantity(name).family:
            families.setdefault(family, []).append(quantity(name).meaning)
    sentences = [f"{family.sentence} ({'; '.join(epochs)})." for family, epochs in families.items()]
    for name in names:
        if quantity(name).meaning and quantity(name).family is None:
            where = _machines(drafts) if is_time(name) else ""
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


def precisions(drafts: Sequence[Draft]) -> list[str]:
    """Return the sentence on what backbones computed in, where that was not float32 throughout."""
    used = {trial["trial_id"]: trial["precision"] for draft in drafts for trial in draft.used}
    found = Counter(precision for precision in used.values() if precision)
    if set(found) <= {"fp32"}:
        return []
    if len(found) == 1:
        return [f"Computed in {clean(next(iter(found)))}."]
    shares = [f"{clean(name)} ({number} trials)" for name, number in sorted(found.items())]
    return [f"Computed in {' and '.join(shares)}."]


def provenance(drafts: Sequence[Draft], planned: Iterable[TrialRow]) -> tuple[tuple[str, str], ...]:
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


def _spread_and_marks(layout: Layout, drafts: Sequence[Draft]) -> list[str]:
    marked = any(value.best for draft in drafts for value in draft.values)
    return [spread(drafts), *([_marks(layout, drafts)] if marked else [])]


def _marks(layout: Layout, drafts: Sequence[Draft]) -> str:
    wanted = {quantity(name).better for name in layout.metrics} - {""}
    which = {"higher": "highest", "lower": "lowest"}[wanted.pop()] if len(wanted) == 1 else "best"
    text = f"The {which} mean {_compared(layout)} is in bold"
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
    machines = {clean(machine_of(trial)) for trial in used}
    if len(machines) > 1:
        return f", not comparable everywhere ({'; '.join(sorted(machines))})"
    return f" ({machines.pop()})" if machines else ""


def machine_of(trial: TrialRow) -> str:
    """Return what a trial's times are of: device, threads, and processes where several shared it."""
    processes = trial.get("processes")
    each = f"{processes} processes of " if processes else ""
    return f"{trial['device']}, {each}{trial['threads']} threads"


def _distinct(values: Iterable[object]) -> str:
    return ", ".join(sorted({clean(value) for value in values if value})) or "unknown"
