"""The validation split of data sets that come without one."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from lnlbench.basics.seeding import numpy_stream
from lnlbench.data.source import Index, Labels
from lnlbench.errors import DataError


def split_validation(labels: Labels, fraction: float, *, dataset: str, seed: int) -> tuple[Index, Index]:
    """Hold out a stratified part of the training set.

    Each class gives its share, rounded by largest remainders so that the total is exact; of
    classes with equal remainders the lower numbers give first, and a class gives its last
    sample only if no other can give.

    Parameters
    ----------
    labels : int64 array of shape [N]
        Labels as the data set has them, before any corruption.
    fraction : float
        Share held out, in (0, 1). round(fraction · N) samples, and at least one, are.
    dataset : str
        The data set's label.
    seed : int
        The trial's seed. The split depends on nothing else, so not on the noise.

    Returns
    -------
    train, validation : int64 arrays
        Sorted, disjoint, together all of 0 … N − 1.

    Raises
    ------
    DataError
        If nothing is left to train on.
    """
    samples = len(labels)
    # A fraction is meant as it is written: 0.05 is one in twenty, not its nearest binary number.
    total = max(1, round(Fraction(str(fraction)) * samples))
    if total >= samples:
        raise DataError(
            f"A validation_fraction of {fraction:g} leaves none of {samples} training samples.",
            "Use a smaller fraction or more samples.",
        )
    sizes = np.bincount(labels)
    counts, remainders = np.divmod(sizes * total, samples)
    last = counts + 1 >= sizes
    order = np.lexsort((-remainders, last))
    counts[order[: total - counts.sum()]] += 1

    stream = numpy_stream("split", dataset, seed)
    held_out = [
        stream.permutation(np.flatnonzero(labels == number))[:count] for number, count in enumerate(counts)
    ]
    validation = np.sort(np.concatenate(held_out))
    return np.setdiff1d(np.arange(samples), validation), validation
