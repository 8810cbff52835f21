"""Which trials are meant: ``--where axis=value[,value]``, and the conditions of overrides and excludes.

Within an axis, values are alternatives; several axes must all hold. A value is brought into one form
here, whether it is then looked for among the points of a grid or in a results frame.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from lnlbench.basics.printable import shorten
from lnlbench.errors import NothingSelectedError, UsageError, suggest
from lnlbench.spec import NOISE_TYPES, NoiseSpec

if TYPE_CHECKING:
    import pandas as pd

# Far beyond any benchmark, and small enough to be refused before it fills the memory.
MAX_TRIALS = 100_000

Condition = Mapping[str, frozenset[str]]

_FLAGS = {"true": True, "false": False}


def parse_where(conditions: Iterable[str]) -> dict[str, list[str]]:
    """Read filters as they stand on the command line.

    Values of one axis are alternatives, also if the axis is repeated; different axes must
    all hold.

    Parameters
    ----------
    conditions : iterable of str
        For example ``["method=turn,ce", "noise=symmetric-0.6"]``.

    Returns
    -------
    dict
        Values by axis, in the order given and without repetitions.

    Raises
    ------
    UsageError
        If a condition is not of the form ``axis=value[,value]``.
    """
    where: dict[str, list[str]] = {}
    for condition in conditions:
        axis, separator, text = condition.partition("=")
        axis, values = axis.strip(), [value.strip() for value in text.split(",")]
        if not separator or not axis or not all(values):
            raise UsageError(
                f"The filter '--where {condition}' cannot be read.",
                "Write axis=value or axis=value,value: --where method=turn,ce.",
            )
        known = where.setdefault(axis, [])
        known.extend(value for value in dict.fromkeys(values) if value not in known)
    return where


def normalise(axis: str, value: str) -> tuple[str, ...]:
    """Return the values that a text means on an axis: seeds may be a range, numbers are written in one way.

    Raises
    ------
    UsageError
        For seeds that cannot be read. What is no value of another axis is returned as it is, and
        found unknown where it is looked for.
    """
    if axis == "seed":
        return tuple(str(seed) for seed in parse_seeds(value))
    if "." in axis:  # a setting, as in methods.turn.tau
        return (value_text(value),)
    try:
        if axis == "rate":
            return (f"{float(value):g}",)
        if axis == "noise" and value not in NOISE_TYPES:
            return (NoiseSpec.parse(value).label,)
    except (ValueError, UsageError):
        pass
    return (value,)


def value_text(value: Any) -> str:
    """Return a setting's value as text; two texts are equal if the values are.

    Numbers are written in one way, so that ``0.50``, ``0.5`` and ``5e-1`` are the same.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple, dict)):
        return json.dumps(value, default=str)
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value)
    return str(int(number)) if number.is_integer() else repr(number)


