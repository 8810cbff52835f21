"""Ramps: weights that grow from (nearly) zero to one as training goes on."""

from __future__ import annotations

import math


def linear_ramp(position: float, length: float) -> float:
    """Return position / length, clipped to [0, 1] (DivideMix: 16 epochs after warm-up).

    A ramp of length 0 is over from the start.
    """
    return min(max(position / length, 0.0), 1.0) if length > 0.0 else 1.0


def sigmoid_ramp(position: float, length: float) -> float:
    """Return exp(−5 (1 − position / length)²), with the position clipped to [0, length].

    From exp(−5) to 1 (Laine & Aila 2017, used by ELR+). A ramp of length 0 is over from the
    start.
    """
    return math.exp(-5.0 * (1.0 - linear_ramp(position, length)) ** 2)
