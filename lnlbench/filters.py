"""``--where axis=value[,value]``: read once, for grids and for tables alike."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from lnlbench.conditions import value_text
from lnlbench.errors import NothingSelectedError, UsageError, suggest

if TYPE_CHECKING:
    import pandas as pd

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


def filter_frame(frame: pd.DataFrame, where: Mapping[str, Iterable[str]]) -> pd.DataFrame:
    """Keep the rows of a results frame that meet all conditions.

    Text is compared as it is, numbers as numbers, flags as ``true`` and ``false``;
    ``noise`` takes a type (``symmetric``) or a type with its rate (``symmetric-0.6``).
    ``methods.METHOD.PARAMETER`` means the trials of a method with a value of a parameter.

    Parameters
    ----------
    frame : pandas.DataFrame
        As :func:`lnlbench.analysis.frame.load_frame` returns it.
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
        if axis.startswith("methods."):
            frame = _with_parameter(frame, axis)
        if axis not in frame.columns:
            raise UsageError(f"Unknown axis '{axis}' in --where.", suggest(axis, map(str, frame.columns)))
        chosen = None
        for value in map(value_text, values) if axis.startswith("methods.") else values:
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


def _with_parameter(frame: pd.DataFrame, axis: str) -> pd.DataFrame:
    """Return the frame with a column for ``methods.METHOD.PARAMETER``, as text; missing for others."""
    import pandas as pd

    _, method, name = (*axis.split(".", 2), "")[:3]
    values = [
        value_text(params[name]) if trial == method and name in params else None
        for trial, params in zip(frame["method"], map(json.loads, frame["params"]), strict=True)
    ]
    if not any(value is not None for value in values):
        raise UsageError(f"No trial has a parameter '{axis}'.", "Write methods.METHOD.PARAMETER.")
    extended = frame.copy()
    extended[axis] = pd.Series(values, index=frame.index, dtype="string")
    return extended


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
        matches |= (frame["noise_label"] == _noise_label(value)).fillna(False).astype(bool)
    return matches


def _noise_label(value: str) -> str:
    """Write the rate as labels do: ``symmetric-0.60`` is ``symmetric-0.6``."""
    kind, _, rate = value.rpartition("-")
    try:
        return f"{kind}-{float(rate):g}" if kind else value
    except ValueError:
        return value