def _is_seed(text: str) -> bool:
    # Eighteen digits fit in 64 bits, as a seed in a record and in a results frame must.
    return text.isascii() and text.isdecimal() and len(text) <= 18


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read ``"3"``, ``"0-4"`` or ``"0,2,5-7"``; keeps the order, removes duplicates.

    Raises
    ------
    UsageError
        If the text is not of this form, or names more seeds than a grid may have trials.
    """
    seeds: dict[int, None] = {}
    for part in text.split(","):
        first, separator, last = (item.strip() for item in part.partition("-"))
        if not _is_seed(first) or (separator and not _is_seed(last)):
            raise UsageError(f"Seeds '{shorten(text)}' cannot be read.", "Write 0-4 or 0,2,5.")
        start, stop = int(first), int(last or first)
        if stop < start:
            raise UsageError(f"Seeds '{shorten(text)}' run backwards.", f"Write {stop}-{start}.")
        count = len(seeds) + stop - start + 1
        if count > MAX_TRIALS:
            raise UsageError(
                f"Seeds '{shorten(text)}' are {count:,} or more; {MAX_TRIALS:,} trials are the limit."
            )
        seeds.update(dict.fromkeys(range(start, stop + 1)))
    return tuple(seeds)


def make_condition(where: Mapping[str, Iterable[str]], known: Condition) -> Condition:
    """Check and normalise a filter of a grid.

    Parameters
    ----------
    where : mapping of axis to values
        As written.
    known : mapping of axis to values
        What the grid has; anything else is a mistake of the user's. The keys that its rows set
        are axes as well.

    Raises
    ------
    UsageError
        For an axis that does not exist, or a value that the grid does not have.
    """
    result: dict[str, frozenset[str]] = {}
    for axis, values in where.items():
        if axis not in known:
            raise UsageError(f"There is no axis '{axis}' to filter on.", suggest(axis, known))
        wanted = frozenset(name for value in values for name in normalise(axis, value))
        for value in sorted(wanted - known[axis]):
            raise UsageError(f"The grid has no {axis} '{value}'.", suggest(value, known[axis]))
        result[axis] = wanted
    return result


def filter_frame(frame: pd.DataFrame, where: Mapping[str, Iterable[str]]) -> pd.DataFrame:
    """Keep the rows of a results frame that meet all conditions.

    Text is compared as it is, numbers as numbers, flags as ``true`` and ``false``;
    ``noise`` takes a type (``symmetric``) or a type with its rate (``symmetric-0.6``), ``seed`` a
    range (``0-4``) as well. Settings are named as in a grid: ``methods.METHOD.PARAMETER``,
    ``KIND.NAME`` as in ``fft.batch_norm``, ``backbone_options.NAME``, ``dataset_options.NAME``.

    Parameters
    ----------
    frame : pandas.DataFrame
        As :func:`lnlbench.records.frame.load_frame` returns it.
    where : mapping
        Values by column; see :func:`parse_where`.

    Raises
    ------
    UsageError
        For an unknown column, or a value that its column cannot have.
    NothingSelectedError
        If a value is in no row at all, or no row meets all conditions.
    """
    keep, columns = None, frame.columns
    for axis, values in where.items():
        if "." in axis:
            frame = _with_setting(frame, axis)
        if axis not in frame.columns:
            raise UsageError(f"Unknown axis '{axis}' in --where.", suggest(axis, map(str, frame.columns)))
        chosen = None
        for value in (name for text in values for name in normalise(axis, text)):
            matches = _matches(frame, axis, value)
            if not matches.any():
                present = sorted({str(item) for item in frame[axis].dropna()})
                raise NothingSelectedError(f"No trial has {axis}={value}.", suggest(value, present))
            chosen = matches if chosen is None else chosen | matches
        if chosen is not None:
            keep = chosen if keep is None else keep & chosen
    selected = (frame if keep is None else frame[keep])[columns]
    if selected.empty:
        conditions = " ".join(f"--where {axis}={','.join(values)}" for axis, values in where.items())
        raise NothingSelectedError(f"No trial is selected{' by ' + conditions if where else ''}.")
    return selected


def _with_setting(frame: pd.DataFrame, axis: str) -> pd.DataFrame:
    """Return the frame with a column for a setting that has none, as text; missing for trials without it."""
    import pandas as pd

    head, _, name = axis.partition(".")
    if head == "methods":
        owner, _, name = name.partition(".")
        column = frame["params"].where(frame["method"] == owner)
        advice = "Write methods.METHOD.PARAMETER."
    elif head in ("dataset_options", "backbone_options"):
        column, advice = frame[head], f"Write {head}.NAME."
    else:
        column, advice = (
            frame["phases"],
            "Write KIND.NAME, as in fft.batch_norm, or methods.METHOD.PARAMETER.",
        )
    # Trials of one setting have the same text, which is read once.
    known = {text: _setting_in(json.loads(text), head, name) for text in column.dropna().unique()}
    values = [None if missing else known[text] for text, missing in zip(column, column.isna(), strict=True)]
    if not any(value is not None for value in values):
        raise UsageError(f"No trial has a setting '{axis}'.", advice)
    extended = frame.copy()
    extended[axis] = pd.Series(values, index=frame.index, dtype="string")
    return extended


def _setting_in(stored: Any, kind: str, name: str) -> str | None:
    """Return a setting's value as text, out of options or the first phase of a kind; None without it."""
    if isinstance(stored, list):
        stored = next((phase for phase in stored if phase["kind"] == kind), {})
    value = stored.get(name)
    return None if value is None else value_text(value)


def _matches(frame: pd.DataFrame, axis: str, value: str) -> pd.Series[bool]:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    column = frame[axis]
    if is_bool_dtype(column.dtype):
        if value.lower() not in _FLAGS:
            raise UsageError(f"'{axis}={value}' in --where: {axis} is true or false.")
        return (column == _FLAGS[value.lower()]).fillna(False).astype(bool)
    if is_numeric_dtype(column.dtype):
        try:
            number = float(value)
        except ValueError:
            raise UsageError(f"'{axis}={value}' in --where: {axis} is a number.") from None
        return (column == number).fillna(False).astype(bool)
    matches = (column == value).fillna(False).astype(bool)
    if axis == "noise":
        matches |= (frame["noise_label"] == value).fillna(False).astype(bool)
    return matches
