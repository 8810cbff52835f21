"""Detectors by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from lnlbench.detectors.by_texts import clipcleaner, zero_shot
from lnlbench.detectors.combined import agreement
from lnlbench.detectors.dual_prompts import deft
from lnlbench.detectors.evidence import Detection, Evidence
from lnlbench.detectors.probabilities import confident_learning, small_loss
from lnlbench.detectors.votes import knn_vote, simifeat, wann
from lnlbench.errors import UsageError, suggest

DETECTORS: Mapping[str, Callable[..., Detection]] = MappingProxyType(
    {
        "knn": knn_vote,
        "simifeat": simifeat,
        "wann": wann,
        "confident": confident_learning,
        "small_loss": small_loss,
        "agreement": agreement,
        "zero_shot": zero_shot,
        "clipcleaner": clipcleaner,
        "deft": deft,
    }
)
# Those that need texts of the classes, which few backbones read.
BY_TEXTS = ("zero_shot", "clipcleaner", "deft")
# Those that train a large model's part and take hours on a CPU: asked by name, and never with all others.
SLOW = ("deft",)


def detect(name: str, evidence: Evidence, **parameters: Any) -> Detection:
    """Ask a detector.

    Parameters
    ----------
    name : str
        One of :data:`DETECTORS`.
    evidence : Evidence
    **parameters
        Of the detector, instead of its defaults.

    Raises
    ------
    UsageError
        If the name is unknown, or the evidence lacks the features or texts that the detector needs.
    """
    if name not in DETECTORS:
        raise UsageError(f"There is no detector '{name}'.", suggest(name, DETECTORS))
    return DETECTORS[name](evidence, **parameters)
