"""Which samples of a whole training set a data set is: so labels of the whole serve its subsets."""

from __future__ import annotations

import numpy as np

from lnlbench.data.source import Index, Labels, ranks_in_class
from lnlbench.errors import NoiseError


def rows_of(clean: Labels, whole: Labels, where: str) -> Index:
    """Return the rows of the whole set that a data set is made of.

    A subset is the first samples of each class in the order of the whole (``train_per_class``), so that
    the number of samples of each class says which rows they are. Their labels are then compared one by one.

    Parameters
    ----------
    clean : int64 array of shape [n]
        True labels of the data set.
    whole : int64 array of shape [N]
        True labels of the whole training set, as the file has them.
    where : str
        The file, for messages.

    Returns
    -------
    int64 array of shape [n]

    Raises
    ------
    NoiseError
        If the labels are not those of the data set, or are those of another order.
    """
    classes = int(max(clean.max(), whole.max())) + 1
    here, there = (np.bincount(labels, minlength=classes) for labels in (clean, whole))
    if (here > there).any():
        number = int(np.argmax(here - there))
        raise NoiseError(
            f"{where} has {there[number]} samples of class {number}, and the data set has {here[number]}.",
            "It was made for another data set, or for a part of this one.",
        )
    rows = np.flatnonzero(ranks_in_class(whole) < here[whole])
    differ = np.flatnonzero(whole[rows] != clean)
    if not len(differ):
        return rows
    first = int(differ[0])
    raise NoiseError(
        f"{where} does not belong to these data: the true labels of {len(differ):,} of {len(clean):,} "
        f"samples differ, the first at sample {first} ({clean[first]} in the data, {whole[rows[first]]} in "
        "the file). Every class has as many samples as it should, so the data are in another order than the "
        "official one, and each label would go to another image.",
        "Take the data set in its official order, as `lnlbench data fetch` gets it, or the first samples of "
        "each class in that order.",
    )
