"""Independent random streams, each named by what it may depend on.

One seed would tie everything together: adding a method would change the noise. Here a
stream's seed is a hash of its name and its dependencies, so that for example the corruption
depends on (data set, noise, seed) and on nothing else (protocol, section 1). Streams of
training name the epoch as well, so that a continued trial needs no saved generator state.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np


def derive_seed(stream: str, *dependencies: object) -> int:
    """Return a 63-bit seed for a named stream.

    Parameters
    ----------
    stream : str
        What the numbers are for, for example ``"corruption"``.
    *dependencies : JSON values
        All that the stream depends on.
    """
    text = json.dumps([stream, *dependencies], sort_keys=True, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_stream(stream: str, *dependencies: object) -> np.random.Generator:
    """Return a numpy generator for a named stream; see :func:`derive_seed`."""
    return np.random.default_rng(derive_seed(stream, *dependencies))
