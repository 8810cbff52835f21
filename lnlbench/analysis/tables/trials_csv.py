"""The results frame as CSV."""

from __future__ import annotations

import pandas as pd

from lnlbench.analysis.tables.render_csv import defuse
from lnlbench.basics.printable import printable


def trials_csv(frame: pd.DataFrame, digits: int | None = None) -> str:
    """Return a frame as CSV whose texts neither terminals nor spreadsheets take for commands.

    Numbers are as they are, and so is all text that lnlbench writes itself; Parquet holds every
    text unchanged.

    Parameters
    ----------
    frame : pandas.DataFrame
    digits : int, optional
        Significant digits of numbers; all that it takes to read the same number if left out.
    """
    safe = frame.copy()
    for name in frame:
        if frame[name].dtype == "string":
            safe[name] = frame[name].map(lambda text: defuse(printable(text)), na_action="ignore")
    return safe.to_csv(index=False, float_format=None if digits is None else f"%.{digits}g")
