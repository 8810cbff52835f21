"""Axes: along what trials are laid out in tables and figures.

An axis is a column of the results frame (``backbone``; ``noise`` means type and rate together),
``params.NAME`` for a parameter of the method, ``dataset_options.NAME`` or ``backbone_options.NAME``
for one of their options, ``KIND.NAME`` for a setting of a kind of phase (``lp.epochs``), or ``KIND``
alone for whether a trial has such a phase.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from typing import Any

from lnlbench.errors import UsageError, suggest
from lnlbench.plugins.registry import methods, phase_kinds
from lnlbench.records.frame_columns import SCHEMA
from lnlbench.records.metric_columns import schema

# One row of the results frame; see `lnlbench.analysis.trial_rows`.
TrialRow = dict[str, Any]
Key = tuple[Any, ...]

# Columns that hold several values, each of which is an axis as well.
OPTIONS = ("dataset_options", "backbone_options")
GROUPS = ("params", *OPTIONS)
# Columns in which methods differ, and not the problem that they are given.
_CHOICES = ("tuning", "method", "preset", "noise_aware", "cached", "epochs")


def resolve_axis(name: str, what: str) -> str:
    """Return the full name of an axis.

    Parameters
    ----------
    name : str
        As a layout gives it.
    what : str
        What it is an axis of, for the message.

    Raises
    ------
    UsageError
        If there is no such axis.
    """
    # A grid's "noise" is type and rate together; the frame has them apart as well.
    axis = "noise_label" if name == "noise" else name
    head, dot, rest = axis.partition(".")
    if axis in schema() or (head in GROUPS and rest):
        return axis
    kinds = {entry.name for entry in phase_kinds().entries()}
    if head in kinds:
        settings = tuple(phase_kinds().load(head).settings())
        if dot and rest not in settings:
            raise UsageError(f"{head} has no setting '{rest}'.", suggest(rest, settings))
        return axis
    known = (
        "noise",
        *schema(),
        *kinds,
        *(f"{kind}.epochs" for kind in kinds),
        *(f"{group}.NAME" for group in GROUPS),
    )
    raise UsageError(f"Unknown axis '{name}' of {what}.", suggest(name, known))


def check_parameters(axes: Iterable[str], trials: Sequence[TrialRow]) -> None:
    """Check that the parameters and options among some axes are those of some trial that is shown.

    Raises
    ------
    UsageError
        If one is not.
    """
    for axis in axes:
        group, _, name = axis.partition(".")
        if group in GROUPS and name and name not in (known := _shown(group, trials)):
            what = "method here has a parameter" if group == "params" else f"trial here has among its {group}"
            raise UsageError(f"No {what} '{name}'.", suggest(name, known))


def absent_parameters(axes: Iterable[str], trials: Sequence[TrialRow]) -> set[str]:
    """Return the axes ``params.NAME`` that tell nothing, since no method that is shown has the parameter.

    Raises
    ------
    UsageError
        If no installed method has it either, or no trial an option: then the name is a mistake.
    """
    check_parameters((axis for axis in axes if axis.partition(".")[0] in OPTIONS), trials)
    shown = set(_shown("params", trials))
    absent = {axis for axis in axes if axis.startswith("params.") and axis.partition(".")[2] not in shown}
    if absent:
        classes = [methods().load(entry.name) for entry in methods().entries()]
        known = shown | {item.name for each in classes for item in dataclasses.fields(each.Params)}
        for name in sorted(axis.partition(".")[2] for axis in absent):
            if name not in known:
                raise UsageError(f"No method has a parameter '{name}'.", suggest(name, sorted(known)))
    return absent


def _shown(group: str, trials: Sequence[TrialRow]) -> list[str]:
    """Return the names that a group of values has in some trial."""
    return sorted({name for trial in trials for name in trial[group]})


def value_of(trial: TrialRow, axis: str) -> Any:
    """Return where a trial lies on an axis; "" if nowhere."""
    head, dot, name = axis.partition(".")
    value: Any
    if head in GROUPS and dot:
        value = trial[head].get(name)
    elif axis in trial:
        value = trial[axis]
    else:
        phase = next((phase for phase in trial["phases"] if phase["kind"] == head), None)
        value = phase is not None if not dot else (phase or {}).get(name)
    return "" if value is None else value if isinstance(value, (str, int, float)) else json.dumps(value)


def key_of(trial: TrialRow, axes: Iterable[str]) -> Key:
    """Return where a trial lies on several axes."""
    return tuple(value_of(trial, axis) for axis in axes)


def is_choice(axis: str) -> bool:
    """Tell whether an axis is a choice that one compares, and not part of the problem."""
    return axis in _CHOICES or (axis not in SCHEMA and axis.partition(".")[0] not in OPTIONS)


def in_order(keys: Iterable[Key]) -> list[Key]:
    """Return distinct keys in order of first appearance, those with a common beginning together."""
    first: dict[Key, int] = {}
    distinct: dict[Key, None] = {}
    for number, key in enumerate(keys):
        distinct[key] = None
        for end in range(1, len(key) + 1):
            first.setdefault(key[:end], number)
    return sorted(distinct, key=lambda key: [first[key[:end]] for end in range(1, len(key) + 1)])
