"""lnlbench: learning with noisy labels on pre-trained models, compared fairly.

The package imports nothing heavy: :func:`load` brings pandas in when it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lnlbench._version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

__all__ = ["__version__", "load"]


def load(out: str | Path) -> pd.DataFrame:
    """Load the records of an output folder as a tidy frame.

    Parameters
    ----------
    out : str or Path
        Folder that ``lnlbench run`` wrote.

    Returns
    -------
    pandas.DataFrame
        One row per trial, with the columns of ``lnlbench export``.

    Raises
    ------
    lnlbench.errors.StoreError
        If the folder holds no records, or records of another format version.
    """
    from lnlbench.analysis.frame import load_frame

    return load_frame(out)
