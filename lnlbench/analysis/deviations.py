"""Methods that a grid trains in another way than their neighbours: what differs, and a mark for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from lnlbench.analysis.axes import TrialRow
from lnlbench.analysis.names import axis_label, clean, display
from lnlbench.analysis.protocol_text import cause, write_rate

# By trial and setting: the override's reason for it, see `lnlbench.grids.grid.Grid.reasons`.
Reasons = Mapping[str, Mapping[str, str]]
# By trial and setting: its own value, and those of the others.
_Differing = dict[str, dict[str, tuple[str, str]]]

_SYMBOLS = ("†", "‡", "§", "¶")
# Said of the whole table elsewhere; see `lnlbench.analysis.caption`.
_SAID = ("cache",)


class Deviation(NamedTuple):
    """Methods whose settings are not those of the others.

    Attributes
    ----------
    symbol : str
        Stands beside their names.
    note : str
        What differs, and why if the grid says so.
    trials : frozenset of str
        Ids of the trials that have other settings.
    """

    symbol: str
    note: str
    trials: frozenset[str]


def find_deviations(
    trials: Sequence[TrialRow], axes: Sequence[str], reasons: Reasons
) -> tuple[Deviation, ...]:
    """Compare the settings of methods in the same tuning mode, on the same problem.

    Parameters
    ----------
    trials : sequence of TrialRow
    axes : sequence of str
        Axes of the table, whose values can be seen and so are no deviation.
    reasons : mapping
        What the grid's overrides say of why they are there.
    """
    differing = _differing(trials, axes)
    contenders: dict[tuple[str, str], list[TrialRow]] = {}
    for trial in trials:
        if trial["trial_id"] in differing:
            contenders.setdefault((trial["tuning"], trial["method"]), [])
    for trial in trials:
        if (place := (trial["tuning"], trial["method"])) in contenders:
            contenders[place].append(trial)
    # Methods of which the same is to be said share a mark.
    found: dict[str, tuple[dict[str, None], set[str]]] = {}
    for mine in contenders.values():
        methods, ids = found.setdefault(_describe(mine, differing, reasons), ({}, set()))
        methods[display("method", mine[0]["method"])] = None
        ids.update(trial["trial_id"] for trial in mine if trial["trial_id"] in differing)
    return tuple(
        Deviation(_symbol(number), f"{', '.join(methods)}: {text}", frozenset(ids))
        for number, (text, (methods, ids)) in enumerate(found.items())
    )


def _symbol(number: int) -> str:
    return _SYMBOLS[number % len(_SYMBOLS)] * (number // len(_SYMBOLS) + 1)


def _differing(trials: Sequence[TrialRow], axes: Sequence[str]) -> _Differing:
    contests: dict[tuple[Any, ...], list[TrialRow]] = {}
    for trial in trials:
        place = (trial["tuning"], trial["dataset"], trial["noise_label"], trial["backbone"])
        contests.setdefault(place, []).append(trial)
    found: _Differing = {}
    # Trials that have the same phases and options share the objects, see `trials_of`.
    known: dict[tuple[int, ...], dict[str, str]] = {}

    def settings_of(trial: TrialRow) -> dict[str, str]:
        key = tuple(id(trial[name]) for name in ("phases", "dataset_options", "backbone_options"))
        if key not in known:
            known[key] = dict(_settings(trial, axes))
        return known[key]

    for mine in contests.values():
        settings = [(trial, settings_of(trial)) for trial in mine]
        for name in dict.fromkeys(name for _, given in settings for name in given):
            have = [(trial, given[name]) for trial, given in settings if name in given]
            # A method has one vote, however many seeds it has; of a tie, the first one in the plan wins.
            votes = Counter(
                value for _, value in dict.fromkeys((one["method"], value) for one, value in have)
            )
            (usual, _), *_ = votes.most_common(1)
            for trial, value in have:
                # Several values of one method are a sweep of its own, which is no deviation from others.
                if value != usual and any(one["method"] != trial["method"] for one, _ in have):
                    others = ", ".join(other for other, _ in votes.most_common() if other != value)
                    found.setdefault(trial["trial_id"], {})[name] = (value, others)
    return found


def _settings(trial: TrialRow, axes: Sequence[str]) -> Iterator[tuple[str, str]]:
    for phase in trial["phases"]:
        for name, value in phase.items():
            axis = f"{phase['kind']}.{name}"
            seen = axis in axes or (name == "epochs" and "epochs" in axes)
            # AdamW has no momentum of its own to set.
            idle = name == "momentum" and phase["optimizer"] != "sgd"
            if name != "kind" and name not in _SAID and not seen and not idle:
                yield axis, _write(value)
    for group in ("dataset_options", "backbone_options"):
        for name, value in trial[group].items():
            if name not in axes:
                yield f"{group}.{name}", _write(value)


def _write(value: Any) -> str:
    if isinstance(value, float):
        return write_rate(value)
    return "default" if value is None else clean(value)


def _describe(mine: Sequence[TrialRow], differing: _Differing, reasons: Reasons) -> str:
    """Say what differs in the trials of one method in one tuning mode."""
    parts: list[str] = []
    why: dict[str, None] = {}
    names = dict.fromkeys(name for trial in mine for name in differing.get(trial["trial_id"], {}))
    for name in names:

        def read(trial: TrialRow, name: str = name) -> tuple[str, ...]:
            return differing.get(trial["trial_id"], {}).get(name, ())

        pairs = dict.fromkeys(map(read, mine))
        for pair in pairs:
            if pair:
                where = cause(mine, read, pair) if len(pairs) > 1 else ""
                parts.append(f"{_label(name)} {pair[0]} (others {pair[1]}){where}")
        for trial in mine:
            given = reasons.get(trial["trial_id"], {})
            for key in (name, f"{trial['tuning']}.{name}"):
                if read(trial) and key in given:
                    why[clean(given[key])] = None
    return ". ".join((", ".join(parts), *why))


def _label(name: str) -> str:
    group, _, rest = name.partition(".")
    return rest.replace("_", " ") if group.endswith("_options") else axis_label(name)
