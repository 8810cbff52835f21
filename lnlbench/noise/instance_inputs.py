"""What instance-dependent noise looks at: raw pixels or features, read in pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from lnlbench.data.source import Index, Split
from lnlbench.errors import NoiseError

Floats = npt.NDArray[np.float64]
Inputs = Callable[[Index], npt.NDArray[Any]]

_CHUNK_VALUES = 2**22  # 32 MiB in double precision


def raw_inputs(split: Split) -> Inputs:
    """Return a function from indices to flattened inputs of shape [B, L].

    For images these are the uint8 pixels, three channels as the backbone sees them.

    Raises
    ------
    NoiseError
        If the images differ in size, so that one projection cannot fit them all.
    """
    images, features = split.images, split.features
    if images is None:
        assert features is not None  # a split has one of the two
        values: npt.NDArray[np.float32] = features.numpy()
        return lambda index: values[index]
    if images.size is None:
        raise NoiseError(
            "Instance noise needs images of one size, and these differ.",
            "Resize them, or choose another type of noise.",
        )

    def pixels(index: Index) -> npt.NDArray[Any]:
        batch = images.take(index)
        assert not isinstance(batch, list)  # they have one size
        return batch.flatten(1).numpy()

    return pixels


def chunks(inputs: Inputs, index: Index) -> Iterator[tuple[Index, Floats]]:
    """Yield the inputs at ``index`` as float64, in pieces of a bounded size."""
    if not len(index):
        return
    step = max(1, _CHUNK_VALUES // inputs(index[:1]).shape[1])
    for start in range(0, len(index), step):
        part = index[start : start + step]
        yield part, inputs(part).astype(np.float64)


def standardised(inputs: Inputs, samples: int) -> Inputs:
    """Return inputs with mean 0 and standard deviation 1 in every dimension over all samples.

    A dimension that is constant becomes 0.
    """
    count = 0
    mean: Floats | float = 0.0
    squares: Floats | float = 0.0  # sum of squared deviations from the mean
    for part, values in chunks(inputs, np.arange(samples)):
        # Pairwise update of Chan et al. (1983): no cancellation, one pass.
        new = values.mean(axis=0)
        shift = new - mean
        total = count + len(part)
        squares = squares + ((values - new) ** 2).sum(axis=0) + shift**2 * (count * len(part) / total)
        mean = mean + shift * (len(part) / total)
        count = total
    deviation = np.sqrt(squares / count)
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 0)
    return lambda index: (inputs(index) - mean) * scale
